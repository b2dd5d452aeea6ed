"""The speed of a model on this machine: its own training step and its prediction, on the packed tiles.

As many processes as jobs will run side by side measure at the same time, since they share memory, caches and clock.
"""

import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path
from statistics import fmean

import torch

from histo import tables
from histo.config.train import TrainSettings
from histo.estimate import Speed
from histo.tiles.shards import geometry_of, open_shards
from histo.training.devices import claim_device, device_name, reproducible
from histo.training.engine import INFERENCE_BATCH, predict_logits
from histo.training.loader import TileLoader, file_order
from histo.training.loop import FETCH_INTERVAL, Run, Termination, batches, prepare, split, with_pos_weight
from histo.training.processes import Processes
from histo.training.resume import ResumeFile

WARM_UP = 3.0  # seconds of training and of prediction that are not measured
MEASURED = 8.0  # seconds of each that are


def measure(
    shards: list[str], folds: str, settings: TrainSettings, *, weights_in: str | None = None, at_once: int = 1
) -> Speed:
    """Return the speed of a model in one of `at_once` processes, the mean over them, and their largest memory.

    shards: of the training tiles; folds: table of the tiles that are used; fold 0 is held out; weights_in: file of
    pretrained weights if the model starts from one. Raises InputError as training does.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(at_once, mp_context=context) as pool:
        jobs = [
            pool.submit(_measure, shards, folds, settings, weights_in, at_once, time.time()) for _ in range(at_once)
        ]
        found = [job.result() for job in jobs]
    return Speed(
        start=fmean(one.start for one in found),
        training=fmean(one.training for one in found),
        prediction=fmean(one.prediction for one in found),
        invariant=found[0].invariant,
        memory=max(one.memory for one in found),
        device=found[0].device,
        at_once=at_once,
    )


def _measure(
    shards: list[str], folds: str, settings: TrainSettings, weights_in: str | None, at_once: int, submitted: float
) -> Speed:
    """Measure in this process; submitted: when its job was, seconds since 1970."""
    opened = open_shards(shards, "train")
    table = tables.read(folds, tables.FOLDS, columns=["id", "shard", "row", "label", "fold"])
    rows, _ = split(table, 0, geometry_of(opened).classes)
    settings = with_pos_weight(settings, rows["label"])
    with (
        claim_device(settings.threads) as device, reproducible(settings.deterministic),
        tempfile.TemporaryDirectory() as folder,
    ):  # fmt: skip
        tiles = TileLoader(opened, rows, device)
        unused = ResumeFile(Path(folder) / "resume.pt", {})
        run = prepare(settings, 0, tiles, None, weights_in, unused, Termination(), Processes(), "speed", None)
        start = time.time() - submitted
        with closing(_training_steps(run)) as steps:
            training = run.batch_size * _per_second(partial(next, steps), device)
        engine, order = run.engine, file_order(len(tiles), INFERENCE_BATCH)[:1]
        predict = partial(predict_logits, engine.eval_network, tiles, engine.dtype, order=order)
        prediction = len(order[0]) * _per_second(predict, device)
        return Speed(
            start=start,
            training=training,
            prediction=prediction,
            invariant=engine.network.invariant,
            memory=peak_memory(),
            device=device_name(device, settings.threads),
            at_once=at_once,
        )


def _training_steps(run: Run) -> Generator[None, None, None]:
    """Train a step at each iteration; it waits for a GPU as seldom as training does."""
    for epoch in count(1):
        for images, labels in batches(run, epoch, 0):
            value = run.engine.train_step(images, labels)
            if run.engine.step % FETCH_INTERVAL == 0:
                value.item()
            yield


def _per_second(step: Callable[[], object], device: torch.device) -> float:
    """Steps per second, after a warm-up; at least three are measured."""
    _repeat(step, device, WARM_UP, 1)
    start = time.monotonic()
    done = _repeat(step, device, MEASURED, 3)
    return done / (time.monotonic() - start)


def _repeat(step: Callable[[], object], device: torch.device, seconds: float, at_least: int) -> int:
    """Call `step` until some seconds have passed; return how often, when the device has computed it."""
    start, done = time.monotonic(), 0
    while done < at_least or time.monotonic() - start < seconds:
        step()
        done += 1
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return done


def peak_memory() -> int:
    """Peak of this process's resident memory, bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
