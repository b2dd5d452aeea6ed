"""The stage scores with the real kaggle client, as a process, against a server on loopback."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.kaggle_client import BY_KEY, Client, last_line
from support.kaggle_server import COMPETITION, KaggleServer

# Runs the stage as its script does, but without Snakemake.
PROGRAM = """
import sys
from pathlib import Path
from types import SimpleNamespace
from histo import job
import scores
job.start(SimpleNamespace(log=["logs/scores.log"], threads=1))
scores.scores(Path("scores.json"), competition=sys.argv[1])
"""


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with KaggleServer() as server:
        yield Client(tmp_path, server, PROGRAM)


def test_no_submissions(client: Client) -> None:
    status, output = client.run(BY_KEY, COMPETITION)
    assert status == 0, output
    assert json.loads((client.folder / "scores.json").read_text()) == {"competition": COMPETITION, "submissions": []}


def test_submissions_of_all_pages_newest_first(client: Client) -> None:
    one = {"date": "2026-11-19T08:00:00Z", "description": "by hand", "fileName": "mine.csv", "left": 0}
    client.server.sent |= {number: one | {"ref": number} for number in range(1, 251)}
    status, output = client.run(BY_KEY, COMPETITION)
    assert status == 0, output
    listed = json.loads((client.folder / "scores.json").read_text())["submissions"]
    assert [submission["reference"] for submission in listed] == list(range(250, 0, -1))
    assert {(submission["file"], submission["oof_auc"], submission["sha256"]) for submission in listed} == {
        ("mine.csv", None, None)
    }


def test_without_credentials_nothing_is_written(client: Client) -> None:
    status, output = client.run({}, COMPETITION)
    assert status == 1
    assert "No Kaggle credentials found" in last_line(output)
    assert not (client.folder / "scores.json").exists()


HOSTILE = {
    "no numbers": ({"publicScore": "nan", "privateScore": "inf"}, 0),
    "a status that is a number": ({"status": 7}, 1),
    "a reference that is a text": ({"ref": "x"}, 1),
    "control characters": ({"description": "a\x1b[31mb\rc"}, 0),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_answers_that_are_none(client: Client, monkeypatch, name: str) -> None:
    """Scores that are no numbers are none; another answer is one message; no control character is printed."""
    change, expected = HOSTILE[name]
    client.server.sent[7] = {
        "ref": 7,
        "date": "2026-11-19T08:00:00Z",
        "description": "",
        "fileName": "a.csv",
        "left": 0,
    }
    handler = client.server.RequestHandlerClass
    original = handler._listed
    monkeypatch.setattr(handler, "_listed", lambda self, one: original(self, one) | change)
    status, output = client.run(BY_KEY, COMPETITION)
    assert status == expected, output
    assert "Traceback" not in output
    assert not {"\x1b", "\r"} & set(output)
    if name == "no numbers":
        [row] = json.loads((client.folder / "scores.json").read_text())["submissions"]
        assert row["public"] is None and row["private"] is None
    if name == "control characters":
        assert "a\\x1b[31mb\\x0dc" in output
    if expected:
        assert "Kaggle may have changed its API" in output
