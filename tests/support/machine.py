"""Faults while a stage runs: a full disk, no memory, signals."""

import hashlib
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from support import ROOT

SCRIPTS = str(ROOT / "workflow" / "scripts")


def digests(root: Path) -> dict[str, str]:
    """SHA-256 of all files below a folder by path."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file grows beyond `size` bytes: writing more fails as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def out_of_memory() -> None:
    raise MemoryError


def interrupt() -> None:
    raise KeyboardInterrupt


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def calls(stage: Callable[[], Any], stop: int = 0, fault: Callable[[], None] = out_of_memory) -> int:
    """Run a stage and count the calls of functions of the workflow; in call number `stop` there is a fault.

    Calls in histo/files.py do not count: an error on entering its generators would end them without their cleanup.
    """
    count = 0

    def entered(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(SCRIPTS) and not file.endswith("histo/files.py"):
            count += 1
            if count == stop:
                fault()

    sys.setprofile(entered)
    try:
        stage()
    finally:
        sys.setprofile(None)
    return count


def kill_in_call(stage: Callable[[], Any], stop: int) -> None:
    """Run a stage in a process of its own, which is killed in call number `stop`."""
    process = os.fork()
    if process == 0:
        try:
            calls(stage, stop, kill)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
