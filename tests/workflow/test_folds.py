"""Folds by groups and by stain, side by side in one run."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from histo import tables
from histo.config.configuration import check
from histo.errors import InputError
from histo.files import read_json
from histo.predictions import join_folds
from histo.training import checkpoints
from support import ROOT
from support.chain import CONFIG, DATASET, job_counts, run_snakemake, snakemake

TARGETS = [f"results/small/folds{kind}.parquet" for kind in ("", "-by-groups", "-by-stain")]


@pytest.mark.slow
def test_both_kinds_of_folds_in_one_run(tiny_copy):
    files = ["--snakefile", ROOT / "Snakefile", "--directory", tiny_copy, "--configfile", *CONFIG]
    done = run_snakemake(*TARGETS, *files, "--config", DATASET, "folds={count: 2, by: stain}")
    assert done.returncode == 0, done.stderr
    assert {name: job_counts(done)[name] for name in ("folds", "stain_vectors")} == {"folds": 3, "stain_vectors": 2}
    default, by_groups, by_stain = (tables.read(tiny_copy / path, tables.FOLDS) for path in TARGETS)
    assert default.equals(by_stain)
    assert by_stain.drop(columns="fold").equals(by_groups.drop(columns="fold"))
    kinds = [read_json((tiny_copy / path).with_suffix(".json"))["by"] for path in TARGETS]
    assert kinds == ["stain", "groups", "stain"]


@pytest.mark.slow
def test_networks_are_evaluated_on_both_kinds_of_folds(tiny_copy):
    models = ("models={other: {seed: 8}}", "submission={models: [tiny, other]}")
    done = snakemake(tiny_copy, "submission", DATASET, "folds={also_by_stain: true}", *models)
    assert done.returncode == 0, done.stderr
    jobs = job_counts(done)
    # The networks of "tiny" by groups are there. Those of folds by stain predict the tiles of their fold alone.
    assert {name: jobs[name] for name in ("train", "predict", "predict_oof")} == {
        "train": 6, "predict": 2, "predict_oof": 4
    }  # fmt: skip
    assert (jobs["evaluate_by_stain"], jobs["ensemble_by_stain"]) == (2, 1)
    results = tiny_copy / "results/small"
    assert {path.parent.name for path in results.glob("predict/*/*/test.parquet")} == {"fold-0", "fold-1"}
    folds = tables.read(results / "folds-by-stain.parquet", tables.FOLDS)
    paths = [results / f"predict/tiny/stain-{k}/oof.parquet" for k in (0, 1)]
    joined = join_folds(paths, folds)  # each tile by the network of its fold by stain
    aucs = [roc_auc_score(part["label"], part["probability"]) for _, part in joined.groupby("fold")]
    evaluation = read_json(results / "evaluate-by-stain/tiny.json")
    assert [row["auc"] for row in evaluation["folds"]] == pytest.approx(aucs)
    assert evaluation["auc"] == pytest.approx(np.mean(aucs))
    for k in (0, 1):
        trained = checkpoints.load(results / f"train/tiny/stain-{k}/weights.pt")
        assert (trained["fold"], trained["tiles"]["training"]) == (k, int((folds["fold"] != k).sum()))
    other = join_folds([results / f"predict/other/stain-{k}/oof.parquet" for k in (0, 1)], folds)
    blended = joined.assign(probability=(joined["probability"] + other["probability"]) / 2)
    aucs = [roc_auc_score(part["label"], part["probability"]) for _, part in blended.groupby("fold")]
    ensemble = read_json(results / "ensemble-by-stain.json")
    assert [row["auc"] for row in ensemble["folds"]] == pytest.approx(aucs)
    page = (results / "report.html").read_text()
    assert "Same laboratory and new laboratory" in page
    for found in (evaluation, ensemble):
        assert f"{found['auc']:.4f}<small>{found['auc_low']:.4f} to {found['auc_high']:.4f}" in page
    assert "ensemble-by-stain.json" in page


def test_folds_by_stain_alone_have_no_second_kind():
    config = {"dataset": {"name": "small", "source": "kaggle"}, "folds": {"by": "stain", "also_by_stain": True}}
    with pytest.raises(InputError, match=r"also_by_stain needs by: groups"):
        check(config)


@pytest.mark.slow
def test_no_stain_is_measured_for_folds_by_groups(archive, tmp_path):
    archive.write(tmp_path / "archive.zip")
    done = snakemake(tmp_path, TARGETS[0], DATASET, "folds={count: 2}", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert job_counts(done)["folds"] == 1
    assert "stain_vectors" not in job_counts(done)


@pytest.mark.slow
def test_a_fraction_of_the_training_tiles_touches_nothing_before_the_folds(tiny_copy):
    done = snakemake(tiny_copy, "submission", DATASET, "folds={fraction: 0.5}")
    assert done.returncode == 0, done.stderr
    jobs = job_counts(done)
    assert (jobs["folds"], jobs["train"]) == (1, 2)
    assert not jobs.keys() & {"index", "unzip", "validate", "pack", "audit", "overlaps", "groups"}
    results = tiny_copy / "results/small"
    half = tables.read(results / "folds.parquet", tables.FOLDS)
    summary = read_json(results / "folds.json")
    assert 16 <= len(half) <= 24
    assert (summary["tiles"], summary["of"]) == (len(half), 40)
    training = [checkpoints.load(results / f"train/tiny/fold-{k}/weights.pt")["tiles"]["training"] for k in (0, 1)]
    assert sum(training) == len(half)
    assert len(tables.read(results / "ensemble/test.parquet", tables.probabilities(2))) == 10
