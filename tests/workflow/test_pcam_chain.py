"""The workflow on PatchCamelyon's own files: from a server on loopback to local scores of both parts."""

import json
from pathlib import Path

import pandas as pd
import pytest

from histo.metrics import auc
from support.chain import job_counts, snakemake
from support.file_server import FileServer
from support.pcam import Pcam, md5s


@pytest.mark.slow
def test_from_the_six_files_to_the_scores(random, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    files = Pcam(random).files()
    with FileServer(files) as server:
        hashes = ", ".join(f"{name}: {value}" for name, value in md5s(files).items())
        settings = (
            "dataset={name: pcam, source: pcam}",
            f"pcam_download={{address: '{server.address}', md5: {{{hashes}}}}}",
        )
        done = snakemake(tmp_path, "submission", *settings)
        assert done.returncode == 0, done.stderr
        assert sorted(name for name, _ in server.requests) == sorted(files)

        results = tmp_path / "results" / "pcam"
        truth = pd.read_csv(tmp_path / "resources" / "pcam" / "truth.csv").merge(
            pd.read_csv(results / "submission.csv"), on="id", suffixes=("", "_submitted")
        )
        scored = json.loads((results / "submission.json").read_text())["truth"]
        assert scored["tiles"] == len(truth) == 26
        assert {name: part["tiles"] for name, part in scored["parts"].items()} == {"public": 12, "private": 14}
        for name, part in truth.groupby("part"):
            assert scored["parts"][name]["auc"] == pytest.approx(auc(part["label"].to_numpy(), part["label_submitted"]))
        assert not list(results.glob("pcam_gunzip/*"))  # the temporary files are removed

        again = snakemake(tmp_path, "submission", *settings)
        assert "Nothing to be done" in again.stdout + again.stderr, again.stdout + again.stderr
        mirror = settings[1].replace(server.address, "http://mirror.example")
        elsewhere = snakemake(tmp_path, "submission", settings[0], mirror, "-n")
        assert job_counts(elsewhere) == {"report": 1, "submission": 1}  # the files stay

    folds = pd.read_parquet(results / "folds.parquet")
    assert len(folds) == 40  # training tiles only
    first = folds.loc[folds["id"].str.contains("-"), "id"].str[:33].iloc[0]
    assert folds.loc[folds["id"].str.startswith(first), "fold"].nunique() == 1
