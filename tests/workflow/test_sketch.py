"""`sketch` on a finished run: it ends with an estimate, and the run is as it was."""

import re

import pytest

from histo.files import read_json
from support import ROOT
from support.chain import job_counts, run_snakemake


@pytest.mark.slow
def test_a_sketch_estimates_the_run_and_leaves_it_alone(finished):
    folder, run = finished
    one = ("--configfile", "tiny.yaml", "--config", "submission={models: [tiny]}")
    done = run_snakemake("sketch", *one, folder=folder)
    assert done.returncode == 0, done.stderr
    assert job_counts(done) == {"sketch_folds": 1, "sketch": 1}
    found = read_json(folder / "results/small/sketch.json")
    auc = found["small_network"]["auc"]
    assert f"AUC of the sketch's own network: {auc:.4f} on " in done.stderr
    assert re.search(r"^\| train +\| 2 +\| 2 +\|", done.stderr, re.MULTILINE)

    folds = [row["tiles"] for row in read_json(folder / "results/small/folds.json")["folds"]]
    speed = found["speeds"]["tiny"]
    assert found["planned"]["tiny"]["networks"] == ["fold-0", "fold-1"]
    each = [
        speed["start"] + other / speed["training"] + own / speed["prediction"]
        for own, other in (folds, folds[::-1])  # one epoch; on two cores both at a time
    ]
    stages = {row["stage"]: row for row in found["network_stages"]}
    assert stages["train"] == {"stage": "train", "jobs": 2, "at_once": 2, "seconds": pytest.approx(max(each))}
    assert stages["predict"]["jobs"] == 2
    measured = {row["stage"]: row["jobs"] for row in found["measured_stages"]}
    assert measured.items() >= {"index": 1, "unzip": 3, "validate": 3, "pack": 3, "folds": 1}.items()
    assert "train" not in measured
    shard = 50 * 96 * 96 * 3 // 3  # bytes: 50 tiles in three shards
    assert found["disk"] == {"shards": 3 * shard, "temporary files": 2 * shard, "trainings": 2 * 10**8}
    assert found["memory_mb"]["train"] > 6000

    assert job_counts(run("--dry-run")) == {}


@pytest.mark.slow
def test_a_sketch_needs_no_limits_of_resources(finished):
    """Those of profiles/default are replaced by `--resources` and by another profile."""
    slurm = ("--workflow-profile", ROOT / "profiles" / "slurm", "--executor", "local")
    for options in (("--resources", "gpu=2"), ("--workflow-profile", "none"), slurm):
        done = run_snakemake("sketch", "--dry-run", "--configfile", "tiny.yaml", *options, folder=finished[0])
        assert done.returncode == 0, done.stderr
        assert job_counts(done) == {"sketch_folds": 1, "sketch": 1} or job_counts(done) == {"sketch": 1}
