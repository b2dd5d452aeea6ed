"""Training runs: weights, history, selection of an epoch, early stopping, and resuming to the same bits."""

import ast
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from histo import tables
from histo.augmentation import plans
from histo.augmentation.fused import FusedAugmentation
from histo.errors import DivergedError, InputError
from histo.training import checkpoints, resume
from histo.training import loop as module
from histo.training.loader import STORAGES
from histo.training.loop import train
from support import ROOT
from support.curves import read_curves
from support.training import ALL_AUGMENTATIONS, CODE, make_split, settings, write_folds, write_tiles

# A training job as Snakemake starts it: its own process, one thread.
JOB = """
import json, logging, sys
logging.basicConfig(level=logging.INFO, stream=sys.stderr)
from histo.augmentation.fused import FusedAugmentation
from histo.config.train import TrainSettings
from histo.training.loop import train
job = json.load(open(sys.argv[1]))
train(job["shards"], job["folds"], job["weights"], job["history"], job["summary"], fold=0,
      settings=TrainSettings(**job["settings"]), code=job["code"], resume_path=job["resume"])
"""
LONGEST_FUNCTION = 60  # lines
TIMES = ["seconds", "tiles_per_second"]


def run(data, out, code=CODE, chosen=None, weights_in=None, keep_resume_file=False, **changes):
    """(checkpoint, history) of a training run with the settings `chosen`, else with `changes`."""
    folder, shards = data
    out.mkdir(exist_ok=True)
    train(
        shards, folder / "folds.parquet", out / "weights.pt", out / "history.csv", out / "training.json", fold=0,
        settings=chosen or settings(**changes), code=code, resume_path=out / "resume.pt", model="tiny",
        curves=out, weights_in=weights_in, keep_resume_file=keep_resume_file,
    )  # fmt: skip
    return checkpoints.load(out / "weights.pt"), pd.read_csv(out / "history.csv")


def interrupt(data, out, monkeypatch, after, **changes):
    """Train until SIGTERM arrives during step `after`."""
    step = module.Engine.train_step

    def stepping(self, images, labels):
        if self.step + 1 == after:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, images, labels)

    with monkeypatch.context() as patch:
        patch.setattr(module.Engine, "train_step", stepping)
        with pytest.raises(SystemExit) as end:
            run(data, out, **changes)
    assert end.value.code == 143


