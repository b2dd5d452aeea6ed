"""What is printed last when jobs have failed, read from Snakemake's log and from the logs of the jobs."""

import os

import pytest

from histo.failures import failures, show_errors_last

STARTED = """
[Sat Nov 21 15:06:14 2026]
rule {rule}:
    input: a.zip
    output: results/{rule}
    log: logs/{rule}.log
    jobid: {job}
    resources: tmpdir=/tmp
"""
FAILED = """
[Sat Nov 21 15:06:15 2026]
Error in rule {rule}:
    message: None
    jobid: {job}
    input: a.zip
    output: results/{rule}
    log: logs/{rule}.log{further} (check log file(s) for error details)
"""
FINISHED = """
[Sat Nov 21 15:06:16 2026]
Finished jobid: {job} (Rule: {rule})
1 of 2 steps (50%) done
"""


def snakemake_log(*events):
    return "".join(text.format(rule=rule, job=job, further=further) for text, rule, job, further in events)


@pytest.fixture
def logs(tmp_path, monkeypatch):
    """Folder of the logs of jobs, in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs"


def test_the_error_of_each_failed_job_is_returned_once(logs):
    (logs / "index.log").write_text("15:06:14 INFO started\n15:06:15 ERROR a.zip: expected this,\nfound that.\n")
    (logs / "train.log").write_text("15:06:15 ERROR Traceback\n  line\nZeroDivisionError: division by zero\n")
    (logs / "pack.log").write_text("15:06:15 ERROR of a job that did not fail\n")
    text = snakemake_log(
        (STARTED, "pack", 1, ""), (STARTED, "index", 2, ""), (FAILED, "index", 2, ""), (STARTED, "train", 13, ""),
        (FAILED, "index", 2, ""), (FAILED, "train", 13, ""), (FINISHED, "pack", 1, ""),
    )  # fmt: skip
    assert failures(text) == [
        "a.zip: expected this,\nfound that.\n(log of the job: logs/index.log)",
        "Traceback\n  line\nZeroDivisionError: division by zero\n(log of the job: logs/train.log)",
    ]


GROUP_FAILED = """
[Sat Nov 21 15:06:15 2026]
    message: Error in group shards
    log: /slurm/4.log (check log file(s) for error details)
    jobs:
        rule unzip:
            jobid: 3
            output: results/unzip
            log: logs/unzip.log (check log file(s) for error details)
        rule validate:
            jobid: 4
            output: results/validate
            log: logs/validate.log (check log file(s) for error details)
        rule pack:
            jobid: 5
            output: results/pack
            log: logs/pack.log (check log file(s) for error details)
    [Sat Nov 21 15:06:15 2026]
    Error in rule pack:
        jobid: 5
        log: logs/pack.log (check log file(s) for error details)
"""


def test_of_a_group_the_job_with_an_error_is_returned(logs):
    (logs / "unzip.log").write_text("15:06:14 INFO done\n")
    (logs / "validate.log").write_text("15:06:15 ERROR not a TIFF\n")
    assert failures(GROUP_FAILED) == ["not a TIFF\n(log of the job: logs/validate.log)"]


def test_of_a_group_without_an_error_the_last_job_is_returned(logs):
    (logs / "validate.log").write_text("15:06:15 INFO half\n")
    (logs / "unzip.log").write_text("15:06:14 INFO done\n")
    os.utime(logs / "unzip.log", (1, 1))
    (found,) = failures(GROUP_FAILED)
    assert "left no error in its log, logs/validate.log" in found and "15:06:15 INFO half" in found


def test_a_job_that_was_tried_again_and_finished_is_left_out(logs):
    (logs / "train.log").write_text("15:06:15 INFO done\n")
    (logs / "index.log").write_text("15:06:15 ERROR second\n")
    text = snakemake_log(
        (FAILED, "train", 3, ""), (FAILED, "index", 33, ""), (FINISHED, "train", 3, ""), (FAILED, "index", 33, "")
    )
    assert failures(text) == ["second\n(log of the job: logs/index.log)"]


def test_a_job_that_was_killed(logs):
    (logs / "train.log").write_text("".join(f"15:06:1{k} INFO epoch {k}\n" for k in range(8)))
    (text,) = failures(snakemake_log((FAILED, "train", 3, ", slurm_logs/rule_train/7.log")))
    first, *others = text.split("\n  ")
    assert first.startswith("a job ended and left no error in its log, logs/train.log. It was killed")
    assert others == ["See also slurm_logs/rule_train/7.log", *(f"15:06:1{k} INFO epoch {k}" for k in range(3, 8))]


def test_a_job_that_could_not_start(logs):
    """An import that fails, for instance, before the log exists."""
    (text,) = failures(snakemake_log((FAILED, "train", 3, "")))
    assert "left no error in its log, logs/train.log" in text
    assert "\n" not in text


def test_an_error_that_is_in_the_log_of_the_cluster_too_is_returned_once(logs):
    (logs / "train.log").write_text("15:06:15 ERROR this\n")
    (logs / "7.log").write_text("15:06:15 ERROR this\nError in rule train:\n")
    assert failures(snakemake_log((FAILED, "train", 3, ", logs/7.log"))) == ["this\n(log of the job: logs/train.log)"]


def test_where_jobs_write_their_errors(monkeypatch):
    monkeypatch.setenv("HISTO_ERRORS", "as inherited")
    show_errors_last(True)
    assert os.environ["HISTO_ERRORS"] == "log"
    show_errors_last(False)
    assert "HISTO_ERRORS" not in os.environ


def test_nothing_failed():
    assert failures(snakemake_log((STARTED, "pack", 1, ""), (FINISHED, "pack", 1, ""))) == []
