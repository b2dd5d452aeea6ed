"""The device of a job: a GPU that no other job uses, Apple's MPS, or the CPU.

A GPU that is there or was requested, but that PyTorch cannot use, is an error: a job never runs on the CPU instead
without saying so. The environment variable HISTO_DEVICE (cpu, cuda, cuda:N or mps) overrides the choice.
"""

import fcntl
import logging
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from histo.errors import InputError
from histo.gpus import gpu_evidence, requested_device
from histo.training.memory import reuse_freed_memory

log = logging.getLogger(__name__)

USE_CPU = "set HISTO_DEVICE=cpu to run on the CPU on purpose"


def cuda_failure() -> str:
    """Why PyTorch can use no GPU at all, empty if it can use CUDA."""
    if torch.cuda.is_available():
        return ""
    if torch.version.cuda is None and torch.version.hip is None:
        return f"PyTorch {torch.__version__} was built without CUDA"
    reason = "torch.cuda.is_available() is False"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        reason = first_line(error)
    return f"{reason.rstrip('.')} (PyTorch {torch.__version__} for CUDA {torch.version.cuda})"


def gpu_failure(index: int) -> str:
    """Why PyTorch cannot use this GPU, empty if a trial computation on it succeeds."""
    try:
        torch.ones(16, device=torch.device("cuda", index)).add_(1).sum().item()
    except RuntimeError as error:
        capability, architectures = torch.cuda.get_device_capability(index), torch.cuda.get_arch_list()
        reason = f"GPU {index}, {torch.cuda.get_device_name(index)}: {first_line(error).rstrip('.')}"
        if not runs_on(capability, architectures):
            reason += (
                f"; its compute capability is {capability[0]}.{capability[1]}, PyTorch {torch.__version__} was built "
                f"for {', '.join(architectures)}"
            )
        return reason
    return ""


def runs_on(capability: tuple[int, int], architectures: list[str]) -> bool:
    """Whether code for these architectures (torch.cuda.get_arch_list) runs on a GPU of this compute capability.

    Binary code (sm_) runs on the same major capability with an equal or higher minor one, PTX (compute_) on all equal
    or higher capabilities.
    """
    for architecture in architectures:
        found = re.fullmatch(r"(sm|compute)_(\d+)(\d)", architecture)
        if found:
            built = int(found[2]), int(found[3])
            if built <= capability and (found[1] == "compute" or built[0] == capability[0]):
                return True
    return False


def first_line(error: BaseException) -> str:
    """First line of an error's message."""
    return str(error).strip().partition("\n")[0]


def gpu_count() -> int:
    """Number of GPUs that this process sees."""
    return torch.cuda.device_count()


def gpu_identity(index: int) -> str:
    """UUID of a GPU, which is the same in all processes.

    CUDA_VISIBLE_DEVICES may number the same GPU differently for each job.
    """
    return str(getattr(torch.cuda.get_device_properties(index), "uuid", index)).removeprefix("GPU-")


