"""A training run: epochs, validation, history, weights, and resuming after it was killed.

`train` prepares a `Run`, the parts that are set once, and a `Progress`, what changes besides the state of the engine,
then alternates `train_one_epoch` and `validate`. A run that was killed resumes from its resume file; on the CPU it ends
with the same bits as an undisturbed run.

By default the weights of the last epoch are kept. `checkpoint: best` selects the best epoch on the fold whose
out-of-fold predictions evaluate the model, which makes that evaluation slightly optimistic.
"""

import csv
import logging
import math
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from histo import tables
from histo.augmentation.changes import apply
from histo.augmentation.fused import FusedAugmentation, fused_for
from histo.augmentation.own import augmented, draws
from histo.augmentation.plans import Plans
from histo.config.train import TrainSettings
from histo.errors import DivergedError, InputError
from histo.files import atomic_write, write_json
from histo.logits import softmax
from histo.metrics import auc
from histo.networks.network import build, count, imagenet_normalisation, load_pretrained
from histo.progress.training import TrainingDisplay, run_name
from histo.tiles.shards import geometry_of, open_shards
from histo.training import checkpoints
from histo.training.devices import claim_device, device_name, reproducible
from histo.training.engine import Engine, learning_rate, loss, targets
from histo.training.loader import TileLoader, epoch_order
from histo.training.processes import Processes
from histo.training.pseudo_labels import with_pseudo_labels
from histo.training.resume import ResumeFile, fingerprint
from histo.training.slices import Slice

log = logging.getLogger(__name__)

HISTORY_COLUMNS = ["epoch", "step", "loss", "learning_rate", "validation_loss", "auc", "seconds", "tiles_per_second"]
FETCH_INTERVAL = 20  # steps between transfers of losses from a GPU, each of which waits for the GPU
MONITORS = {"auc": "validation AUC", "loss": "validation loss"}
SIGTERM_STATUS = 128 + signal.SIGTERM


@dataclass
class Termination:
    """Attribute `requested`: whether the job received SIGTERM."""

    requested: bool = False

    def request(self, number: int, frame: FrameType | None) -> None:
        """Signal handler."""
        self.requested = True


@contextmanager
def catch_sigterm() -> Iterator[Termination]:
    """Record SIGTERM instead of being killed by it, so that the run can save its progress first."""
    termination = Termination()
    previous = signal.signal(signal.SIGTERM, termination.request)
    try:
        yield termination
    finally:
        signal.signal(signal.SIGTERM, previous)


@dataclass
class Progress:
    """Progress of a run besides the state of the engine; saved in the resume file."""

    history: list[dict[str, Any]] = field(default_factory=list)  # a row for each complete epoch
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    best_score: float = -math.inf
    best_epoch: int = 0
    steps: int = 0  # done in the current epoch
    loss_sum: float = 0.0  # of these steps
    seconds: float = 0.0  # of training in the current epoch

    @property
    def epoch(self) -> int:
        """The current epoch, counted from 1."""
        return len(self.history) + 1


@dataclass(frozen=True)
class Run:
    """The parts of a run that are set once."""

    settings: TrainSettings
    fold: int | None  # None: trained on all folds
    training: TileLoader
    validation: TileLoader | None
    mean: np.ndarray  # float64 [3], per channel in 0..1, of the training tiles
    std: np.ndarray  # float64 [3]
    batch_size: int  # all training tiles if they are fewer than the setting
    steps_per_epoch: int
    engine: Engine
    resume: ResumeFile
    termination: Termination
    processes: Processes
    display: TrainingDisplay
    fused: FusedAugmentation | None  # augmentation of a compiled training on a GPU

    @property
    def leads(self) -> bool:
        """Whether this process writes the files."""
        return self.processes.rank == 0


