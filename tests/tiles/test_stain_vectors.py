"""Stain vectors: they follow the stain of a slide and not its density of cells."""

import numpy as np
import pytest

from histo.tiles.stain_vectors import BANDS, EDGES, band_sums, stain_vectors

HAEMATOXYLIN, EOSIN = np.array([0.52, 0.70, 0.53]), np.array([0.32, 0.89, 0.33])


def tile(random: np.random.Generator, hue: float, density: float) -> np.ndarray:
    """Return a tile with nuclei on a share `density` of its pixels, uint8 [96, 96, 3]; hue: added to red absorbance."""
    nucleus = random.random((96, 96, 1)) < density
    amount = np.where(nucleus, random.uniform(0.6, 2.2, (96, 96, 1)), random.uniform(0.1, 1.2, (96, 96, 1)))
    stain = np.where(nucleus, HAEMATOXYLIN, EOSIN) + np.array([hue, 0, 0])
    return (245 * np.exp(-amount * stain)).astype(np.uint8)


def test_sums_of_a_uniform_tile():
    image = np.full((1, 96, 96, 3), [110, 70, 130], np.uint8)
    red, green, blue = np.log(245 / np.array([110, 70, 130]))
    assert EDGES[3] < red + green + blue < EDGES[4]
    expected = np.zeros((1, BANDS, 3))
    expected[0, 3] = [1, np.log((red + 0.05) / (blue + 0.05)), np.log((green + 0.05) / (blue + 0.05))]
    np.testing.assert_allclose(band_sums(image), expected, atol=1e-6)


def test_glass_and_black_are_in_no_band():
    images = np.stack([np.full((96, 96, 3), grey, np.uint8) for grey in (245, 255, 0)])
    assert not band_sums(images).any()


def test_vectors_follow_the_stain_and_not_the_density(random):
    hue = np.repeat([-0.06, -0.02, 0.02, 0.06], 30)
    density = np.tile(np.linspace(0.05, 0.6, 30), 4)
    images = np.stack([tile(random, *pair) for pair in zip(hue, density, strict=True)])
    vectors = stain_vectors(band_sums(images).astype(float), np.ones(len(images)))
    assert vectors.shape == (120, 2 * BANDS)
    red_to_blue = vectors[:, ::2]
    assert np.abs(np.corrcoef(np.c_[red_to_blue, hue].T)[-1, :-1]).min() > 0.95
    assert np.abs(np.corrcoef(np.c_[red_to_blue, density].T)[-1, :-1]).max() < 0.25
    # The ratio of mean absorbances follows the density of nuclei.
    absorbance = -np.log(images / 245.0).mean((1, 2))
    assert abs(np.corrcoef(absorbance[:, 0] / absorbance[:, 1], density)[0, 1]) > 0.5


def test_tiles_without_tissue_have_an_average_vector(random):
    images = np.stack(
        [tile(random, hue, 0.3) for hue in (-0.05, 0.05) for _ in range(10)] + [np.full((96, 96, 3), 245)]
    )
    vectors = stain_vectors(band_sums(images.astype(np.uint8)).astype(float), np.ones(21))
    assert np.isfinite(vectors).all()
    assert np.abs(vectors[20]).max() < np.abs(vectors[:20]).max(0).min()


@pytest.mark.parametrize("copies", [1, 5])
def test_a_group_counts_with_its_tiles(random, copies):
    sums = np.stack([band_sums(tile(random, hue, 0.3)[np.newaxis])[0] for hue in (-0.05, 0.0, 0.02, 0.05, 0.06)])
    weights = np.array([copies, 1, 1, 1, 1])
    grouped = stain_vectors(sums.astype(float), weights.astype(float))
    spread = np.sqrt(np.average(grouped**2, axis=0, weights=weights))
    np.testing.assert_allclose(spread, 1, atol=1e-6)
    np.testing.assert_allclose(np.average(grouped, axis=0, weights=weights), 0, atol=1e-6)
