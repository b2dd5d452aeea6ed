"""The rule `train` with the resource gpu above 1: a process for each, here on the CPU."""

import os

import pytest

from histo.files import read_json
from support.chain import DATASET, job_counts, snakemake


@pytest.mark.slow
def test_one_fold_in_two_processes(tiny_copy):
    target = "results/small/train/tiny/fold-0/weights.pt"

    def run(*options):
        settings = (DATASET, "models={tiny: {seed: 2}}")
        return snakemake(tiny_copy, target, *settings, *options, environment=os.environ | {"HISTO_DEVICE": "cpu"})

    done = run("--resources", "gpu=2", "--set-resources", "train:gpu=2")
    assert done.returncode == 0, done.stderr
    assert job_counts(done) == {"train": 1}
    assert read_json(tiny_copy / target.replace("weights.pt", "training.json"))["device"] == "2 × CPU, 1 thread"
    assert (tiny_copy / "logs/small/train/tiny/fold-0.log").read_text().count("Kept the weights of epoch") == 1
    # Hardware is not a setting: with one process, nothing runs again.
    again = run("--dry-run")
    assert again.returncode == 0
    assert job_counts(again) == {}
