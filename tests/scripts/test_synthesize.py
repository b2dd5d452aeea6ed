"""Synthetic archives: the layout of the originals, the ground truth, planted faults."""

import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, UnidentifiedImageError

from histo.errors import InputError
from histo.synthetic.slides import REGION, Painter
from synthesize import FAULTS, overlap_pairs, synthesize, tile_map, tiles_per_slide

SETTINGS = {"train_tiles": 400, "test_tiles": 100, "train_slides": 5, "test_slides": 2, "seed": 3, "faults": {}}
PLANTED = {
    "corrupt_tiff": 4,
    "wrong_size": 2,
    "greyscale": 2,
    "rgba": 2,
    "missing_file": 3,
    "duplicate_content": 3,
    "bad_label": 2,
    "altered_pixels": 3,
}


class Synthetic:
    """A synthetic archive and its ground truth, read back."""

    def __init__(self, folder: Path, **settings):
        paths = [folder / name for name in ("archive.zip", "truth.csv", "overlaps.parquet", "slides.csv")]
        self.planted = synthesize(*paths, **(SETTINGS | settings))
        self.archive, self.folder = paths[0], folder
        self.truth = pd.read_csv(paths[1])
        self.overlaps = pd.read_parquet(paths[2])
        self.slides = pd.read_csv(paths[3])
        with zipfile.ZipFile(self.archive) as file:
            self.names = file.namelist()
            self.files = {Path(name).stem: file.read(name) for name in self.names if name.endswith(".tif")}
            self.labels = pd.read_csv(io.BytesIO(file.read("train_labels.csv")), dtype=str, keep_default_na=False)
            self.sample = pd.read_csv(io.BytesIO(file.read("sample_submission.csv")))

    def pixels(self, key: str) -> np.ndarray:
        """Return the pixels of a tile."""
        return np.array(Image.open(io.BytesIO(self.files[key])))


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory) -> Synthetic:
    return Synthetic(tmp_path_factory.mktemp("synthetic"))


@pytest.fixture(scope="module")
def faulty(tmp_path_factory) -> Synthetic:
    return Synthetic(tmp_path_factory.mktemp("faulty"), faults=PLANTED)


def test_the_archive_has_exactly_the_listed_tiles(synthetic):
    assert len(synthetic.labels) == 400
    assert len(synthetic.sample) == 100
    listed = [f"train/{key}.tif" for key in synthetic.labels.id] + [f"test/{key}.tif" for key in synthetic.sample.id]
    assert synthetic.names == sorted([*listed, "train_labels.csv", "sample_submission.csv"])
    assert list(synthetic.sample.columns) == ["id", "label"]
    assert (synthetic.sample.label == 0).all()
    assert synthetic.truth.id.tolist() == synthetic.sample.id.tolist()
    assert sorted(synthetic.slides.id) == sorted(synthetic.labels.id)


def test_every_id_is_the_sha1_of_the_pixels(synthetic):
    for key, data in synthetic.files.items():
        assert len(data) == 27935
        pixels = synthetic.pixels(key)
        assert pixels.shape == (96, 96, 3)
        assert hashlib.sha1(pixels).hexdigest() == key
        assert data[287:] == pixels.tobytes()


