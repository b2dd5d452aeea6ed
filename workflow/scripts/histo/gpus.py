"""Whether a job may have a GPU, found without PyTorch, whose import takes seconds."""

import glob
import os
import re
import sys
from pathlib import Path

from histo.errors import InputError

HIDDEN = ("", "-1", "NoDevFiles")  # values of CUDA_VISIBLE_DEVICES that hide all GPUs, the last one set by SLURM


def requested_device() -> str:
    """Value of HISTO_DEVICE, empty if it is not set. Raises InputError if it names no device."""
    choice = os.environ.get("HISTO_DEVICE", "")
    if choice and not re.fullmatch(r"cpu|cuda(:\d+)?|mps", choice):
        raise InputError(f"HISTO_DEVICE: expected one of cpu, cuda, cuda:N, mps, found {choice!r}.")
    return choice


def device_files() -> list[str]:
    """Device files of NVIDIA GPUs on this machine."""
    return sorted(glob.glob("/dev/nvidia[0-9]*"))


def gpu_evidence() -> str:
    """What says that this job has a GPU; empty if nothing does or if CUDA_VISIBLE_DEVICES hides the GPUs.

    In a SLURM job without GPUs, the device files of the node belong to other jobs.
    """
    for name in ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS"):
        if os.environ.get(name):
            return f"{name}={os.environ[name]}"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return "" if visible.strip() in HIDDEN else f"CUDA_VISIBLE_DEVICES={visible}"
    if "SLURM_JOB_ID" in os.environ:
        return ""
    return next(iter(device_files()), "")


def gpu_expected() -> bool:
    """Whether networks will run on a GPU of this machine, if PyTorch can use it: NVIDIA's, AMD's or Apple's."""
    device = os.environ.get("HISTO_DEVICE", "")
    return device != "cpu" if device else bool(gpu_evidence() or Path("/dev/kfd").exists() or sys.platform == "darwin")
