"""What makes scores too good: each figure against a case counted by hand."""

import numpy as np
import pandas as pd
import pytest

from histo import tables
from histo.synthetic.tiff import tiff
from leaks import adversarial, duplicates, leak, leaking, neighbour_counts, neighbours, sharing
from support.archives import sha1
from support.stages import Results

NONE = np.empty((0, 2), np.int64)


def test_a_tile_leaks_when_a_neighbour_is_in_another_fold():
    links = np.array([[0, 1], [1, 2], [3, 4]])
    assert leaking(np.array([0, 0, 1, 1, 1, 0]), links) == 2 / 6  # tiles 1 and 2
    assert leaking(np.array([0, 1, 0, 0, 1, 0]), links) == 5 / 6
    assert leaking(np.array([0, 0, 0, 1, 1, 0]), links) == 0
    assert leaking(np.array([0, 1]), NONE) == 0


def test_random_folds_part_most_pairs_and_ours_none():
    """Of 2,000 tiles in 1,000 pairs, random fifths part a pair with probability 4/5 · 2000/1999."""
    links = np.arange(2000).reshape(-1, 2)
    found = leak(np.repeat(np.arange(1000) % 5, 2), links)
    assert (found["tiles"], found["folds"], found["ours"]) == (2000, 5, 0)
    assert found["random"] == pytest.approx(0.8 * 2000 / 1999, abs=0.02)
    assert found["random_lowest"] <= found["random"] <= found["random_highest"]
    # Folds that part every pair are seen as what they are.
    assert leak(np.arange(2000) % 5, links)["ours"] == 1


def test_a_pair_counts_once_for_each_of_its_tiles():
    links = np.array([[0, 1], [1, 0], [1, 2], [0, 1]])
    assert neighbour_counts(4, links).tolist() == [1, 2, 1, 0]
    assert neighbour_counts(3, NONE).tolist() == [0, 0, 0]


def test_auc_of_the_number_of_neighbours():
    found = neighbours(np.array([1, 1, 0, 0]), np.array([7, 1, 1, 0]))
    assert found["auc"] == 3.5 / 4  # of four pairs of a positive and a negative one is a tie
    assert found["auc_low"] < found["auc"] < found["auc_high"]
    tiles = {row["neighbours"]: (row["tiles"], row["positives"]) for row in found["rows"]}
    assert tiles == {0: (1, 0), 1: (2, 1), 2: (0, 0), 3: (0, 0), 4: (0, 0), 5: (1, 1)}
    assert neighbours(np.array([1, 0, 0]), np.zeros(3, int))["auc"] == 0.5


def test_pairs_pieces_and_tiles_across_the_splits():
    split = np.array(["train"] * 4 + ["test"] * 4, object)
    links = np.array([[0, 1], [1, 4], [2, 4], [5, 6]])
    found = sharing(split, links)
    assert found["pairs"] == {"train": 1, "test": 1, "between": 2}
    assert (found["tiles"], found["components"]) == (6, 2)
    assert found["component_sizes"] == [{"tiles": 2, "components": 1}, {"tiles": 4, "components": 1}]
    assert found["crossing_tiles"] == {"train": 2, "test": 1}
    assert found["crossing_share"] == {"train": 0.5, "test": 0.25}
    nothing = sharing(split, NONE)
    assert (nothing["tiles"], nothing["components"], nothing["component_sizes"]) == (0, 0, [])
    assert nothing["crossing_tiles"] == {"train": 0, "test": 0}


def test_copies_and_what_is_wrong_with_them():
    rows = [("a", "train", 0, "x"), ("b", "train", 1, "x"), ("c", "train", 1, "y"), ("d", "test", -1, "y"),
            ("e", "train", 0, "z")]  # fmt: skip
    x, y = duplicates(pd.DataFrame(rows, columns=["id", "split", "label", "pixels_sha1"]))
    assert (x["pixels_sha1"], x["conflict"], x["both_splits"]) == ("x", True, False)
    assert x["tiles"] == [{"split": "train", "id": "a", "label": 0}, {"split": "train", "id": "b", "label": 1}]
    assert (y["conflict"], y["both_splits"]) == (False, True)


def colours(random, count, shift=0.0):
    return random.normal(150 + shift, 20, (count, 8))


def test_equal_splits_cannot_be_told_apart_and_shifted_ones_can(random):
    split = np.array(["train"] * 1500 + ["test"] * 1000, object)
    same = adversarial(split, colours(random, 2500), np.arange(2500))
    assert same["auc"] == pytest.approx(0.5, abs=0.04)
    assert same["tiles"] == {"train": 1500, "test": 1000}
    assert all(area == pytest.approx(0.5, abs=0.04) for area in same["single"].values())
    shifted = colours(random, 2500)
    shifted[1500:, 2] += 200
    found = adversarial(split, shifted, np.arange(2500))
    assert found["auc"] > 0.999
    assert found["single"]["mean_g"] == 1.0


