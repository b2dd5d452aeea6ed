"""The resume file of a training run, written atomically and used only by an identical run.

It lies beside the outputs of the job but is not declared as one, because Snakemake deletes the outputs of a failed job.
It is written at intervals and after SIGTERM, so a run that is killed without warning loses at most the interval and the
step or validation in progress. It holds no state of random number generators: the order of the tiles, augmentation and
dropout are functions of the seed, the epoch and the step.
"""

import hashlib
import logging
import os
import time
from collections.abc import Iterable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from histo.config.train import TrainSettings
from histo.errors import InputError, out_of_memory
from histo.hashes import file_sha256
from histo.tiles.shards import Shard
from histo.training.checkpoints import dump

log = logging.getLogger(__name__)


def fingerprint(
    *,
    settings: TrainSettings,
    code: dict[str, str],
    fold: int | None,
    replicate: int,
    folds: pd.DataFrame,
    shards: Iterable[Shard],
    files: Iterable[str],
) -> dict[str, Any]:
    """Identity of a run, which must be equal for it to resume.

    code: fingerprint of the script; folds: table of the folds, of which the contents are compared; shards: of the
    training tiles; files: pretrained weights and pseudo-labels.
    """
    columns = folds[["id", "shard", "row", "label", "fold"]]
    # Not categorised: all ids differ.
    table = hashlib.sha256(pd.util.hash_pandas_object(columns, index=False, categorize=False).to_numpy().tobytes())
    # With a constant learning rate, no step depends on the number of epochs.
    without = {"epochs"} if settings.schedule == "constant" else set()
    return {
        "settings": settings.model_dump(exclude=without),
        "code": code,
        "fold": fold,
        "replicate": replicate,
        "folds": table.hexdigest(),
        "files": [file_sha256(Path(path)) for path in files],
        "shards": {str(shard.number): [shard.sha256, *astuple(shard.geometry)] for shard in shards},
    }


def interval() -> float:
    """Seconds between saves: the environment variable HISTO_SAVE_SECONDS, by default 300."""
    text = os.environ.get("HISTO_SAVE_SECONDS", "300")
    try:
        return float(text)
    except ValueError:
        raise InputError(f"HISTO_SAVE_SECONDS: expected a number of seconds, found {text!r}.") from None


class ResumeFile:
    """File from which a run resumes after it was killed."""

    def __init__(self, path: str | Path, identity: dict[str, Any]) -> None:
        """identity: see `fingerprint`."""
        self.path, self.identity = Path(path), identity
        self.interval = interval()
        self._saved = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The state that was saved last, or None; logs a warning if there is a file but it cannot be used."""
        if not self.path.is_file():
            return None
        try:
            found = torch.load(self.path, map_location="cpu", weights_only=True)
            identity: dict[str, Any] = found["identity"]
            state: dict[str, Any] = found["state"]
        except Exception as error:  # torch passes on any error of pickle or zipfile
            if out_of_memory(error):
                raise
            log.warning("%s: not readable (%s). The run starts from the beginning.", self.path, type(error).__name__)
            return None
        different = [name for name, value in self.identity.items() if identity.get(name) != value]
        if different:
            log.warning(
                "%s: from a run with different %s. The run starts from the beginning.", self.path, ", ".join(different)
            )
            return None
        return state

    def due(self) -> bool:
        """Whether the interval since the last save has passed."""
        return time.monotonic() - self._saved >= self.interval

    def save(self, state: dict[str, Any]) -> None:
        """Replace the file by one with `state`: plain types and tensors."""
        dump({"identity": self.identity, "state": state}, self.path)
        self._saved = time.monotonic()

    def remove(self) -> None:
        """Remove the file, and temporary files of saves that were killed, after the run is complete."""
        self.path.unlink(missing_ok=True)
        for part in self.path.parent.glob(f".{self.path.stem}.*.part{self.path.suffix}"):
            part.unlink(missing_ok=True)