def test_weights_and_history_of_a_run(data, tmp_path):
    checkpoint, history = run(data, tmp_path / "a", epochs=6, augment=ALL_AUGMENTATIONS)
    assert list(history) == ["epoch", "step", "loss", "learning_rate", "validation_loss", "auc", *TIMES]
    assert history["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert history["step"].tolist() == [5, 10, 15, 20, 25, 30]  # 84 training tiles, batches of 16
    assert history["learning_rate"].idxmax() == 1 and (history[TIMES] > 0).all().all()
    assert checkpoint["auc"] == history["auc"].iloc[-1] and checkpoint["epoch"] == 6 and checkpoint["fold"] == 0
    assert checkpoint["tiles"] == {"training": 84, "validation": 42} and checkpoint["code"] == CODE
    assert checkpoint["normalisation"]["mean"] == pytest.approx([0.472] * 3, abs=0.02)
    summary = json.loads((tmp_path / "a/training.json").read_text())
    assert summary == {
        "parameters": summary["parameters"], "device": "CPU, 1 thread", "precision": "float32",
        "weights_sha256": checkpoints.digest(checkpoint["weights"]["last"]),
    }  # fmt: skip
    assert summary["parameters"] == sum(
        v.numel() for k, v in checkpoint["weights"]["last"].items() if "body" in k and "num_batches" not in k
    )
    assert not (tmp_path / "a/resume.pt").exists()


def test_it_learns_to_classify_the_centre(data, tmp_path):
    checkpoint, history = run(data, tmp_path, epochs=10)
    assert checkpoint["auc"] > 0.95 and history["loss"].iloc[-1] < 0.5 * history["loss"].iloc[0]


def test_equal_seeds_give_equal_bits(data, tmp_path):
    content = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(data, tmp_path / name, seed=seed, augment=ALL_AUGMENTATIONS)
        content.append((tmp_path / name / "weights.pt").read_bytes())
    assert content[0] == content[1] != content[2]


def test_each_network_of_a_model_has_its_own_random_numbers(data, tmp_path):
    """The seed of a network is the setting plus the number of its fold or replicate."""
    folder, shards = data
    states = {}
    for name, fold, replicate, seed in (("a", 1, 0, 3), ("b", None, 1, 3), ("c", None, 1, 3), ("d", None, 0, 4)):
        out = tmp_path / name
        out.mkdir()
        train(
            shards, folder / "folds.parquet", out / "weights.pt", out / "history.csv", out / "training.json", fold=fold,
            replicate=replicate, settings=settings(seed=seed), code=CODE, resume_path=out / "resume.pt",
        )  # fmt: skip
        states[name] = checkpoints.load(out / "weights.pt")
    assert {state["settings"]["seed"] for state in states.values()} == {4}
    weights = {name: state["weights"]["last"]["body.0.weight"] for name, state in states.items()}
    assert torch.equal(weights["b"], weights["c"]) and torch.equal(weights["b"], weights["d"])
    assert not torch.equal(weights["a"], weights["b"])


def test_training_on_all_tiles(data, tmp_path):
    folder, shards = data
    paths = [folder / "folds.parquet", *(tmp_path / name for name in ("weights.pt", "history.csv", "training.json"))]

    def run_all(**changes):
        train(
            shards, *paths, fold=None, settings=settings(**changes), code=CODE,
            resume_path=tmp_path / "resume.pt",
        )  # fmt: skip

    run_all(ema=0.9, checkpoint="ema")
    checkpoint, history = checkpoints.load(paths[1]), pd.read_csv(paths[2])
    assert checkpoint["tiles"] == {"training": 126, "validation": 0} and checkpoint["fold"] == -1
    assert np.isnan(checkpoint["auc"]) and history["auc"].isna().all() and history["step"].tolist() == [7, 14]
    for changes in ({"checkpoint": "best"}, {"patience": 1}):
        with pytest.raises(InputError, match="trained on all tiles have no validation tiles"):
            run_all(**changes)


def test_all_storage_modes_give_the_same_bits(data, tmp_path, monkeypatch):
    content = set()
    for storage in STORAGES:
        monkeypatch.setenv("HISTO_TILES_STORAGE", storage)
        run(data, tmp_path / storage, augment=ALL_AUGMENTATIONS)
        content.add((tmp_path / storage / "weights.pt").read_bytes())
    assert len(content) == 1


@pytest.mark.parametrize("storage", STORAGES)
def test_fused_augmentation_gives_the_same_losses(data, tmp_path, monkeypatch, storage):
    _, expected = run(data, tmp_path / "apply", augment=ALL_AUGMENTATIONS)
    monkeypatch.setenv("HISTO_TILES_STORAGE", storage)
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setattr(module, "fused_for", lambda settings, device: FusedAugmentation())
    monkeypatch.setattr(module, "apply", None)
    _, found = run(data, tmp_path / "fused", augment=ALL_AUGMENTATIONS)
    assert found["loss"].tolist() == pytest.approx(expected["loss"].tolist(), abs=1e-4)


def test_checkpoint_selects_the_weights(data, tmp_path):
    same = {"epochs": 4, "ema": 0.9, "learning_rate": 0.02}
    by_name = {kind: run(data, tmp_path / kind, checkpoint=kind, **same) for kind in ("last", "best", "ema")}
    for kind, (checkpoint, history) in by_name.items():
        assert set(checkpoint["weights"]) == {"last", "best", "ema"}
        epoch = history["auc"].idxmax() + 1 if kind == "best" else 4
        assert checkpoint["epoch"] == epoch and checkpoint["auc"] == history["auc"][epoch - 1]
    last, ema = (by_name[kind][0]["weights"] for kind in ("last", "ema"))
    assert torch.equal(last["last"]["body.0.weight"], ema["last"]["body.0.weight"])
    assert not torch.equal(ema["ema"]["body.0.weight"], ema["last"]["body.0.weight"])


def test_patience_ends_the_run(data, tmp_path, monkeypatch):
    scores = iter([0.6, 0.7, 0.65, 0.7, 0.9])
    monkeypatch.setattr(module, "auc", lambda labels, logits: next(scores))
    checkpoint, history = run(data, tmp_path, epochs=5, patience=2, checkpoint="best")
    assert history["auc"].tolist() == [0.6, 0.7, 0.65, 0.7]
    assert checkpoint["epoch"] == 2 and checkpoint["auc"] == 0.7


def test_a_loss_that_is_not_finite_is_reported_with_the_settings_to_change(data, tmp_path):
    # The configuration does not allow a learning rate that diverges for certain.
    chosen = settings(gradient_clip=0.0, warmup=0.0).model_copy(update={"learning_rate": 1e30})
    with pytest.raises(DivergedError, match=r"not finite at epoch \d, step \d.*Lower learning_rate \(now 1e\+30\)"):
        run(data, tmp_path, chosen=chosen)


def test_deterministic_kernels_change_no_bit_on_a_cpu(data, tmp_path):
    found = []
    for deterministic in (False, True):
        checkpoint, _ = run(
            data, tmp_path / str(deterministic), deterministic=deterministic, epochs=1, augment=ALL_AUGMENTATIONS
        )
        found.append(checkpoint["weights"]["last"])
    assert not torch.are_deterministic_algorithms_enabled()
    assert all(torch.equal(value, found[1][key]) for key, value in found[0].items())


def test_a_fold_without_both_labels_is_refused(data, tmp_path):
    with pytest.raises(InputError, match=r"fold 5: expected validation tiles of both labels, found 0 tiles .* \[\]\."):
        folder, shards = data
        train(
            shards, folder / "folds.parquet", tmp_path / "w", tmp_path / "h", tmp_path / "f", fold=5,
            settings=settings(), code=CODE, resume_path=tmp_path / "r",
        )  # fmt: skip


@pytest.mark.parametrize("after", [1, 5, 7, 10])  # first step, last of an epoch, within an epoch, last of the run
def test_resumed_after_sigterm_it_ends_with_the_same_bits(data, tmp_path, monkeypatch, after, caplog):
    same = {
        "augment": ALL_AUGMENTATIONS,
        "ema": 0.9,
        "network": {"name": "residual", "width": 8, "blocks": 1, "dropout": 0.2},
    }
    _, history = run(data, tmp_path / "undisturbed", **same)
    interrupt(data, tmp_path / "killed", monkeypatch, after, **same)
    assert (tmp_path / "killed/resume.pt").exists() and not (tmp_path / "killed/weights.pt").exists()
    with caplog.at_level("INFO"):
        _, continued = run(data, tmp_path / "killed", **same)
    assert "[tiny fold-0 (1/3)] Resumed after epoch" in caplog.text
    assert "[tiny fold-0 (1/3)] epoch 2/2 step 5/5 loss " in caplog.text
    curves, expected = (read_curves(tmp_path / name) for name in ("killed", "undisturbed"))
    assert [step for step, _ in curves["train/loss"]] == list(range(1, 11))
    for name in ("train/loss", "train/learning_rate", "train/loss_of_epoch", "validation/AUC", "validation/loss"):
        assert [step for step, _ in curves[name]] == [step for step, _ in expected[name]]
        assert [value for _, value in curves[name]] == pytest.approx([value for _, value in expected[name]])
    assert len(list((tmp_path / "killed").glob("*tfevents*"))) == 2
    assert (tmp_path / "killed/weights.pt").read_bytes() == (tmp_path / "undisturbed/weights.pt").read_bytes()
    pd.testing.assert_frame_equal(continued.drop(columns=TIMES), history.drop(columns=TIMES), check_exact=True)
    assert list((tmp_path / "killed").glob(".*")) == [] and not (tmp_path / "killed/resume.pt").exists()


def test_an_optimizer_and_augmentation_of_the_users_resume_with_the_same_bits(data, tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "extending.md").read_text(), re.S)
    (tmp_path / "own.py").write_text("".join(block for block in blocks if "def sgd" in block or "def grey" in block))
    own = {
        name: f"{tmp_path / 'own.py'}:{function}"
        for name, function in (("optimizer", "sgd"), ("augmentation", "greyscale"))
    }
    own["augment"] = ALL_AUGMENTATIONS
    whole, _ = run(data, tmp_path / "undisturbed", **own)
    interrupt(data, tmp_path / "killed", monkeypatch, 7, **own)
    run(data, tmp_path / "killed", **own)
    assert (tmp_path / "killed/weights.pt").read_bytes() == (tmp_path / "undisturbed/weights.pt").read_bytes()
    for name, value in (("optimizer", "adamw"), ("augmentation", None)):
        other, _ = run(data, tmp_path / name, **own | {name: value})
        pairs = zip(whole["weights"]["last"].values(), other["weights"]["last"].values(), strict=True)
        assert not all(torch.equal(one, two) for one, two in pairs)


