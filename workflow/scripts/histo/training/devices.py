"""Which processor a job computes on."""

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
    """Lock file of a GPU of this machine; one per user, named by the GPU's own identity, because CUDA_VISIBLE_DEVICES
    may number the same GPU differently for each job."""
    properties = torch.cuda.get_device_properties(index)
    identity = getattr(properties, "uuid", index)
    return Path(tempfile.gettempdir()) / f"histo-{os.getuid()}-gpu-{identity}.lock"


def claim(slots: list[Path]) -> tuple[int, int]:
    """(index, open file) of the first slot that no other process holds; when all are held, of the one that this
    process' number falls on, unlocked. The lock goes with the file or the process, however it ends."""
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
    """The device for this job: with GPUs, one that no other job of ours uses; else the CPU with `threads` threads.

    Under a scheduler that hands out GPUs (SLURM sets CUDA_VISIBLE_DEVICES) only the handed one is visible. How many
    jobs run at once is Snakemake's `gpu` resource; when more run than there are GPUs, they share.
    """
    torch.set_num_threads(threads)
    if not torch.cuda.is_available():
        log.info("On the CPU, %d threads.", threads)
        yield torch.device("cpu")
        return
    index, file = claim([_slot(number) for number in range(torch.cuda.device_count())])
    try:
        torch.cuda.set_device(index)
        torch.backends.cudnn.benchmark = True
        log.info("On GPU %d, %s.", index, torch.cuda.get_device_name(index))
        yield torch.device("cuda", index)
    finally:
        os.close(file)
