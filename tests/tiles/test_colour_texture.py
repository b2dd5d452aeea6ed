"""Statistics of tiles: against plain formulas, and invariant under flips and turns."""

import time

import numpy as np
import pytest
from scipy.stats import skew

from features import measure
from histo import tables
from histo.tiles.colour_texture import NAMES, SCHEMA, densities, features, gradients, patterns
from histo.tiles.shards import write_shard
from histo.tiles.stain_normalisation import REFERENCE


def value(images: np.ndarray, name: str) -> np.ndarray:
    return features(images)[:, NAMES.index(name)]


@pytest.fixture
def tiles(random) -> np.ndarray:
    return random.integers(0, 256, (20, 96, 96, 3), dtype=np.uint8)


def test_every_name_stands_for_one_column(tiles):
    assert len(NAMES) == len(set(NAMES)) == features(tiles).shape[1] == 132
    assert SCHEMA.names == ["id", *NAMES]


@pytest.mark.parametrize(("region", "part"), [("tile", slice(None)), ("centre", slice(32, 64))])
@pytest.mark.parametrize(("channel", "k"), [("red", 0), ("green", 1), ("blue", 2)])
def test_colour_is_that_of_the_pixels(tiles, region, part, channel, k):
    pixels = tiles[:, part, part, k].reshape(len(tiles), -1).astype(float)
    for what, expected in (
        ("mean", pixels.mean(axis=1)),
        ("std", pixels.std(axis=1)),
        ("skew", skew(pixels, axis=1)),
        ("q05", np.quantile(pixels, 0.05, axis=1, method="inverted_cdf")),
        ("q50", np.quantile(pixels, 0.5, axis=1, method="inverted_cdf")),
        ("q95", np.quantile(pixels, 0.95, axis=1, method="inverted_cdf")),
    ):
        assert np.allclose(value(tiles, f"{region}_{channel}_{what}"), expected, rtol=1e-5, atol=1e-5), what


def test_densities_are_the_amounts_that_a_tile_was_painted_with():
    amounts = np.stack(np.meshgrid(np.linspace(0.1, 1.2, 96), np.linspace(0.1, 0.9, 96)), axis=-1)
    painted = np.rint(256 * 10 ** -(amounts @ REFERENCE) - 1).astype(np.uint8)
    found = densities(np.moveaxis(painted[None], 3, 0))
    assert found.shape == (2, 1, 96, 96)
    # In hundredths; eight bits of a dark pixel know its absorbance to some hundredths.
    assert np.abs(np.moveaxis(found[:, 0], 0, 2) / 100 - amounts).max() < 0.08
    assert np.abs(np.moveaxis(found[:, 0], 0, 2) / 100 - amounts).mean() < 0.02


def test_patterns_see_the_brighter_neighbours():
    plane = np.zeros((1, 1, 5, 5), np.uint8)
    plane[0, 0, 2, 2] = 9
    codes = patterns(plane)[0, 0]
    assert codes.shape == (3, 3)
    assert codes[1, 1] == 0  # no neighbour is as bright
    assert codes[0, 0] == 255  # one brighter, the others equal
    # To the left and to the right of a bright column: the columns on three of four sides are not all brighter.
    plane = np.zeros((1, 1, 4, 5), np.uint8)
    plane[..., 2] = 1
    assert patterns(plane)[0, 0].tolist() == [[255, 0b00100010, 255]] * 2


def test_gradients_are_mean_differences():
    ramp = np.broadcast_to(np.arange(0, 192, 2, dtype=np.uint8), (1, 2, 96, 96))
    assert gradients(ramp)[0].tolist() == [[1.0, 2.0, 4.0]] * 2  # 2, 4 and 8 across, none down


def test_flips_and_turns_change_nothing(tiles):
    plain = features(tiles)
    for other in (tiles[:, ::-1], tiles[:, :, ::-1], tiles.transpose(0, 2, 1, 3)):
        assert np.allclose(features(other), plain, rtol=1e-4, atol=1e-5)


def test_blank_and_black_tiles_have_numbers():
    flat = np.stack([np.full((96, 96, 3), level, np.uint8) for level in (0, 128, 255)])
    found = features(flat)
    assert np.isfinite(found).all()
    assert (value(flat, "tile_red_std") == 0).all() and (value(flat, "centre_eosin_skew") == 0).all()
    assert (value(flat, "tile_green_pattern8") == 1).all()
    assert (value(flat, "tile_green_gradient4") == 0).all()


def test_a_tile_has_the_same_statistics_in_any_company(tiles):
    together = features(tiles)
    # A density may round to the level beside.
    assert np.allclose(features(tiles[7:8])[0], together[7], rtol=1e-3, atol=1e-3)


def test_the_table_has_every_tile_of_the_shard_sorted(tiles, tmp_path):
    ids = np.array([f"{(7 * k) % 20:02d}" for k in range(20)])
    shard = {"split": "train", "number": 0, "labels": np.zeros(20, np.int8), "code": "test"}
    write_shard(tmp_path / "train-00000.h5", ids=ids, batches=[tiles], **shard)
    measure(tmp_path / "train-00000.h5", tmp_path / "features.parquet")
    frame = tables.read(tmp_path / "features.parquet", SCHEMA)
    assert frame["id"].tolist() == sorted(ids)
    expected = features(tiles)[np.argsort(ids)]
    assert np.array_equal(frame[list(NAMES)].to_numpy(np.float32), expected)


def test_an_empty_shard_makes_an_empty_table(tmp_path):
    empty = np.empty((0, 96, 96, 3), np.uint8)
    shard = {"split": "test", "number": 0, "labels": np.empty(0, np.int8), "code": "test"}
    write_shard(tmp_path / "test-00000.h5", ids=np.empty(0, "S40"), batches=[empty], **shard)
    measure(tmp_path / "test-00000.h5", tmp_path / "features.parquet")
    assert len(tables.read(tmp_path / "features.parquet", SCHEMA)) == 0


def test_a_core_measures_a_thousand_tiles_a_second(random):
    """Half of what an idle core does."""
    tiles = random.integers(0, 256, (128, 96, 96, 3), dtype=np.uint8)
    features(tiles[:16])
    rates = []
    for _ in range(3):
        begun = time.process_time()
        features(tiles)
        rates.append(len(tiles) / (time.process_time() - begun))
    assert max(rates) > 1000
