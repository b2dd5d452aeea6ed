"""Whole-slide files: the level of the right resolution, tissue, and the map of a slide."""

import sys

import numpy as np
import pytest
from PIL import Image

from histo.apply.slides import Slide, open_slides, otsu
from histo.errors import InputError
from support.applying import applied
from support.finished_run import stained_tiles, write_run
from support.pyramids import write_pyramid

MICRONS = 0.972


def slide_levels(count: int = 3) -> list[np.ndarray]:
    """Levels of a slide, each half as large as the one before: glass with a square of tissue, pixels 384 to 1152."""
    random = np.random.default_rng(1)
    largest = np.full((1600, 1800, 3), 240, np.uint8) + random.integers(-3, 4, (1600, 1800, 1)).astype(np.uint8)
    tissue = stained_tiles(64).reshape(8, 8, 96, 96, 3).swapaxes(1, 2).reshape(768, 768, 3)
    largest[384:1152, 384:1152] = tissue
    levels = [largest]
    for _ in range(count - 1):
        height, width = levels[-1].shape[:2]
        halves = levels[-1].reshape(height // 2, 2, width // 2, 2, 3)
        levels.append(halves.mean((1, 3)).round().astype(np.uint8))
    return levels


@pytest.mark.parametrize(("microns", "level"), [(0.25, 0), (0.5, 1), (0.486, 1), (0.98, 2)])
def test_a_level_of_the_resolution_is_read_as_it_is(tmp_path, microns, level):
    levels = slide_levels()
    write_pyramid(tmp_path / "a.tif", levels, 0.25)
    slide = Slide(tmp_path / "a.tif", microns)
    assert (slide.height, slide.width) == levels[level].shape[:2]
    np.testing.assert_array_equal(slide.lines(100, 50), levels[level][100:150])


def test_between_levels_the_next_larger_one_is_reduced(tmp_path):
    levels = slide_levels()
    write_pyramid(tmp_path / "a.tif", levels, 0.25)
    slide = Slide(tmp_path / "a.tif", 0.75)
    assert (slide.height, slide.width) == (533, 600)
    lines = np.concatenate([slide.lines(top, 41) for top in range(0, 533, 41)])
    expected = Image.fromarray(levels[1]).resize((600, 533), Image.Resampling.BICUBIC, box=(0, 0, 900, 799.5))
    np.testing.assert_allclose(lines.astype(int), np.asarray(expected).astype(int), atol=1)


def test_tissue(tmp_path):
    write_pyramid(tmp_path / "a.tif", slide_levels(), 0.25)
    tissue = Slide(tmp_path / "a.tif", 0.25).tissue(96, 96)
    assert tissue.shape == (16, 18)
    expected = np.zeros((16, 18), bool)
    expected[4:12, 4:12] = True
    np.testing.assert_array_equal(tissue, expected)
    shifted = Slide(tmp_path / "a.tif", 0.25).tissue(96, 32)  # the square begins at tile 12
    assert shifted[12, 10:36].all() and not shifted[12, :10].any() and not shifted[12, 36:].any()
    glass = [np.full_like(level, 242) for level in slide_levels()]
    write_pyramid(tmp_path / "glass.tif", glass, 0.25)
    assert not Slide(tmp_path / "glass.tif", 0.25).tissue(96, 96).any()
    write_pyramid(tmp_path / "black.tif", [np.zeros_like(level) for level in glass], 0.25)
    assert not Slide(tmp_path / "black.tif", 0.25).tissue(96, 96).any()


def test_otsu_separates_two_groups():
    values = np.concatenate([np.full(500, 10), np.full(20, 14), np.full(300, 90), np.full(10, 80)]).astype(np.uint8)
    assert 14 <= otsu(values) < 80


def test_the_map_of_a_slide_has_the_predictions_of_its_tissue(tmp_path):
    config = write_run(tmp_path / "run")
    levels = slide_levels()
    write_pyramid(tmp_path / "slides" / "case" / "a.tif", levels, MICRONS / 2)
    options = {"stride": 96, "microns_per_pixel": MICRONS}
    table = applied(tmp_path / "run", tmp_path / "slides", tmp_path / "out.csv", config, **options)
    places = [(x, y) for y in range(192, 576, 96) for x in range(192, 576, 96)]
    assert list(zip(table["x"], table["y"], strict=True)) == places
    assert set(table["id"]) == {"case/a"}
    (tmp_path / "tiles").mkdir()
    for x, y in places:
        Image.fromarray(levels[1][y : y + 96, x : x + 96]).save(tmp_path / "tiles" / f"{y}-{x}.png")
    by_hand = applied(tmp_path / "run", tmp_path / "tiles", tmp_path / "by-hand.csv", config)
    np.testing.assert_allclose(table["calibrated"], by_hand["calibrated"], atol=1e-6)
    with Image.open(tmp_path / "out_maps" / "case" / "a.tif") as image:
        values = np.asarray(image)
    assert values.shape == (8, 9)
    np.testing.assert_array_equal(values[2:6, 2:6].ravel(), table["calibrated"].astype(np.float32))
    assert np.isnan(values).sum() == 72 - 16


def test_unusable_slides_are_refused(tmp_path, monkeypatch):
    def refused(message, path=tmp_path, microns=MICRONS):
        with pytest.raises(InputError, match=message):
            list(open_slides(path, 96, 96, microns))

    refused(r"expected whole-slide files \(\.svs, .*found none")
    write_pyramid(tmp_path / "a.tif", slide_levels(1), 0.25)
    refused(r"a\.tif: expected at least 96 × 96 pixels at 9\.0 microns per pixel, found 50 × 44", microns=9.0)
    refused(r"a\.tif: expected at most 0\.2 microns per pixel, found 0\.25", microns=0.2)
    write_pyramid(tmp_path / "b.tif", slide_levels(1), None)
    refused(r"b\.tif: expected a slide that says its microns per pixel", tmp_path / "b.tif")
    (tmp_path / "b.tif").write_bytes(b"II*\0 no slide")
    refused(r"b\.tif: expected a whole-slide file, found another")
    write_pyramid(tmp_path / "b.tif", slide_levels(1), 0.25)
    monkeypatch.setattr("histo.apply.slides.OVERVIEW", 1_000_000)
    refused(r"a\.tif: expected a level of at most 1,000,000 pixels, found 1800 × 1600 in the smallest")
    write_pyramid(tmp_path / "a.svs", slide_levels(1), 0.25)
    refused(r"expected one slide of each id, found 'a\.tif' too")


def test_without_openslide_the_message_names_it(tmp_path, monkeypatch):
    config = write_run(tmp_path / "run", train=20, test=2)
    monkeypatch.delitem(sys.modules, "histo.apply.slides")
    monkeypatch.setitem(sys.modules, "openslide", None)
    with pytest.raises(InputError, match="expected openslide-python and openslide-bin, found no openslide"):
        applied(tmp_path / "run", tmp_path, tmp_path / "out.csv", config, stride=32, microns_per_pixel=MICRONS)