class Killed(BaseException):
    """Ends a run in place of SIGKILL."""


def test_a_killed_run_loses_at_most_the_interval(data, tmp_path, monkeypatch):
    """A step takes a second of the test's clock, the interval is 7 seconds, an epoch has 5 steps."""
    same = {"epochs": 4, "ema": 0.9, "augment": ALL_AUGMENTATIONS}
    run(data, tmp_path / "undisturbed", **same)
    seconds, saved, first_steps = [0], [], []
    step, save = module.Engine.train_step, module.ResumeFile.save

    def stepping(self, images, labels):
        first_steps[-1] = first_steps[-1] if first_steps[-1] is not None else self.step
        if kill and self.step + 1 == kill[0]:
            raise Killed(kill.pop(0))
        seconds[0] += 1
        return step(self, images, labels)

    def saving(self, state):
        saved.append(state["engine"]["step"])
        save(self, state)

    monkeypatch.setenv("HISTO_SAVE_SECONDS", "7")
    monkeypatch.setattr(resume, "time", types.SimpleNamespace(monotonic=lambda: seconds[0]))
    monkeypatch.setattr(module.Engine, "train_step", stepping)
    monkeypatch.setattr(module.ResumeFile, "save", saving)
    kill = [6, 14, 18]
    while not (tmp_path / "killed/weights.pt").exists():
        first_steps.append(None)
        with contextlib.suppress(Killed):
            run(data, tmp_path / "killed", **same)
    # Killed in step 6: nothing saved. In step 14: saved after step 7. In step 18: saved after step 14 = 7 + 7.
    assert first_steps == [0, 0, 7, 14]
    assert saved == [7, 14]
    assert (tmp_path / "killed/weights.pt").read_bytes() == (tmp_path / "undisturbed/weights.pt").read_bytes()


