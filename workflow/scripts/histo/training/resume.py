"""The resume file of a training run: written whole and replaced, used only by the very same run.

It is no declared output, since Snakemake deletes those when a job fails, and lies beside them. Random numbers need no
saving: order, augmentation and dropout are functions of seed, epoch and step.
"""

import hashlib
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from histo.errors import InputError
from histo.tiles.shards import Shard
from histo.training.checkpoints import dump

log = logging.getLogger(__name__)


def fingerprint(
    *, settings: dict[str, Any], code: dict[str, str], fold: int, folds: pd.DataFrame, shards: Iterable[Shard]
) -> dict[str, Any]:
    """What must be equal for a run to continue; folds: the table, of which the content counts."""
    table = hashlib.sha256()
    for column in ("id", "shard", "row", "label", "fold"):
        table.update("\n".join(map(str, folds[column])).encode() + b"\0")
    return {
        "settings": settings,
        "code": code,
        "fold": fold,
        "folds": table.hexdigest(),
        "shards": {str(shard.number): shard.sha256 for shard in shards},
    }


def interval() -> float:
    """Seconds between saves within an epoch: 300, or what the environment variable HISTO_SAVE_SECONDS says."""
    text = os.environ.get("HISTO_SAVE_SECONDS", "300")
    try:
        return float(text)
    except ValueError:
        raise InputError(f"HISTO_SAVE_SECONDS: expected a number of seconds, found {text!r}.") from None


class ResumeFile:
    """Where a run continues after it was killed."""

    def __init__(self, path: str | Path, identity: dict[str, Any]) -> None:
        """identity: see `fingerprint`."""
        self.path, self.identity = Path(path), identity
        self.every = interval()
        self._saved = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The state that was saved last, or None, with a line in the log when there is a file that does not serve."""
        if not self.path.is_file():
            return None
        try:
            found = torch.load(self.path, map_location="cpu", weights_only=True)
            identity, state = found["identity"], found["state"]
        except Exception as error:  # torch raises whatever unpickling or unzipping raised
            log.warning("%s is not readable (%s); starting afresh.", self.path, type(error).__name__)
            return None
        other = [name for name, value in self.identity.items() if identity.get(name) != value]
        if other:
            log.warning("%s is of a run with other %s; starting afresh.", self.path, ", ".join(other))
            return None
        return state

    def due(self) -> bool:
        """Whether the last save is long enough ago."""
        return time.monotonic() - self._saved >= self.every

    def save(self, state: dict[str, Any]) -> None:
        """Replace the file."""
        dump({"identity": self.identity, "state": state}, self.path)
        self._saved = time.monotonic()

    def remove(self) -> None:
        """The run is complete: remove the file, and what saves that were killed half-way left."""
        self.path.unlink(missing_ok=True)
        for part in self.path.parent.glob(f".{self.path.stem}.*.part{self.path.suffix}"):
            part.unlink(missing_ok=True)
