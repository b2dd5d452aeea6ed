"""Stain normalisation: which differences it removes, and what it leaves unchanged."""

import zipfile

import numpy as np
import pytest

from histo.tiles.decoding import Decoder
from histo.tiles.stain_normalisation import (
    MIN_TISSUE_SHARE,
    REFERENCE,
    absorbance,
    estimate,
    normalise,
    trust,
    unit,
    with_third_stain,
)

OTHER = unit(np.array([[0.68, 0.62, 0.39], [0.18, 0.95, 0.26]]))  # stain colours of another laboratory


def amounts(random: np.random.Generator, count: int) -> np.ndarray:
    """Return amounts of haematoxylin and eosin, float64 [count, 96, 96, 2]: pixels with either stain or both."""
    share = random.beta(0.4, 0.4, (count, 96, 96))
    total = random.uniform(0.4, 1.0, (count, 96, 96))
    return np.stack([share * total, (1 - share) * total], axis=-1)


def render(amounts: np.ndarray, stains: np.ndarray) -> np.ndarray:
    """Return the tiles with these amounts of stain, uint8 [count, 96, 96, 3]."""
    return np.clip(np.rint(256 * 10 ** -(amounts @ stains) - 1), 0, 255).astype(np.uint8)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mean absolute difference in grey levels."""
    return float(np.abs(a.astype(int) - b).mean())


def planes(images: np.ndarray) -> np.ndarray:
    return absorbance(images).reshape(len(images), -1, 3)


@pytest.fixture(scope="module")
def real(real_archive) -> np.ndarray:
    with zipfile.ZipFile(real_archive) as file:
        names = sorted(name for name in file.namelist() if name.endswith(".tif"))[::40]
        return np.stack([Decoder().decode(file.read(name)).pixels for name in names])


@pytest.mark.parametrize("stains", [REFERENCE, OTHER], ids=["reference", "other"])
def test_the_stains_of_synthetic_tissue_are_estimated(random, stains):
    estimated, share = estimate(planes(render(amounts(random, 3), stains)))
    assert np.degrees(np.arccos(np.einsum("nij,ij->ni", estimated, stains))).max() < 3
    assert (share > 0.95).all()
    assert (trust(estimated, share) == 1).all()


def test_a_tile_without_tissue_gets_the_reference():
    estimated, share = estimate(planes(np.full((1, 96, 96, 3), 255, np.uint8)))
    assert np.array_equal(estimated[0], REFERENCE)
    assert share.tolist() == trust(estimated, share).tolist() == [0]


def test_the_third_direction_is_perpendicular_to_both_stains():
    matrix = with_third_stain(REFERENCE)
    assert np.array_equal(matrix[:2], REFERENCE)
    assert np.allclose(matrix @ matrix[2], [0, 0, 1])


def test_tiles_with_the_reference_stains_change_little(random):
    images = render(amounts(random, 4), REFERENCE)
    assert difference(normalise(images), images) < 2


def test_the_same_tissue_with_two_stainings_becomes_nearly_equal(random):
    tissue = amounts(random, 4)
    a, b = render(tissue, REFERENCE), render(tissue, OTHER)
    before, after = difference(a, b), difference(normalise(a), normalise(b))
    assert before > 9
    assert after < 2


def test_amounts_of_stain_are_kept(random):
    """Pale tissue stays pale."""
    tissue = amounts(random, 2)
    pale, dark = normalise(render(0.6 * tissue, OTHER)), normalise(render(tissue, OTHER))
    ratio = absorbance(pale).mean() / absorbance(dark).mean()
    assert ratio == pytest.approx(0.6, abs=0.03)


def test_blank_and_black_tiles_are_unchanged(random):
    blank = np.full((1, 96, 96, 3), 255, np.uint8)
    black = np.zeros((1, 96, 96, 3), np.uint8)
    glass = random.integers(225, 256, (1, 96, 96, 3), dtype=np.uint8)
    dark = random.integers(0, 6, (1, 96, 96, 3), dtype=np.uint8)
    images = np.concatenate([blank, black, glass, dark])
    assert np.array_equal(normalise(images), images)


def test_tiles_with_little_tissue_change_little(random):
    """From a blank tile to a tile full of tissue, the change increases continuously."""
    tissue = render(amounts(random, 1), OTHER)
    changes = []
    for rows in (1, 6, 12, 24, 96):
        image = np.full_like(tissue, 255)
        image[:, :rows] = tissue[:, :rows]
        changes.append(difference(normalise(image)[:, :rows], image[:, :rows]))
    assert changes[0] < 0.2 * changes[-1]
    assert np.all(np.diff(changes[:4]) > 0)
    assert changes[3] == pytest.approx(changes[4], rel=0.2)  # 24 of 96 rows are fully trusted
    assert MIN_TISSUE_SHARE == 24 / 96


def test_the_directions_of_a_single_stain_have_little_weight(random):
    tissue = amounts(random, 1)
    tissue[..., 0] = 0
    estimated, share = estimate(planes(render(tissue, OTHER)))
    assert share[0] > MIN_TISSUE_SHARE
    assert trust(estimated, share)[0] < 0.35


def test_glass_beside_tissue_stays_white(random):
    image = render(amounts(random, 1), OTHER)
    image[:, :, :40] = 255
    assert (normalise(image)[:, :, :40] == 255).all()


def test_the_result_does_not_depend_on_the_batch(random):
    images = render(amounts(random, 70), OTHER)
    together = normalise(images)
    assert np.array_equal(together, normalise(images))
    alone = np.concatenate([normalise(images[k : k + 1]) for k in (0, 64, 69)])
    assert np.abs(alone.astype(int) - together[[0, 64, 69]]).max() <= 1  # batched sums may round differently


def test_original_tiles_become_more_alike(real):
    """The mean colour of tissue varies less between tiles, and the mean tile changes little."""
    done = normalise(real)

    def colours(images: np.ndarray) -> np.ndarray:
        return unit(planes(images).mean(axis=1))

    full = estimate(planes(real))[1] > MIN_TISSUE_SHARE
    assert full.sum() > 40
    assert colours(done)[full].std(axis=0).sum() < 0.85 * colours(real)[full].std(axis=0).sum()
    assert np.abs(done.mean(axis=(0, 1, 2)) - real.mean(axis=(0, 1, 2))).max() < 6
    assert 1 < difference(done, real) < 15
