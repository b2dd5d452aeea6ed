"""Folds: stratified group k-fold that does not depend on the order of rows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from folds import check, folds, sampled_groups, stain_folds, stratified_group_folds, summarise
from histo import tables
from histo.errors import InputError
from histo.files import read_json
from histo.tiles.stain_vectors import BANDS
from support.stages import Results

NO_PAIRS = pd.DataFrame({"id_a": [], "id_b": []})


def tiles_in_groups(random: np.random.Generator, groups: int, largest: int = 12) -> pd.DataFrame:
    """Return tiles (id, group, label) in groups of 1 to `largest`, each with its own share of positives."""
    sizes = random.integers(1, largest + 1, groups)
    names = np.repeat([f"g{k}" for k in range(groups)], sizes)
    positive_share = np.repeat(random.beta(0.3, 0.5, groups), sizes)
    labels = (random.random(len(names)) < positive_share).astype(np.int8)
    return pd.DataFrame({"id": [f"{k:05d}" for k in range(len(names))], "group": names, "label": labels})


@pytest.mark.parametrize("count", [2, 5, 10])
def test_folds_have_equal_sizes_and_classes(random, count):
    frame = tiles_in_groups(random, 2000)
    frame["fold"] = stratified_group_folds(frame["group"], frame["label"], count, 1)
    rows = pd.DataFrame(summarise(frame))
    assert rows["tiles"].max() - rows["tiles"].min() <= 0.02 * rows["tiles"].mean()
    assert rows["positives"].max() - rows["positives"].min() <= 0.02 * rows["positives"].mean()
    assert (frame.groupby("group")["fold"].nunique() == 1).all()
    check(frame, NO_PAIRS, count)


def test_a_sample_has_whole_groups_and_both_classes_in_proportion(random):
    frame = tiles_in_groups(random, 2000)
    taken = {share: sampled_groups(frame["group"], frame["label"], share, 1) for share in (0.1, 0.3, 1.0)}
    assert taken[1.0].all()
    assert not (taken[0.1] & ~taken[0.3]).any()  # a subset
    for share in (0.1, 0.3):
        part = frame[taken[share]]
        assert len(part) / len(frame) == pytest.approx(share, abs=0.01)
        assert part["label"].mean() == pytest.approx(frame["label"].mean(), abs=0.04)
        assert not set(part["group"]) & set(frame.loc[~taken[share], "group"])
    shuffled = frame.sample(frac=1, random_state=5)
    again = sampled_groups(shuffled["group"], shuffled["label"], 0.1, 1)
    assert set(shuffled["id"][again]) == set(frame["id"][taken[0.1]])
    assert set(frame["id"][sampled_groups(frame["group"], frame["label"], 0.1, 2)]) != set(frame["id"][taken[0.1]])


def test_a_few_large_groups_get_one_fold_each(random):
    frame = pd.DataFrame({"group": np.tile([f"g{k}" for k in range(4)], 300), "label": random.integers(0, 2, 1200)})
    frame["fold"] = stratified_group_folds(frame["group"], frame["label"], 4, 1)
    assert sorted(frame.groupby("fold").size()) == [300] * 4
    assert (frame.groupby("group")["fold"].nunique() == 1).all()


def test_folds_depend_on_the_seed_but_not_on_the_order_of_rows(random):
    frame = tiles_in_groups(random, 300)
    fold = pd.Series(stratified_group_folds(frame["group"], frame["label"], 5, 1), index=frame["id"])
    shuffled = frame.sample(frac=1, random_state=3)
    again = pd.Series(stratified_group_folds(shuffled["group"], shuffled["label"], 5, 1), index=shuffled["id"])
    pd.testing.assert_series_equal(fold.sort_index(), again.sort_index())
    assert (fold.to_numpy() != stratified_group_folds(frame["group"], frame["label"], 5, 2)).any()


def sums_of_slides(random: np.random.Generator, groups: pd.Series, slides: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the band sums of tiles whose groups are of slides with stains of their own, and the slide of each tile."""
    group = pd.factorize(groups)[0]
    slide = group % slides
    stain = random.normal(0, 0.2, (slides, BANDS, 2))
    pixels = random.uniform(0.05, 0.3, (len(group), BANDS, 1))
    ratios = stain[slide] + random.normal(0, 0.03, (len(group), BANDS, 2))
    return np.concatenate([pixels, pixels * ratios], axis=2).astype(np.float32), slide


