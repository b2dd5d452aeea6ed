"""Overlaps: every pair of tiles that shares tissue is found, and no other."""

import numpy as np
import pytest

import overlaps
from histo import tables
from histo.errors import InputError
from histo.files import read_json
from histo.tiles.measurements import block_hashes, measure
from overlaps import agree, by_offset, max_input, propose, shared
from support.stages import Results

Origins = list[tuple[int, int]]


def hashes_of(images: np.ndarray) -> np.ndarray:
    return np.where(measure(images)["flat"], np.uint64(0), block_hashes(images))


def crop(slide: np.ndarray, origins: Origins) -> np.ndarray:
    """Return the tiles of a slide at the given (y, x), uint8 [N, 96, 96, 3]."""
    return np.stack([slide[y : y + 96, x : x + 96] for y, x in origins])


def true_pairs(origins: Origins) -> set[tuple[int, int, int, int]]:
    """Return all pairs (a, b, dy, dx), in blocks, that share at least one block."""
    pairs = set()
    for a, (ya, xa) in enumerate(origins):
        for b, (yb, xb) in enumerate(origins):
            dy, dx = (yb - ya) // 16, (xb - xa) // 16
            if a < b and abs(dy) < 6 and abs(dx) < 6:
                pairs.add((a, b, dy, dx))
    return pairs


def test_all_overlaps_of_one_slide_are_proposed_and_no_others(random):
    slide = random.integers(0, 256, (480, 480, 3), dtype=np.uint8)
    origins = [tuple(16 * random.integers(0, 25, 2)) for _ in range(60)]
    hashes = hashes_of(crop(slide, origins))
    pairs, counts = propose(hashes)
    assert {tuple(row) for row in pairs.tolist()} == true_pairs(origins)
    assert agree(pairs, hashes).all()
    assert counts["proposed_pairs"] == len(pairs) > 100


def test_the_largest_key_fits_64_bits():
    most, offsets = max_input(11), 11
    last = most - 1
    for more, fits in ((0, True), (1, False)):
        total = most + more
        largest = (((last + more) * total + last + more) * offsets + 10) * offsets + 10
        assert (largest <= np.iinfo(np.int64).max) is fits


def test_too_many_tiles_are_an_error(monkeypatch):
    monkeypatch.setattr(overlaps, "max_input", lambda offsets: 4)
    assert len(propose(np.zeros((4, 36), np.uint64))[0]) == 0
    with pytest.raises(InputError, match=r"overlaps: expected at most 4 tiles, found 5\."):
        propose(np.zeros((5, 36), np.uint64))


def test_shared_region():
    slide = np.arange(200 * 200).reshape(200, 200)
    a, b = slide[32:128, 48:144], slide[64:160, 16:112]
    in_a, in_b = shared(2, -2, 16)
    np.testing.assert_array_equal(a[in_a], b[in_b])
    assert a[in_a].shape == (64, 64)


def test_pairs_are_grouped_by_offset():
    pairs = np.array([[0, 1, 2, 3], [0, 2, -1, 0], [1, 2, 2, 3]])
    assert [(offset, rows.tolist()) for offset, rows in by_offset(pairs)] == [((-1, 0), [1]), ((2, 3), [0, 2])]
    assert by_offset(pairs[:0]) == []


def test_flat_blocks_propose_nothing():
    pairs, counts = propose(np.zeros((1000, 36), np.uint64))
    assert len(pairs) == 0
    assert counts["flat_blocks"] == 36000


def test_hashes_in_too_many_tiles_are_ignored_and_counted(random):
    hashes = random.integers(1, 2**63, (37, 36), dtype=np.uint64)
    hashes[:, 7] = 42
    pairs, counts = propose(hashes)
    assert len(pairs) == 0
    assert (counts["passed_over_hashes"], counts["passed_over_blocks"]) == (1, 37)
    assert len(propose(hashes[:-1])[0]) == 36 * 35 // 2


def test_one_equal_block_is_not_an_overlap(random):
    hashes = random.integers(1, 2**63, (2, 36), dtype=np.uint64)
    hashes[0, 0] = hashes[1, 14]
    pairs, _ = propose(hashes)
    assert pairs.tolist() == [[0, 1, -2, -2]]
    assert not agree(pairs, hashes).any()


def test_no_tiles():
    pairs, _ = propose(np.empty((0, 36), np.uint64))
    assert pairs.shape == (0, 4)


@pytest.fixture
def overlapping(archive, random, tmp_path) -> tuple[list[str], Results]:
    """An archive with two training tiles and one test tile of one slide: their ids, and its results."""
    slide = random.integers(0, 256, (160, 160, 3), dtype=np.uint8)
    tiles = crop(slide, [(0, 0), (32, 16), (64, 64)])
    names = [archive.add(split, tile, 1) for split, tile in zip(("train", "train", "test"), tiles, strict=True)]
    return names, Results(archive.write(tmp_path / "a.zip"), tmp_path / "r").prepare()


def test_overlaps_within_and_between_the_splits(overlapping):
    names, results = overlapping
    frame = results.overlaps()
    a, b, c = names
    offsets = {(a, b): (32, 16), (a, c): (64, 64), (b, c): (32, 48)}
    expected = {(x, y) if x < y else (y, x): d if x < y else (-d[0], -d[1]) for (x, y), d in offsets.items()}
    assert {(row.id_a, row.id_b): (row.dy, row.dx) for row in frame.itertuples()} == expected
    assert frame["confirmed"].all()
    assert set(frame["area"]) == {64 * 80, 32 * 32, 64 * 48}
    assert read_json(results.root / "overlaps.json")["confirmed_pairs"] == 3


def test_pairs_with_equal_hashes_but_other_pixels_are_not_confirmed(overlapping):
    _, results = overlapping
    for path in results.validations():
        frame = tables.read(path, tables.VALIDATION)
        frame["blocks"] = [np.arange(1, 37, dtype=np.uint64)] * len(frame)
        tables.write(frame, path, tables.VALIDATION)
    frame = results.overlaps()
    assert len(frame) > 0
    assert not frame["confirmed"].any()


@pytest.mark.slow
def test_original_tiles(real_archive, tmp_path):
    """263 overlapping pairs among 4,122 original tiles, with identical pixels."""
    frame = Results(real_archive, tmp_path / "r", 2, 1).prepare().overlaps()
    assert len(frame) == 263
    assert frame["confirmed"].all()