class RunningLoss:
    """Sum of the losses of an epoch, which are kept on the device and fetched several at a time.

    Attribute `total`: sum of the fetched losses.
    """

    def __init__(self, settings: TrainSettings, total: float = 0.0, processes: Processes | None = None) -> None:
        self.settings, self.total = settings, total
        self._processes = processes or Processes()
        self._pending: list[tuple[int, int, Tensor]] = []

    def add(self, value: Tensor, epoch: int, step: int) -> bool:
        """Add the loss of a step (counted from 1); return whether the pending losses were fetched."""
        self._pending.append((epoch, step, value))
        complete = len(self._pending) >= FETCH_INTERVAL or value.device.type == "cpu"
        if complete:
            self.fetch()
        return complete

    def fetch(self) -> None:
        """Add the pending losses to `total`. Raises DivergedError at the first loss that is not finite."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        values = torch.stack([value for _, _, value in pending]).cpu().double()  # MPS has no float64
        values = self._processes.mean(values)
        for (epoch, step, _), value in zip(pending, values.tolist(), strict=True):
            if not math.isfinite(value):
                raise diverged("loss is", epoch, step, self.settings)
            self.total += value


def diverged(what: str, epoch: int, step: int, settings: TrainSettings) -> DivergedError:
    """The error for a loss or logits that are not finite."""
    return DivergedError(
        f"The {what} not finite at epoch {epoch}, step {step}. Lower learning_rate (now {settings.learning_rate}), set "
        f"gradient_clip to 1 (now {settings.gradient_clip}) or set precision: float32 (now {settings.precision})."
    )


def train(
    shards: list[str],
    folds: str,
    weights_out: str,
    history_out: str,
    summary_out: str,
    *,
    fold: int | None,
    settings: TrainSettings,
    code: dict[str, str],
    resume_path: str | Path,
    replicate: int = 0,
    test_shards: Sequence[str] = (),
    pseudo_labels: Sequence[str] = (),
    weights_in: str | None = None,
    stain: str | None = None,
    processes: Processes | None = None,
    model: str = "",
    curves: str | Path | None = None,
    keep_resume_file: bool = False,
) -> None:
    """Train a model, validate it after each epoch, write weights, history (CSV) and summary (JSON).

    shards: of the training tiles; fold: the validation fold, or None to train on all tiles without validation; its
    number, or else `replicate`, is added to the seed; code: fingerprint, stored with the weights; weights_in: file of
    weights to start from, see torchvision.load_weights and checkpoints.load_body; test_shards, pseudo_labels: for
    models with the setting `pseudo_labels`, shards of the test tiles and their predictions by the teachers; stain:
    method of stain normalisation of the shards, stored with the weights; processes: those that train this model
    together, of which the first writes, by default one; model: its name, for what is shown; curves: existing folder for
    TensorBoard's files, None for none; keep_resume_file: leave the last save. Raises InputError for unusable input,
    DivergedError for a loss or logits that are not finite, and after SIGTERM, once progress is saved, SystemExit(143).
    """
    check(settings, fold, pseudo_labels, weights_in)
    opened = open_shards(shards, "train")
    table = tables.read(folds, tables.FOLDS, columns=["id", "shard", "row", "label", "fold"])
    training_rows, validation_rows = split(table, fold, geometry_of(opened).classes)
    resume = ResumeFile(resume_path, fingerprint(
        settings=settings, code=code, fold=fold, replicate=replicate, folds=table, shards=opened.values(),
        files=[weights_in, *pseudo_labels] if weights_in else pseudo_labels,
    ))  # fmt: skip
    settings = with_seed(with_pos_weight(settings, training_rows["label"]), replicate if fold is None else fold)
    training_shards = opened
    if pseudo_labels:
        training_shards, training_rows = with_pseudo_labels(
            opened, training_rows, open_shards(list(test_shards), "test"), [Path(path) for path in pseudo_labels]
        )
    processes = processes or Processes()
    with (
        claim_device(settings.threads, sharing=processes.count == 1) as device, reproducible(settings.deterministic),
        processes.connected(device), catch_sigterm() as termination,
    ):  # fmt: skip
        training = TileLoader(training_shards, training_rows, device)
        validation = None if fold is None else TileLoader(opened, validation_rows, device)
        name = run_name(model, fold, table["fold"].nunique(), replicate)
        run = prepare(settings, fold, training, validation, weights_in, resume, termination, processes, name, curves)
        progress = load_progress(run)
        train_epochs(run, progress, history_out)
        if run.leads:
            write_results(run, progress, weights_out, history_out, summary_out, code, stain)
            leave_state(run, progress, keep_resume_file)


def check(
    settings: TrainSettings, fold: int | None, pseudo_labels: Sequence[str], weights_in: str | None = None
) -> None:
    """Raise InputError for settings that do not fit to what is trained on."""
    if fold is None and (settings.checkpoint == "best" or settings.patience):
        raise InputError(
            "submission.full_networks: networks that are trained on all tiles have no validation tiles, which "
            "checkpoint: best and patience need. Set checkpoint: last or ema and patience: 0, or full_networks: 0."
        )
    if bool(settings.pseudo_labels) != bool(pseudo_labels):
        raise InputError(
            f"pseudo_labels: expected predictions by {', '.join(settings.pseudo_labels) or 'no model'}, found "
            f"{len(pseudo_labels)} tables. Searches cannot train with pseudo-labels: set pseudo_labels: []."
        )
    if settings.warm_start and not weights_in:
        raise InputError(f"warm_start: expected the weights of {settings.warm_start}, found none. Train it first.")


def split(folds: pd.DataFrame, fold: int | None, classes: int = 2) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training rows and validation rows of the table of folds, sorted by shard and row.

    fold: the validation fold; None: all rows are training rows. Raises InputError unless both parts, if expected, have
    tiles of all labels.
    """
    folds = folds.sort_values(["shard", "row"], ignore_index=True)
    held_out = folds["fold"] == (-1 if fold is None else fold)
    training, validation = folds[~held_out], folds[held_out]
    parts = {"training": training} if fold is None else {"training": training, "validation": validation}
    for name, rows in parts.items():
        labels = sorted(set(rows["label"]))
        if labels != list(range(classes)):
            expected = "both" if classes == 2 else f"all {classes}"
            raise InputError(
                f"{described(fold)}: expected {name} tiles of {expected} labels, found {len(rows)} tiles with the "
                f"labels {labels}. Set fewer folds or another seed of the folds."
            )
    return training, validation


