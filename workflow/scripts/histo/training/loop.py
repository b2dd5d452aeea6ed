"""A training run: epochs, validation, history, and going on after it was killed.

A run that was killed continues from its resume file and ends, on the CPU, with the same bits as one that was never
disturbed.

Which weights are kept: those of the last step by default. The best epoch is chosen on the very fold whose out-of-fold
probabilities judge the model, so `checkpoint: best` makes that judgement slightly optimistic.
"""

import csv
import logging
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

from histo import tables
from histo.errors import DivergedError, InputError
from histo.files import atomic_write, write_json
from histo.hashes import file_sha256
from histo.metrics import auc
from histo.networks import torchvision
from histo.networks.network import IMAGENET_MEAN, IMAGENET_STD, build, count
from histo.tiles.shards import open_shards
from histo.training import augment, checkpoints
from histo.training.devices import claim_device
from histo.training.engine import Engine, learning_rate, loss
from histo.training.loader import TileLoader, epoch_order
from histo.training.resume import ResumeFile, fingerprint

log = logging.getLogger(__name__)

COLUMNS = ["epoch", "step", "loss", "learning_rate", "validation_loss", "auc", "seconds", "tiles_per_second"]
LINE_EVERY = 30.0  # seconds between progress lines
WATCHED = {"auc": "validation AUC", "loss": "validation loss"}
LOSSES_AT_ONCE = 20  # losses that are fetched from the device together: fetching waits for it


