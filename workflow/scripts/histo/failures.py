"""What failed jobs wrote as errors, found through Snakemake's own log."""

import os
import re
from pathlib import Path

# An uncaught error as histo.job.start writes it: the last record of a log, of one or more lines.
_ERROR = re.compile(r"^\d\d:\d\d:\d\d ERROR ", flags=re.MULTILINE)
_FATAL = re.compile(r"^Fatal Python error: ([^\n]+)", flags=re.MULTILINE)  # written by faulthandler
_GROUP = re.compile(r"\s+message: Error in group (\S+)")
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
    killed, the last lines of its log are returned. Snakemake lists all jobs of a group of which one failed: those with
    an error in the log are returned, or without any the one that wrote to its log last.
    """
    logs: dict[str, tuple[str, list[str]]] = {}
    job = group = ""
    for line in text.splitlines():
        if not line.startswith(" "):
            job = group = ""
        if found := _GROUP.match(line):
            group = found[1]
        elif found := _JOB.match(line):
            job = found[1]
        elif job and (found := _LOG.match(line)):
            logs[job] = (group, found[1].split(", "))
        elif found := _FINISHED.match(line):
            logs.pop(found[1], None)
    kept: list[list[str]] = []
    for group in dict.fromkeys(name for name, _ in logs.values()):
        members = [paths for name, paths in logs.values() if name == group]
        if group:
            written = sorted((paths for paths in members if Path(paths[0]).is_file()), key=_written)
            members = [paths for paths in members if _has_error(paths[0])] or written[-1:] or members[:1]
        kept += [paths for paths in members if paths not in kept]
    return [_failure(*paths) for paths in kept]


def _written(paths: list[str]) -> float:
    """When a job wrote to its log last."""
    return Path(paths[0]).stat().st_mtime


def _has_error(path: str) -> bool:
    """Whether there is an error in a job's log."""
    text = Path(path).read_text(encoding="utf-8", errors="replace") if Path(path).is_file() else ""
    return bool(_ERROR.search(text) or _FATAL.search(text))


def _failure(path: str, *further: str) -> str:
    """Return what a job's log at `path` says of its failure; further: logs of the cluster."""
    text = Path(path).read_text(encoding="utf-8", errors="replace").rstrip() if Path(path).is_file() else ""
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
