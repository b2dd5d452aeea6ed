"""The slice of a batch that a process computes: its tiles, its part of the augmentation, its labels."""

from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from histo.augmentation.plans import Plan


class Slice:
    """Rows of the batches of an epoch.

    Mixup and CutMix mix a tile with the next one of the batch, that of the last tile is the first. Therefore a slice
    that is not the whole batch is augmented together with the tile after it, which is dropped afterwards.
    """

    def __init__(self, rows: slice, batch_size: int) -> None:
        self._start, self._stop, self._batch_size = rows.start, rows.stop, batch_size
        self._whole = self._stop - self._start == batch_size

    def positions(self, positions: np.ndarray) -> np.ndarray:
        """Positions of the tiles to load, of those of a batch."""
        if self._whole:
            return positions
        rows: np.ndarray = positions[np.arange(self._start, self._stop + 1) % self._batch_size]
        return rows

    def plan(self, plan: Plan) -> Plan:
        """Augmentation of these tiles, of that of a batch."""
        if self._whole:
            return plan
        if self._stop < self._batch_size:
            return plan.part(self._start, self._stop + 1)
        return joined(plan.part(self._start, self._stop), plan.part(0, 1), self._stop - self._start)

    def own(self, tiles: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Augmented tiles and labels without those of the tile after the slice."""
        return (tiles, labels) if self._whole else (tiles[:-1], labels[:-1])


def joined(first: Plan, second: Plan, count: int) -> Plan:
    """The plan of the `count` tiles of `first` followed by the tiles of `second`, both with the same settings."""
    changes = {}
    for field in fields(Plan):
        one, two = getattr(first, field.name), getattr(second, field.name)
        if one is not None and not isinstance(one, int):
            changes[field.name] = _joined(one, two, count)
    return replace(first, **changes)


def _joined(first: Any, second: Any, count: int) -> Any:
    """The values of `first` followed by those of `second`, whose indices of tiles begin after `count` tiles."""
    if isinstance(first, Tensor):
        return torch.cat([first, second])
    if isinstance(first, np.ndarray):
        return np.concatenate([first, second])
    if not is_dataclass(first) or isinstance(first, type):
        raise TypeError(f"expected an array or a change of some tiles, found {type(first).__name__}")
    parts = {
        field.name: _joined(getattr(first, field.name), getattr(second, field.name), count) for field in fields(first)
    }
    parts["tile"] = np.concatenate([first.tile, second.tile + count])  # type: ignore[attr-defined]
    return replace(first, **parts)
