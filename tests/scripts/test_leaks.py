"""Data leakage and shortcuts: each measure against a case counted by hand."""

import numpy as np
import pandas as pd
import pytest

from histo import tables
from leaks import (
    adversarial_validation,
    duplicates,
    leakage,
    leaking_share,
    neighbour_counts,
    neighbours,
    overlap_counts,
    random_splits,
)
from support.stages import Results

NO_LINKS = np.empty((0, 2), np.int64)


def test_tiles_with_a_neighbour_in_another_fold_leak():
    links = np.array([[0, 1], [1, 2], [3, 4]])
    assert leaking_share(np.array([0, 0, 1, 1, 1, 0]), links) == 2 / 6  # tiles 1 and 2
    assert leaking_share(np.array([0, 1, 0, 0, 1, 0]), links) == 5 / 6
    assert leaking_share(np.array([0, 0, 0, 1, 1, 0]), links) == 0
    assert leaking_share(np.array([0, 1]), NO_LINKS) == 0


def test_random_folds_split_most_pairs_and_group_folds_none():
    """With 2,000 tiles in 1,000 pairs, five random folds split a pair with probability 4/5 · 2000/1999."""
    links = np.arange(2000).reshape(-1, 2)
    found = leakage(np.repeat(np.arange(1000) % 5, 2), links)
    assert (found["tiles"], found["folds"], found["ours"]) == (2000, 5, 0)
    assert found["random"] == pytest.approx(0.8 * 2000 / 1999, abs=0.02)
    assert found["random_lowest"] <= found["random"] <= found["random_highest"]
    # Folds that split every pair leak in every tile.
    assert leakage(np.arange(2000) % 5, links)["ours"] == 1


def test_a_pair_counts_once_for_each_of_its_tiles():
    links = np.array([[0, 1], [1, 0], [1, 2], [0, 1]])
    assert neighbour_counts(4, links).tolist() == [1, 2, 1, 0]
    assert neighbour_counts(3, NO_LINKS).tolist() == [0, 0, 0]


def test_auc_of_the_number_of_neighbours():
    found = neighbours(np.array([1, 1, 0, 0]), np.array([7, 1, 1, 0]), np.arange(4))
    assert found["auc"] == 3.5 / 4  # four pairs of a positive and a negative tile, one of them a tie
    assert found["auc_low"] < found["auc"] < found["auc_high"]
    tiles = {row["neighbours"]: (row["tiles"], row["positives"]) for row in found["rows"]}
    assert tiles == {0: (1, 0), 1: (2, 1), 2: (0, 0), 3: (0, 0), 4: (0, 0), 5: (1, 1)}
    assert neighbours(np.array([1, 0, 0]), np.zeros(3, int), np.arange(3))["auc"] == 0.5


def test_the_interval_of_neighbours_is_that_of_groups(random):
    labels, counts = np.repeat(random.integers(0, 2, 30), 8), np.repeat(random.integers(0, 9, 30), 8)
    by_tile = neighbours(labels, counts, np.arange(240))
    by_group = neighbours(labels, counts, np.repeat(np.arange(30), 8))
    assert by_group["auc"] == by_tile["auc"]
    width = [found["auc_high"] - found["auc_low"] for found in (by_group, by_tile)]
    assert width[0] > 2 * width[1]


def test_overlaps_within_and_between_the_splits_are_counted():
    split = np.array(["train"] * 4 + ["test"] * 4, object)
    links = np.array([[0, 1], [1, 4], [2, 4], [5, 6]])
    found = overlap_counts(split, links)
    assert found["pairs"] == {"train": 1, "test": 1, "between": 2}
    assert (found["tiles"], found["components"]) == (6, 2)
    assert found["component_sizes"] == [{"tiles": 2, "components": 1}, {"tiles": 4, "components": 1}]
    assert found["crossing_tiles"] == {"train": 2, "test": 1}
    assert found["crossing_share"] == {"train": 0.5, "test": 0.25}
    empty = overlap_counts(split, NO_LINKS)
    assert (empty["tiles"], empty["components"], empty["component_sizes"]) == (0, 0, [])
    assert empty["crossing_tiles"] == {"train": 0, "test": 0}


def test_copies_with_conflicting_labels_and_in_both_splits():
    rows = [("a", "train", 0, "x"), ("b", "train", 1, "x"), ("c", "train", 1, "y"), ("d", "test", -1, "y"),
            ("e", "train", 0, "z")]  # fmt: skip
    x, y = duplicates(pd.DataFrame(rows, columns=["id", "split", "label", "pixels_sha1"]))
    assert (x["pixels_sha1"], x["conflict"], x["both_splits"]) == ("x", True, False)
    assert x["tiles"] == [{"split": "train", "id": "a", "label": 0}, {"split": "train", "id": "b", "label": 1}]
    assert (y["conflict"], y["both_splits"]) == (False, True)


def colours(random: np.random.Generator, count: int) -> np.ndarray:
    """Return normally distributed colour statistics, float64 [count, 8]."""
    return random.normal(150, 20, (count, 8))