def test_recognising_a_slide_is_not_telling_the_splits_apart(random):
    """Each slide has its colour, and slides are dealt to the splits at random."""
    bundle = np.repeat(np.arange(100), 20)
    split = np.where(bundle % 2 == 0, "train", "test").astype(object)
    own = random.normal(150, 20, (100, 8))[bundle] + random.normal(0, 0.5, (2000, 8))
    assert adversarial(split, own, bundle)["auc"] == pytest.approx(0.5, abs=0.12)
    assert adversarial(split, own, np.arange(2000))["auc"] > 0.95


def test_one_slide_in_a_split_is_too_few(random):
    split = np.array(["train"] * 50 + ["test"] * 50, object)
    bundle = np.r_[np.arange(50), np.full(50, 99)]
    assert adversarial(split, colours(random, 100), bundle)["auc"] is None


@pytest.fixture
def overlapping(made, random, tmp_path):
    """Two training tiles that overlap, a training and a test tile that do, and two copies among twelve other tiles."""
    slide = random.integers(0, 256, (400, 160, 3), dtype=np.uint8)
    names = []
    for split, y, label in (("train", 0, 1), ("train", 32, 1), ("train", 160, 1), ("test", 208, 0)):
        tile = slide[y : y + 96, 16:112]
        names.append(sha1(tile))
        made.files[f"{split}/{names[-1]}.tif"] = tiff(tile)
        table = "train_labels.csv" if split == "train" else "sample_submission.csv"
        made.tables[table] += f"{names[-1]},{label}\n"
    made.files[f"train/{made.train[2]}.tif"] = made.files[f"train/{made.train[0]}.tif"]
    results = Results(made.write(tmp_path / "a.zip"), tmp_path / "r").prepare(id_is_sha1=False)
    results.audit()
    results.overlaps()
    results.groups()
    results.folds(3)
    return names, results


def test_from_an_archive_to_the_figures(overlapping):
    names, results = overlapping
    found = results.leaks()
    # The copies overlap as a whole; the search finds them as a pair without offset.
    assert found["overlaps"]["pairs"] == {"train": 2, "test": 0, "between": 1}
    assert found["overlaps"]["crossing_tiles"] == {"train": 1, "test": 1}
    assert found["overlaps"]["search"]["tiles"] == 22
    assert found["duplicates"]["tiles"] == 2
    assert found["leak"]["tiles"] == 15
    assert found["leak"]["ours"] == 0
    assert 0 < found["leak"]["random"] <= 4 / 15
    rows = {row["neighbours"]: (row["tiles"], row["positives"]) for row in found["neighbours"]["rows"]}
    assert rows[0] == (10, 6)
    assert rows[1] == (5, 3)
    assert found["remarks"] == {name: {"train": [], "test": []} for name in ("black", "blank", "blurred")}
    assert names[3] not in [tile["id"] for one in found["duplicates"]["sets"] for tile in one["tiles"]]


def test_folds_that_part_a_piece_are_found_out(overlapping):
    names, results = overlapping
    path = results.root / "folds.parquet"
    frame = tables.read(path, tables.FOLDS)
    frame.loc[frame["id"] == names[0], "fold"] = (frame.loc[frame["id"] == names[1], "fold"].iloc[0] + 1) % 3
    tables.write(frame, path, tables.FOLDS)
    assert results.leaks()["leak"]["ours"] == 2 / 15


@pytest.mark.slow
def test_real_tiles(real_archive, tmp_path):
    """4,122 original tiles: random folds leak, these do not, and neighbours tell the label."""
    results = Results(real_archive, tmp_path / "r", 2, 1).prepare()
    for stage in (results.audit, results.overlaps, results.groups):
        stage()
    results.folds(5)
    found = results.leaks()
    assert found["overlaps"]["pairs"] == {"train": 134, "test": 41, "between": 88}
    assert found["leak"]["ours"] == 0
    assert found["leak"]["random"] == pytest.approx(0.061, abs=0.005)
    assert found["neighbours"]["auc"] == pytest.approx(0.615, abs=0.001)
    assert found["adversarial"]["auc"] == pytest.approx(0.53, abs=0.03)
    assert {name: sum(map(len, ids.values())) for name, ids in found["remarks"].items()} == {
        "black": 2,
        "blank": 31,
        "blurred": 18,
    }


def test_bundles_that_cannot_be_shared_out_give_no_figure(random):
    """A part whose other parts hold training tiles alone would learn nothing and still give an AUC, of 0.2 or so."""
    split = np.array(["train"] * 47 + ["test"] * 20)
    bundle = np.array([0] * 30 + [1] * 17 + [1] * 4 + [100] * 16)
    assert adversarial(split, random.normal(size=(67, 8)), bundle)["auc"] is None
