"""Overlaps: every pair of tiles that shares tissue is found, and no other."""

import tracemalloc
import zipfile

import numpy as np
import pytest
from PIL import Image

import overlaps
from histo import tables
from histo.errors import InputError
from histo.files import read_json
from histo.geometry import Geometry
from histo.tiles.inner_blocks import inner_hashes
from histo.tiles.measurements import block_hashes, measure
from histo.tiles.shards import open_shards, write_shard
from overlaps import agree, by_offset, confirm, max_input, propose, read_inner, shared
from support.archives import Archive
from support.jpeg import recompressed
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


def hashes_of_slides(random: np.random.Generator, tiles: int) -> np.ndarray:
    """Return block hashes of tiles at random positions of many small slides, three each, some blocks flat."""
    slides = random.integers(1, 2**63, (tiles // 3, 14, 14), dtype=np.uint64)
    origins = random.integers(0, 9, (tiles, 2))
    hashes = np.stack([slides[k // 3, y : y + 6, x : x + 6].ravel() for k, (y, x) in enumerate(origins.tolist())])
    hashes[random.random(hashes.shape) < 0.05] = 0
    return hashes[random.permutation(tiles)]


def test_buckets_of_hashes_give_the_same_pairs(random, monkeypatch):
    hashes = hashes_of_slides(random, 3000)
    hashes[:100, 3] = 5  # ignored
    pairs, counts = propose(hashes)
    monkeypatch.setattr(overlaps, "BUCKETS", 1)
    together, counts_together = propose(hashes)
    np.testing.assert_array_equal(pairs, together)
    assert counts == counts_together
    assert (counts["passed_over_hashes"], counts["passed_over_blocks"]) == (1, 100)
    assert counts["flat_blocks"] == (hashes == 0).sum()
    # The definition: two tiles share a block that is neither flat nor ignored.
    blocks: dict[int, list[tuple[int, int]]] = {}
    for tile, block in np.argwhere((hashes != 0) & (hashes != 5)).tolist():
        blocks.setdefault(int(hashes[tile, block]), []).append((tile, block))
    expected = {
        (a, b, i // 6 - j // 6, i % 6 - j % 6) for one in blocks.values() for a, i in one for b, j in one if a < b
    }
    assert {tuple(pair) for pair in pairs.tolist()} == expected
    assert len(expected) > 1000


def test_memory_of_the_join(random):
    """391 bytes a tile at full size, 288 of them the hashes themselves; with all hashes at once it was 2,232."""
    hashes = hashes_of_slides(random, 30_000)
    tracemalloc.start()
    propose(hashes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak / len(hashes) < 140


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
    frame = results.overlaps("exact")
    assert len(frame) > 0
    assert not frame["confirmed"].any()


@pytest.fixture
def jpegs(random, tmp_path) -> tuple[list[str], Results]:
    """An archive of tiles of one slide and of tiles that share nothing, after JPEG compression; ids of the former."""
    slide = random.integers(0, 256, (160, 160, 3), dtype=np.uint8)
    origins = [(0, 0), (32, 16), (64, 64), (0, 64), (64, 0)]
    tiles = recompressed(np.concatenate([crop(slide, origins), random.integers(0, 256, (7, 96, 96, 3), np.uint8)]), 75)
    archive = Archive(random, train=0, test=0)
    names = [archive.add("test" if k == 2 else "train", tile, k % 2) for k, tile in enumerate(tiles)]
    return names, Results(archive.write(tmp_path / "a.zip"), tmp_path / "r").prepare()


def test_overlaps_of_jpeg_compressed_tiles(jpegs):
    names, results = jpegs
    origins = dict(zip(names, [(0, 0), (32, 16), (64, 64), (0, 64), (64, 0)], strict=False))
    expected = {
        (a, b): (origins[b][0] - origins[a][0], origins[b][1] - origins[a][1])
        for a in origins
        for b in origins
        if a < b and all(abs(p - q) < 96 for p, q in zip(origins[a], origins[b], strict=True))
    }
    frame = results.overlaps("auto")
    assert {(row.id_a, row.id_b): (row.dy, row.dx) for row in frame.itertuples()} == expected
    assert frame["confirmed"].all()
    summary = read_json(results.root / "overlaps.json")
    assert (summary["lossy"], summary["confirmed_pairs"]) == (True, 10)
    assert len(results.overlaps("exact")) == 0
    assert read_json(results.root / "overlaps.json")["lossy"] is False


def test_folds_keep_tissue_of_jpeg_compressed_tiles_together(jpegs):
    names, results = jpegs
    results.audit()
    results.overlaps()
    groups = results.groups().set_index("id")["group"]
    tissue = groups[[names[k] for k in (0, 1, 3, 4)]]
    assert tissue.nunique() == 1
    assert groups.nunique() == len(groups) - 3
    assert results.folds().set_index("id")["fold"][tissue.index].nunique() == 1


def test_tiles_without_compression_are_searched_exactly(overlapping):
    _, results = overlapping
    exact = results.overlaps("exact")
    for pixels in ("auto", "lossy"):  # pixels that are equal are equal inside of blocks, too
        assert results.overlaps(pixels).equals(exact)
        assert read_json(results.root / "overlaps.json")["lossy"] is (pixels == "lossy")


def test_lossy_pairs_that_differ_inside_a_block_are_not_confirmed(jpegs, monkeypatch):
    _, results = jpegs
    monkeypatch.setattr(
        overlaps, "inner_hashes", lambda images: np.tile(np.arange(1, 37, dtype=np.uint64), (len(images), 1))
    )
    frame = results.overlaps("lossy")
    assert len(frame) == 12 * 11 / 2
    assert not frame["confirmed"].any()


@pytest.mark.parametrize("side", [64, 128])
def test_jpegs_of_another_side(random, tmp_path, side):
    geometry, slide = Geometry(tile_side=side), random.integers(0, 256, (1, 256, 256, 3), dtype=np.uint8)
    origins = np.array([(0, 0), (32, 16), (side - 16, 48), (112, 112), (0, side)])
    tiles = np.concatenate([slide[:, y : y + side, x : x + side] for y, x in origins.tolist()])
    write_shard(
        tmp_path / "a.h5", split="train", number=0, ids=list("abcde"), labels=np.zeros(5), code="", geometry=geometry,
        batches=[recompressed(tiles, 90)],
    )  # fmt: skip
    shards, rows = open_shards([tmp_path / "a.h5"], "train"), np.arange(5)
    hashes = read_inner(np.zeros(5, int), rows, shards)
    assert hashes.shape == (5, (side // 16) ** 2)
    pairs, _ = propose(hashes)
    agreed = pairs[agree(pairs, hashes)]
    offsets = {(a, b): (origins[b] - origins[a]) // 16 for a in range(5) for b in range(a + 1, 5)}
    expected = {(*pair, *offset) for pair, offset in offsets.items() if (np.abs(offset) < side // 16).all()}
    assert {tuple(pair) for pair in agreed.tolist()} == expected and len(expected) > 2
    assert confirm(agreed, np.zeros(5, int), rows, shards, lossy=True).all()


@pytest.mark.parametrize("quality", [60, 90])
def test_original_tiles_after_compression(real_archive, quality):
    """Recall and precision are 1 among the first 1,200 tiles; bench/overlaps.md has all tiles and qualities."""
    with zipfile.ZipFile(real_archive) as file:
        names = [name for name in file.namelist() if name.endswith(".tif")][:1200]
        tiles = np.stack([np.asarray(Image.open(file.open(name))) for name in names])
    found = []
    for hashes in (hashes_of(tiles), inner_hashes(recompressed(tiles, quality))):
        pairs, _ = propose(hashes)
        found.append({tuple(pair) for pair in pairs[agree(pairs, hashes)].tolist()})
    assert found[0] == found[1]
    assert len(found[0]) > 10


@pytest.mark.slow
def test_original_tiles(real_archive, tmp_path):
    """263 overlapping pairs among 4,122 original tiles, with identical pixels."""
    frame = Results(real_archive, tmp_path / "r", 2, 1).prepare().overlaps()
    assert len(frame) == 263
    assert frame["confirmed"].all()
