"""Faults of the machine while a stage runs: a full disk, no memory."""

import hashlib
import resource
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


def calls(stage: Callable[[], Any], stop: int = 0) -> int:
    """Run a stage and count the calls of functions of the workflow; MemoryError in call number `stop`.

    Calls in histo/files.py do not count: an error on entering its generators would end them without their cleanup.
    """
    count = 0

    def entered(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(SCRIPTS) and not file.endswith("histo/files.py"):
            count += 1
            if count == stop:
                raise MemoryError

    sys.setprofile(entered)
    try:
        stage()
    finally:
        sys.setprofile(None)
    return count
