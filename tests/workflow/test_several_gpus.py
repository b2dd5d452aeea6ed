"""The rule `train` with the resource gpu above 1: a process for each, here on the CPU."""

import os

import numpy as np
import pytest

from histo.files import read_json
from support.archives import Archive
from support.chain import job_counts, snakemake


@pytest.mark.slow
def test_one_fold_in_two_processes(tmp_path):
    Archive(np.random.default_rng(5), train=40, test=10).write(tmp_path / "archive.zip")
    target = "results/small/train/tiny/fold-0/weights.pt"

    def run(*options):
        source = f"dataset={{name: small, source: archive, archive: {tmp_path / 'archive.zip'}}}"
        return snakemake(tmp_path, target, source, *options, environment=os.environ | {"HISTO_DEVICE": "cpu"})

    done = run("--resources", "gpu=2", "--set-resources", "train:gpu=2")
    assert done.returncode == 0, done.stderr
    assert read_json(tmp_path / target.replace("weights.pt", "training.json"))["device"] == "2 × CPU, 1 threads"
    assert (tmp_path / "logs/small/train/tiny/fold-0.log").read_text().count("Kept the weights of epoch") == 1
    # Hardware is not a setting: with one process, nothing runs again.
    again = run("--dry-run")
    assert again.returncode == 0
    assert job_counts(again) == {}
