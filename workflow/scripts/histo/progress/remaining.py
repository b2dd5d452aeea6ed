"""The time that the training jobs of a run still need, by epochs, tiles and measured speed.

Snakemake's process estimates it whenever a training ends, from the histories that the trainings write after each epoch.
"""

import csv
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Training:
    """A training job: its model, its fold (None: all tiles), its history.csv."""

    model: str
    fold: int | None
    history: Path


class Trainings:
    """The training jobs of a run."""

    def __init__(
        self, jobs: Mapping[Hashable, Training], epochs: Callable[[str], int], tiles: Callable[[], dict[int, int]]
    ) -> None:
        """jobs: by their identifier; epochs: of a model; tiles: number of tiles of each fold. Both are asked late."""
        self._jobs, self._epochs, self._tiles = jobs, epochs, tiles
        self._started: dict[Hashable, float] = {}
        self._finished: set[Hashable] = set()

    def start(self, job: Hashable) -> None:
        """Note that a job has started; others than trainings are ignored."""
        if job in self._jobs:
            self._started[job] = time.monotonic()

    def finish(self, job: Hashable) -> str | None:
        """Note that a job has ended; return "trainings 7 of 15 done, about 50 min left", or None for another job."""
        if job not in self._jobs or job not in self._started:
            return None
        self._finished.add(job)
        text = f"trainings {len(self._finished)} of {len(self._jobs)} done"
        left = self._left()
        return text if left is None else f"{text}, about {eta(left)} left"

    def _left(self) -> float | None:
        """Estimated seconds; None if nothing is left or nothing was measured.

        The work that is left, at the measured seconds per tile and epoch of its model (of all models for one that was
        not trained yet), divided by the seconds of training per second of the run up to now: above 1 with several
        trainings at a time, below 1 where they waited for other jobs.
        """
        done = {job: measured(self._jobs[job].history) for job in self._started}
        seconds: dict[str, float] = {}
        work: dict[str, float] = {}
        for job, (epochs, spent) in done.items():
            model = self._jobs[job].model
            seconds[model] = seconds.get(model, 0) + spent
            work[model] = work.get(model, 0) + epochs * self._size(job)
        if not sum(work.values()):
            return None
        overall = sum(seconds.values()) / sum(work.values())
        left = 0.0
        for job in self._jobs.keys() - self._finished:
            model = self._jobs[job].model
            speed = seconds[model] / work[model] if work.get(model) else overall
            epochs = self._epochs(model) - done.get(job, (0, 0.0))[0]
            left += max(0, epochs) * self._size(job) * speed
        now = time.monotonic()
        # Of a resumed training, the history has seconds of an earlier run.
        trained = sum(min(done[job][1], now - start) for job, start in self._started.items())
        elapsed = now - min(self._started.values())
        return left * elapsed / trained if left and trained else None

    def _size(self, job: Hashable) -> int:
        """Number of training tiles of a job."""
        tiles = self._tiles()
        return sum(tiles.values()) - tiles.get(-1 if (fold := self._jobs[job].fold) is None else fold, 0)


def measured(history: Path) -> tuple[int, float]:
    """Return the number of epochs in a history.csv and their seconds; zeros if there is none yet."""
    if not history.is_file():
        return 0, 0.0
    with open(history, newline="") as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    return len(seconds), sum(seconds)


def eta(seconds: float) -> str:
    """Return a time span that is an estimate: 40 s, 41 min, 3 h 20 min."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