def test_sigterm_in_validation_saves_the_complete_epoch(data, tmp_path, monkeypatch):
    run(data, tmp_path / "undisturbed")
    validate = module.validate

    def validating(run, progress):
        os.kill(os.getpid(), signal.SIGTERM)
        validate(run, progress)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(module, "validate", validating)
        run(data, tmp_path / "killed")
    state = torch.load(tmp_path / "killed/resume.pt", weights_only=True)["state"]
    assert state["engine"]["step"] == 5 and len(state["progress"]["history"]) == 1
    run(data, tmp_path / "killed")
    assert (tmp_path / "killed/weights.pt").read_bytes() == (tmp_path / "undisturbed/weights.pt").read_bytes()


@pytest.mark.parametrize("what", ["settings", "code", "folds", "shards", "damage"])
def test_a_resume_file_of_another_run_is_refused(data, tmp_path, monkeypatch, what, caplog):
    interrupt(data, tmp_path / "killed", monkeypatch, 7)
    changes = {"code": {"train.py": "other"}} if what == "code" else {}
    if what == "settings":
        changes["weight_decay"] = 0.01
    elif what == "damage":
        path = tmp_path / "killed/resume.pt"
        path.write_bytes(path.read_bytes()[:1000])
    elif what == "folds":
        (tmp_path / "other").mkdir()
        shards, frame = make_split(tmp_path / "other", "train", (60, 66))
        write_folds(frame.iloc[:-4], tmp_path / "other/folds.parquet")
        data = (tmp_path / "other", shards)
    elif what == "shards":
        (tmp_path / "other").mkdir()
        monkeypatch.setattr("support.training.images", lambda count, seed, labels: np.zeros((count, 96, 96, 3)))
        shards, _ = make_split(tmp_path / "other", "train", (60, 66))
        data = (data[0], shards)
    with caplog.at_level("INFO"):
        run(data, tmp_path / "killed", **changes)
    expected = "not readable" if what == "damage" else f"from a run with different {what}. The run starts from the"
    assert expected in caplog.text and "Resumed" not in caplog.text
    run(data, tmp_path / "fresh", **changes)
    assert (tmp_path / "killed/weights.pt").read_bytes() == (tmp_path / "fresh/weights.pt").read_bytes()