@contextmanager
def termination() -> Iterator[list[int]]:
    """A list that is no longer empty once SIGTERM came, instead of dying from it at any point."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)


def write_history(rows: list[dict[str, Any]], path: str | Path) -> None:
    """Write the history anew, whole."""
    with atomic_write(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def check(settings: dict[str, Any]) -> None:
    """InputError for settings that contradict each other."""
    if settings["checkpoint"] == "ema" and not settings["ema"]:
        raise InputError("checkpoint: ema needs ema > 0, for example 0.998; or set checkpoint: last.")
    if settings["augment"]["mixup"] + settings["augment"]["cutmix"] > 1:
        raise InputError("augment: mixup + cutmix are shares of the tiles, their sum may be at most 1.")


def select(folds: Any, fold: int) -> tuple[Any, Any]:
    """(training rows, validation rows) of the table, in the order of the shards."""
    folds = folds.sort_values(["shard", "row"], ignore_index=True)
    here = folds["fold"] == fold
    training, validation = folds[~here], folds[here]
    for name, rows in (("training", training), ("validation", validation)):
        if set(rows["label"]) != {0, 1}:
            raise InputError(
                f"fold {fold}: its {len(rows)} {name} tiles must hold both labels, found {sorted(set(rows['label']))}. "
                "Set fewer folds or another seed of the folds."
            )
    return training, validation


def validation_loss(logits: np.ndarray, labels: np.ndarray, settings: dict[str, Any]) -> float:
    """The training loss, on tiles as they are."""
    return float(loss(torch.from_numpy(logits), torch.tensor(labels, dtype=torch.float32), settings))


def diverged(what: str, epoch: int, step: int, settings: dict[str, Any]) -> DivergedError:
    """What to tell the user when numbers are not finite any more."""
    return DivergedError(
        f"The {what} not finite at epoch {epoch}, step {step}. Lower learning_rate (now {settings['learning_rate']}), "
        f"set gradient_clip to 1 (now {settings['gradient_clip']}) or set precision: float32 (now "
        f"{settings['precision']})."
    )


class RunningLoss:
    """Sum of the losses of an epoch, kept on the device and fetched in packs."""

    def __init__(self, settings: dict[str, Any], total: float = 0.0) -> None:
        self.total, self.waiting = total, []
        self.settings = settings

    def add(self, value: torch.Tensor, epoch: int, step: int) -> None:
        """Note the loss of a step (counted from 1)."""
        self.waiting.append((epoch, step, value))
        if len(self.waiting) >= LOSSES_AT_ONCE or value.device.type == "cpu":
            self.fetch()

    def fetch(self) -> None:
        """Add up what waits; DivergedError at the first loss that is not finite."""
        waiting, self.waiting = self.waiting, []
        if not waiting:
            return
        values = torch.stack([value for _, _, value in waiting]).double().cpu()
        for (epoch, step, _), value in zip(waiting, values.tolist(), strict=True):
            if not np.isfinite(value):
                raise diverged("loss is", epoch, step, self.settings)
            self.total += value


def train(
    shards: list[str],
    folds: str,
    weights_out: str,
    history_out: str,
    figures_out: str,
    *,
    fold: int,
    settings: dict[str, Any],
    code: dict[str, str],
    threads: int,
    resume_path: str | Path,
    weights_in: str | None = None,
) -> None:
    """Train, validate after each epoch, write weights, history and figures (JSON: parameters, device, precision).

    shards: of training tiles; settings: of one model, complete; code: fingerprint that goes into the weights file;
    weights_in: file that the network starts from, see torchvision.load_weights.
    Raises InputError for unusable input and contradicting settings, DivergedError for a loss that is not finite. On
    SIGTERM it saves and raises SystemExit(143).
    """
    check(settings)
    weights = settings["network"].get("weights", "none")
    if weights != "none" and weights_in is None:
        raise InputError(f"network.weights: {weights} is asked for, and no file was given to start from.")
    opened = open_shards(shards, "train")
    table = tables.read(folds, tables.FOLDS, columns=["id", "shard", "row", "label", "fold"])
    training_rows, validation_rows = select(table, fold)
    identity = fingerprint(settings=settings, code=code, fold=fold, folds=table, shards=opened.values())
    if weights_in:
        identity["weights_in"] = file_sha256(Path(weights_in))
    if settings["pos_weight"] is None:
        positive = int(training_rows["label"].sum())
        settings = {**settings, "pos_weight": (len(training_rows) - positive) / positive}
    resume = ResumeFile(resume_path, identity)

    with termination() as terminated, claim_device(threads) as device:
        training = TileLoader(opened, training_rows, device)
        validation = TileLoader(opened, validation_rows, device)
        torch.manual_seed(settings["seed"])
        network = build(settings["network"], settings["center_crop"])
        if weights_in:
            torchvision.load_weights(network.body, settings["network"], settings["center_crop"], weights_in)
        # Per channel, in 0..1. Contrast turns about the colour of these tiles, whatever the network is normalised with.
        mean, std = training.statistics()
        of_tiles = settings["normalisation"] == "tiles"
        network.set_normalisation(*((mean, std) if of_tiles else (list(IMAGENET_MEAN), list(IMAGENET_STD))))
        batches = len(epoch_order(len(training), settings["batch_size"], settings["seed"], 0))
        engine = Engine(network, settings, device, settings["epochs"] * batches)
        log.info(
            "Fold %d: %d training and %d validation tiles, %d steps per epoch; %s of %.2f million weights, %s, "
            "tiles: %s.", fold, len(training), len(validation), batches, settings["network"]["name"],
            count(network.body)[0] / 1e6, str(engine.dtype).removeprefix("torch."), training.home,
        )  # fmt: skip

        # What of the run is not in the engine: the epochs done, the best weights, the epoch under way.
        run: dict[str, Any] = {"rows": [], "best": None, "best_score": -math.inf, "best_epoch": 0, "done": 0,
                               "loss": 0.0, "seconds": 0.0}  # fmt: skip
        saved = resume.load()
        if saved is not None:
            engine.load_state_dict(saved["engine"])
            run = saved["run"]
            log.info("Continuing after epoch %d, step %d.", len(run["rows"]), run["done"])

        def save() -> None:
            resume.save({"engine": engine.state_dict(), "run": run})

        def leave_if_terminated() -> None:
            if terminated:
                save()
                log.warning("Terminated; saved epoch %d, step %d.", len(run["rows"]) + 1, run["done"])
                raise SystemExit(143)

        def prepare(first: int) -> Any:
            """Drawing the augmentation of the batches from `first` on, which runs ahead in a thread."""
            return lambda index, count: augment.plan(
                settings["augment"], side=settings["center_crop"], mean=np.array(mean), std=np.array(std),
                seed=settings["seed"], epoch=epoch, start=(first + index) * settings["batch_size"], count=count,
            )  # fmt: skip

        while len(run["rows"]) < settings["epochs"]:
            epoch = len(run["rows"]) + 1
            if settings["patience"] and epoch - 1 - run["best_epoch"] >= settings["patience"]:
                log.info(
                    "Stopped early: no better %s in %d epochs since epoch %d.", WATCHED[settings["monitor"]],
                    settings["patience"], run["best_epoch"],
                )  # fmt: skip
                break
            order = epoch_order(len(training), settings["batch_size"], settings["seed"], epoch)
            losses = RunningLoss(settings, run["loss"])
            already, begun = run["seconds"], time.monotonic()
            line = begun
            first = run["done"]
            for images, labels, plan in training.batches(order[first:], prepare(first)):
                value = engine.train_step(*augment.apply(plan, images, labels))
                run["done"] += 1
                losses.add(value, epoch, run["done"])
                now = time.monotonic()
                if now - line >= LINE_EVERY:
                    line = now
                    losses.fetch()
                    log.info(
                        "epoch %d/%d  step %d/%d  loss %.4f  %.0f tiles/s", epoch, settings["epochs"], run["done"],
                        batches, losses.total / run["done"], (run["done"] - first) * len(order[0]) / (now - begun),
                    )  # fmt: skip
                if terminated or resume.due():
                    losses.fetch()
                    run["loss"], run["seconds"] = losses.total, already + now - begun
                    save()
                    leave_if_terminated()
            losses.fetch()
            run["loss"], run["seconds"] = losses.total, already + time.monotonic() - begun
            leave_if_terminated()
            trained = run["seconds"]

            begun = time.monotonic()
            shown = engine.ema if settings["checkpoint"] == "ema" else engine.network
            logits = engine.logits(validation, shown)
            if not np.isfinite(logits).all():
                raise diverged("logits are", epoch, batches, settings)
            area = float(auc(validation.labels, logits))
            miss = validation_loss(logits, validation.labels, settings)
            score = area if settings["monitor"] == "auc" else -miss
            run["rows"].append(
                {
                    "epoch": epoch,
                    "step": engine.step,
                    "loss": run["loss"] / batches,
                    "learning_rate": learning_rate(engine.step - 1, engine.steps, settings),
                    "validation_loss": miss,
                    "auc": area,
                    "seconds": round(trained + time.monotonic() - begun, 3),
                    "tiles_per_second": round(batches * len(order[0]) / max(trained, 1e-9), 1),
                }
            )
            if score > run["best_score"]:
                run["best_score"], run["best_epoch"] = score, epoch
                run["best"] = {key: value.detach().cpu().clone() for key, value in shown.state_dict().items()}
            run["done"], run["loss"], run["seconds"] = 0, 0.0, 0.0
            row = run["rows"][-1]
            log.info(
                "epoch %d/%d  loss %.4f  AUC %.4f%s  learning rate %.2e  %.1f s  %.0f tiles/s", epoch,
                settings["epochs"], row["loss"], row["auc"], " (best)" if run["best_epoch"] == epoch else "",
                row["learning_rate"], row["seconds"], row["tiles_per_second"],
            )  # fmt: skip
            write_history(run["rows"], history_out)
            save()
            leave_if_terminated()

        write_history(run["rows"], history_out)
        weights = {"last": engine.network.state_dict(), "best": run["best"]}
        if engine.ema is not None:
            weights["ema"] = engine.ema.state_dict()
        kept = run["best_epoch"] if settings["checkpoint"] == "best" else len(run["rows"])
        checkpoints.save(
            weights_out, settings=settings, fold=fold, auc=run["rows"][kept - 1]["auc"], epoch=kept,
            tiles={"training": len(training), "validation": len(validation)}, weights=weights, code=code,
        )  # fmt: skip
        where = f"CPU, {threads} threads" if device.type == "cpu" else torch.cuda.get_device_name(device)
        parameters = count(network.body)[0]
        precision = str(engine.dtype).removeprefix("torch.")
        write_json(figures_out, {"parameters": parameters, "device": where, "precision": precision})
        resume.remove()
        log.info(
            "Kept the weights of epoch %d (%s), AUC %.4f.", kept, settings["checkpoint"], run["rows"][kept - 1]["auc"]
        )
