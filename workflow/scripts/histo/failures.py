"""What failed jobs wrote as errors, found through Snakemake's own log."""

import os
import re
from pathlib import Path

# An uncaught error as histo.job.start writes it: the last record of a log, of one or more lines.
_ERROR = re.compile(r"^\d\d:\d\d:\d\d ERROR ", flags=re.MULTILINE)
_FATAL = re.compile(r"^Fatal Python error: ([^\n]+)", flags=re.MULTILINE)  # written by faulthandler
_JOB = re.compile(r"\s+jobid: (\d+)")
_LOG = re.compile(r"\s+log: (.+) \(check log file\(s\) for error details\)")
_FINISHED = re.compile(r"Finished jobid: (\d+) ")
TAIL = 5  # lines shown of a log without an error


def show_errors_last(local: bool) -> None:
    """Make the jobs that this process starts write their errors to their logs alone if they are local.

    Local jobs share Snakemake's standard error, on which the errors are printed at the end. The standard error of a
    job on a cluster is a file of its own, which gets the error too.
    """
    if local:
        os.environ["HISTO_ERRORS"] = "log"
    else:
        os.environ.pop("HISTO_ERRORS", None)


def failures(text: str) -> list[str]:
    """Return the error of each job that failed for good; text: a log of Snakemake.

    A job that failed, was tried again and finished is not among them. Of a job that left no error, as one that was
    killed, the last lines of its log are returned.
    """
    logs: dict[str, str] = {}
    job = ""
    for line in text.splitlines():
        if not line.startswith(" "):
            job = ""
        if found := _JOB.match(line):
            job = found[1]
        elif job and (found := _LOG.match(line)):
            logs[job] = found[1]
        elif found := _FINISHED.match(line):
            logs.pop(found[1], None)
    return [_failure(*paths.split(", ")) for paths in dict.fromkeys(logs.values())]


def _failure(path: str, *further: str) -> str:
    """Return what a job's log at `path` says of its failure; further: logs of the cluster."""
    text = Path(path).read_text(errors="replace").rstrip() if Path(path).is_file() else ""
    if (found := _FATAL.search(text)) and found[1] == "Bus error":
        return (
            "a file that the job reads through a memory map, such as a shard, is shorter than when it was opened, or "
            f"its disk cannot be read. Check the disk; delete shards that were cut short and run again.\n(log of the "
            f"job: {path})"
        )
    *_, error = _ERROR.split(text)
    if error != text:
        return f"{error}\n(log of the job: {path})"
    return "\n  ".join([
        f"a job ended and left no error in its log, {path}. It was killed, for its memory or its running time for "
        "instance, or could not start; what Snakemake prints above says more.",
        *(f"See also {log}" for log in further),
        *text.splitlines()[-TAIL:],
    ])  # fmt: skip
