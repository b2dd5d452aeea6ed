"""The workflow from credentials to a scored submission, with the real kaggle client and Kaggle on loopback."""

import csv
import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from support import REAL_ARCHIVE
from support.archives import Archive
from support.chain import job_counts, snakemake
from support.kaggle_client import BY_KEY, assert_no_secret
from support.kaggle_server import COMPETITION, KaggleServer

SETTINGS = (
    "dataset={name: synthetic, source: kaggle}",
    f"kaggle={{competition: {COMPETITION}}}",
    "submit={patience: 120}",
)


@pytest.fixture
def archive(tmp_path) -> bytes:
    """The archive of real tiles where there is one, otherwise 60 synthetic tiles."""
    if REAL_ARCHIVE.is_file():
        return REAL_ARCHIVE.read_bytes()
    return Archive(np.random.default_rng(1), train=44, test=16).write(tmp_path / "archive.zip").read_bytes()


@pytest.mark.slow
def test_from_credentials_to_score(archive: bytes, tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        wanted = [row.split(",")[0] for row in file.read("sample_submission.csv").decode().split()[1:]]
    folder, home = tmp_path / "work", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    with KaggleServer(archive) as server:
        server.faults.cut_after = [300_000]  # the connection breaks once
        server.faults.pending = 1
        environment = server.environment(home, **BY_KEY)

        done = snakemake(folder, "submission", *SETTINGS, environment=environment)
        assert done.returncode == 0, done.stderr
        results = folder / "results" / "synthetic"
        with open(results / "submission.csv") as file:
            rows = list(csv.DictReader(file))
        assert [row["id"] for row in rows] == wanted
        assert all(0 < float(row["label"]) < 1 for row in rows)
        assert server.sent == {}
        assert "Submissions to Kaggle" not in (results / "report.html").read_text()

        sent = snakemake(folder, "submit", *SETTINGS, environment=environment)
        assert sent.returncode == 0, sent.stderr
        record = json.loads((results / "submission-score.json").read_text())
        assert (record["status"], record["public"], record["private"]) == ("complete", 0.97531, 0.9642)
        content = (results / "submission.csv").read_bytes()
        assert record["sha256"] == hashlib.sha256(content).hexdigest()
        assert [submission["content"] for submission in server.sent.values()] == [content]

        again = snakemake(folder, "submit", *SETTINGS, environment=environment)
        assert "Nothing to be done" in again.stdout + again.stderr
        listed = snakemake(folder, "scores", *SETTINGS, environment=environment)
        assert listed.returncode == 0, listed.stderr
        shown = snakemake(folder, "submission", *SETTINGS, environment=environment)
        assert shown.returncode == 0, shown.stderr
        assert len(server.sent) == 1
        md5 = hashlib.md5(archive).hexdigest()
        known = snakemake(folder, "submission", *SETTINGS, f"download={{md5: {md5}}}", "-n", environment=environment)
        assert job_counts(known) == {"report": 1, "submission": 1}  # the archive stays

    page = (results / "report.html").read_text()
    assert f"{record['reference']} (this submission)" in page
    assert "0.9753" in page
    assert "0.9642" in page
    assert list((folder / ".snakemake" / "metadata").iterdir())
    assert list((folder / "logs").rglob("download.log"))
    assert assert_no_secret(folder, *(run.stdout + run.stderr for run in (done, sent, again, listed, shown))) > 50