def described(fold: int | None) -> str:
    """Name of the network of a fold, for messages."""
    return "all folds" if fold is None else f"fold {fold}"


def with_pos_weight(settings: TrainSettings, labels: pd.Series) -> TrainSettings:
    """Replace a `pos_weight` of None by the number of negative over the number of positive training tiles."""
    if settings.pos_weight is not None:
        return settings
    positive = int(labels.sum())
    return settings.model_copy(update={"pos_weight": (len(labels) - positive) / positive})


def with_seed(settings: TrainSettings, number: int) -> TrainSettings:
    """Add the number of a network to the seed: networks with different random numbers gain more from averaging."""
    return settings.model_copy(update={"seed": settings.seed + number})


def prepare(
    settings: TrainSettings,
    fold: int | None,
    training: TileLoader,
    validation: TileLoader | None,
    weights_in: str | None,
    resume: ResumeFile,
    termination: Termination,
    processes: Processes,
    name: str,
    curves: str | Path | None,
) -> Run:
    """Build the network with its initial weights and its normalisation, and the engine that trains it.

    Raises InputError for batches of fewer tiles than processes.
    """
    torch.manual_seed(settings.seed)
    options = settings.network.model_dump()
    network = build(options, settings.center_crop, training.geometry, input_size=settings.input_size)
    if settings.warm_start and weights_in:
        checkpoints.load_body(network, weights_in)
    elif options.get("weights", "none") != "none":
        load_pretrained(network, options, weights_in)
    mean, std = training.statistics()
    if settings.normalisation == "tiles":
        network.set_normalisation(mean, std)
    else:
        network.set_normalisation(*imagenet_normalisation(options))
    batch_size = min(settings.batch_size, len(training))
    if batch_size < processes.count:
        raise InputError(f"batch_size: expected a tile for each of {processes.count} GPUs, found {batch_size}.")
    steps_per_epoch = len(training) // batch_size
    engine = Engine(network, settings, training.device, settings.epochs * steps_per_epoch, processes, batch_size)
    log.info(
        "[%s] %d training and %d validation tiles, %d steps per epoch; %s with %.2f million parameters, %s; "
        "storage of the tiles: %s.", name, len(training), len(validation or ()),
        steps_per_epoch, settings.network.name,
        count(network.body)[0] / 1e6, str(engine.dtype).removeprefix("torch."), training.storage,
    )  # fmt: skip
    display = TrainingDisplay(
        name, epochs=settings.epochs, steps_per_epoch=steps_per_epoch, batch_size=batch_size,
        validation_tiles=len(validation or ()), curves=curves if processes.rank == 0 else None,
    )  # fmt: skip
    return Run(
        settings, fold, training, validation, np.array(mean), np.array(std), batch_size, steps_per_epoch, engine,
        resume, termination, processes, display, fused_for(settings, training.device),
    )  # fmt: skip


def load_progress(run: Run) -> Progress:
    """Restore progress and engine from the resume file if there is one, else start from the beginning.

    A resume file of more epochs, which a run with a constant learning rate may leave, is not used.
    """
    saved = run.resume.load()
    progress = Progress()
    if saved is not None and len(saved["progress"]["history"]) <= run.settings.epochs:
        run.engine.load_state_dict(saved["engine"])
        progress = Progress(**saved["progress"])
        log.info("[%s] Resumed after epoch %d, step %d.", run.display.name, len(progress.history), progress.steps)
    run.display.begin(progress.history, progress.best_epoch, progress.steps)
    return progress


