"""Colour and texture features: against plain formulas, and invariant under flips and 90° rotations."""

import time

import numpy as np
import pytest
from scipy.stats import skew

from histo.tiles.colour_texture import NAMES, SCHEMA, densities, features, gradients, patterns
from histo.tiles.stain_normalisation import REFERENCE


def value(images: np.ndarray, name: str) -> np.ndarray:
    """Return one feature of each tile."""
    return features(images)[:, NAMES.index(name)]


@pytest.fixture
def tiles(random) -> np.ndarray:
    return random.integers(0, 256, (20, 96, 96, 3), dtype=np.uint8)


def test_each_name_is_one_column(tiles):
    assert len(NAMES) == len(set(NAMES)) == features(tiles).shape[1] == 132
    assert SCHEMA.names == ["id", *NAMES]


@pytest.mark.parametrize(("region", "part"), [("tile", slice(None)), ("centre", slice(32, 64))])
@pytest.mark.parametrize(("channel", "k"), [("red", 0), ("green", 1), ("blue", 2)])
def test_colour_features_agree_with_their_definitions(tiles, region, part, channel, k):
    pixels = tiles[:, part, part, k].reshape(len(tiles), -1).astype(float)
    for statistic, expected in (
        ("mean", pixels.mean(axis=1)),
        ("std", pixels.std(axis=1)),
        ("skew", skew(pixels, axis=1)),
        ("q05", np.quantile(pixels, 0.05, axis=1, method="inverted_cdf")),
        ("q50", np.quantile(pixels, 0.5, axis=1, method="inverted_cdf")),
        ("q95", np.quantile(pixels, 0.95, axis=1, method="inverted_cdf")),
    ):
        values = value(tiles, f"{region}_{channel}_{statistic}")
        assert np.allclose(values, expected, rtol=1e-5, atol=1e-5), statistic


def test_densities_are_the_amounts_of_stain_in_a_rendered_tile():
    amounts = np.stack(np.meshgrid(np.linspace(0.1, 1.2, 96), np.linspace(0.1, 0.9, 96)), axis=-1)
    tile = np.rint(256 * 10 ** -(amounts @ REFERENCE) - 1).astype(np.uint8)
    density = densities(np.moveaxis(tile[None], 3, 0))
    assert density.shape == (2, 1, 96, 96)
    # In hundredths; with eight bits, the absorbance of a dark pixel is precise to a few hundredths.
    error = np.abs(np.moveaxis(density[:, 0], 0, 2) / 100 - amounts)
    assert error.max() < 0.08
    assert error.mean() < 0.02


def test_patterns_mark_neighbours_that_are_at_least_as_bright():
    plane = np.zeros((1, 1, 5, 5), np.uint8)
    plane[0, 0, 2, 2] = 9
    codes = patterns(plane)[0, 0]
    assert codes.shape == (3, 3)
    assert codes[1, 1] == 0  # no neighbour is as bright
    assert codes[0, 0] == 255  # one neighbour is brighter, the others are equal
    # A bright column: for its own pixels, only the neighbours above and below are as bright.
    plane = np.zeros((1, 1, 4, 5), np.uint8)
    plane[..., 2] = 1
    assert patterns(plane)[0, 0].tolist() == [[255, 0b00100010, 255]] * 2


def test_gradients_are_mean_absolute_differences():
    ramp = np.broadcast_to(np.arange(0, 192, 2, dtype=np.uint8), (1, 2, 96, 96))
    assert gradients(ramp)[0].tolist() == [[1.0, 2.0, 4.0]] * 2  # 2, 4 and 8 horizontally, 0 vertically


def test_flips_and_rotations_do_not_change_the_features(tiles):
    plain = features(tiles)
    for other in (tiles[:, ::-1], tiles[:, :, ::-1], tiles.transpose(0, 2, 1, 3)):
        assert np.allclose(features(other), plain, rtol=1e-4, atol=1e-5)


def test_features_of_uniform_tiles_are_finite():
    flat = np.stack([np.full((96, 96, 3), level, np.uint8) for level in (0, 128, 255)])
    assert np.isfinite(features(flat)).all()
    assert (value(flat, "tile_red_std") == 0).all() and (value(flat, "centre_eosin_skew") == 0).all()
    assert (value(flat, "tile_green_pattern8") == 1).all()
    assert (value(flat, "tile_green_gradient4") == 0).all()


def test_the_features_do_not_depend_on_the_batch(tiles):
    together = features(tiles)
    # A density may be rounded to an adjacent level.
    assert np.allclose(features(tiles[7:8])[0], together[7], rtol=1e-3, atol=1e-3)


def test_one_core_processes_a_thousand_tiles_per_second(random):
    """An idle core processes about twice as many."""
    tiles = random.integers(0, 256, (128, 96, 96, 3), dtype=np.uint8)
    features(tiles[:16])
    rates = []
    for _ in range(3):
        begun = time.process_time()
        features(tiles)
        rates.append(len(tiles) / (time.process_time() - begun))
    assert max(rates) > 1000