def test_folds_by_stain_have_similar_groups_and_equal_classes(random):
    frame = tiles_in_groups(random, 2000)
    sums, slide = sums_of_slides(random, frame["group"], 40)
    frame["fold"], similar = stain_folds(frame["group"], frame["label"], sums, 5, 1)
    rows = pd.DataFrame(summarise(frame))
    for column in ("tiles", "positives"):
        assert rows[column].max() - rows[column].min() <= 0.03 * rows[column].mean()
    check(frame, NO_PAIRS, 5)
    # Most tiles of a slide are in one fold; a few slides are divided, since folds have equal sizes.
    largest = frame.groupby(slide)["fold"].agg(lambda fold: fold.value_counts().iloc[0])
    assert largest.sum() / len(frame) > 0.8
    assert similar > 0.8
    random_folds = stratified_group_folds(frame["group"], frame["label"], 5, 1)
    assert pd.Series(random_folds).groupby(slide).agg(lambda fold: fold.value_counts().iloc[0]).sum() < 0.4 * len(frame)


def test_folds_by_stain_depend_on_the_seed_and_not_on_the_order_of_names(random):
    frame = tiles_in_groups(random, 300)
    sums, _ = sums_of_slides(random, frame["group"], 10)
    fold, _ = stain_folds(frame["group"], frame["label"], sums, 5, 1)
    np.testing.assert_array_equal(stain_folds(frame["group"], frame["label"], sums, 5, 1)[0], fold)
    order = random.permutation(len(frame))
    shuffled = frame.iloc[order]
    again, _ = stain_folds(shuffled["group"], shuffled["label"], sums[order], 5, 1)
    np.testing.assert_array_equal(again, fold[order])
    assert (stain_folds(frame["group"], frame["label"], sums, 5, 2)[0] != fold).any()


def test_check_fails_for_split_groups_and_overlaps(random):
    frame = tiles_in_groups(random, 50)
    frame["fold"] = stratified_group_folds(frame["group"], frame["label"], 2, 1)
    zero, one = (frame.loc[frame["fold"] == k, "id"].iloc[0] for k in (0, 1))
    message = "Bug: do not train on these folds: tiles that share tissue in different folds"
    with pytest.raises(AssertionError, match=message):
        check(frame, pd.DataFrame({"id_a": [zero], "id_b": [one]}), 2)
    group = frame["group"].value_counts().index[0]
    frame.loc[frame.index[frame["group"] == group][0], "fold"] ^= 1
    with pytest.raises(AssertionError, match="Bug: do not train on these folds: groups in more than one fold"):
        check(frame, NO_PAIRS, 2)


def test_a_fold_without_one_of_the_classes_is_refused():
    frame = pd.DataFrame({"id": list("abcd"), "group": list("abcd"), "label": [1, 0, 0, 0]})
    frame["fold"] = stratified_group_folds(frame["group"], frame["label"], 2, 1)
    message = r"found fold . without one of them: 4 groups of tiles are too few\. Set `folds\.count` lower"
    with pytest.raises(InputError, match=message):
        check(frame, NO_PAIRS, 2)


