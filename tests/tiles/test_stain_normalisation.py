"""Stain normalisation: what it makes equal, and what it leaves alone."""

import zipfile

import numpy as np
import pytest

from histo.tiles.decoding import Decoder
from histo.tiles.shards import Shard, write_shard
from histo.tiles.stain_normalisation import ENOUGH, REFERENCE, absorbance, estimate, normalise, trust, unit
from stain import stain

OTHER = unit(np.array([[0.68, 0.62, 0.39], [0.18, 0.95, 0.26]]))  # of another laboratory


def amounts(random: np.random.Generator, count: int) -> np.ndarray:
    """Haematoxylin and eosin of made tissue, float64 [count, 96, 96, 2]: pixels of one stain, of the other, of both."""
    share = random.beta(0.4, 0.4, (count, 96, 96))
    total = random.uniform(0.4, 1.0, (count, 96, 96))
    return np.stack([share * total, (1 - share) * total], axis=-1)


def render(amounts: np.ndarray, stains: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(256 * 10 ** -(amounts @ stains) - 1), 0, 255).astype(np.uint8)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute difference in grey levels."""
    return float(np.abs(a.astype(int) - b).mean())


def planes(images: np.ndarray) -> np.ndarray:
    return absorbance(images).reshape(len(images), -1, 3)


@pytest.fixture(scope="module")
def real(real_archive) -> np.ndarray:
    with zipfile.ZipFile(real_archive) as file:
        names = sorted(name for name in file.namelist() if name.endswith(".tif"))[::40]
        return np.stack([Decoder().decode(file.read(name)).pixels for name in names])


@pytest.mark.parametrize("stains", [REFERENCE, OTHER], ids=["reference", "other"])
def test_the_stains_of_made_tissue_are_found(random, stains):
    found, share = estimate(planes(render(amounts(random, 3), stains)))
    assert np.degrees(np.arccos(np.einsum("nij,ij->ni", found, stains))).max() < 3
    assert (share > 0.95).all()
    assert (trust(found, share) == 1).all()


def test_tiles_with_the_stains_of_the_reference_hardly_change(random):
    images = render(amounts(random, 4), REFERENCE)
    assert difference(normalise(images), images) < 2


def test_two_stainings_of_the_same_tissue_become_nearly_equal(random):
    tissue = amounts(random, 4)
    ours, theirs = render(tissue, REFERENCE), render(tissue, OTHER)
    before, after = difference(ours, theirs), difference(normalise(ours), normalise(theirs))
    assert before > 9
    assert after < 2


def test_amounts_of_stain_stay(random):
    """Pale tissue stays pale: a tile's highest amounts are its content's."""
    tissue = amounts(random, 2)
    pale, dark = normalise(render(0.6 * tissue, OTHER)), normalise(render(tissue, OTHER))
    ratio = absorbance(pale).mean() / absorbance(dark).mean()
    assert ratio == pytest.approx(0.6, abs=0.03)


def test_blank_and_black_tiles_stay(random):
    blank = np.full((1, 96, 96, 3), 255, np.uint8)
    black = np.zeros((1, 96, 96, 3), np.uint8)
    glass = random.integers(225, 256, (1, 96, 96, 3), dtype=np.uint8)
    dark = random.integers(0, 6, (1, 96, 96, 3), dtype=np.uint8)
    images = np.concatenate([blank, black, glass, dark])
    assert np.array_equal(normalise(images), images)


def test_little_tissue_is_believed_little(random):
    """From a blank tile to a full one the change grows without a jump."""
    tissue = render(amounts(random, 1), OTHER)
    changes = []
    for rows in (1, 6, 12, 24, 96):
        image = np.full_like(tissue, 255)
        image[:, :rows] = tissue[:, :rows]
        changes.append(difference(normalise(image)[:, :rows], image[:, :rows]))
    assert changes[0] < 0.2 * changes[-1]
    assert np.all(np.diff(changes[:4]) > 0)
    assert changes[3] == pytest.approx(changes[4], rel=0.2)  # 24 of 96 rows are ENOUGH
    assert ENOUGH == 24 / 96


def test_one_stain_alone_is_believed_little(random):
    tissue = amounts(random, 1)
    tissue[..., 0] = 0
    found, share = estimate(planes(render(tissue, OTHER)))
    assert share[0] > ENOUGH
    assert trust(found, share)[0] < 0.35


def test_glass_beside_tissue_stays_white(random):
    image = render(amounts(random, 1), OTHER)
    image[:, :, :40] = 255
    assert (normalise(image)[:, :, :40] == 255).all()


def test_a_tile_is_treated_alike_in_any_company(random):
    images = render(amounts(random, 70), OTHER)
    together = normalise(images)
    assert np.array_equal(together, normalise(images))
    alone = np.concatenate([normalise(images[k : k + 1]) for k in (0, 64, 69)])
    assert np.abs(alone.astype(int) - together[[0, 64, 69]]).max() <= 1  # sums of other lengths round otherwise


def test_real_tiles_come_closer_together(real):
    """The mean colour of tissue differs less between tiles than before, and the common tile hardly changes."""
    done = normalise(real)

    def colours(images):
        return unit(planes(images).mean(axis=1))

    full = estimate(planes(real))[1] > ENOUGH
    assert full.sum() > 40
    assert colours(done)[full].std(axis=0).sum() < 0.85 * colours(real)[full].std(axis=0).sum()
    assert np.abs(done.mean(axis=(0, 1, 2)) - real.mean(axis=(0, 1, 2))).max() < 6
    assert 1 < difference(done, real) < 15


def test_the_shard_keeps_all_but_the_pixels(random, tmp_path):
    images, labels = render(amounts(random, 5), OTHER), np.array([0, 1, -1, 0, 1], np.int8)
    ids = np.array([f"tile-{k}" for k in range(5)])
    source, output = tmp_path / "pack.h5", tmp_path / "stain.h5"
    write_shard(source, split="test", number=3, ids=ids, labels=labels, batches=[images], code="pack")
    stain(source, output, code="stain")
    shard = Shard(output)
    assert (shard.split, shard.number, shard.ids.tolist()) == ("test", 3, ids.tolist())
    assert shard.labels.tolist() == labels.tolist()
    assert np.array_equal(shard.images, normalise(images))
    shard.verify()
