"""The device of a job: a GPU that no other job uses, or the CPU."""

import fcntl
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

log = logging.getLogger(__name__)


def _slot(index: int) -> Path:
    """Lock file of a GPU, one per user.

    Named by the UUID of the GPU, because CUDA_VISIBLE_DEVICES may number the same GPU differently for each job.
    """
    properties = torch.cuda.get_device_properties(index)
    identity = getattr(properties, "uuid", index)
    return Path(tempfile.gettempdir()) / f"histo-{os.getuid()}-gpu-{identity}.lock"


def claim(slots: list[Path]) -> tuple[int, int]:
    """Lock the first slot that no other process holds; return its index and its open file.

    If all slots are held, return one of them without a lock, chosen by the process id. The lock is released when the
    file is closed or the process ends, in any way.
    """
    for index, slot in enumerate(slots):
        file = os.open(slot, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
        else:
            return index, file
    index = os.getpid() % len(slots)
    return index, os.open(slots[index], os.O_RDWR)


@contextmanager
def claim_device(threads: int) -> Iterator[torch.device]:
    """The device for this job: a GPU that no other job of this workflow uses, else the CPU with `threads` threads.

    A scheduler that assigns GPUs (SLURM sets CUDA_VISIBLE_DEVICES) makes only the assigned ones visible. Snakemake's
    resource `gpu` limits the number of concurrent jobs; if there are more jobs than GPUs, they share.
    """
    torch.set_num_threads(threads)
    if not torch.cuda.is_available():
        log.info("Device: CPU, %d threads.", threads)
        yield torch.device("cpu")
        return
    index, file = claim([_slot(number) for number in range(torch.cuda.device_count())])
    try:
        torch.cuda.set_device(index)
        torch.backends.cudnn.benchmark = True
        log.info("Device: GPU %d, %s.", index, torch.cuda.get_device_name(index))
        yield torch.device("cuda", index)
    finally:
        os.close(file)
