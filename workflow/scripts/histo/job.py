"""How a script starts: its log, and where its errors go."""

import logging
import signal
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

from threadpoolctl import threadpool_limits

from histo.errors import InputError


def start(snakemake: Any) -> None:
    """Send log lines to the job's log file and to standard error, and uncaught errors too; keep to the job's threads.

    An InputError shows as its message alone; anything else is a defect and shows with its traceback. SIGTERM, which
    a cluster sends before it kills, ends the job as an exception would, so that temporary files are removed.
    """
    # NumPy's linear algebra takes all cores by itself, which jobs side by side pay for dearly.
    threadpool_limits(snakemake.threads)
    path = Path(snakemake.log[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        handlers=[logging.FileHandler(path, mode="w"), logging.StreamHandler(sys.stderr)],
        force=True,
    )

    def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, InputError):
            logging.error("%s", error)
        elif issubclass(kind, KeyboardInterrupt):
            logging.error("Interrupted.")
        else:
            logging.error("%s", "".join(traceback.format_exception(kind, error, trace)).rstrip())

    sys.excepthook = report
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