def test_equal_splits_have_an_auc_of_one_half_and_shifted_splits_of_one(random):
    split = np.array(["train"] * 1500 + ["test"] * 1000, object)
    same = adversarial_validation(split, colours(random, 2500), np.arange(2500))
    assert same["auc"] == pytest.approx(0.5, abs=0.04)
    assert same["tiles"] == {"train": 1500, "test": 1000}
    assert all(area == pytest.approx(0.5, abs=0.04) for area in same["single"].values())
    shifted = colours(random, 2500)
    shifted[1500:, 2] += 200
    found = adversarial_validation(split, shifted, np.arange(2500))
    assert found["auc"] > 0.999
    assert found["single"]["mean_g"] == 1.0


def test_recognising_slides_does_not_count_as_a_difference_of_the_splits(random):
    """Each slide has its own colour; slides are assigned to the splits independently of colour."""
    slide = np.repeat(np.arange(100), 20)
    split = np.where(slide % 2 == 0, "train", "test").astype(object)
    slide_colours = colours(random, 100)[slide] + random.normal(0, 0.5, (2000, 8))
    assert adversarial_validation(split, slide_colours, slide)["auc"] == pytest.approx(0.5, abs=0.12)
    assert adversarial_validation(split, slide_colours, np.arange(2000))["auc"] > 0.95


def test_random_splits_show_what_few_slides_do(random):
    """17 slides, each of its own colour, 5 of them called test: the AUC is high although nothing else differs."""
    slide = np.repeat(np.arange(17), 40)
    slide_colours = colours(random, 17)[slide] + random.normal(0, 3, (680, 8))
    split = np.where(slide >= 12, "test", "train").astype(object)
    train = split == "train"
    unknown = np.where(train, slide, 100 + np.arange(680))  # the slides of the test tiles are unknown
    found = adversarial_validation(split, slide_colours, unknown)["auc"]
    reference = random_splits(slide_colours[train], slide[train], np.arange(480), 5 / 17, 4)
    assert reference["splits"] == 4
    assert 0.5 < reference["lowest"] <= reference["median"] <= reference["highest"] <= 1
    assert found > 0.9
    assert reference["median"] > 0.8
    # Tiles without slides do not differ.
    single = random_splits(colours(random, 800), np.arange(800), np.arange(800), 0.3, 3)
    assert 0.4 < single["lowest"] < single["highest"] < 0.6


def test_no_random_splits_of_one_slide(random):
    assert random_splits(colours(random, 50), np.zeros(50, int), np.arange(50), 0.3, 4) is None


def test_no_auc_with_one_slide_in_a_split(random):
    split = np.array(["train"] * 50 + ["test"] * 50, object)
    slide = np.r_[np.arange(50), np.full(50, 99)]
    assert adversarial_validation(split, colours(random, 100), slide)["auc"] is None


def test_no_auc_where_a_training_part_has_one_split_only(random):
    """A model fitted to training tiles alone learns nothing, but would still give an AUC, of about 0.2."""
    split = np.array(["train"] * 47 + ["test"] * 20)
    slide = np.array([0] * 30 + [1] * 17 + [1] * 4 + [100] * 16)
    assert adversarial_validation(split, random.normal(size=(67, 8)), slide)["auc"] is None


@pytest.fixture
def overlapping(archive, random, tmp_path) -> tuple[list[str], Results]:
    """Results up to folds, and the ids of four tiles added to an archive.

    The first two are overlapping training tiles, the last two an overlapping training and test tile. In addition, two
    of the other training tiles are copies.
    """
    slide = random.integers(0, 256, (400, 160, 3), dtype=np.uint8)
    names = [
        archive.add(split, slide[y : y + 96, 16:112], label)
        for split, y, label in (("train", 0, 1), ("train", 32, 1), ("train", 160, 1), ("test", 208, 0))
    ]
    archive.files[f"train/{archive.train[2]}.tif"] = archive.files[f"train/{archive.train[0]}.tif"]
    results = Results(archive.write(tmp_path / "a.zip"), tmp_path / "r").prepare(id_is_sha1=False)
    results.audit()
    results.overlaps()
    results.groups()
    results.folds(3)
    return names, results


def test_results_of_an_archive(overlapping):
    names, results = overlapping
    found = results.leaks()
    # The copies are found as an overlapping pair with offset 0.
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


def test_folds_that_split_a_component_are_detected(overlapping):
    names, results = overlapping
    path = results.root / "folds.parquet"
    frame = tables.read(path, tables.FOLDS)
    frame.loc[frame["id"] == names[0], "fold"] = (frame.loc[frame["id"] == names[1], "fold"].iloc[0] + 1) % 3
    tables.write(frame, path, tables.FOLDS)
    assert results.leaks()["leak"]["ours"] == 2 / 15


@pytest.mark.slow
def test_original_tiles(real_archive, tmp_path):
    """4,122 original tiles: random folds leak, group folds do not; the number of neighbours predicts the label."""
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
