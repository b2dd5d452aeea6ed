"""Tiles that share tissue: every one found, none made up, at a bounded cost."""

import numpy as np
import pytest

from histo import tables
from histo.files import read_json
from histo.synthetic.tiff import tiff
from histo.tiles.measurements import block_hashes, measure
from overlaps import MOST, agree, propose, shared
from support.archives import sha1
from support.stages import Results


def hashes_of(images):
    return np.where(measure(images)["flat"], np.uint64(0), block_hashes(images))


def cut(slide, places):
    return np.stack([slide[y : y + 96, x : x + 96] for y, x in places])


def truth(places):
    """All pairs (a, b, dy, dx) in blocks that share at least a block."""
    pairs = set()
    for a, (ya, xa) in enumerate(places):
        for b, (yb, xb) in enumerate(places):
            dy, dx = (yb - ya) // 16, (xb - xa) // 16
            if a < b and abs(dy) < 6 and abs(dx) < 6:
                pairs.add((a, b, dy, dx))
    return pairs


def test_all_overlaps_of_one_slide_are_proposed_and_no_others(random):
    slide = random.integers(0, 256, (480, 480, 3), dtype=np.uint8)
    places = [tuple(16 * random.integers(0, 25, 2)) for _ in range(60)]
    hashes = hashes_of(cut(slide, places))
    pairs, counts = propose(hashes)
    assert {tuple(row) for row in pairs.tolist()} == truth(places)
    assert agree(pairs, hashes).all()
    assert counts["proposed_pairs"] == len(pairs) > 100


def test_shared_region():
    slide = np.arange(200 * 200).reshape(200, 200)
    a, b = slide[32:128, 48:144], slide[64:160, 16:112]
    in_a, in_b = shared(2, -2, 16)
    np.testing.assert_array_equal(a[in_a], b[in_b])
    assert a[in_a].shape == (64, 64)


def test_flat_blocks_propose_nothing():
    pairs, counts = propose(np.zeros((1000, 36), np.uint64))
    assert len(pairs) == 0
    assert counts["flat_blocks"] == 36000


def test_blocks_that_occur_too_often_are_passed_over_and_counted(random):
    hashes = random.integers(1, 2**63, (MOST + 1, 36), dtype=np.uint64)
    hashes[:, 7] = 42
    pairs, counts = propose(hashes)
    assert len(pairs) == 0
    assert (counts["passed_over_hashes"], counts["passed_over_blocks"]) == (1, MOST + 1)
    assert len(propose(hashes[:-1])[0]) == MOST * (MOST - 1) // 2


def test_one_equal_block_does_not_make_an_overlap(random):
    hashes = random.integers(1, 2**63, (2, 36), dtype=np.uint64)
    hashes[0, 0] = hashes[1, 14]
    pairs, _ = propose(hashes)
    assert pairs.tolist() == [[0, 1, -2, -2]]
    assert not agree(pairs, hashes).any()


def test_no_tiles():
    pairs, _ = propose(np.empty((0, 36), np.uint64))
    assert pairs.shape == (0, 4)


@pytest.fixture
def overlapping(made, random, tmp_path):
    """An archive whose first two training tiles and one test tile are of one slide."""
    slide = random.integers(0, 256, (160, 160, 3), dtype=np.uint8)
    tiles = cut(slide, [(0, 0), (32, 16), (64, 64)])
    names = [sha1(tile) for tile in tiles]
    for name, tile, split in zip(names, tiles, ("train", "train", "test"), strict=True):
        made.files[f"{split}/{name}.tif"] = tiff(tile)
        table = "train_labels.csv" if split == "train" else "sample_submission.csv"
        made.tables[table] += f"{name},1\n"
    return names, Results(made.write(tmp_path / "a.zip"), tmp_path / "r").prepare()


def test_within_and_between_the_splits(overlapping):
    names, results = overlapping
    frame = results.overlaps()
    a, b, c = names
    expected = {(a, b): (32, 16), (a, c): (64, 64), (b, c): (32, 48)}
    found = {(row.id_a, row.id_b): (row.dy, row.dx) for row in frame.itertuples()}
    wanted = {(x, y) if x < y else (y, x): d if x < y else (-d[0], -d[1]) for (x, y), d in expected.items()}
    assert found == wanted
    assert frame["confirmed"].all()
    assert set(frame["area"]) == {64 * 80, 32 * 32, 64 * 48}
    assert read_json(results.root / "overlaps.json")["confirmed_pairs"] == 3


def test_pixels_have_the_last_word(overlapping):
    """Hashes that all agree by chance: the pixels still say no."""
    _, results = overlapping
    for path in results.validations():
        frame = tables.read(path, tables.VALIDATION)
        frame["blocks"] = [np.arange(1, 37, dtype=np.uint64)] * len(frame)
        tables.write(frame, path, tables.VALIDATION)
    assert not results.overlaps()["confirmed"].any()


@pytest.mark.slow
def test_real_tiles(real_archive, tmp_path):
    """263 overlapping pairs among 4,122 original tiles, each equal to the bit."""
    frame = Results(real_archive, tmp_path / "r", 2, 1).prepare().overlaps()
    assert len(frame) == 263
    assert frame["confirmed"].all()
