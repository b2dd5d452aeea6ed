import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch

from histo import tables
from histo.errors import DivergedError, InputError
from histo.training import checkpoints
from histo.training import loop as module
from histo.training.loop import train
from support import ROOT
from support.training import CODE, LIVELY, make_split, settings, write_folds, write_tiles

# A training job as Snakemake starts it: its own process, one thread.
JOB = """
import json, logging, sys
logging.basicConfig(level=logging.INFO, stream=sys.stderr)
from histo.training.loop import train
job = json.load(open(sys.argv[1]))
train(job["shards"], job["folds"], job["weights"], job["history"], job["figures"], fold=0, settings=job["settings"],
      code=job["code"], threads=1, resume_path=job["resume"])
"""
TIMES = ["seconds", "tiles_per_second"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    shards, frame = make_split(folder, "train", (60, 66))
    write_folds(frame, folder / "folds.parquet")
    return folder, shards


def run(made, out, code=CODE, **changes):
    folder, shards = made
    out.mkdir(exist_ok=True)
    train(
        shards, folder / "folds.parquet", out / "weights.pt", out / "history.csv", out / "training.json", fold=0,
        settings=settings(**changes), code=code, threads=1, resume_path=out / "resume.pt",
    )  # fmt: skip
    return checkpoints.load(out / "weights.pt"), pd.read_csv(out / "history.csv")


def interrupt(made, out, monkeypatch, after, **changes):
    """Train until a SIGTERM that comes with step `after`, which saves."""
    step = module.Engine.train_step

    def stepping(self, images, labels):
        if self.step + 1 == after:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, images, labels)

    with monkeypatch.context() as patch:
        patch.setattr(module.Engine, "train_step", stepping)
        with pytest.raises(SystemExit) as end:
            run(made, out, **changes)
    assert end.value.code == 143


