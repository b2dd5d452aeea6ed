"""Images larger than a tile: their maps hold the predictions of the tiles cut by hand."""

import numpy as np
import pytest
from PIL import Image

from histo.apply import fields
from histo.apply.maps import write_map
from histo.errors import InputError
from histo.tiles.shards import write_shard
from support.applying import applied
from support.finished_run import stained_tiles, write_run

STRIDE = 40


def view(rows: int, columns: int, seed: int) -> np.ndarray:
    """A field of view of `rows` × `columns` tiles of different colours, without its last 5 lines and columns."""
    colours = np.random.default_rng(seed).uniform(0.3, 1, (rows * columns, 1, 1, 3))
    tiles = (stained_tiles(rows * columns, seed) * colours).astype(np.uint8).reshape(rows, columns, 96, 96, 3)
    return tiles.transpose(0, 2, 1, 3, 4).reshape(rows * 96, columns * 96, 3)[:-5, :-5]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, write_run(folder)


def test_maps_hold_the_predictions_of_tiles_cut_by_hand(run, tmp_path, monkeypatch):
    folder, config = run
    images = {"slide/a": view(3, 2, 1), "b": view(2, 4, 2)}
    (tmp_path / "images" / "slide").mkdir(parents=True)
    Image.fromarray(images["slide/a"]).save(tmp_path / "images" / "slide" / "a.png")
    Image.fromarray(images["b"]).save(tmp_path / "images" / "b.tif", compression="tiff_lzw")
    tiles, places = [], []
    for name in ("b", "slide/a"):
        height, width = images[name].shape[:2]
        for y in range(0, height - 95, STRIDE):
            for x in range(0, width - 95, STRIDE):
                places.append((name, x, y))
                tiles.append(images[name][y : y + 96, x : x + 96])
    ids = [f"{k:03d}" for k in range(len(tiles))]
    shard = tmp_path / "tiles.h5"
    write_shard(shard, split="test", number=0, ids=ids, labels=[-1] * len(ids), batches=[np.stack(tiles)], code="test")
    by_hand = applied(folder, shard, tmp_path / "by-hand.csv", config)

    monkeypatch.setattr(fields, "CHUNK", 12)  # two or three rows of tiles
    table = applied(folder, tmp_path / "images", tmp_path / "out.csv", config, stride=STRIDE)
    assert table.columns.tolist() == ["id", "x", "y", "probability", "calibrated", "flags"]
    assert list(zip(table["id"], table["x"], table["y"], strict=True)) == places
    assert len(places) == 3 * 8 + 5 * 3
    for name in ("probability", "calibrated"):
        np.testing.assert_allclose(table[name], by_hand[name], atol=1e-6)
        assert by_hand[name].std() > 0.001
    assert table["flags"].tolist() == by_hand["flags"].tolist()

    maps = tmp_path / "out_maps"
    for name, shape in (("b", (3, 8)), ("slide/a", (5, 3))):
        expected = table.loc[table["id"] == name, "calibrated"].to_numpy().reshape(shape)
        with Image.open(maps / f"{name}.tif") as image:
            assert image.mode == "F"
            np.testing.assert_array_equal(np.asarray(image), expected.astype(np.float32))
        with Image.open(maps / f"{name}.png") as image:
            assert image.mode == "LA"
            np.testing.assert_array_equal(np.asarray(image)[..., 0], np.rint(255 * expected))
            assert (np.asarray(image)[..., 1] == 255).all()
    assert sorted(path.name for path in tmp_path.rglob(".*")) == []


def test_few_tiles_are_in_a_temporary_shard_at_a_time(run, tmp_path, monkeypatch):
    folder, config = run
    (tmp_path / "images").mkdir()
    Image.fromarray(view(3, 3, 1)).save(tmp_path / "images" / "a.png")
    counts = []
    original = fields.predict_tiles

    def counted(model, images, *others):
        counts.append([len(images.ids), max(map(len, images.batches()))])
        return original(model, images, *others)

    monkeypatch.setattr(fields, "predict_tiles", counted)
    monkeypatch.setattr(fields, "CHUNK", 10)
    assert len(applied(folder, tmp_path / "images", tmp_path / "out.csv", config, stride=STRIDE)) == 25
    assert counts == [[10, 5], [10, 5], [5, 5]]


def test_maps_of_several_classes_and_of_tiles_without_a_probability(tmp_path):
    values = np.array([[[0.2, 0.8], [np.nan, np.nan]]])
    write_map(values, tmp_path, "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a_0.png", "a_0.tif", "a_1.png", "a_1.tif"]
    with Image.open(tmp_path / "a_1.tif") as image:
        np.testing.assert_array_equal(np.asarray(image), np.float32([[0.8, np.nan]]))
    with Image.open(tmp_path / "a_1.png") as image:
        assert np.asarray(image).tolist() == [[[204, 255], [0, 0]]]


def test_unusable_images_are_refused_before_any_is_predicted(run, tmp_path):
    folder, config = run
    images = tmp_path / "images"
    images.mkdir()
    Image.fromarray(view(2, 2, 1)).save(images / "a.png")
    Image.fromarray(view(1, 1, 1)).save(images / "b.png")
    Image.fromarray(view(2, 2, 1)[..., 0]).save(images / "c.png")
    (images / "d.jpg").write_bytes(b"no image")
    message = (
        r"expected images of at least 96 × 96 pixels and three channels of 8 bits, .* found 3 of 4 that are not:\n"
        r"b\.png: 91 × 91 pixels\nc\.png: channels L\nd\.jpg: UnidentifiedImageError"
    )
    with pytest.raises(InputError, match=message):
        applied(folder, images, tmp_path / "out.csv", config, stride=STRIDE)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
    for name in ("b.png", "c.png", "d.jpg"):
        (images / name).unlink()
    whole = (images / "a.png").read_bytes()
    (images / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"a\.png cannot be decoded"):
        applied(folder, images, tmp_path / "out.csv", config, stride=STRIDE)
    with pytest.raises(InputError, match="expected a folder, a zip archive or shards, found another file"):
        applied(folder, folder / "pack" / "test-00000.h5", tmp_path / "out.csv", config, stride=STRIDE)