def test_a_tile_is_positive_if_and_only_if_a_tumour_nucleus_lies_in_its_centre():
    rng = np.random.default_rng(5)
    painter = Painter(rng)
    region = painter.region(rng, painter.slide(rng))
    labels, usable = tile_map(region)
    assert labels.shape == usable.shape == ((REGION - 96) // 16 + 1,) * 2
    nuclei_y, nuclei_x = region.tumour.T
    tumour_outside_centre = 0
    for i, j in np.ndindex(labels.shape):
        y, x = nuclei_y - 16 * i, nuclei_x - 16 * j
        assert labels[i, j] == ((y >= 32) & (y < 64) & (x >= 32) & (x < 64)).any()
        tumour_outside_centre += not labels[i, j] and ((y >= 0) & (y < 96) & (x >= 0) & (x < 96)).any()
    assert tumour_outside_centre > 0.05 * labels.size  # many tiles with tumour only outside the centre are negative


def test_shares_are_close_to_the_intended_ones(synthetic):
    positive = np.r_[synthetic.labels.label.astype(int), synthetic.truth.label].mean()
    assert positive == pytest.approx(0.4, abs=0.06)
    paired = set(synthetic.overlaps.id_a) | set(synthetic.overlaps.id_b)
    assert len(paired) / 500 == pytest.approx(0.5, abs=0.06)


def test_overlapping_tiles_have_equal_pixels(synthetic):
    assert len(synthetic.overlaps) > 100
    for pair in synthetic.overlaps.itertuples():
        a, b = synthetic.pixels(pair.id_a), synthetic.pixels(pair.id_b)
        assert pair.id_a < pair.id_b
        assert pair.dy % 16 == pair.dx % 16 == 0
        height, width = 96 - abs(pair.dy), 96 - abs(pair.dx)
        assert min(height, width) > 0
        in_a = a[max(pair.dy, 0) :, max(pair.dx, 0) :][:height, :width]
        in_b = b[max(-pair.dy, 0) :, max(-pair.dx, 0) :][:height, :width]
        np.testing.assert_array_equal(in_a, in_b)


def test_no_overlap_is_missing(synthetic):
    """Textured blocks of 16 × 16 pixels that are equal occur only in listed pairs, at the listed offset."""
    listed = {(pair.id_a, pair.id_b): (pair.dy, pair.dx) for pair in synthetic.overlaps.itertuples()}
    blocks: dict[bytes, list[tuple[str, int, int]]] = {}
    for key in synthetic.files:
        pixels = synthetic.pixels(key)
        for y, x in np.ndindex(6, 6):
            block = pixels[16 * y :, 16 * x :][:16, :16]
            if block.std(axis=(0, 1)).max() > 8:
                blocks.setdefault(block.tobytes(), []).append((key, 16 * y, 16 * x))
    found = set()
    for positions in blocks.values():
        for a, ay, ax in positions:
            for b, by, bx in positions:
                if a < b:
                    assert listed[a, b] == (ay - by, ax - bx)
                    found.add((a, b))
    assert len(found) > 0.9 * len(listed)  # the others share only background


def test_overlap_pairs_of_known_origins():
    pairs = overlap_pairs(np.array([[0, 0], [16, 80], [96, 0], [16, 96]]))
    assert pairs.tolist() == [[0, 1, 16, 80], [1, 2, 80, -80], [1, 3, 0, 16]]


def test_overlaps_and_slides_are_within_one_split(synthetic):
    slide = dict(zip(synthetic.slides.id, synthetic.slides.slide, strict=True))
    assert synthetic.slides.slide.nunique() == 5
    assert not set(synthetic.slides.id) & set(synthetic.truth.id)
    for pair in synthetic.overlaps.itertuples():
        assert slide.get(pair.id_a, "test") == slide.get(pair.id_b, "test")


@pytest.mark.parametrize(("overlapping", "least", "most"), [(0, 0, 0), (1, 0.97, 1)])
def test_share_of_overlapping_tiles_is_a_setting(tmp_path, overlapping, least, most):
    synthetic = Synthetic(
        tmp_path, train_tiles=90, test_tiles=30, train_slides=1, test_slides=1, overlapping=overlapping
    )
    paired = set(synthetic.overlaps.id_a) | set(synthetic.overlaps.id_b)
    assert least <= len(paired) / 120 <= most
    assert synthetic.overlaps.dtypes.astype(str)[["dy", "dx"]].tolist() == ["int16", "int16"]


def test_equal_settings_give_equal_bytes_and_another_seed_other_tiles(synthetic, tmp_path):
    again = Synthetic(tmp_path / "again")
    for name in ("archive.zip", "truth.csv", "overlaps.parquet", "slides.csv", "faults.json"):
        assert (again.folder / name).read_bytes() == (synthetic.folder / name).read_bytes()
    other = Synthetic(tmp_path / "other", seed=4)
    assert not set(other.files) & set(synthetic.files)


def test_planted_faults(faulty):
    assert {kind: len(ids) for kind, ids in faulty.planted.items()} == PLANTED
    assert json.loads((faulty.folder / "faults.json").read_text()) == faulty.planted
    assert set(PLANTED) == set(FAULTS)
    assert len(faulty.labels) == 400
    label = dict(zip(faulty.labels.id, faulty.labels.label, strict=True))
    for key in faulty.planted["corrupt_tiff"]:
        with pytest.raises((OSError, UnidentifiedImageError)):
            faulty.pixels(key)
    assert {len(faulty.files[key]) < 27935 for key in faulty.planted["corrupt_tiff"]} == {True, False}
    for kind, shape in (("wrong_size", (80, 96, 3)), ("greyscale", (96, 96)), ("rgba", (96, 96, 4))):
        assert {faulty.pixels(key).shape for key in faulty.planted[kind]} == {shape}
    for key in faulty.planted["missing_file"]:
        assert key not in faulty.files
        assert key in label
    for key in faulty.planted["duplicate_content"]:
        original = hashlib.sha1(faulty.pixels(key)).hexdigest()
        assert original != key
        assert faulty.pixels(original).tobytes() == faulty.pixels(key).tobytes()
        assert label[original] == label[key]
        pair = faulty.overlaps.set_index(["id_a", "id_b"]).loc[min(key, original), max(key, original)]
        assert (pair.dy, pair.dx) == (0, 0)
    assert sorted(label[key] for key in faulty.planted["bad_label"]) == ["", "2"]
    for key in faulty.planted["altered_pixels"]:
        assert faulty.pixels(key).shape == (96, 96, 3)
        assert hashlib.sha1(faulty.pixels(key)).hexdigest() != key


def test_tiles_without_a_planted_fault_have_none(faulty):
    planted = {key for ids in faulty.planted.values() for key in ids}
    assert len(planted) == sum(PLANTED.values())
    assert set(faulty.labels.id) - set(faulty.files) == set(faulty.planted["missing_file"])
    assert set(faulty.labels[~faulty.labels.id.isin(planted)].label) == {"0", "1"}
    for key in set(faulty.files) - planted:
        assert hashlib.sha1(faulty.pixels(key)).hexdigest() == key


def test_mean_colour_predicts_the_label_of_unseen_slides_poorly(tmp_path):
    synthetic = Synthetic(tmp_path, train_tiles=600, test_tiles=400, train_slides=10, test_slides=8, seed=1)

    def colours(keys: pd.Series) -> np.ndarray:
        return np.array([synthetic.pixels(key).mean((0, 1)) for key in keys])

    train, test = colours(synthetic.labels.id), colours(synthetic.truth.id)
    mean, std = train.mean(0), train.std(0)
    design_train, design_test = (np.column_stack([np.ones(len(x)), (x - mean) / std]) for x in (train, test))
    coefficients = np.linalg.lstsq(design_train, synthetic.labels.label.astype(float).to_numpy(), rcond=None)[0]
    scores = design_test @ coefficients
    positive, negative = scores[synthetic.truth.label == 1], scores[synthetic.truth.label == 0]
    assert (positive[:, None] > negative[None, :]).mean() < 0.8  # AUC


def test_each_slide_has_a_tile():
    assert tiles_per_slide(np.random.default_rng(0), 7, 7) == [1] * 7
    counts = tiles_per_slide(np.random.default_rng(0), 10_000, 20)
    assert sum(counts) == 10_000
    assert min(counts) > 200


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_tiles": 0}, "train_slides: 5 and train_tiles: 0"),
        ({"test_slides": 0}, "test_slides: 0"),
        ({"test_slides": 101}, "test_slides: 101 and test_tiles: 100"),
        ({"overlapping": 1.5}, "found 1.5"),
        ({"faults": {"torn": 1}}, "expected one of corrupt_tiff, .*, found torn"),
        ({"faults": {"rgba": -1}}, "rgba: expected a count, found -1"),
        ({"faults": {"duplicate_content": 201}}, "found 402"),
    ],
)
def test_impossible_settings_are_refused(tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        Synthetic(tmp_path, **settings)
    assert list(tmp_path.iterdir()) == []