def test_weights_and_history_of_a_run(made, tmp_path):
    checkpoint, history = run(made, tmp_path / "a", epochs=6, augment=LIVELY)
    assert list(history) == ["epoch", "step", "loss", "learning_rate", "validation_loss", "auc", *TIMES]
    assert history["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert history["step"].tolist() == [5, 10, 15, 20, 25, 30]  # 84 training tiles, batches of 16
    assert history["learning_rate"].idxmax() == 1 and (history[TIMES] > 0).all().all()
    assert checkpoint["auc"] == history["auc"].iloc[-1] and checkpoint["epoch"] == 6 and checkpoint["fold"] == 0
    assert checkpoint["tiles"] == {"training": 84, "validation": 42} and checkpoint["code"] == CODE
    assert checkpoint["normalisation"]["mean"] == pytest.approx([0.472] * 3, abs=0.02)
    figures = json.loads((tmp_path / "a/training.json").read_text())
    assert figures == {"parameters": figures["parameters"], "device": "CPU, 1 threads", "precision": "float32"}
    assert figures["parameters"] == sum(
        v.numel() for k, v in checkpoint["weights"]["last"].items() if "body" in k and "num_batches" not in k
    )
    assert not (tmp_path / "a/resume.pt").exists()


def test_it_learns_what_the_centre_shows(made, tmp_path):
    checkpoint, history = run(made, tmp_path, epochs=10)
    assert checkpoint["auc"] > 0.95 and history["loss"].iloc[-1] < 0.5 * history["loss"].iloc[0]


def test_seed_decides_the_bits(made, tmp_path):
    content = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(made, tmp_path / name, seed=seed, augment=LIVELY)
        content.append((tmp_path / name / "weights.pt").read_bytes())
    assert content[0] == content[1] != content[2]


def test_homes_train_the_same_bits(made, tmp_path, monkeypatch):
    content = set()
    for home in ("device", "cache", "stream"):
        monkeypatch.setenv("HISTO_TILES_STORAGE", home)
        run(made, tmp_path / home, augment=LIVELY)
        content.add((tmp_path / home / "weights.pt").read_bytes())
    assert len(content) == 1


def test_keep_chooses_the_weights(made, tmp_path):
    same = {"epochs": 4, "ema": 0.9, "learning_rate": 0.02}
    by_name = {kind: run(made, tmp_path / kind, checkpoint=kind, **same) for kind in ("last", "best", "ema")}
    for kind, (checkpoint, history) in by_name.items():
        assert set(checkpoint["weights"]) == {"last", "best", "ema"}
        epoch = history["auc"].idxmax() + 1 if kind == "best" else 4
        assert checkpoint["epoch"] == epoch and checkpoint["auc"] == history["auc"][epoch - 1]
    last, ema = (by_name[kind][0]["weights"] for kind in ("last", "ema"))
    assert torch.equal(last["last"]["body.0.weight"], ema["last"]["body.0.weight"])
    assert not torch.equal(ema["ema"]["body.0.weight"], ema["last"]["body.0.weight"])
    with pytest.raises(InputError, match="checkpoint: ema needs ema > 0"):
        run(made, tmp_path / "wrong", checkpoint="ema")


def test_patience_ends_the_run(made, tmp_path, monkeypatch):
    scores = iter([0.6, 0.7, 0.65, 0.7, 0.9])
    monkeypatch.setattr(module, "auc", lambda labels, logits: next(scores))
    checkpoint, history = run(made, tmp_path, epochs=5, patience=2, checkpoint="best")
    assert history["auc"].tolist() == [0.6, 0.7, 0.65, 0.7]
    assert checkpoint["epoch"] == 2 and checkpoint["auc"] == 0.7


def test_a_loss_that_is_not_finite_ends_with_advice(made, tmp_path):
    with pytest.raises(DivergedError, match=r"not finite at epoch \d, step \d.*Lower learning_rate \(now 1e\+30\)"):
        run(made, tmp_path, learning_rate=1e30, gradient_clip=0.0, warmup=0.0)


def test_mixing_more_than_all_tiles_is_refused(made, tmp_path):
    with pytest.raises(InputError, match="mixup \\+ cutmix"):
        run(made, tmp_path, augment={**LIVELY, "mixup": 0.6, "cutmix": 0.6})


def test_a_fold_without_both_labels_is_refused(made, tmp_path):
    with pytest.raises(InputError, match="fold 5: its 0 validation tiles must hold both labels"):
        folder, shards = made
        train(
            shards, folder / "folds.parquet", tmp_path / "w", tmp_path / "h", tmp_path / "f", fold=5,
            settings=settings(), code=CODE, threads=1, resume_path=tmp_path / "r",
        )  # fmt: skip


@pytest.mark.parametrize("after", [1, 5, 7, 10])  # first step, last of an epoch, within one, last of all
def test_sigterm_saves_and_the_rest_gives_the_same_bits(made, tmp_path, monkeypatch, after, caplog):
    same = {"augment": LIVELY, "ema": 0.9, "network": {"name": "residual", "width": 8, "blocks": 1, "dropout": 0.2}}
    _, history = run(made, tmp_path / "whole", **same)
    interrupt(made, tmp_path / "cut", monkeypatch, after, **same)
    assert (tmp_path / "cut/resume.pt").exists() and not (tmp_path / "cut/weights.pt").exists()
    with caplog.at_level("INFO"):
        _, continued = run(made, tmp_path / "cut", **same)
    assert "Continuing after epoch" in caplog.text
    assert (tmp_path / "cut/weights.pt").read_bytes() == (tmp_path / "whole/weights.pt").read_bytes()
    pd.testing.assert_frame_equal(continued.drop(columns=TIMES), history.drop(columns=TIMES), check_exact=True)
    assert list((tmp_path / "cut").glob(".*")) == [] and not (tmp_path / "cut/resume.pt").exists()


@pytest.mark.parametrize("what", ["settings", "code", "folds", "shards", "damage"])
def test_a_resume_file_of_another_run_is_refused(made, tmp_path, monkeypatch, what, caplog):
    interrupt(made, tmp_path / "cut", monkeypatch, 7)
    changes = {"code": {"train.py": "other"}} if what == "code" else {}
    if what == "settings":
        changes["weight_decay"] = 0.01
    elif what == "damage":
        path = tmp_path / "cut/resume.pt"
        path.write_bytes(path.read_bytes()[:1000])
    elif what == "folds":
        (tmp_path / "other").mkdir()
        shards, frame = make_split(tmp_path / "other", "train", (60, 66))
        write_folds(frame.iloc[:-4], tmp_path / "other/folds.parquet")
        made = (tmp_path / "other", shards)
    elif what == "shards":
        (tmp_path / "other").mkdir()
        monkeypatch.setattr("support.training.images", lambda count, seed, labels: np.zeros((count, 96, 96, 3)))
        shards, _ = make_split(tmp_path / "other", "train", (60, 66))
        made = (made[0], shards)
    with caplog.at_level("INFO"):
        run(made, tmp_path / "cut", **changes)
    expected = "is not readable" if what == "damage" else f"is of a run with other {what}; starting afresh"
    assert expected in caplog.text and "Continuing" not in caplog.text
    run(made, tmp_path / "fresh", **changes)
    assert (tmp_path / "cut/weights.pt").read_bytes() == (tmp_path / "fresh/weights.pt").read_bytes()


def start(folder, out, shards):
    out.mkdir(exist_ok=True)
    chosen = settings(epochs=4, augment=LIVELY, ema=0.9, precision="auto")
    names = {"weights": "weights.pt", "history": "history.csv", "figures": "training.json", "resume": "resume.pt"}
    job = {"shards": shards, "folds": str(folder / "folds.parquet"), "settings": chosen, "code": CODE}
    (out / "job.json").write_text(json.dumps(job | {key: str(out / name) for key, name in names.items()}))
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "workflow/scripts"), "OMP_NUM_THREADS": "1", "HISTO_SAVE_SECONDS": "0.02",
    }  # fmt: skip
    with open(out / "log", "a") as log:
        return subprocess.Popen([sys.executable, "-c", JOB, out / "job.json"], env=environment, stderr=log)