@pytest.fixture
def stage(tmp_path) -> Path:
    """A folder with the tables of 7 tiles: a and b overlap, f is not kept, g is a test tile."""
    tiles = pd.DataFrame({"id": list("abcdefg"), "split": ["train"] * 6 + ["test"], "shard": 0, "row": range(7)})
    tiles = tiles.assign(label=[0, 1, 0, 1, 0, 1, -1], kept=[True] * 5 + [False, True], fault="", detail="")
    tiles = tiles.assign(**dict.fromkeys(tables.MEASUREMENTS, 0.0))
    tables.write(tiles, tmp_path / "tiles", tables.TILES)
    groups = pd.DataFrame({"id": list("abcde"), "group": list("aacde"), "reason": "alone"})
    tables.write(groups, tmp_path / "groups", tables.GROUPS)
    pair = pd.DataFrame({"id_a": ["a"], "id_b": ["b"], "dy": 16, "dx": 0, "area": 80 * 96, "confirmed": True})
    tables.write(pair, tmp_path / "overlaps", tables.OVERLAPS)
    return tmp_path


def run(folder: Path, count: int) -> pd.DataFrame:
    inputs = [folder / name for name in ("tiles", "groups", "overlaps")]
    folds(*inputs, [], folder / "folds", folder / "folds.json", by="groups", count=count, seed=1)
    return tables.read(folder / "folds", tables.FOLDS)


def test_the_stage_assigns_every_kept_training_tile(stage):
    frame = run(stage, 2)
    assert frame["id"].tolist() == list("abcde")
    assert frame["fold"].iloc[0] == frame["fold"].iloc[1]
    rows = read_json(stage / "folds.json")["folds"]
    assert [row["fold"] for row in rows] == [0, 1]
    assert (sum(row["tiles"] for row in rows), sum(row["positives"] for row in rows)) == (5, 2)
    assert all(row["positive_share"] == row["positives"] / row["tiles"] for row in rows)


def test_too_few_groups_are_refused(stage):
    with pytest.raises(InputError, match=r"folds\.count: expected at least 5 groups of tiles for 5 folds, found 4"):
        run(stage, 5)
    assert not (stage / "folds").exists()


def test_tiles_without_a_group_are_refused(stage):
    groups = tables.read(stage / "groups", tables.GROUPS)
    tables.write(groups[1:], stage / "groups", tables.GROUPS)
    with pytest.raises(InputError, match="expected a group for each training tile, found 1 without one"):
        run(stage, 2)


def test_the_stage_by_stain(archive, tmp_path):
    results = Results(archive.write(tmp_path / "a.zip"), tmp_path / "r").prepare()
    results.audit()
    results.overlaps()
    results.groups()
    frame = results.folds(2, by="stain")
    summary = read_json(results.root / "folds.json")
    assert summary["by"] == "stain"
    assert 0 <= summary["same_fold_neighbours"] <= 1
    assert sorted(frame["id"]) == archive.train
    assert set(frame["fold"]) == {0, 1}
    by_groups = results.folds(2)
    assert frame.drop(columns="fold").equals(by_groups.drop(columns="fold"))
    assert read_json(results.root / "folds.json").keys() == {"by", "tiles", "of", "folds"}


def test_several_classes_are_stratified(random):
    names = np.repeat([f"g{k}" for k in range(1500)], random.integers(1, 8, 1500))
    frame = pd.DataFrame({"id": [f"{k:05d}" for k in range(len(names))], "group": names})
    frame["label"] = random.choice(4, len(frame), p=[0.5, 0.3, 0.15, 0.05])
    frame["fold"] = stratified_group_folds(frame["group"], frame["label"], 5, 1)
    counts = frame.groupby(["label", "fold"]).size().unstack()
    assert ((counts.max(axis=1) - counts.min(axis=1)) <= 0.03 * counts.mean(axis=1) + 2).all()
    check(frame, NO_PAIRS, 5)
    frame.loc[(frame["fold"] == 2) & (frame["label"] == 3), "label"] = 1
    with pytest.raises(InputError, match="expected all 4 classes in each of 5 folds, found fold 2 without one of them"):
        check(frame, NO_PAIRS, 5)
