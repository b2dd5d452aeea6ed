"""Requests for memory, disk and time follow the number of tiles and the attempt."""

import json
import os
import re
import shutil

import pytest
import yaml

from histo.formatting import size_text
from support import ROOT
from support.chain import CONFIG, snakemake

# What requests depend on, as in the default model.
MODEL = {"epochs": 4, "input_size": 192, "batch_size": 32}
COMPETITION = {"train": 220_025, "test": 57_458}
SHARDS = {"train": 8, "test": 2}
FOLDS = 2
# Bytes of files per tile, as measured at 28,000 tiles; all files of the workflow that grow with the number of tiles.
ROW, INDEX, VALIDATION, TILE, SHARD, FEATURES, PREDICTION = 43, 56, 432, 27_935, 27_689, 350, 47
TABLES = {"tiles": 66, "overlaps": 25, "groups": 29, "folds": 30}


def write_sparse(path, size):
    """Write a file of this size that takes no space on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.truncate(path, int(size))


def make_inputs(folder, tiles):
    """Write sparse files in the place of all inputs of a data set with these numbers of tiles by split."""
    results, total = folder / "results" / "sized", sum(tiles.values())
    write_sparse(folder / "archive.zip", total * TILE)
    write_sparse(results / "sample_submission.csv", tiles["test"] * ROW)
    for name, size in {"index": INDEX, **TABLES}.items():
        write_sparse(results / f"{name}.parquet", total * size)
    for split, count in tiles.items():
        for k in range(SHARDS[split]):
            for stage, ending, size in (
                ("unzip", "tiles", TILE),
                ("validate", "parquet", VALIDATION),
                ("pack", "h5", SHARD),
                ("features", "parquet", FEATURES),
            ):
                write_sparse(results / stage / f"{split}-{k:05d}.{ending}", count * size / SHARDS[split])
    for model in ("tiny", "forest"):
        write_sparse(results / "evaluate" / f"{model}.json", 1000)
        for fold in range(FOLDS):
            for name in ("weights.pt", "history.csv", "training.json"):
                write_sparse(results / "train" / model / f"fold-{fold}" / name, 1000)
            for name, count in (("oof", tiles["train"] / FOLDS), ("test", tiles["test"])):
                write_sparse(results / "predict" / model / f"fold-{fold}" / f"{name}.parquet", count * PREDICTION)
    for name in ("oof", "test"):
        write_sparse(results / "ensemble" / f"{name}.parquet", total * PREDICTION)
    for name in ("audit", "overlaps", "folds", "leaks", "submission", "ensemble"):
        write_sparse(results / f"{name}.json", 1000)


def requests(folder, *options, dataset=None, model=MODEL, search=None):
    """Return {rule: {resource: largest request of its jobs}} of a dry run of all stages."""
    dataset = dataset or f"dataset={{name: sized, source: archive, archive: {folder / 'archive.zip'}}}"
    more = (f"index={{train_shards: {SHARDS['train']}, test_shards: {SHARDS['test']}}}",
            "submission={models: [tiny, forest]}",
            f"models={json.dumps({'tiny': model})}",
            "classical={forest: {method: random_forest, n_estimators: 300, min_samples_leaf: 5, seed: 1}}",
            *([f"search={json.dumps(search)}"] if search else []))  # fmt: skip
    done = snakemake(folder, "submission", dataset, *more, "--dry-run", "--forceall", *options, config=CONFIG)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {}
    # The jobs of a group are indented.
    for indent, name, body in re.findall(r"^( *)rule (\w+):\n((?:\1    .*\n)+)", done.stdout, flags=re.MULTILINE):
        listed = re.search(rf"^{indent}    resources: (.*)$", body, flags=re.MULTILINE)[1]
        values = {key: int(value) for key, value in re.findall(r"\b(mem_mb|disk_mb|runtime|unzip)=(\d+)", listed)}
        rule = found.setdefault(name, {})
        for key, value in values.items():
            rule[key] = max(value, rule.get(key, 0))
    return found


def documented():
    """Return {rule: (largest measured memory, requested memory, disk, minutes)}, the table of docs/resources.md."""
    found = {}
    for line in (ROOT / "docs" / "resources.md").read_text().splitlines():
        cells = [cell.strip().replace(",", "") for cell in line.strip("|").split("|")]
        if len(cells) == 6 and re.fullmatch(r"`\w+`", cells[0]):
            peaks, asked = ([int(cell) if cell != "-" else 0 for cell in part] for part in (cells[1:3], cells[3:]))
            found[cells[0].strip("`")] = (max(peaks), *asked)
    return found


@pytest.fixture(scope="module")
def competition(tmp_path_factory):
    """Requests at the size of the competition."""
    folder = tmp_path_factory.mktemp("competition")
    make_inputs(folder, COMPETITION)
    return folder, requests(folder)


def test_requests_at_the_size_of_the_competition_are_documented_and_above_the_measured_peaks(competition):
    found, table = competition[1], documented()
    assert {name for name in found if found[name]} == set(table)
    for name, (peak, memory, disk, minutes) in table.items():
        assert (found[name].get("mem_mb", 0), found[name].get("disk_mb", 0), found[name].get("runtime", 0)) == (
            pytest.approx(memory, rel=0.1), pytest.approx(disk, rel=0.1), pytest.approx(minutes, rel=0.1)
        ), name  # fmt: skip
        assert memory >= 1.3 * peak, name


def test_a_retry_requests_twice_as_much(competition):
    folder, first = competition
    second = requests(folder, "--attempt", "2")
    for name, resources in first.items():
        for key, amount in resources.items() - {("unzip", 1)}:
            assert 2 * amount - 1 <= second[name][key] <= 2 * amount, (name, key)


def test_requests_grow_with_the_number_of_tiles(competition, tmp_path):
    make_inputs(tmp_path, {split: count // 10 for split, count in COMPETITION.items()})
    small, large = requests(tmp_path), competition[1]
    for name in large.keys() - {"submission"}:
        assert small[name]["mem_mb"] < large[name]["mem_mb"], name
    # A tenth of what exceeds the fixed part.
    assert small["overlaps"]["mem_mb"] - 500 == pytest.approx((large["overlaps"]["mem_mb"] - 500) / 10, rel=0.01)
    assert small["train"]["mem_mb"] - 6000 == pytest.approx((large["train"]["mem_mb"] - 6000) / 10, rel=0.01)


def test_requests_of_networks_follow_the_model(competition):
    folder, first = competition
    large = requests(folder, model={"epochs": 12, "input_size": 384, "batch_size": 64})
    tiles = first["train"]["mem_mb"] - 6000
    assert large["train"]["mem_mb"] == pytest.approx(8 * 6000 + tiles, abs=1)
    assert large["train"]["runtime"] - 120 == pytest.approx(12 * (first["train"]["runtime"] - 120), rel=0.02)
    assert large["predict"]["runtime"] - 60 == pytest.approx(4 * (first["predict"]["runtime"] - 60), rel=0.02)
    small = requests(folder, model={"epochs": 1, "input_size": None, "batch_size": 8})
    assert small["train"]["mem_mb"] == first["train"]["mem_mb"]
    assert small["train"]["runtime"] < first["train"]["runtime"]


def test_requests_follow_the_largest_values_of_a_search(competition):
    """Of a model that takes its settings from it, those that it does not set itself."""
    folder, first = competition
    space = {
        "batch_size": {"choices": [32, 128]},
        "input_size": {"choices": [96, 192]},
        "epochs": {"low": 2, "high": 8},
    }
    search = {"model": "p4m", "sampler": "random", "trials": 2, "trials_per_batch": 2, "seed": 1, "folds": [0]}
    found = requests(
        folder, model={"search": "one", "batch_size": 32, "epochs": 4}, search={"one": search | {"space": space}}
    )
    tiles = first["train"]["mem_mb"] - 6000
    assert found["search_trial"]["mem_mb"] == pytest.approx(4 * 6000 + tiles, abs=1)
    assert found["train"]["mem_mb"] == pytest.approx(6000 + tiles, abs=1)
    assert found["search_trial"]["runtime"] - 120 == pytest.approx(2 * (found["train"]["runtime"] - 120), rel=0.02)


def test_requests_of_a_group_before_its_first_job_has_run(competition, tmp_path):
    """A group is submitted as one job: the files between its jobs do not exist yet."""
    make_inputs(tmp_path, COMPETITION)
    shutil.rmtree(tmp_path / "results" / "sized" / "unzip")
    shutil.rmtree(tmp_path / "results" / "sized" / "train")
    found = requests(tmp_path)
    for name in ("validate", "pack", "predict"):
        assert found[name]["mem_mb"] == pytest.approx(competition[1][name]["mem_mb"], rel=0.05), name


def test_profile_for_slurm_completes_the_requests(competition):
    profile = ("--workflow-profile", ROOT / "profiles" / "slurm", "--executor", "local", "--cores", "16")
    found, first = requests(competition[0], *profile), competition[1]
    for name in first.keys() - {"submission"}:
        assert found[name] == {"disk_mb": 1000, "runtime": 60} | first[name], name
    assert requests(competition[0], *profile, "--attempt", "2")["folds"]["runtime"] == 120


def test_request_for_a_folder_is_that_for_its_archive(competition, tmp_path):
    write_sparse(tmp_path / "tiles" / "train_labels.csv", COMPETITION["train"] * ROW)
    write_sparse(tmp_path / "tiles" / "sample_submission.csv", COMPETITION["test"] * ROW)
    make_inputs(tmp_path, COMPETITION)
    found = requests(tmp_path, dataset=f"dataset={{name: sized, source: folder, folder: {tmp_path / 'tiles'}}}")
    assert "unzip" not in found
    for name in ("index", "validate", "pack"):
        for resource in ("mem_mb", "disk_mb"):
            assert found[name][resource] == pytest.approx(competition[1][name][resource], rel=0.05)


def test_one_unzip_job_at_a_time_on_one_machine(competition):
    assert competition[1]["unzip"]["unzip"] == 1
    profile = yaml.safe_load((ROOT / "profiles" / "default" / "config.yaml").read_text())
    assert profile["resources"] == {"gpu": 1, "unzip": 1}


def test_a_disk_that_is_too_small_ends_the_run_before_its_first_job(tmp_path):
    """No disk has room for the two million tiles of 512 pixels."""
    tiles = "{train_tiles: 1000000, test_tiles: 1000000, train_slides: 2, test_slides: 1}"
    dataset = "{name: sized, source: synthetic, tile_side: 512}"
    done = snakemake(tmp_path, "submission", f"dataset={dataset}", f"synthesize={tiles}")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    tile = 3 * 512**2
    sizes = [2e6 * tile * 1.05, 2e6 * tile, 2e6 * tile * 2 / 3, FOLDS * 1e8]
    names = ("archive", "shards", "temporary files", "trainings")
    parts = "; ".join(f"{name} {size_text(int(size))}" for name, size in zip(names, sizes, strict=True))
    assert f"Not enough disk space in {tmp_path}" in done.stderr
    assert f"{sum(sizes) / 1e9:.2f} GB are needed ({parts})" in done.stderr
    assert not (tmp_path / "resources").exists() and not (tmp_path / "results").exists()