def save(run: Run, progress: Progress) -> None:
    """Write the resume file."""
    run.resume.save({"engine": run.engine.state_dict(), "progress": vars(progress)})


def leave_state(run: Run, progress: Progress, keep: bool) -> None:
    """Remove the resume file of a complete run unless it is to be kept.

    With a constant learning rate it is replaced by the complete state: a run with more epochs goes on from it.
    """
    if run.settings.schedule == "constant":
        save(run, progress)
    elif not keep:
        run.resume.remove()


def save_if_due(run: Run, progress: Progress) -> None:
    """Write the resume file at intervals and after SIGTERM, then raise SystemExit(143).

    All processes must call it at the same step: they end if one of them received SIGTERM.
    """
    terminated = run.termination.requested
    decision = run.processes.highest(2 if terminated else int(run.leads and run.resume.due()))
    if decision and run.leads:
        run.display.flush()
        save(run, progress)
    if decision == 2:
        if run.leads:
            log.warning(
                "[%s] Terminated by SIGTERM; saved epoch %d, step %d.", run.display.name, progress.epoch, progress.steps
            )
        raise SystemExit(SIGTERM_STATUS)


def stops_early(progress: Progress, settings: TrainSettings) -> bool:
    """Whether the last `patience` epochs brought no improvement."""
    if not settings.patience or len(progress.history) - progress.best_epoch < settings.patience:
        return False
    log.info(
        "Stopped early: no better %s in %d epochs since epoch %d.", MONITORS[settings.monitor], settings.patience,
        progress.best_epoch,
    )  # fmt: skip
    return True


def plans(run: Run, epoch: int) -> Plans:
    """The augmentation of the batches of an epoch."""
    return Plans(
        run.settings.augment, side=run.settings.center_crop, mean=run.mean, std=run.std, seed=run.settings.seed,
        epoch=epoch, batch_size=run.batch_size, geometry=run.training.geometry,
    )  # fmt: skip