def start(folder, out, shards):
    """Start a training job in its own process, which saves after nearly every step."""
    out.mkdir(exist_ok=True)
    chosen = settings(epochs=4, augment=ALL_AUGMENTATIONS, ema=0.9, precision="auto")
    names = {"weights": "weights.pt", "history": "history.csv", "summary": "training.json", "resume": "resume.pt"}
    job = {"shards": shards, "folds": str(folder / "folds.parquet"), "settings": chosen.model_dump(), "code": CODE}
    (out / "job.json").write_text(json.dumps(job | {key: str(out / name) for key, name in names.items()}))
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "workflow/scripts"), "OMP_NUM_THREADS": "1", "HISTO_SAVE_SECONDS": "0.02",
    }  # fmt: skip
    with open(out / "log", "a") as log:
        return subprocess.Popen([sys.executable, "-c", JOB, out / "job.json"], env=environment, stderr=log)


def test_killed_after_its_end_it_goes_on_from_its_last_save(data, tmp_path, monkeypatch, caplog):
    """SLURM's signal came while the job of a complete training ended, and Snakemake deleted its outputs."""
    monkeypatch.setenv("HISTO_SAVE_SECONDS", "0")
    first, _ = run(data, tmp_path, epochs=2, keep_resume_file=True)
    for name in ("weights.pt", "history.csv", "training.json"):
        (tmp_path / name).unlink()
    with caplog.at_level("INFO"):
        second, history = run(data, tmp_path, epochs=2)
    assert "Resumed after epoch" in caplog.text
    assert len(history) == 2
    digests = [checkpoints.digest(state["weights"]["last"]) for state in (first, second)]
    assert digests[0] == digests[1]
    assert not (tmp_path / "resume.pt").exists()


