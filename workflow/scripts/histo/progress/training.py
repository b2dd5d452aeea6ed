"""What is shown of a training run: a line at intervals and after each epoch, and its curves."""

import logging
import math
import time
from pathlib import Path
from typing import Any

from histo.progress.curves import Curves
from histo.progress.remaining import eta

log = logging.getLogger(__name__)

LOG_INTERVAL = 30.0  # seconds between lines
POINTS = 100  # of the curve of the loss, per epoch
VALIDATION_COST = 1 / 3  # of a validation tile, in training tiles: a forward pass without a backward pass


def run_name(model: str, fold: int | None, folds: int, replicate: int = 0) -> str:
    """Name of a run in its lines: "p4m fold-1 (2/5)", whose folder is fold-1, the second of five, or "p4m full-0".

    fold: None for a network that is trained on all folds, with the number `replicate`; model: may be empty.
    """
    network = f"full-{replicate}" if fold is None else f"fold-{fold} ({fold + 1}/{folds})"
    return f"{model} {network}".lstrip()


class TrainingDisplay:
    """Shows the progress of a training run and estimates the time that is left."""

    def __init__(
        self,
        name: str,
        *,
        epochs: int,
        steps_per_epoch: int,
        batch_size: int,
        validation_tiles: int,
        curves: str | Path | None = None,
    ) -> None:
        """name: see `run_name`; epochs: of the whole run; curves: folder of the curves, None for none."""
        self.name, self.epochs = name, epochs
        self._steps, self._batch, self._validation_tiles = steps_per_epoch, batch_size, validation_tiles
        self._folder = curves
        self._curves: Curves | None = None
        self._history: list[dict[str, Any]] = []
        self._best = 0

    def begin(self, history: list[dict[str, Any]], best_epoch: int, steps: int) -> None:
        """Begin or resume the run: `steps` steps after the epochs of `history`, a list that the run extends."""
        self._history, self._best = history, best_epoch
        if self._folder is not None:
            self._curves = Curves(self._folder, len(history) * self._steps + steps)

    def begin_epoch(self, steps: int, loss_sum: float) -> None:
        """Begin an epoch, or resume it after `steps` steps, whose losses have the sum `loss_sum`."""
        self._start = self._logged = time.monotonic()
        self._first = self._drawn = steps
        self._drawn_sum = loss_sum

    def step(self, steps: int, loss_sum: float, learning_rate: float) -> None:
        """Show the progress if it is due; steps: done in the epoch; loss_sum: of all of them."""
        now = time.monotonic()
        speed = (steps - self._first) * self._batch / max(now - self._start, 1e-9)
        if (
            self._curves
            and steps > self._drawn
            and (steps - self._drawn >= self._steps / POINTS or steps == self._steps)
        ):
            loss = (loss_sum - self._drawn_sum) / (steps - self._drawn)
            self._drawn, self._drawn_sum = steps, loss_sum
            self._curves.add(
                len(self._history) * self._steps + steps,
                {"train/loss": loss, "train/learning_rate": learning_rate, "train/tiles_per_second": speed},
            )
        if now - self._logged >= LOG_INTERVAL and steps < self._steps:
            self._logged = now
            log.info("%s", self._line(len(self._history) + 1, steps, loss_sum / steps, speed))

    def end_epoch(self, best_epoch: int) -> None:
        """Show the last epoch of the history; best_epoch: the best one up to now, counted from 1."""
        self._best = best_epoch
        row = self._history[-1]
        if self._curves:
            values = {"validation/AUC": row["auc"], "validation/loss": row["validation_loss"]}
            known = {name: value for name, value in values.items() if not math.isnan(value)}
            self._curves.add(len(self._history) * self._steps, {"train/loss_of_epoch": row["loss"], **known})
            self._curves.flush()
        log.info("%s", self._line(row["epoch"], self._steps, row["loss"], row["tiles_per_second"]))

    def flush(self) -> None:
        """Write all points of the curves to the disk."""
        if self._curves:
            self._curves.flush()

    def close(self) -> None:
        """Close the file of the curves."""
        if self._curves:
            self._curves.close()

    def _line(self, epoch: int, steps: int, loss: float, speed: float) -> str:
        parts = [f"[{self.name}] epoch {epoch}/{self.epochs} step {steps}/{self._steps} loss {loss:.4f}"]
        if self._best:
            best = self._history[self._best - 1]["auc"]
            parts.append(f"AUC {self._history[-1]['auc']:.4f} (best {best:.4f}, epoch {self._best})")
        parts.append(f"{speed:.0f} tiles/s")
        if epoch < self.epochs or steps < self._steps:
            parts.append(f"ETA {eta(self._left(epoch, steps, speed))}")
        return " ".join(parts)

    def _left(self, epoch: int, steps: int, speed: float) -> float:
        """Estimated seconds until the end of the last epoch, at a speed in training tiles per second."""
        speed = max(speed, 0.05)  # speeds in the history are rounded
        done = len(self._history) == epoch  # whether the epoch is validated
        training = ((self.epochs - epoch) * self._steps + self._steps - steps) * self._batch / speed
        return training + (self.epochs - epoch + (not done)) * self._validation_seconds(speed)

    def _validation_seconds(self, speed: float) -> float:
        if not self._history:
            return self._validation_tiles * VALIDATION_COST / speed
        row = self._history[-1]
        return max(0.0, float(row["seconds"]) - self._steps * self._batch / max(float(row["tiles_per_second"]), 0.05))
