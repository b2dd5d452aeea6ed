"""Made archives: the layout of the originals, the truth about them, planted faults."""

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
from histo.synthetic.tiff import tiff, tiff_header
from synthesize import FAULTS, overlap_pairs, share_out, synthesize, tile_map

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


class Made:
    """An archive and its truth, read back."""

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
        return np.array(Image.open(io.BytesIO(self.files[key])))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    return Made(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def faulty(tmp_path_factory) -> Made:
    return Made(tmp_path_factory.mktemp("faulty"), faults=PLANTED)


def test_archive_holds_exactly_the_tiles_that_its_tables_list(made):
    assert len(made.labels) == 400
    assert len(made.sample) == 100
    listed = [f"train/{key}.tif" for key in made.labels.id] + [f"test/{key}.tif" for key in made.sample.id]
    assert made.names == sorted([*listed, "train_labels.csv", "sample_submission.csv"])
    assert list(made.sample.columns) == ["id", "label"]
    assert (made.sample.label == 0).all()
    assert made.truth.id.tolist() == made.sample.id.tolist()
    assert sorted(made.slides.id) == sorted(made.labels.id)


def test_every_id_is_the_sha1_of_the_pixels(made):
    for key, data in made.files.items():
        assert len(data) == 27935
        pixels = made.pixels(key)
        assert pixels.shape == (96, 96, 3)
        assert hashlib.sha1(pixels).hexdigest() == key
        assert data[287:] == pixels.tobytes()


def test_tags_are_those_of_the_originals(made):
    image = Image.open(io.BytesIO(next(iter(made.files.values()))))
    tags = image.tag_v2
    assert len(tags) == 15
    assert tags[270] == '{"shape": [96, 96, 3]}'
    assert tags[305] == "tifffile.py"
    assert tags[273] == (287,)
    assert tags[279] == (27648,)


def test_header_equals_that_of_real_tiles(real_archive):
    with zipfile.ZipFile(real_archive) as file:
        for name in [name for name in file.namelist() if name.endswith(".tif")][::100]:
            data = file.read(name)
            date_time = Image.open(io.BytesIO(data)).tag_v2[306]
            assert tiff_header(96, 96, 3, date_time) == data[:287]
            assert tiff(np.frombuffer(data[287:], np.uint8).reshape(96, 96, 3), date_time) == data


@pytest.mark.parametrize(("shape", "mode"), [((96, 80), "L"), ((80, 96, 3), "RGB"), ((96, 96, 4), "RGBA")])
def test_tiff_holds_its_pixels(shape, mode):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    image = Image.open(io.BytesIO(tiff(pixels)))
    assert image.mode == mode
    np.testing.assert_array_equal(np.array(image), pixels)


def test_label_is_one_exactly_when_a_tumour_nucleus_lies_in_the_centre():
    rng = np.random.default_rng(5)
    painter = Painter(rng)
    region = painter.region(rng, painter.slide(rng))
    labels, useful = tile_map(region)
    assert labels.shape == useful.shape == ((REGION - 96) // 16 + 1,) * 2
    nuclei_y, nuclei_x = region.tumour.T
    surrounded = 0
    for i, j in np.ndindex(labels.shape):
        y, x = nuclei_y - 16 * i, nuclei_x - 16 * j
        assert labels[i, j] == ((y >= 32) & (y < 64) & (x >= 32) & (x < 64)).any()
        surrounded += not labels[i, j] and ((y >= 0) & (y < 96) & (x >= 0) & (x < 96)).any()
    assert surrounded > 0.05 * labels.size  # tumour around the centre does not make a tile positive


def test_tumour_nuclei_are_where_the_truth_says():
    rng = np.random.default_rng(6)
    painter = Painter(rng)
    region = painter.region(rng, painter.slide(rng))
    green = region.image[..., 1].astype(float)
    y, x = region.tumour.T
    assert len(region.tumour) > 500
    assert green[y, x].mean() < green[region.tissue > 128].mean() - 15


def test_shares_come_near_what_was_asked(made):
    positive = np.r_[made.labels.label.astype(int), made.truth.label].mean()
    assert positive == pytest.approx(0.4, abs=0.06)
    paired = set(made.overlaps.id_a) | set(made.overlaps.id_b)
    assert len(paired) / 500 == pytest.approx(0.5, abs=0.06)


def test_overlaps_are_equal_to_the_bit(made):
    assert len(made.overlaps) > 100
    for pair in made.overlaps.itertuples():
        a, b = made.pixels(pair.id_a), made.pixels(pair.id_b)
        assert pair.id_a < pair.id_b
        assert pair.dy % 16 == pair.dx % 16 == 0
        height, width = 96 - abs(pair.dy), 96 - abs(pair.dx)
        assert min(height, width) > 0
        mine = a[max(pair.dy, 0) :, max(pair.dx, 0) :][:height, :width]
        theirs = b[max(-pair.dy, 0) :, max(-pair.dx, 0) :][:height, :width]
        np.testing.assert_array_equal(mine, theirs)


def test_no_overlap_is_missing(made):
    """Equal textured blocks of 16 x 16, found in the pixels alone, belong to listed pairs and lie as these say."""
    listed = {(pair.id_a, pair.id_b): (pair.dy, pair.dx) for pair in made.overlaps.itertuples()}
    blocks: dict[bytes, list[tuple[str, int, int]]] = {}
    for key in made.files:
        pixels = made.pixels(key)
        for y, x in np.ndindex(6, 6):
            block = pixels[16 * y :, 16 * x :][:16, :16]
            if block.std(axis=(0, 1)).max() > 8:
                blocks.setdefault(block.tobytes(), []).append((key, 16 * y, 16 * x))
    found = set()
    for places in blocks.values():
        for a, ay, ax in places:
            for b, by, bx in places:
                if a < b:
                    assert listed[a, b] == (ay - by, ax - bx)
                    found.add((a, b))
    assert len(found) > 0.9 * len(listed)  # the others share nothing but white


def test_overlap_pairs_of_known_places():
    pairs = overlap_pairs(np.array([[0, 0], [16, 80], [96, 0], [16, 96]]))
    assert pairs.tolist() == [[0, 1, 16, 80], [1, 2, 80, -80], [1, 3, 0, 16]]


def test_overlaps_and_slides_stay_within_their_split(made):
    slide = dict(zip(made.slides.id, made.slides.slide, strict=True))
    assert made.slides.slide.nunique() == 5
    assert not set(made.slides.id) & set(made.truth.id)
    for pair in made.overlaps.itertuples():
        assert slide.get(pair.id_a, "test") == slide.get(pair.id_b, "test")


@pytest.mark.parametrize(("overlapping", "least", "most"), [(0, 0, 0), (1, 0.97, 1)])
def test_share_of_overlapping_tiles_is_a_setting(tmp_path, overlapping, least, most):
    made = Made(tmp_path, train_tiles=90, test_tiles=30, train_slides=1, test_slides=1, overlapping=overlapping)
    paired = set(made.overlaps.id_a) | set(made.overlaps.id_b)
    assert least <= len(paired) / 120 <= most
    assert made.overlaps.dtypes.astype(str)[["dy", "dx"]].tolist() == ["int16", "int16"]


def test_same_settings_give_the_same_bytes_and_another_seed_other_tiles(made, tmp_path):
    again = Made(tmp_path / "again")
    for name in ("archive.zip", "truth.csv", "overlaps.parquet", "slides.csv", "faults.json"):
        assert (again.folder / name).read_bytes() == (made.folder / name).read_bytes()
    other = Made(tmp_path / "other", seed=4)
    assert not set(other.files) & set(made.files)


def test_planted_faults_are_what_they_claim(faulty):
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


def test_tiles_without_a_fault_are_sound(faulty):
    hit = {key for ids in faulty.planted.values() for key in ids}
    assert len(hit) == sum(PLANTED.values())
    assert set(faulty.labels.id) - set(faulty.files) == set(faulty.planted["missing_file"])
    assert set(faulty.labels[~faulty.labels.id.isin(hit)].label) == {"0", "1"}
    for key in set(faulty.files) - hit:
        assert hashlib.sha1(faulty.pixels(key)).hexdigest() == key


def test_colour_alone_tells_little_about_unseen_slides(tmp_path):
    made = Made(tmp_path, train_tiles=600, test_tiles=400, train_slides=10, test_slides=8, seed=1)

    def colours(keys: pd.Series) -> np.ndarray:
        return np.array([made.pixels(key).mean((0, 1)) for key in keys])

    seen, unseen = colours(made.labels.id), colours(made.truth.id)
    scale = seen.mean(0), seen.std(0)
    design = [np.column_stack([np.ones(len(x)), (x - scale[0]) / scale[1]]) for x in (seen, unseen)]
    weights = np.linalg.lstsq(design[0], made.labels.label.astype(float).to_numpy(), rcond=None)[0]
    scores = design[1] @ weights
    positive, negative = scores[made.truth.label == 1], scores[made.truth.label == 0]
    assert (positive[:, None] > negative[None, :]).mean() < 0.8  # area under the ROC curve


def test_share_out_gives_each_slide_a_tile():
    assert share_out(np.random.default_rng(0), 7, 7) == [1] * 7
    counts = share_out(np.random.default_rng(0), 10_000, 20)
    assert sum(counts) == 10_000
    assert min(counts) > 200


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_tiles": 0}, "train_slides: 5 and train_tiles: 0"),
        ({"test_slides": 0}, "test_slides: 0"),
        ({"test_slides": 101}, "test_slides: 101 and test_tiles: 100"),
        ({"overlapping": 1.5}, "found 1.5"),
        ({"faults": {"torn": 1}}, "torn is not known"),
        ({"faults": {"rgba": -1}}, "rgba: expected a count, found -1"),
        ({"faults": {"duplicate_content": 201}}, "found 402"),
    ],
)
def test_settings_of_which_no_archive_can_be_made_are_refused(tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        Made(tmp_path, **settings)
    assert list(tmp_path.iterdir()) == []