def batches(run: Run, epoch: int, first_step: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Augmented tiles and labels of the batches of an epoch from step `first_step` on; of each the process's slice."""
    order = epoch_order(len(run.training), run.settings.batch_size, run.settings.seed, epoch)
    planned, part = plans(run, epoch), Slice(run.processes.rows(run.batch_size), run.batch_size)
    own = run.settings.augmentation
    for step, (images, labels, plan) in enumerate(
        run.training.batches(
            [part.positions(positions) for positions in order[first_step:]],
            lambda index, tiles: part.plan(planned.batch(first_step + index)),
            gathered=run.fused is None,
        ),
        first_step,
    ):
        images, labels = images.to(run.engine.device), labels.to(run.engine.device)
        labels = targets(labels, run.training.geometry.classes)
        if run.fused is None:
            images, labels = part.own(*apply(plan, images, labels))
        else:
            images, labels = run.fused(plan, run.training.resident, images, labels)
        if own is not None:
            random = draws(run.settings.seed, epoch, step, run.batch_size)
            images = augmented(own, images, random[run.processes.rows(run.batch_size)])
        yield images, labels


def train_epochs(run: Run, progress: Progress, history_out: str | Path) -> None:
    """Train and validate the epochs that are left; the history is written after each."""
    with closing(run.display):
        while len(progress.history) < run.settings.epochs and not stops_early(progress, run.settings):
            train_one_epoch(run, progress)
            validate(run, progress)
            if run.leads:
                write_history(progress.history, history_out)
            save_if_due(run, progress)


def train_one_epoch(run: Run, progress: Progress) -> None:
    """Train the current epoch from step `progress.steps` to its end; save at intervals and after SIGTERM."""
    epoch, first_step, earlier_seconds = progress.epoch, progress.steps, progress.seconds
    losses = RunningLoss(run.settings, progress.loss_sum, run.processes)
    start = time.monotonic()
    run.display.begin_epoch(progress.steps, progress.loss_sum)
    for images, labels in batches(run, epoch, first_step):
        value = run.engine.train_step(images, labels)
        progress.steps += 1
        if not losses.add(value, epoch, progress.steps):
            continue
        progress.loss_sum, progress.seconds = losses.total, earlier_seconds + time.monotonic() - start
        show_step(run, progress)
        save_if_due(run, progress)
    losses.fetch()
    progress.loss_sum, progress.seconds = losses.total, earlier_seconds + time.monotonic() - start
    show_step(run, progress)
    save_if_due(run, progress)


def show_step(run: Run, progress: Progress) -> None:
    """Show the progress after a step; the losses of all steps up to it are fetched."""
    engine = run.engine
    run.display.step(progress.steps, progress.loss_sum, learning_rate(engine.step - 1, engine.steps, run.settings))


def validate(run: Run, progress: Progress) -> None:
    """Validate after an epoch: add its row to the history, keep the best weights, start the next epoch.

    Without validation tiles, AUC and validation loss are NaN. Raises DivergedError for logits that are not finite.
    """
    settings, engine, epoch = run.settings, run.engine, progress.epoch
    start = time.monotonic()
    val_auc = val_loss = math.nan
    if run.validation is not None:
        logits = engine.logits(run.validation)
        if not np.isfinite(logits).all():
            raise diverged("logits are", epoch, run.steps_per_epoch, settings)
        val_auc = float(auc(run.validation.labels, softmax(logits) if logits.ndim == 2 else logits))
        val_loss = validation_loss(logits, run.validation.labels, settings)
    row = {
        "epoch": epoch,
        "step": engine.step,
        "loss": progress.loss_sum / run.steps_per_epoch,
        "learning_rate": learning_rate(engine.step - 1, engine.steps, settings),
        "validation_loss": val_loss,
        "auc": val_auc,
        "seconds": round(progress.seconds + time.monotonic() - start, 3),
        "tiles_per_second": round(run.steps_per_epoch * run.batch_size / max(progress.seconds, 1e-9), 1),
    }
    score = val_auc if settings.monitor == "auc" else -val_loss
    if score > progress.best_score:
        progress.best_score, progress.best_epoch = score, epoch
        progress.best_weights = {
            name: value.detach().cpu().clone() for name, value in engine.eval_network.state_dict().items()
        }
    progress.history.append(row)
    progress.steps, progress.loss_sum, progress.seconds = 0, 0.0, 0.0
    run.display.end_epoch(progress.best_epoch)


def validation_loss(logits: np.ndarray, labels: np.ndarray, settings: TrainSettings) -> float:
    """The training loss of the validation tiles, which are not augmented."""
    known = targets(torch.tensor(labels, dtype=torch.float32), logits.shape[1] if logits.ndim == 2 else 2)
    return float(loss(torch.from_numpy(logits), known, settings))


def write_results(
    run: Run,
    progress: Progress,
    weights_out: str,
    history_out: str,
    summary_out: str,
    code: dict[str, str],
    stain: str | None,
) -> None:
    """Write weights, history and summary of a complete run."""
    write_history(progress.history, history_out)
    digest = write_weights(run, progress, weights_out, code, stain)
    write_summary(run, summary_out, digest)


def write_history(history: list[dict[str, Any]], path: str | Path) -> None:
    """Replace the history by one with a row for each epoch."""
    with atomic_write(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, HISTORY_COLUMNS)
        writer.writeheader()
        writer.writerows(history)


def write_weights(run: Run, progress: Progress, path: str, code: dict[str, str], stain: str | None) -> str:
    """Write the weights file; its AUC and epoch are those of the weights that `checkpoint` names.

    Returns the SHA-256 of these weights.
    """
    settings, engine = run.settings, run.engine
    weights = {"last": engine.network.state_dict(), "best": progress.best_weights}
    if engine.ema is not None:
        weights["ema"] = engine.ema.state_dict()
    epoch = progress.best_epoch if settings.checkpoint == "best" else len(progress.history)
    val_auc = progress.history[epoch - 1]["auc"]
    checkpoints.save(
        path, settings=settings.model_dump() | ({"stain": stain} if stain else {}), fold=run.fold, auc=val_auc,
        epoch=epoch, tiles={"training": len(run.training), "validation": len(run.validation or ())}, weights=weights,
        code=code, geometry=run.training.geometry,
    )  # fmt: skip
    log.info("[%s] Kept the weights of epoch %d (%s), AUC %.4f.", run.display.name, epoch, settings.checkpoint, val_auc)
    return checkpoints.digest(weights[settings.checkpoint])


def write_summary(run: Run, path: str, digest: str) -> None:
    """Write number of parameters, device, precision and the digest of the weights as JSON."""
    device, processes = device_name(run.engine.device, run.settings.threads), run.processes.count
    value = {
        "parameters": count(run.engine.network.body)[0],
        "device": device if processes == 1 else f"{processes} × {device}",
        "precision": str(run.engine.dtype).removeprefix("torch."),
        "weights_sha256": digest,
    }
    write_json(path, value)