def test_more_epochs_of_a_constant_learning_rate_go_on_from_the_last(data, tmp_path, caplog):
    """The result is that of a run with as many epochs; fewer epochs begin anew."""
    constant = {"schedule": "constant", "ema": 0.9}
    expected = {epochs: run(data, tmp_path / str(epochs), epochs=epochs, **constant) for epochs in (1, 3)}
    for epochs, resumed in ((2, False), (3, True), (1, False)):
        caplog.clear()
        with caplog.at_level("INFO"):
            found, history = run(data, tmp_path / "same", epochs=epochs, **constant)
        assert ("Resumed after epoch 2, step 0" in caplog.text) == resumed
        if epochs in expected:
            assert checkpoints.digest(found["weights"]["ema"]) == checkpoints.digest(
                expected[epochs][0]["weights"]["ema"]
            )
            assert history.drop(columns=TIMES).equals(expected[epochs][1].drop(columns=TIMES))
    caplog.clear()
    with caplog.at_level("INFO"):
        run(data, tmp_path / "same", epochs=3, **constant, learning_rate=0.01)
    assert "from a run with different settings" in caplog.text


@pytest.mark.slow
def test_killed_at_any_point_it_ends_with_the_same_bits(data, tmp_path):
    """Runs with ten kills at random times give the weights, history and predictions of an undisturbed run."""
    from predict import predict

    folder, shards = data
    test_shards, test_frame = make_split(tmp_path, "test", (20,))
    write_tiles(test_frame, tmp_path / "tiles.parquet")

    def outcome(out):
        predictions = [out / "oof.parquet", out / "test.parquet"]
        predict(
            out / "weights.pt", shards, test_shards, folder / "folds.parquet", tmp_path / "tiles.parquet", *predictions,
            tta="flips", average="logits",
        )  # fmt: skip
        history = pd.read_csv(out / "history.csv").drop(columns=TIMES).to_csv()
        return (out / "weights.pt").read_bytes(), history, *(path.read_bytes() for path in predictions)

    def wait_for_training(out, job):
        """Wait until the job trains or has ended."""
        while job.poll() is None and "training and" not in (out / "log").read_text():
            time.sleep(0.01)

    job = start(folder, tmp_path / "undisturbed", shards)
    wait_for_training(tmp_path / "undisturbed", job)
    start_time = time.monotonic()
    assert job.wait() == 0
    duration, expected = time.monotonic() - start_time, outcome(tmp_path / "undisturbed")
    generator = random.Random(1)
    killed = resumed = number = 0
    # Some times are after the end of the run, so more runs than kills are needed.
    while (killed < 10 or resumed < 3) and number < 30:
        out = tmp_path / str(number)
        for attempt in range(2):
            if (out / "weights.pt").exists():  # it ended before it was killed; another start would train again
                break
            job = start(folder, out, shards)
            wait_for_training(out, job)
            begun = time.monotonic()
            try:
                job.wait(generator.uniform(0, duration))
                if attempt == 0:  # the machine may have less to do than before
                    duration = (duration + time.monotonic() - begun) / 2
            except subprocess.TimeoutExpired:
                job.kill()
                job.wait()
                killed += 1
            resumed += "Resumed" in (out / "log").read_text()
            (out / "log").write_text("")
        if not (out / "weights.pt").exists():
            assert start(folder, out, shards).wait() == 0
            resumed += "Resumed" in (out / "log").read_text()
        assert outcome(out) == expected, f"run {number} differs"
        number += 1
    assert killed >= 10
    assert resumed >= 3


@pytest.mark.parametrize("monitor", ["auc", "loss"])
def test_the_best_epoch_is_that_of_the_monitored_metric(data, tmp_path, monitor):
    kept, history = run(
        data, tmp_path, epochs=4, checkpoint="best", monitor=monitor, learning_rate=0.05, schedule="constant"
    )
    best = history["auc"].idxmax() if monitor == "auc" else history["validation_loss"].idxmin()
    assert kept["epoch"] == history["epoch"][best]
    assert kept["auc"] == pytest.approx(history["auc"][best])
    assert (history["learning_rate"] == 0.05).all()


def test_imagenet_normalisation_is_part_of_the_weights(data, tmp_path):
    kept, _ = run(data, tmp_path, epochs=1, normalisation="imagenet")
    assert kept["normalisation"]["mean"] == pytest.approx([0.485, 0.456, 0.406])
    assert kept["normalisation"]["std"] == pytest.approx([0.229, 0.224, 0.225])


