"""The limit of the address space (ulimit -v), checked before a job that imports PyTorch fails at it."""

import re
import resource
import subprocess

from histo.errors import InputError
from histo.formatting import size_text

_NO_MEMORY = re.compile(r"failed to map segment|Cannot allocate memory|MemoryError")


def require_torch(python: str) -> None:
    """Raise InputError if PyTorch cannot be loaded within the limit; without a limit, nothing is tried.

    python: path of the interpreter. Whether PyTorch is installed is not checked: jobs may have another environment.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return
    done = subprocess.run([python, "-c", "import torch"], capture_output=True, text=True, errors="replace", check=False)
    if done.returncode and _NO_MEMORY.search(done.stderr):
        raise InputError(
            f"The address space of a process is limited to {size_text(limit)}, in which PyTorch cannot be loaded. "
            "Remove the limit (ulimit -v unlimited) and run again."
        )