@pytest.mark.slow
def test_killed_at_any_point_it_ends_with_the_same_bits(made, tmp_path):
    """Ten runs, each killed twice at random moments of its training, give the weights, history and probabilities of an
    undisturbed one."""
    from predict import predict

    folder, shards = made
    test_shards, test_frame = make_split(tmp_path, "test", (20,))
    write_tiles(test_frame, tmp_path / "tiles.parquet")

    def outcome(out):
        predictions = [out / "oof.parquet", out / "test.parquet"]
        predict(
            out / "weights.pt", shards, test_shards, folder / "folds.parquet", tmp_path / "tiles.parquet", *predictions,
            tta="flips", average="logits", threads=1,
        )  # fmt: skip
        history = pd.read_csv(out / "history.csv").drop(columns=TIMES).to_csv()
        return (out / "weights.pt").read_bytes(), history, *(path.read_bytes() for path in predictions)

    def trains(out, job):
        """Wait until a job trains or has ended."""
        while job.poll() is None and "training and" not in (out / "log").read_text():
            time.sleep(0.01)

    job = start(folder, tmp_path / "whole", shards)
    trains(tmp_path / "whole", job)
    begun = time.monotonic()
    assert job.wait() == 0
    training, expected = time.monotonic() - begun, outcome(tmp_path / "whole")
    chance = random.Random(1)
    killed = continued = number = 0
    # Some moments fall behind the end: as many runs as ten kills take.
    while (killed < 10 or continued < 3) and number < 30:
        out = tmp_path / str(number)
        for _ in range(2):
            if (out / "weights.pt").exists():  # it ended before it could be killed: another start would begin anew
                break
            job = start(folder, out, shards)
            trains(out, job)
            time.sleep(chance.uniform(0, training))
            if job.poll() is None:
                job.send_signal(signal.SIGKILL)
                killed += 1
            job.wait()
            continued += "Continuing" in (out / "log").read_text()
            (out / "log").write_text("")
        if not (out / "weights.pt").exists():
            assert start(folder, out, shards).wait() == 0
            continued += "Continuing" in (out / "log").read_text()
        assert outcome(out) == expected, f"run {number} differs"
        number += 1
    assert killed >= 10
    assert continued >= 3


@pytest.mark.parametrize("monitor", ["auc", "loss"])
def test_the_best_epoch_is_that_of_what_is_watched(made, tmp_path, monitor):
    kept, history = run(
        made, tmp_path, epochs=4, checkpoint="best", monitor=monitor, learning_rate=0.05, schedule="constant"
    )
    best = history["auc"].idxmax() if monitor == "auc" else history["validation_loss"].idxmin()
    assert kept["epoch"] == history["epoch"][best]
    assert kept["auc"] == pytest.approx(history["auc"][best])
    assert (history["learning_rate"] == 0.05).all()


def test_imagenet_normalisation_goes_into_the_weights(made, tmp_path):
    kept, _ = run(made, tmp_path, epochs=1, normalisation="imagenet")
    assert kept["normalisation"]["mean"] == pytest.approx([0.485, 0.456, 0.406])
    assert kept["normalisation"]["std"] == pytest.approx([0.229, 0.224, 0.225])


@pytest.mark.parametrize("normalisation", ["tiles", "imagenet"])
def test_contrast_turns_about_the_colour_of_the_tiles(made, tmp_path, monkeypatch, normalisation):
    seen, plan = [], module.augment.plan

    def planning(settings, **how):
        seen.append(how["mean"])
        return plan(settings, **how)

    monkeypatch.setattr(module.augment, "plan", planning)
    run(made, tmp_path, epochs=1, normalisation=normalisation)
    # Of evenly spread random values, the centres of half of the tiles halved.
    assert len(seen) == 5 and np.allclose(seen, 0.5 - 0.25 / 9 / 2, atol=0.003)


def test_positive_weight_of_the_counts(made, tmp_path):
    folder, shards = made
    table = pd.read_parquet(folder / "folds.parquet")
    # Of 84 training tiles, half of them positive, 14 positive ones less: 42 negative for 28.
    positive = table.index[(table["fold"] != 0) & (table["label"] == 1)]
    tables.write(table.drop(positive[:14]), tmp_path / "folds.parquet", tables.FOLDS)
    out = [tmp_path / name for name in ("weights.pt", "history.csv", "training.json")]
    losses = []
    for weight in (None, 42 / 28, 1.0):
        train(
            shards, tmp_path / "folds.parquet", *out, fold=0, settings=settings(pos_weight=weight), code=CODE,
            threads=1, resume_path=tmp_path / "resume.pt",
        )  # fmt: skip
        losses.append(pd.read_csv(out[1])["loss"].tolist())
    assert losses[0] == losses[1] != losses[2]
