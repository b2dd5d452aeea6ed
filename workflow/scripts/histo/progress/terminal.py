"""One line on the terminal for each job that starts or ends, in place of Snakemake's lists of inputs and outputs.

Snakemake's log file stays complete; so do its errors on the terminal. `quiet: rules` would remove errors and the log
file's entries of jobs too, from which `histo.failures` finds what failed.
"""

import logging
import re
import time
from pathlib import Path
from typing import Any

from histo.formatting import duration
from histo.progress.remaining import Trainings

# Events and beginnings of messages that the terminal does not show.
EVENTS = {"job_info", "job_started", "job_finished", "progress", "resources_info"}
MESSAGES = re.compile(r"Select jobs to execute|Removing temporary output|Conda environments: ignored|Using shell")


def event_of(record: logging.LogRecord) -> str:
    """Return the event of a record of Snakemake, or an empty string."""
    event = getattr(record, "event", None)
    return str(getattr(event, "value", event) or "")


def shown(record: logging.LogRecord) -> bool:
    """Whether the terminal shows a record as Snakemake writes it: all but progress, and always warnings and errors."""
    if record.levelno > logging.INFO:
        return True
    return event_of(record) not in EVENTS and not MESSAGES.match(str(record.msg))


class JobLines(logging.Handler):
    """Prints the lines of the jobs to the stream of Snakemake's own handler."""

    def __init__(self, terminal: logging.StreamHandler, logs: str, jobs: int, trainings: Trainings) -> None:  # type: ignore[type-arg]
        """terminal: Snakemake's handler; logs: folder of the logs, whose paths name the jobs; jobs: number to run."""
        super().__init__(logging.INFO)
        self._terminal, self._logs, self._jobs, self._trainings = terminal, Path(logs), jobs, trainings
        self._running: dict[int, tuple[str, float]] = {}
        self._done = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Print the line of a job that starts or ends, and after a training the time that is left."""
        try:
            self._show(event_of(record), vars(record))
        except Exception:  # a display must not end the run
            self.handleError(record)

    def _show(self, event: str, values: dict[str, Any]) -> None:
        if event == "job_info":
            name = self._job_name(values["log"], values["rule_name"])
            self._running[values["jobid"]] = name, time.monotonic()
            self._trainings.start(values["jobid"])
            self._print(name)
        elif event == "job_finished":
            self._done += 1
            name, start = self._running.pop(values["job_id"], ("a job", time.monotonic()))
            self._print(f"{name} done in {duration(time.monotonic() - start)}, {self._done} of {self._jobs} jobs")
            if text := self._trainings.finish(values["job_id"]):
                self._print(text)

    def _job_name(self, logs: list[str], rule: str) -> str:
        """Return the path of the job's log inside the folder of the logs: train/p4m/fold-1."""
        path = Path(logs[0]) if logs else None
        return str(path.relative_to(self._logs).with_suffix("")) if path and path.is_relative_to(self._logs) else rule

    def _print(self, text: str) -> None:
        stream = self._terminal.stream
        stream.write(f"{time.strftime('%H:%M:%S')} {text}\n")
        stream.flush()


def show_jobs(logger: logging.Logger, logs: str, jobs: int, trainings: Trainings) -> None:
    """Show one line per job on the terminal; nothing changes where Snakemake does not write to it.

    logger: Snakemake's; logs, jobs, trainings: see `JobLines`. Without effect with --verbose, with --quiet for rules,
    and with a logger plugin that writes to the terminal.
    """
    terminal = next((handler for handler in logger.handlers if handler.name == "DefaultStreamHandler"), None)
    if isinstance(terminal, logging.StreamHandler):
        lines = JobLines(terminal, logs, jobs, trainings)
        for own in terminal.filters:
            lines.addFilter(own)
        terminal.addFilter(shown)
        logger.addHandler(lines)
