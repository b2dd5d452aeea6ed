"""Equal settings give equal bits, whatever the cores: weights, probabilities and the submission."""

import hashlib
import os
from pathlib import Path

import pytest

from support.chain import DATASET, job_counts, snakemake

# Two threads: with one core they share it, with eight several trainings run side by side.
SETTINGS = (DATASET, "train={threads: 2}")
ENVIRONMENT = os.environ | {"HISTO_DEVICE": "cpu", "OMP_WAIT_POLICY": "passive"}


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of the files of results that depend on training."""
    names = ("train/*/*/weights.pt", "predict/*/*/*.parquet", "ensemble/*.parquet", "submission.csv")
    paths = [path for name in names for path in sorted(folder.glob(name))]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.mark.slow
def test_cores_change_no_bit(tiny_copy):
    found = {}
    for cores in ("1", "2", "8"):
        options = ("--cores", cores, "--forcerun", "train")
        done = snakemake(tiny_copy, "results/small/submission.csv", *SETTINGS, *options, environment=ENVIRONMENT)
        assert done.returncode == 0, done.stderr
        assert job_counts(done)["train"] == job_counts(done)["predict"] == 2
        found[cores] = digests(tiny_copy / "results/small")
    assert len(found["1"]) == 2 + 4 + 2 + 1
    assert found["1"] == found["2"] == found["8"]
