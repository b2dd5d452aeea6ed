"""The start of every script: its log, its number of threads, and how uncaught errors are reported."""

import errno
import faulthandler
import logging
import os
import re
import signal
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

from threadpoolctl import threadpool_limits

from histo.errors import InputError, out_of_memory

# Control characters but tab and line feed: those of a terminal, and those that change the direction of the text.
_CONTROLS = [*range(9), *range(11, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_ESCAPES = {code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" for code in _CONTROLS}


class _Plain(logging.Formatter):
    """Escapes control characters, which names of files and answers of servers may hold."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).translate(_ESCAPES)


# Of libraries that raise no OSError with a number: h5py, pyarrow and torch say it in words.
_FULL = re.compile(r"(errno\s*=?\s*(28|122|27)\b)|No space left on device|Disk quota exceeded|File too large", re.I)


def unwritable(error: BaseException) -> str | None:
    """Return in words that a disk is full or read-only, if that is what an error says."""
    number = getattr(error, "errno", None)
    file = getattr(error, "filename", None) or Path.cwd()
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or (_FULL.search(str(error)) and number is None):
        found = " ".join(str(error).split())[:200]
        place = f"{file}: " if getattr(error, "filename", None) else ""
        return f"{place}no space left on the disk, or a quota is used up ({found}). Free some space and run again."
    if number in (errno.EROFS, errno.EACCES, errno.EPERM) and isinstance(error, OSError):
        return f"{file}: cannot be read or written ({os.strerror(number)}). Correct its permissions and run again."
    return None


def start(snakemake: Any) -> None:
    """Log to the job's log file and to standard error, report uncaught errors there, and limit the job's threads.

    snakemake: the object of that name in a script. An InputError is reported by its message alone, any other exception
    is a bug and is reported with its traceback. With HISTO_ERRORS=log in the environment, errors go to the log file
    alone: the Snakefile prints them at the end. SIGTERM, which a cluster sends before SIGKILL, ends the job like an
    exception, so that temporary files are removed.
    """
    # NumPy's linear algebra uses all cores by default, which slows down jobs that run side by side.
    threadpool_limits(snakemake.threads)
    path = Path(snakemake.log[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    screen = logging.StreamHandler(sys.stderr)
    if os.environ.get("HISTO_ERRORS") == "log":
        screen.addFilter(lambda record: record.levelno < logging.ERROR)
    file = logging.FileHandler(path, mode="w", encoding="utf-8", errors="backslashreplace")
    for handler in (file, screen):
        handler.setFormatter(_Plain("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[file, screen], force=True)

    # A fatal signal, such as that of a mapped file that was cut short, leaves a line that histo.failures explains.
    faulthandler.enable(os.open(path, os.O_WRONLY | os.O_APPEND), all_threads=False)

    def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, InputError):
            logging.error("%s", error)
        elif reason := unwritable(error):
            logging.error("%s", reason)
        elif out_of_memory(error):
            logging.error(
                "No memory is left (%s). End other programs, or run fewer jobs at once (--cores, or --resources mem_mb "
                "with the megabytes of this machine), and run again.",
                " ".join(str(error).split())[:200] or kind.__name__,
            )
        elif issubclass(kind, KeyboardInterrupt):
            logging.error("Interrupted.")
        else:
            logging.error("%s", "".join(traceback.format_exception(kind, error, trace)).rstrip())

    sys.excepthook = report
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
