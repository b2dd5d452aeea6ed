"""Estimate of the time that the networks of a run take, from the measured speed of each model."""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from histo.formatting import duration, size_text


@dataclass(frozen=True)
class Speed:
    """What was measured of a model.

    start: seconds until a job begins to train or predict; training: training tiles per second; prediction: views per
    second; invariant: whether one view stands for all; memory: peak of the resident memory of a job, bytes; device: in
    words; at_once: jobs that ran side by side.
    """

    start: float
    training: float
    prediction: float
    invariant: bool
    memory: int
    device: str
    at_once: int


@dataclass(frozen=True)
class Planned:
    """The networks that a model, or each trial of a search, trains.

    epochs: of each; networks: names such as fold-0, stain-0 and full-0; on_test_tiles: those that predict the test
    tiles; slots: cores or GPUs that a job reserves; added: tiles that are trained on beside those of the folds; trials:
    of a search, 0 for a model.
    """

    epochs: int
    networks: list[str]
    on_test_tiles: list[str]
    slots: int = 1
    added: int = 0
    trials: int = 0


def training_seconds(speed: Speed, epochs: int, training: int, validation: int) -> float:
    """Seconds in which a network is trained on `training` tiles and validated on others after each epoch."""
    return epochs * (training / speed.training + validation / speed.prediction)


def prediction_seconds(speed: Speed, tiles: int, views: int) -> float:
    """Seconds in which `views` views of each of some tiles are predicted."""
    return tiles * (1 if speed.invariant else views) / speed.prediction


def makespan(jobs: Iterable[tuple[float, int]], slots: int) -> float:
    """Seconds until all jobs have ended, each of which starts in its turn as soon as its slots are free.

    jobs: seconds and number of slots, at most `slots`.
    """
    free = [0.0] * slots  # when each slot is free
    for seconds, needed in jobs:
        end = max(heapq.heappop(free) for _ in range(needed)) + seconds
        for _ in range(needed):
            heapq.heappush(free, end)
    return max(free)


def network_stages(
    planned: Mapping[str, Planned],
    speeds: Mapping[str, Speed],
    *,
    slots: int,
    folds: Mapping[int, int],
    test: int,
    views: int,
) -> list[dict[str, Any]]:
    """Return a row for each of search_trial, train and predict that has jobs: stage, jobs, at_once, seconds.

    planned, speeds: by name of the model or search; slots: cores or GPUs; folds: tiles of each fold; those by stain are
    taken to be as large; test: number of test tiles; views: of each tile that is predicted.
    """
    jobs: dict[str, list[tuple[float, int]]] = {"search_trial": [], "train": [], "predict": []}
    for name, own in planned.items():
        speed, trial = speeds[name], speeds[name].start
        for network in own.networks:
            kind, _, number = network.partition("-")
            held_out = 0 if kind == "full" else folds[int(number)]
            known = sum(folds.values()) - held_out + own.added
            trained = training_seconds(speed, own.epochs, known, held_out)
            trial += trained
            if not own.trials:
                tiles = held_out + (test if network in own.on_test_tiles else 0)
                predicted = prediction_seconds(speed, tiles, views)
                jobs["train"].append((speed.start + trained, own.slots))
                jobs["predict"].append((speed.start + predicted, own.slots))
        jobs["search_trial"] += [(trial, own.slots)] * own.trials
    return [
        {
            "stage": stage,
            "jobs": len(each),
            "at_once": min(len(each), slots // min(needed for _, needed in each)),
            "seconds": makespan(each, slots),
        }
        for stage, each in jobs.items()
        if each
    ]


def measured_stages(rows: Iterable[Mapping[str, Any]], at_once: Mapping[str, int]) -> list[dict[str, Any]]:
    """The same rows for finished stages.

    rows: `histo.pages.run_times.run_times`; at_once: jobs that run side by side, of each stage that is wanted.
    """
    return [
        {
            "stage": row["stage"],
            "jobs": row["jobs"],
            "at_once": (side := min(at_once[row["stage"]], row["jobs"])),
            "seconds": max(row["longest"], row["seconds"] / side),
        }
        for row in rows
        if row["stage"] in at_once
    ]


def as_text(estimate: Mapping[str, Any]) -> str:
    """Return an estimate (see sketch.py) as Markdown that is readable on a terminal."""
    small, done, left = estimate["small_network"], estimate["measured_stages"], estimate["network_stages"]
    lines = [
        f"AUC of the sketch's own network: {small['auc']:.4f} on {small['validation_tiles']:,} tiles, after "
        f"{small['epochs']} epochs of {small['training_tiles']:,} others",
        "",
        f"Full run on {estimate['machine']}, {estimate['cores']} cores for Snakemake:",
        "",
    ]
    kinds = [("measured", done), ("estimated", left)]
    lines += _table(
        ("stage", "jobs", "at a time", "time", ""),
        [
            (row["stage"], str(row["jobs"]), str(row["at_once"]), duration(row["seconds"]), kind)
            for kind, rows in kinds
            for row in rows
        ],
    )
    lines += [
        "",
        f"Time left: about {duration(estimate['seconds_left'])}; the whole run from the archive: about "
        f"{duration(estimate['seconds'])}; evaluation and report take minutes more",
        "",
    ]
    lines += _table(
        ("model", "epochs", "training", "prediction", "memory of a job", "device"),
        [
            (
                name,
                str(estimate["planned"][name]["epochs"]),
                f"{speed['training']:.1f} tiles/s",
                f"{speed['prediction']:.1f} views/s",
                size_text(speed["memory"]),
                speed["device"],
            )
            for name, speed in estimate["speeds"].items()
        ],
    )
    memory = ", ".join(f"{stage} {size} MB" for stage, size in estimate["memory_mb"].items())
    disk = ", ".join(f"{what} {size_text(size)}" for what, size in estimate["disk"].items())
    lines += [
        "",
        f"Memory that a job requests: {memory}",
        "",
        f"Disk: {disk}; {size_text(estimate['free'])} are free",
    ]
    return "\n".join(lines) + "\n"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """The lines of a table in Markdown, in columns."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    cells = [head, tuple("-" * width for width in widths), *rows]
    return [
        "| " + " | ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]


def complete(
    *,
    measured: list[dict[str, Any]],
    planned: Mapping[str, Planned],
    speeds: Mapping[str, Speed],
    slots: int,
    folds: Mapping[int, int],
    test: int,
    views: int,
) -> dict[str, Any]:
    """Return the parts of an estimate that concern time: stages, sums of their seconds, what they are computed from.

    measured: `measured_stages`; the others as in `network_stages`.
    """
    left = network_stages(planned, speeds, slots=slots, folds=folds, test=test, views=views)
    seconds = sum(row["seconds"] for row in left)
    return {
        "measured_stages": measured,
        "network_stages": left,
        "seconds_left": seconds,
        "seconds": seconds + sum(row["seconds"] for row in measured),
        "planned": {name: asdict(own) for name, own in planned.items()},
        "speeds": {name: asdict(speed) for name, speed in speeds.items()},
    }
