"""A training or search trial that SLURM stops at its time limit goes back to the queue, as long as it makes progress.

The job is put back by itself, under its own number, so Snakemake waits for it and counts no failed attempt.
"""

import logging
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from histo.training.loop import SIGTERM_STATUS

log = logging.getLogger(__name__)


def position(path: Path) -> tuple[int, int] | None:
    """Complete epochs and further steps in a resume file; None if there is no readable one."""
    try:
        progress = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["state"]["progress"]
        return len(progress["history"]), progress["steps"]
    except Exception:  # torch passes on any error of pickle or zipfile
        return None


@contextmanager
def requeued_after_sigterm(*resume_paths: Path) -> Iterator[None]:
    """Put this SLURM job back into the queue if the training inside ends by SIGTERM with new progress.

    resume_paths: the resume files of the training, or of the trainings of a trial. Without progress, or if `scancel`
    sent the signal, the job fails.
    """
    before = [position(path) for path in resume_paths]
    try:
        yield
    except SystemExit as ended:
        after = [position(path) for path in resume_paths]
        if ended.code == SIGTERM_STATUS and after != before and any(after) and _running():
            job = os.environ["SLURM_JOB_ID"]
            log.info("The time limit is near: job %s goes back to the queue.", job)
            done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
            if done.returncode:
                log.warning("scontrol requeue %s: %s The job fails.", job, done.stderr.strip())
        raise


def _running() -> bool:
    """Whether this process belongs to a SLURM job that nobody has cancelled."""
    job = os.environ.get("SLURM_JOB_ID")
    if not job:
        return False
    query = ["squeue", "--noheader", "--format=%T", "--jobs", job]
    try:
        return subprocess.run(query, capture_output=True, text=True).stdout.strip() == "RUNNING"
    except OSError:
        return False
