"""submit and scores: the real kaggle client, in a process of its own, against a server that misbehaves."""

import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support import ROOT
from support.kaggle_server import COMPETITION, KEY, SIGNATURE, TOKEN, USER, Faults, KaggleServer

SCRIPTS = ROOT / "workflow" / "scripts"
BY_KEY = {"KAGGLE_USERNAME": USER, "KAGGLE_KEY": KEY}
CODE = {"submit.py": "0123456789abcdef"}

# What the workflow's scripts do, without Snakemake; the waiting times are those of a test.
DRIVER = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
from histo import job
import submit, scores
from histo.remote import http
http.SILENCE = 1.0
submit.FIRST_PAUSE, submit.LONGEST_PAUSE = 0.05, 0.1
job.start(SimpleNamespace(log=["logs/submit.log"], threads=1))
if sys.argv[1] == "submit":
    files = [Path(name) for name in ("submission.csv", "submission.json", "ensemble.json", "submission-score.json")]
    submit.submit(*files, **json.loads(sys.argv[2]))
else:
    scores.scores(Path("scores.json"), **json.loads(sys.argv[2]))
"""


@dataclass
class Case:
    """A folder with a submission, and the server that it takes for Kaggle."""

    folder: Path
    server: KaggleServer

    def make(self, text: str) -> str:
        """Write a submission and what the stages before leave beside it; returns its SHA-256."""
        (self.folder / "submission.csv").write_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        (self.folder / "submission.json").write_text(json.dumps({"rows": 2, "sha256": digest}))
        (self.folder / "ensemble.json").write_text(json.dumps({"auc": 0.971234567}))
        return digest

    def start(self, stage: str, environment: dict[str, str], settings: dict) -> subprocess.Popen:
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        return subprocess.Popen(
            [sys.executable, "-c", DRIVER, stage, json.dumps(settings)],
            cwd=self.folder,
            env=self.server.environment(home, PYTHONPATH=str(SCRIPTS), **environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def submit(self, environment: dict[str, str] = BY_KEY, **settings) -> tuple[int, str]:
        """Exit status and everything printed."""
        self.record.unlink(missing_ok=True)  # as Snakemake does before it runs a rule
        return self.finish(self.start("submit", environment, self.settings(**settings)))

    @staticmethod
    def settings(**changes) -> dict:
        usual = {"competition": COMPETITION, "message": "three  networks", "again": False, "patience": 30.0}
        return usual | {"code": CODE} | changes

    def finish(self, process: subprocess.Popen) -> tuple[int, str]:
        """Wait for the end; no secret may be in what was printed or written."""
        printed, _ = process.communicate(timeout=60)
        texts = [path.read_text() for path in self.folder.rglob("*") if path.is_file() and "home" not in path.parts]
        for secret in (KEY, TOKEN, SIGNATURE, "Authorization"):
            assert not any(secret in text for text in [printed, *texts]), secret
        assert "Traceback" not in printed
        return process.returncode, printed

    @property
    def record(self) -> Path:
        return self.folder / "submission-score.json"

    @property
    def sent(self) -> Path:
        return self.folder / "submission-score.json.sent"


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    with KaggleServer() as server:
        result = Case(tmp_path, server)
        result.make("id,label\na,0.25\nb,0.75\n")
        yield result


def last_line(printed: str) -> str:
    return printed.strip().splitlines()[-1]


def test_score_is_recorded(case: Case) -> None:
    digest = case.make("id,label\na,0.5\nb,0.125\n")
    case.server.faults.pending = 3
    status, printed = case.submit()
    assert status == 0, printed
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
    assert "public score 0.97531, private score 0.96420, out-of-fold AUC 0.97123" in last_line(printed)
    assert printed.count("has no score yet") == 3
    assert not case.sent.exists()


@dataclass
class Fault:
    """One line of the table: what goes wrong, what the last line says, how many submissions count afterwards, and
    what the next run does when nothing is wrong any more: "send", "wait" for the one that was sent, or "refuse"."""

    name: str
    faults: Faults
    says: list[str]
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
    Fault("the upload is refused", Faults(upload=[403]), ["the answer has no reference", "Nothing was submitted"]),
    Fault("the upload's server has trouble", Faults(upload=[503]), ["the answer has no reference"]),
    Fault("no reference", Faults(no_reference=True), ["no reference", '"Could not submit to competition"']),
    Fault(
        "Kaggle cannot score it",
        Faults(outcome="error", reason="Submission must have 57458 rows"),
        ["could not score the submission 1000: Submission must have 57458 rows"],
        sent=1,
        next="refuse",
    ),
    Fault(
        "no score within the limit",
        Faults(pending=10_000),
        ["is sent (reference 1000)", "no score within 1.0 s", "nothing is sent a second time"],
        sent=1,
        next="wait",
        settings={"patience": 1.0},
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault(case: Case, fault: Fault) -> None:
    case.server.faults = fault.faults
    status, printed = case.submit(fault.environment, **fault.settings)
    assert status == 1
    for text in fault.says:
        assert text in last_line(printed)
    assert not case.record.exists()
    assert len(case.server.sent) == fault.sent
    assert case.sent.exists() == (fault.next == "wait" or case.server.called("StartSubmissionUpload") > fault.sent)

    case.server.faults = Faults(outcome=fault.faults.outcome)
    for one in case.server.sent.values():
        one["left"] = 0
    status, printed = case.submit()
    assert len(case.server.sent) == 1
    if fault.next == "refuse":
        assert status == 1
        assert "was sent before: submission 1000 of 2026-11-20T12:00:00Z, status error" in last_line(printed)
    else:
        assert status == 0, printed
        assert json.loads(case.record.read_text())["reference"] == 1000
        assert not case.sent.exists()
        assert ("was sent by an earlier run" in printed) == (fault.next == "wait")


def test_a_broken_upload_is_repeated(case: Case) -> None:
    case.server.faults.upload = [0]
    status, printed = case.submit()
    assert status == 0, printed
    assert case.server.sent[1000]["content"] == b"id,label\na,0.25\nb,0.75\n"


def test_trouble_while_waiting_is_waited_out(case: Case) -> None:
    case.server.faults.status = {
        "ListSubmissions": [None, (502, {}, "bad gateway"), (429, {"Retry-After": "1"}, "slow")]
    }
    begun = time.monotonic()
    status, printed = case.submit()
    assert status == 0, printed
    assert "HTTP 502" in printed and "asks to wait 1.0 s" in printed
    assert time.monotonic() - begun > 1
    assert len(case.server.sent) == 1


def test_sent_before_is_refused_unless_told(case: Case) -> None:
    assert case.submit()[0] == 0
    status, printed = case.submit(message="the same with other words")
    assert status == 1
    assert "was sent before: submission 1000 of 2026-11-20T12:00:00Z, status complete" in last_line(printed)
    assert "public score 0.97531, private score 0.96420" in last_line(printed)
    assert "submit.again: true" in last_line(printed)
    assert len(case.server.sent) == 1

    assert case.submit(again=True)[0] == 0
    assert sorted(case.server.sent) == [1000, 1001]
    assert json.loads(case.record.read_text())["reference"] == 1001

    case.make("id,label\na,0.3\nb,0.7\n")
    assert case.submit()[0] == 0  # another content needs no leave
    assert json.loads(case.record.read_text())["reference"] == 1002


def test_sent_from_elsewhere_and_still_pending_is_waited_for(case: Case) -> None:
    assert case.submit()[0] == 0
    case.server.sent[1000]["left"] = 3
    status, printed = case.submit()
    assert status == 0, printed
    assert "1000 with the same content has no score yet" in printed
    assert len(case.server.sent) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_while_waiting(case: Case, number: signal.Signals) -> None:
    assert case.submit()[0] == 0
    case.server.faults.pending = 10_000
    process = case.start("submit", BY_KEY, case.settings(again=True))
    for _ in range(400):
        if case.server.called("ListSubmissions") >= 5 and len(case.server.sent) == 2:
            break
        time.sleep(0.02)
    process.send_signal(number)
    status, _ = case.finish(process)
    assert status != 0
    assert case.sent.exists()

    for one in case.server.sent.values():
        one["left"] = 0
    status, printed = case.submit(again=True)
    assert status == 0, printed
    assert sorted(case.server.sent) == [1000, 1001]
    assert json.loads(case.record.read_text())["reference"] == 1001


def test_an_edited_submission_is_refused(case: Case) -> None:
    (case.folder / "submission.csv").write_text("id,label\na,0.26\nb,0.75\n")
    status, printed = case.submit()
    assert status == 1
    assert "submission.csv is not the file that the current settings made" in last_line(printed)
    assert case.server.requests == []


def test_scores_lists_what_was_sent(case: Case) -> None:
    digest = case.make("id,label\na,0.1\nb,0.9\n")
    assert case.submit()[0] == 0
    by_hand = {"ref": 7, "date": "2026-11-19T08:00:00Z", "description": "by hand", "fileName": "mine.csv", "left": 0}
    case.server.sent |= {number: by_hand | {"ref": number} for number in range(7, 257)}  # more than two pages
    status, printed = case.finish(case.start("scores", BY_KEY, {"competition": COMPETITION}))
    assert status == 0, printed
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
    assert [one["reference"] for one in listed["submissions"][1:]] == list(range(256, 6, -1))
    assert listed["submissions"][1]["oof_auc"] is None
