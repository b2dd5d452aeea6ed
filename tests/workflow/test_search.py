"""A search as a run of the workflow: trials are jobs, and a model takes the settings of the best one."""

import pandas as pd
import pytest

from histo.files import read_json
from histo.training import checkpoints
from support.chain import DATASET, job_counts, snakemake


def test_a_configuration_without_a_search_is_an_error(tmp_path):
    done = snakemake(tmp_path, "search", "dataset={name: none}")
    assert done.returncode != 0
    assert "The configuration has no section `search`" in done.stderr


@pytest.mark.slow
def test_trials_are_jobs_and_a_model_takes_the_best(tiny_copy):
    def run(target, trials, *options, sampler="random"):
        space = "{learning_rate: {low: 1e-3, high: 1e-2, log: true}, network.width: {choices: [8, 16]}}"
        sampling = f"sampler: {sampler}, trials: {trials}, trials_per_batch: 2, seed: 1, folds: [0]"
        return snakemake(
            tiny_copy, target, DATASET,
            f"search={{fine: {{model: tiny, {sampling}, space: {space}}}}}",
            "models={tuned: {search: fine, epochs: 2, batch_size: 4}}", *options,
        )  # fmt: skip

    done = run("search", 2)
    assert "Out-of-fold AUC" not in done.stderr  # of the submission before
    assert done.returncode == 0, done.stderr
    folder = tiny_copy / "results/small/search/fine"
    first = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.glob("trial-*.json"))}
    assert [path.name for path in first] == ["trial-001.json", "trial-002.json"]
    assert not list(folder.glob("*.pt"))

    done = run("search", 3)
    assert done.returncode == 0, done.stderr
    assert job_counts(done) == {"search": 1, "search_trial": 1, "search_best": 1, "search_page": 1}
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in first} == first
    trials = [read_json(path) for path in sorted(folder.glob("trial-*.json"))]
    assert len({trial["draws"]["learning_rate"] for trial in trials}) == 3
    assert len(pd.read_csv(folder / "trials.csv")) == 3
    assert "search_page" in job_counts(run("submission", 4, "submission={models: [tuned]}", "--dry-run"))

    done = run("submission", 3, "submission={models: [tuned]}")
    assert done.returncode == 0, done.stderr
    assert "Out-of-fold AUC" in done.stderr
    assert not job_counts(done).keys() & {"search_trial", "search_best"}
    best = max(trials, key=lambda trial: trial["score"])
    for fold in range(2):
        used = checkpoints.load(tiny_copy / f"results/small/train/tuned/fold-{fold}/weights.pt")["settings"]
        assert used["learning_rate"] == best["draws"]["learning_rate"]
        assert used["network"] == {"name": used["network"]["name"], "width": best["draws"]["network.width"]} | {
            key: used["network"][key] for key in used["network"] if key not in ("name", "width")
        }
        assert (used["epochs"], used["batch_size"], used["center_crop"]) == (2, 4, 32)
    report = (tiny_copy / "results/small/report.html").read_text()
    assert "tuned: a search chose the settings by validation AUC" in report
    assert str(best["draws"]["learning_rate"]) in report

    done = run("search", 2)
    assert job_counts(done) == {"search": 1, "search_best": 1, "search_page": 1}, done.stderr
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in first} == first
    done = run("submission", 2, "submission={models: [tuned]}", "--dry-run")
    same = best is max(trials[:2], key=lambda trial: trial["score"])
    assert job_counts(done).get("train", 0) == (0 if same else 2)  # only where the best trial is another one

    done = run("search", 5, "--dry-run", sampler="tpe")
    assert job_counts(done) == {"search": 1, "search_trial": 5, "search_best": 1, "search_page": 1}
