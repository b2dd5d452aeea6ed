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