def free_memory() -> dict[str, int]:
    """Free memory in MiB of the GPUs by UUID; without those that nvidia-smi does not report.

    torch.cuda.mem_get_info would allocate several hundred MB on each GPU for the lifetime of the process.
    """
    command = ["nvidia-smi", "--query-gpu=uuid,memory.free", "--format=csv,noheader,nounits"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    return {found[1]: int(found[2]) for found in re.finditer(r"^(?:GPU-)?(\S+), *(\d+)\s*$", output, re.MULTILINE)}


def mps_available() -> bool:
    """Whether PyTorch can use the GPU of an Apple processor."""
    return torch.backends.mps.is_available()


def _slot(identity: str) -> Path:
    """Lock file of a GPU, one per user."""
    return Path(tempfile.gettempdir()) / f"histo-{os.getuid()}-gpu-{identity}.lock"


def claim(slots: list[Path], sharing: bool = True) -> tuple[int, int]:
    """Lock the first slot that no other process holds; return its index and its open file.

    If all slots are held, return one of them without a lock, chosen by the process id. The lock is released when the
    file is closed or the process ends, in any way. Raises InputError if all slots are held and `sharing` is false.
    """
    for index, slot in enumerate(slots):
        file = os.open(slot, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
        else:
            return index, file
    if not sharing:
        raise InputError(
            "Expected a free GPU for each process of this training, found that jobs of this workflow use all GPUs that "
            "this process sees. Lower the resource gpu of the rule train, or --resources gpu=N to the number of GPUs."
        )
    index = os.getpid() % len(slots)
    return index, os.open(slots[index], os.O_RDWR)


def claim_gpu(indices: list[int], sharing: bool = True) -> tuple[int, int]:
    """Claim one of these GPUs; return its index and the open file of its slot.

    GPUs without a job of this workflow come first, among them the one with most free memory. A GPU that fails a trial
    computation, for instance because it is in exclusive mode and another user's, is passed over. Raises InputError if
    all fail, and if all are held and `sharing` is false.
    """
    identities = {index: gpu_identity(index) for index in indices}
    free = free_memory() if len(indices) > 1 else {}
    left = sorted(indices, key=lambda index: -free.get(identities[index], 0))
    failures = []
    while left:
        position, file = claim([_slot(identities[index]) for index in left], sharing)
        index = left.pop(position)
        failure = gpu_failure(index)
        if not failure:
            return index, file
        os.close(file)
        log.warning("Passed over %s.", failure)
        failures.append(failure)
    raise InputError(
        f"Expected a GPU that PyTorch can use, found {'; '.join(failures)}. Wait until a GPU is free, choose another "
        f"one with HISTO_DEVICE=cuda:N or CUDA_VISIBLE_DEVICES, or {USE_CPU}."
    )


def choose_device(sharing: bool = True) -> tuple[torch.device, int | None]:
    """The device of this job and the open file of its slot, None unless it is a GPU with CUDA.

    sharing: see `claim`. Raises InputError if there is a GPU, or one was requested, that PyTorch cannot use.
    """
    choice = requested_device()
    if choice not in ("cpu", "mps"):
        failure = cuda_failure()
        if not failure:
            indices = list(range(gpu_count()))
            if ":" in choice:
                index = int(choice.partition(":")[2])
                if index not in indices:
                    raise InputError(
                        f"HISTO_DEVICE={choice}: expected one of the visible GPUs, found "
                        f"{', '.join(f'cuda:{index}' for index in indices)}. Choose one of them."
                    )
                indices = [index]
            return _on_gpu(*claim_gpu(indices, sharing))
        evidence = f"HISTO_DEVICE={choice}" if choice else gpu_evidence()
        if evidence:
            raise InputError(
                f"{evidence}: expected a GPU that PyTorch can use, found: {failure}. Update the NVIDIA driver, install "
                f"a build of PyTorch for this driver and GPU, or {USE_CPU}."
            )
    if choice == "mps" and not mps_available():
        raise InputError(f"HISTO_DEVICE=mps: expected a GPU of an Apple processor, found none. Unset it or {USE_CPU}.")
    use_mps = choice == "mps" or (not choice and mps_available())
    return torch.device("mps" if use_mps else "cpu"), None


def _on_gpu(index: int, file: int) -> tuple[torch.device, int]:
    """Make a GPU the current device."""
    torch.cuda.set_device(index)
    torch.backends.cudnn.benchmark = True
    return torch.device("cuda", index), file


@contextmanager
def reproducible(enabled: bool) -> Iterator[None]:
    """With `enabled`, let torch use deterministic kernels, chosen without timing, and no TF32, inside the context.

    torch warns of an operation that has no deterministic kernel.
    """
    if not enabled:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used
    switches: list[tuple[Any, str]] = [
        (torch.backends.cudnn, "benchmark"), (torch.backends.cudnn, "allow_tf32"),
        (torch.backends.cuda.matmul, "allow_tf32"),
        (torch.utils.deterministic, "fill_uninitialized_memory"),  # takes time; no operation here reads such memory
    ]  # fmt: skip
    before = [getattr(owner, name) for owner, name in switches]
    mode = torch.get_deterministic_debug_mode()
    try:
        torch.set_deterministic_debug_mode("warn")
        for owner, name in switches:
            setattr(owner, name, False)
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        for (owner, name), value in zip(switches, before, strict=True):
            setattr(owner, name, value)


def device_name(device: torch.device, threads: int) -> str:
    """Name of a device for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return "Apple MPS"
    return f"CPU, {threads} {'thread' if threads == 1 else 'threads'}"


def is_out_of_memory(error: RuntimeError, device: torch.device) -> bool:
    """Whether the memory of a GPU was too small; MPS and CUDA's own calls raise a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError) or (device.type != "cpu" and "out of memory" in str(error))


@contextmanager
def claim_device(threads: int, sharing: bool = True) -> Iterator[torch.device]:
    """The device for this job: a GPU that no other job of this workflow uses, else the CPU with `threads` threads.

    A scheduler that assigns GPUs (SLURM sets CUDA_VISIBLE_DEVICES) makes only the assigned ones visible. Snakemake's
    resource `gpu` limits the number of concurrent jobs; if there are more jobs than GPUs, they share, unless `sharing`
    is false. Raises InputError if PyTorch cannot use the GPU, and if its memory is exhausted inside the context.
    """
    threadpool_limits(threads)  # those of NumPy's linear algebra
    torch.set_num_threads(threads)
    device, file = choose_device(sharing)
    if device.type == "cpu":
        reuse_freed_memory()
    try:
        log.info("Device: %s, %s.", device, device_name(device, threads))
        yield device
    except RuntimeError as error:
        if not is_out_of_memory(error, device):
            raise
        raise InputError(
            f"{device_name(device, threads)}: the memory of the GPU is exhausted ({first_line(error)}). Set a smaller "
            "batch_size of the model, set HISTO_TILES_STORAGE=cache to keep the tiles in main memory, end other "
            "programs that use this GPU, or choose another one with HISTO_DEVICE=cuda:N."
        ) from error
    finally:
        if file is not None:
            os.close(file)
