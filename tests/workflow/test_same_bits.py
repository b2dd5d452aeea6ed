"""Equal settings give equal bits, whatever the cores: weights, probabilities and the submission."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from support.archives import Archive
from support.chain import job_counts, snakemake

# Two threads: with one core they share it, with eight several trainings run side by side.
SETTINGS = ("dataset={name: small, source: archive, archive: archive.zip}", "train={threads: 2}")
ENVIRONMENT = os.environ | {"HISTO_DEVICE": "cpu", "OMP_WAIT_POLICY": "passive"}


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of the files of results that depend on training."""
    names = ("train/*/*/weights.pt", "predict/*/*/*.parquet", "ensemble/*.parquet", "submission.csv")
    paths = [path for name in names for path in sorted(folder.glob(name))]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.mark.slow
def test_cores_change_no_bit(tmp_path):
    Archive(np.random.default_rng(5), train=40, test=10).write(tmp_path / "archive.zip")
    found = {}
    for cores in ("1", "2", "8"):
        again = () if cores == "1" else ("--forcerun", "train")
        done = snakemake(
            tmp_path, "results/small/submission.csv", *SETTINGS, "--cores", cores, *again, environment=ENVIRONMENT
        )
        assert done.returncode == 0, done.stderr
        assert job_counts(done)["train"] == job_counts(done)["predict"] == 2
        found[cores] = digests(tmp_path / "results/small")
    assert len(found["1"]) == 2 + 4 + 2 + 1
    assert found["1"] == found["2"] == found["8"]
