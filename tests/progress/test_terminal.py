"""The lines of jobs on the terminal, from records as Snakemake logs them."""

import io
import logging
import re

import pytest

from histo.progress.remaining import Training, Trainings
from histo.progress.terminal import show_jobs


@pytest.fixture
def log(tmp_path):
    """A logger as Snakemake sets it up, and what its terminal and its file show."""
    logger, streams = logging.Logger("snakemake", logging.INFO), [io.StringIO(), io.StringIO()]
    for name, stream in zip(("DefaultStreamHandler", "DefaultLogFileHandler"), streams, strict=True):
        handler = logging.StreamHandler(stream)
        handler.name = name
        logger.addHandler(handler)
    jobs = {7: Training("p4m", 1, tmp_path / "history.csv"), 8: Training("p4m", 0, tmp_path / "none.csv")}
    show_jobs(logger, "logs/demo", 3, Trainings(jobs, lambda model: 4, lambda: {0: 10, 1: 10}))
    return logger, *streams


def start(logger, jobid, rule, *logs):
    logger.info("rule", extra={"event": "job_info", "jobid": jobid, "rule_name": rule, "log": list(logs)})


def finish(logger, jobid):
    logger.info("Finished jobid", extra={"event": "job_finished", "job_id": jobid})
    logger.info("1 of 3 steps (33%) done", extra={"event": "progress"})


def without_times(text):
    return re.sub(r"(?m)^\d\d:\d\d:\d\d |\d+\.\d s(?=,)", lambda found: "S" if found[0].endswith("s") else "", text)


def test_one_line_per_job(log, tmp_path):
    logger, terminal, file = log
    logger.info("Select jobs to execute...")
    logger.info("Execute 1 jobs...", extra={"event": "job_started"})
    start(logger, 7, "train", "logs/demo/train/p4m/fold-1.log")
    (tmp_path / "history.csv").write_text("epoch,seconds\n1,0.5\n2,0.5\n3,0.5\n4,0.5\n")
    finish(logger, 7)
    start(logger, 9, "submission")
    logger.info("Removing temporary output a.tiles.")
    finish(logger, 9)
    first, second, left, *others = without_times(terminal.getvalue()).splitlines()
    assert (first, second) == ("train/p4m/fold-1", "train/p4m/fold-1 done in S, 1 of 3 jobs")
    assert re.fullmatch(r"trainings 1 of 2 done, about \d+ s left", left)
    assert others == ["submission", "submission done in S, 2 of 3 jobs"]
    assert file.getvalue().splitlines() == [
        "Select jobs to execute...", "Execute 1 jobs...", "rule", "Finished jobid", "1 of 3 steps (33%) done", "rule",
        "Removing temporary output a.tiles.", "Finished jobid", "1 of 3 steps (33%) done",
    ]  # fmt: skip


def test_errors_warnings_and_messages_stay(log):
    logger, terminal, _ = log
    logger.error("Error in rule train:", extra={"event": "job_error", "jobid": 7})
    logger.warning("slow", extra={"event": "progress"})
    logger.info("Job stats:", extra={"event": "run_info"})
    logger.info("Nothing to be done")
    assert terminal.getvalue() == "Error in rule train:\nslow\nJob stats:\nNothing to be done\n"


def test_quiet_of_snakemake_is_kept():
    logger, stream = logging.Logger("snakemake", logging.INFO), io.StringIO()
    terminal = logging.StreamHandler(stream)
    terminal.name = "DefaultStreamHandler"
    terminal.addFilter(lambda record: record.event != "job_info")
    logger.addHandler(terminal)
    show_jobs(logger, "logs/demo", 3, Trainings({}, lambda model: 4, dict))
    start(logger, 1, "index", "logs/demo/index.log")
    assert stream.getvalue() == ""


def test_a_mistake_does_not_end_the_run(log, monkeypatch):
    logger, terminal, _ = log
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logger.info("rule", extra={"event": "job_info"})
    start(logger, 2, "index", "logs/demo/index.log")
    assert without_times(terminal.getvalue()) == "index\n"


def test_a_logger_plugin_keeps_the_terminal():
    logger = logging.Logger("snakemake")
    logger.addHandler(logging.NullHandler())
    show_jobs(logger, "logs/demo", 3, Trainings({}, lambda model: 4, dict))
    assert len(logger.handlers) == 1