@pytest.mark.parametrize("normalisation", ["tiles", "imagenet"])
def test_augmentation_gets_the_mean_colour_of_the_tiles(data, tmp_path, monkeypatch, normalisation):
    means, plan = [], plans.plan

    def planning(settings, **arguments):
        means.append(arguments["mean"])
        return plan(settings, **arguments)

    monkeypatch.setattr(plans, "plan", planning)
    run(data, tmp_path, epochs=1, normalisation=normalisation)
    # Uniform random values; the centres, 1/9 of the pixels, of half of the tiles are halved.
    assert len(means) == 1 and np.allclose(means, 0.5 - 0.25 / 9 / 2, atol=0.003)


def parameters(network):
    return {name: value for name, value in network.named_parameters()}


def test_a_warm_start_begins_with_the_weights_that_predict(data, tmp_path):
    first, _ = run(data, tmp_path / "first", epochs=2, ema=0.5, checkpoint="ema")
    expected = parameters(checkpoints.load_network(first))
    assert any(not torch.equal(value, first["weights"]["last"][name]) for name, value in expected.items())
    still = {"epochs": 1, "learning_rate": 1e-30, "weight_decay": 0, "seed": 9, "normalisation": "imagenet"}
    source = tmp_path / "first" / "weights.pt"
    second, _ = run(data, tmp_path / "second", weights_in=str(source), warm_start="first", **still)
    found = parameters(checkpoints.load_network(second))
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)
    assert second["normalisation"] != first["normalisation"]
    with pytest.raises(InputError, match=r"^warm_start: expected the weights of first, found none"):
        run(data, tmp_path / "none", warm_start="first", **still)
    network = {"name": "residual", "width": 16, "blocks": 1}
    with pytest.raises(InputError, match=r"weights\.pt: the weights do not fit this network"):
        run(data, tmp_path / "wide", weights_in=str(source), warm_start="first", network=network, **still)


def test_pos_weight_from_the_counts_of_the_fold(data, tmp_path):
    folder, shards = data
    table = pd.read_parquet(folder / "folds.parquet")
    # 84 training tiles, half of them positive; without 14 positive ones: 42 negative and 28 positive.
    positive = table.index[(table["fold"] != 0) & (table["label"] == 1)]
    tables.write(table.drop(positive[:14]), tmp_path / "folds.parquet", tables.FOLDS)
    out = [tmp_path / name for name in ("weights.pt", "history.csv", "training.json")]
    losses, recorded = [], []
    for weight in (None, 42 / 28, 1.0):
        train(
            shards, tmp_path / "folds.parquet", *out, fold=0, settings=settings(pos_weight=weight), code=CODE,
            resume_path=tmp_path / "resume.pt",
        )  # fmt: skip
        losses.append(pd.read_csv(out[1])["loss"].tolist())
        recorded.append(checkpoints.load(out[0])["settings"]["pos_weight"])
    assert losses[0] == losses[1] != losses[2]
    assert recorded == [1.5, 1.5, 1.0]


def test_stain_normalisation_is_recorded_with_the_weights(data, tmp_path):
    folder, shards = data
    recorded = []
    for stain in (None, "macenko"):
        train(
            shards, folder / "folds.parquet", tmp_path / "weights.pt", tmp_path / "history.csv", tmp_path / "s.json",
            fold=0, settings=settings(epochs=1), code=CODE, resume_path=tmp_path / "resume.pt", stain=stain,
        )  # fmt: skip
        recorded.append(checkpoints.load(tmp_path / "weights.pt")["settings"])
    assert recorded[0] == settings(epochs=1).model_dump()
    assert recorded[1] == recorded[0] | {"stain": "macenko"}


def test_functions_are_short():
    too_long = {}
    for path in Path(module.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and (lines := node.end_lineno - node.lineno + 1) > LONGEST_FUNCTION:
                too_long[f"{path.name}:{node.name}"] = lines
    assert too_long == {}
