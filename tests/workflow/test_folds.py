"""Folds by groups and by stain, side by side in one run."""

import pytest

from histo import tables
from histo.files import read_json
from histo.training import checkpoints
from support import ROOT
from support.archives import Archive
from support.chain import CONFIG, job_counts, run_snakemake, snakemake

TARGETS = [f"results/small/folds{kind}.parquet" for kind in ("", "-by-groups", "-by-stain")]


@pytest.fixture
def dataset(random, tmp_path) -> str:
    """The settings of a small archive."""
    path = Archive(random, train=40, test=4).write(tmp_path / "a.zip")
    return f"dataset={{name: small, source: archive, archive: {path}}}"


@pytest.mark.slow
def test_both_kinds_of_folds_in_one_run(dataset, tmp_path):
    files = ["--snakefile", ROOT / "Snakefile", "--directory", tmp_path, "--configfile", *CONFIG]
    done = run_snakemake(*TARGETS, *files, "--config", dataset, "folds={count: 2, by: stain}")
    assert done.returncode == 0, done.stderr
    assert {name: job_counts(done)[name] for name in ("folds", "stain_vectors")} == {"folds": 3, "stain_vectors": 2}
    default, by_groups, by_stain = (tables.read(tmp_path / path, tables.FOLDS) for path in TARGETS)
    assert default.equals(by_stain)
    assert by_stain.drop(columns="fold").equals(by_groups.drop(columns="fold"))
    kinds = [read_json((tmp_path / path).with_suffix(".json"))["by"] for path in TARGETS]
    assert kinds == ["stain", "groups", "stain"]


@pytest.mark.slow
def test_no_stain_is_measured_for_folds_by_groups(dataset, tmp_path):
    done = snakemake(tmp_path, TARGETS[0], dataset, "folds={count: 2}", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert job_counts(done)["folds"] == 1
    assert "stain_vectors" not in job_counts(done)


@pytest.mark.slow
def test_a_fraction_of_the_training_tiles_touches_nothing_before_the_folds(random, tmp_path):
    path = Archive(random, train=80, test=8).write(tmp_path / "a.zip")
    dataset = f"dataset={{name: small, source: archive, archive: {path}}}"
    done = snakemake(tmp_path, "submission", dataset, "folds={fraction: 0.5}")
    assert done.returncode == 0, done.stderr
    results = tmp_path / "results/small"
    half = tables.read(results / "folds.parquet", tables.FOLDS)
    summary = read_json(results / "folds.json")
    assert 36 <= len(half) <= 44
    assert (summary["tiles"], summary["of"]) == (len(half), 80)
    training = [checkpoints.load(results / f"train/tiny/fold-{k}/weights.pt")["tiles"]["training"] for k in (0, 1)]
    assert sum(training) == len(half)
    assert len(tables.read(results / "ensemble/test.parquet", tables.probabilities(2))) == 8
    done = snakemake(tmp_path, "submission", dataset, "--dry-run")
    jobs = job_counts(done)
    assert (jobs["folds"], jobs["train"]) == (1, 2)
    assert not jobs.keys() & {"index", "unzip", "validate", "pack", "audit", "overlaps", "groups"}
