"""A trial of a search: what it samples, how it trains, and what it writes."""

import os
import signal

import numpy as np
import pandas as pd
import pytest

from histo.errors import InputError
from histo.files import read_json, write_json
from histo.training import loop
from histo.training.requeue import position
from histo.training.trial_sampling import sample
from search_trial import resume_files, search_trial
from support.curves import read_curves
from support.search import RATE, WIDTH, trial_result
from support.training import CODE, make_training_tiles, settings

SPACE = {"learning_rate": RATE, "network.width": WIDTH}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folder of folds.parquet and paths of the training shards."""
    folder = tmp_path_factory.mktemp("data")
    return folder, make_training_tiles(folder)


def run_trial(data, output, trial=1, earlier=(), base=None, folds=(0,), space=None, sampler="random"):
    """Run a trial and return what it wrote; base: changes to the settings of the tiny model."""
    folder, shards = data
    search_trial(
        shards, str(folder / "folds.parquet"), list(earlier), output, trial=trial, code=CODE,
        settings={
            "base": settings(epochs=2).model_dump() | (base or {}), "space": space or SPACE, "sampler": sampler,
            "seed": 4, "folds": list(folds),
        },
    )  # fmt: skip
    return read_json(output)


def test_a_trial_trains_with_the_settings_that_it_sampled(data, tmp_path):
    result = run_trial(data, tmp_path / "trial-001.json", folds=(0, 2))
    assert result["draws"] == sample(SPACE, sampler="random", seed=4, trial=1, earlier=[])
    folder, shards = data
    network = settings().network.model_dump() | {"width": result["draws"]["network.width"]}
    sampled = settings(epochs=2, learning_rate=result["draws"]["learning_rate"], network=network)
    for row in result["folds"]:
        out = tmp_path / f"own-{row['fold']}"
        loop.train(
            shards, folder / "folds.parquet", out / "weights.pt", out / "history.csv", out / "training.json",
            fold=row["fold"], settings=sampled, code=CODE, resume_path=out / "resume.pt",
        )  # fmt: skip
        history = pd.read_csv(out / "history.csv")
        best = history.loc[history["auc"].idxmax()]
        assert (row["auc"], row["loss"]) == (best["auc"], best["validation_loss"])
        assert (row["best_epoch"], row["epochs"]) == (best["epoch"], 2)
        assert row["aucs"] == history["auc"].tolist()
    assert result["score"] == pytest.approx(np.mean([row["auc"] for row in result["folds"]]), abs=1e-12)
    assert (result["trial"], result["epochs"], result["failed"]) == (1, 4, None)
    assert result["seconds"] == pytest.approx(sum(row["seconds"] for row in result["folds"]))
    assert result["seconds"] > 0
    assert sorted(path.name for path in tmp_path.glob("trial*")) == ["trial-001", "trial-001.json"]
    for fold in (0, 2):
        curve = read_curves(tmp_path / f"trial-001/fold-{fold}")["validation/AUC"]
        assert len(curve) == 2


def test_a_trial_stops_early(data, tmp_path):
    """With a learning rate of nearly 0, nothing improves after the first one or two epochs."""
    space = {"learning_rate": {"choices": [1e-12]}}
    result = run_trial(data, tmp_path / "t.json", base={"epochs": 40, "patience": 2}, space=space)
    assert result["epochs"] < 12


def test_a_diverged_training_is_a_result(data, tmp_path, monkeypatch):
    # The configuration does not allow a learning rate that always diverges.
    monkeypatch.setattr("histo.training.engine.learning_rate", lambda step, steps, settings: 1e30)
    base = {"gradient_clip": 0.0, "epochs": 4}
    result = run_trial(data, tmp_path / "t.json", base=base, space={"learning_rate": {"choices": [0.5]}})
    assert (result["score"], result["loss"], result["epochs"]) == (None, None, 0)
    assert result["failed"].startswith("fold 0: The lo") and "not finite at epoch" in result["failed"]
    assert result["draws"] == {"learning_rate": 0.5}


def test_unusable_input_is_an_error(data, tmp_path):
    with pytest.raises(InputError, match="fold 9: expected validation tiles of both labels"):
        run_trial(data, tmp_path / "t.json", folds=(9,))
    assert not (tmp_path / "t.json").exists()


def test_a_killed_trial_resumes(data, tmp_path, monkeypatch):
    uninterrupted = run_trial(data, tmp_path / "uninterrupted.json", base={"epochs": 3})
    steps = []
    step = loop.Engine.train_step

    def counting_step(self, images, labels):
        steps.append(self.step)
        if len(steps) == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, images, labels)

    monkeypatch.setattr(loop.Engine, "train_step", counting_step)
    with pytest.raises(SystemExit):
        run_trial(data, tmp_path / "trial-001.json", base={"epochs": 3})
    assert [path.name for path in tmp_path.glob("trial*.*")] == ["trial-001.fold-0.resume.pt"]
    resumed = run_trial(data, tmp_path / "trial-001.json", base={"epochs": 3})
    assert len(steps) == 15  # three epochs of five steps, none of them twice
    assert sorted(path.name for path in tmp_path.glob("trial*")) == ["trial-001", "trial-001.json"]
    curve = read_curves(tmp_path / "trial-001/fold-0")["validation/AUC"]
    assert [step for step, _ in curve] == [5, 10, 15]
    for result in (uninterrupted, resumed):
        result.pop("seconds"), result["folds"][0].pop("seconds")
    assert resumed == uninterrupted


def test_finished_folds_are_not_trained_again(data, tmp_path, monkeypatch):
    """A trial of two folds that is killed before the second one is trained."""
    output, trained = tmp_path / "trial-001.json", []
    uninterrupted = run_trial(data, tmp_path / "uninterrupted.json", folds=(0, 2))

    def killed_before_another(*arguments, fold, **options):
        if fold not in trained and len(trained) == 1:
            trained.append(fold)
            raise SystemExit(143)
        trained.append(fold)
        loop.train(*arguments, fold=fold, **options)

    monkeypatch.setattr("search_trial.train", killed_before_another)
    finished, *trainings = resume_files(output, [0, 2])
    with pytest.raises(SystemExit):
        run_trial(data, output, folds=(0, 2))
    assert [position(path) for path in (finished, *trainings)] == [(1, 0), None, None]
    resumed = run_trial(data, output, folds=(0, 2))
    assert trained == [0, 2, 2]
    assert not finished.exists()
    for result in (uninterrupted, resumed):
        result.pop("seconds")
        for row in result["folds"]:
            row.pop("seconds")
    assert resumed == uninterrupted


def test_tpe_learns_from_earlier_trials(data, tmp_path):
    """In 16 earlier trials, the lowest learning rates have the best scores; tpe samples a low one."""
    paths = [tmp_path / f"{k}.json" for k in range(16)]
    for k, path in enumerate(paths):
        rate = 0.0005 * 100 ** (k / 15)
        write_json(path, trial_result(k + 1, 1 - k / 20, learning_rate=rate))
    result = run_trial(
        data, tmp_path / "t.json", trial=17, earlier=map(str, paths), sampler="tpe", space={"learning_rate": RATE},
        base={"epochs": 1},
    )  # fmt: skip
    assert result["draws"]["learning_rate"] < 0.003
