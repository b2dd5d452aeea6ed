"""The stages submit and scores with the real kaggle client, as a process, against a server that misbehaves."""

import hashlib
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from support.kaggle_client import BY_KEY, Client, last_line
from support.kaggle_server import COMPETITION, USER, Faults, KaggleServer
from support.waiting import wait_for

CODE = {"submit.py": "0123456789abcdef"}

# Runs the stages as their scripts do, but without Snakemake and with short waits.
PROGRAM = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
from histo import job
import submit, scores
from histo.remote import http
http.TIMEOUT = 10.0
submit.FIRST_PAUSE, submit.LONGEST_PAUSE, submit.LISTED_AFTER = 0.05, 0.1, 2.0
job.start(SimpleNamespace(log=["logs/submit.log"], threads=1))
if sys.argv[1] == "submit":
    files = [Path(name) for name in ("submission.csv", "submission.json", "ensemble.json", "submission-score.json")]
    submit.submit(*files, **json.loads(sys.argv[2]))
else:
    scores.scores(Path("scores.json"), **json.loads(sys.argv[2]))
"""


@dataclass
class Case(Client):
    """The stages in a folder with a submission, and a server on loopback in the place of Kaggle."""

    def write(self, text: str) -> str:
        """Write a submission and the files that earlier stages write with it; returns its SHA-256."""
        (self.folder / "submission.csv").write_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        (self.folder / "submission.json").write_text(json.dumps({"rows": 2, "sha256": digest}))
        (self.folder / "ensemble.json").write_text(json.dumps({"auc": 0.971234567}))
        return digest

    def launch(self, environment: dict[str, str] = BY_KEY, **settings) -> subprocess.Popen:
        values = {"competition": COMPETITION, "message": "three  networks", "again": False, "patience": 30.0}
        return self.start(environment, "submit", json.dumps(values | {"code": CODE} | settings))

    def submit(self, environment: dict[str, str] = BY_KEY, **settings) -> tuple[int, str]:
        """Exit status and output of the stage submit."""
        self.record.unlink(missing_ok=True)  # as Snakemake does before it runs a rule
        return self.finish(self.launch(environment, **settings))

    def score(self) -> None:
        """Give all submissions their score."""
        for submission in self.server.sent.values():
            submission["left"] = 0

    @property
    def record(self) -> Path:
        return self.folder / "submission-score.json"

    @property
    def sent(self) -> Path:
        return self.folder / "submission-score.json.sent"


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    with KaggleServer() as server:
        result = Case(tmp_path, server, PROGRAM)
        result.write("id,label\na,0.25\nb,0.75\n")
        yield result


def test_score_is_recorded(case: Case) -> None:
    digest = case.write("id,label\na,0.5\nb,0.125\n")
    case.server.faults.pending = 3
    status, output = case.submit()
    assert status == 0, output
    description = f"three networks [OOF AUC 0.97123, SHA-256 {digest[:16]}]"
    record = json.loads(case.record.read_text())
    assert record.pop("scored").endswith("Z")
    assert record == {
        "competition": COMPETITION,
        "reference": 1000,
        "status": "complete",
        "public": 0.97531,
        "private": 0.9642,
        "sent": "2026-11-20T12:00:00Z",
        "description": description,
        "oof_auc": 0.971234567,
        "sha256": digest,
        "code": CODE,
    }
    assert case.server.sent[1000]["content"] == b"id,label\na,0.5\nb,0.125\n"
    assert case.server.sent[1000]["description"] == description
    assert "public score 0.97531, private score 0.96420, out-of-fold AUC 0.97123" in last_line(output)
    assert output.count("has no score yet") == 3
    assert not case.sent.exists()


@dataclass
class Fault:
    """A fault of the server and its consequences.

    messages: parts of the last line of the output. sent: number of submissions afterwards. next: what the next run does
    without faults: "send", "wait" for the submission that was sent, or "refuse".
    """

    name: str
    faults: Faults
    messages: list[str]
    sent: int = 0
    next: str = "send"
    environment: dict[str, str] = field(default_factory=lambda: dict(BY_KEY))
    settings: dict = field(default_factory=dict)


def refused(method: str, code: int, text: str = "no", **headers: str) -> Faults:
    return Faults(status={method: [(code, headers, text)]})


FAULTS = [
    Fault("no credentials", Faults(), ["No Kaggle credentials found"], environment={}),
    Fault("a wrong key", Faults(), ["(HTTP 401"], environment={"KAGGLE_USERNAME": USER, "KAGGLE_KEY": "f" * 32}),
    Fault("rules not accepted", refused("ListSubmissions", 403), [f"competitions/{COMPETITION}/rules"]),
    Fault(
        "daily limit",
        refused("CreateSubmission", 400, "You have used all 5 submissions of today"),
        ["HTTP 400 while sending the submission", "You have used all 5 submissions of today"],
    ),
    Fault("too many requests", refused("StartSubmissionUpload", 429), ["HTTP 429", "Wait about 15 minutes"]),
    Fault("the upload is refused", Faults(upload=[403]), ["its response has no reference", "Nothing was submitted"]),
    Fault("server error at the upload", Faults(upload=[503]), ["its response has no reference"]),
    Fault("no reference", Faults(no_reference=True), ["no reference", '"Could not submit to competition"']),
    Fault(
        "a submission that Kaggle cannot score",
        Faults(outcome="error", reason="Submission must have 57458 rows"),
        ["could not score the submission 1000: Submission must have 57458 rows"],
        sent=1,
        next="refuse",
    ),
    Fault(
        "no score within the limit",
        Faults(pending=10_000),
        ["was sent (reference 1000)", "no score within 1.0 s (submit.patience)", "nothing is sent again"],
        sent=1,
        next="wait",
        settings={"patience": 1.0},
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault(case: Case, fault: Fault) -> None:
    case.server.faults = fault.faults
    status, output = case.submit(fault.environment, **fault.settings)
    assert status == 1
    for text in fault.messages:
        assert text in last_line(output)
    assert not case.record.exists()
    assert len(case.server.sent) == fault.sent
    assert case.sent.exists() == (fault.next == "wait")

    case.server.faults = Faults(outcome=fault.faults.outcome)
    case.score()
    status, output = case.submit()
    assert len(case.server.sent) == 1
    if fault.next == "refuse":
        assert status == 1
        assert "was sent before: submission 1000 of 2026-11-20T12:00:00Z, status error" in last_line(output)
    else:
        assert status == 0, output
        assert json.loads(case.record.read_text())["reference"] == 1000
        assert not case.sent.exists()
        assert ("was sent by an earlier run" in output) == (fault.next == "wait")


def test_a_broken_upload_is_repeated(case: Case) -> None:
    case.server.faults.upload = [0]
    status, output = case.submit()
    assert status == 0, output
    assert case.server.sent[1000]["content"] == b"id,label\na,0.25\nb,0.75\n"


def test_errors_while_waiting_are_not_fatal(case: Case) -> None:
    case.server.faults.status = {
        "ListSubmissions": [None, (502, {}, "bad gateway"), (429, {"Retry-After": "1"}, "slow")]
    }
    start = time.monotonic()
    status, output = case.submit()
    assert status == 0, output
    assert "HTTP 502" in output and "too many requests (HTTP 429). Requesting the list again in 1.0 s" in output
    assert time.monotonic() - start > 1
    assert len(case.server.sent) == 1


def test_sent_before_is_refused_unless_again_is_set(case: Case) -> None:
    assert case.submit()[0] == 0
    status, output = case.submit(message="the same file, another message")
    assert status == 1
    assert "was sent before: submission 1000 of 2026-11-20T12:00:00Z, status complete" in last_line(output)
    assert "public score 0.97531, private score 0.96420" in last_line(output)
    assert "submit.again: true" in last_line(output)
    assert len(case.server.sent) == 1

    assert case.submit(again=True)[0] == 0
    assert sorted(case.server.sent) == [1000, 1001]
    assert json.loads(case.record.read_text())["reference"] == 1001

    case.write("id,label\na,0.3\nb,0.7\n")
    assert case.submit()[0] == 0  # other content is always sent
    assert json.loads(case.record.read_text())["reference"] == 1002


def test_pending_submission_of_the_same_content_is_waited_for(case: Case) -> None:
    assert case.submit()[0] == 0
    case.server.sent[1000]["left"] = 3
    status, output = case.submit()
    assert status == 0, output
    assert "1000 with the same content has no score yet" in output
    assert len(case.server.sent) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_while_waiting(case: Case, number: signal.Signals) -> None:
    assert case.submit()[0] == 0
    case.server.faults.pending = 10_000
    process = case.launch(again=True)

    def waits() -> bool:
        return case.server.called("ListSubmissions") >= 5 and len(case.server.sent) == 2

    wait_for(waits, 120, "lists of submissions after the second one")
    process.send_signal(number)
    status, _ = case.finish(process)
    assert status != 0
    assert case.sent.exists()

    case.score()
    status, output = case.submit(again=True)
    assert status == 0, output
    assert sorted(case.server.sent) == [1000, 1001]
    assert json.loads(case.record.read_text())["reference"] == 1001


def left_behind(case: Case, **changes) -> None:
    """Write what a run leaves that was killed while it sent the submission."""
    digest = hashlib.sha256((case.folder / "submission.csv").read_bytes()).hexdigest()
    now = datetime.now(UTC).isoformat()
    case.sent.write_text(json.dumps({"sha256": digest, "known": [], "time": now} | changes))


def test_a_submission_that_the_list_shows_late_is_not_sent_again(case: Case) -> None:
    assert case.submit()[0] == 0
    left_behind(case, time="2100-01-01T00:00:00+00:00")  # the clock was set back since
    case.server.faults.unlisted = 3
    status, output = case.submit()
    assert status == 0, output
    assert output.count("does not show yet what an earlier run sent") == 2  # the first list is that of the start
    assert list(case.server.sent) == [1000]
    assert json.loads(case.record.read_text())["reference"] == 1000
    assert not case.sent.exists()


def test_nothing_is_sent_while_it_is_unknown_whether_it_arrived(case: Case) -> None:
    left_behind(case)
    status, output = case.submit()
    assert status == 1
    assert "submission.csv: an earlier run ended while it sent this file" in last_line(output)
    assert f"https://www.kaggle.com/competitions/{COMPETITION}/submissions" in last_line(output)
    assert not case.server.sent

    left_behind(case, time="2000-01-01T00:00:00+00:00")  # the list is asked once more
    assert case.submit()[0] == 1
    assert not case.server.sent
    status, output = case.submit(again=True)
    assert status == 0, output
    assert list(case.server.sent) == [1000]


def test_an_answer_that_breaks_off_leaves_it_unknown(case: Case) -> None:
    case.server.faults = refused("CreateSubmission", 502)
    assert case.submit()[0] == 1
    assert case.sent.exists()
    case.server.faults = Faults()
    status, output = case.submit()
    assert status == 1
    assert "an earlier run ended while it sent this file" in last_line(output)
    assert not case.server.sent


def test_an_edited_submission_is_refused(case: Case) -> None:
    (case.folder / "submission.csv").write_text("id,label\na,0.26\nb,0.75\n")
    status, output = case.submit()
    assert status == 1
    assert "submission.csv: expected the SHA-256 " in last_line(output)
    assert "(in submission.json), found " in last_line(output)
    assert case.server.requests == []


def test_scores_lists_all_submissions(case: Case) -> None:
    digest = case.write("id,label\na,0.1\nb,0.9\n")
    assert case.submit()[0] == 0
    by_hand = {"ref": 7, "date": "2026-11-19T08:00:00Z", "description": "by hand", "fileName": "mine.csv", "left": 0}
    case.server.sent |= {number: by_hand | {"ref": number} for number in range(7, 257)}  # more than two pages
    status, output = case.run(BY_KEY, "scores", json.dumps({"competition": COMPETITION}))
    assert status == 0, output
    listed = json.loads((case.folder / "scores.json").read_text())
    assert listed["competition"] == COMPETITION
    assert len(listed["submissions"]) == 251
    assert listed["submissions"][0] == {
        "reference": 1000,
        "time": "2026-11-20T12:00:00Z",
        "file": "submission.csv",
        "description": f"three networks [OOF AUC 0.97123, SHA-256 {digest[:16]}]",
        "status": "complete",
        "public": 0.97531,
        "private": 0.9642,
        "error": "",
        "oof_auc": 0.97123,
        "sha256": digest[:16],
    }
    assert [submission["reference"] for submission in listed["submissions"][1:]] == list(range(256, 6, -1))
    assert listed["submissions"][1]["oof_auc"] is None
