"""Two processes train one network as one process does: losses, SIGTERM, resuming, errors. They communicate by Gloo."""

import functools
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from histo.training import checkpoints
from support import ROOT
from support.training import ALL_AUGMENTATIONS, CODE, settings

# A job as the rule `train` starts it.
JOB = """
import json, logging, sys
from histo.config.train import TrainSettings
from histo.training.launch import launch
job = json.load(open(sys.argv[1]))
logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S",
                    handlers=[logging.FileHandler(job.pop("log"), mode="w")])
if __name__ == "__main__":
    job["settings"] = TrainSettings(**job["settings"])
    launch(job.pop("processes"), job)
"""
TIMES = ["seconds", "tiles_per_second"]


def start(data, out, processes, fold=0, **changes):
    """Start a job in processes of its own."""
    folder, shards = data
    out.mkdir(exist_ok=True)
    job = {
        "shards": shards, "folds": str(folder / "folds.parquet"), "weights_out": str(out / "weights.pt"),
        "history_out": str(out / "history.csv"), "summary_out": str(out / "training.json"), "fold": fold,
        "settings": settings(**changes).model_dump(), "code": CODE,
        "resume_path": str(out / "resume.pt"), "processes": processes, "log": str(out / "log"),
    }  # fmt: skip
    (out / "job.json").write_text(json.dumps(job))
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow/scripts"), "HISTO_DEVICE": "cpu"}
    command = [sys.executable, "-c", JOB, out / "job.json"]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def finish(job):
    """Wait for a job; return its exit status and its last line on standard error."""
    _, text = job.communicate(timeout=300)
    return job.returncode, (text.strip().splitlines() or [""])[-1]


def losses(out):
    return pd.read_csv(out / "history.csv").drop(columns=TIMES)


# Every augmentation, dropout, slices of 7 and 8 tiles.
SAME = {"augment": ALL_AUGMENTATIONS, "ema": 0.9, "batch_size": 15, "learning_rate": 0.001}
NETWORKS = {
    "residual": {"name": "residual", "width": 8, "blocks": 1, "dropout": 0.2},
    "p4m_residual": {"name": "p4m_residual", "width": 8, "blocks": 1, "hidden": 8, "dropout": 0.2},
}
EPOCHS = {"residual": 4, "p4m_residual": 2}


@pytest.fixture(scope="module")
def outcome(data, tmp_path_factory):
    """Return a function that trains a network in one or two processes and returns the folder of the results."""

    @functools.cache
    def train(network, processes):
        out = tmp_path_factory.mktemp(f"{network}-{processes}")
        job = start(data, out, processes, network=NETWORKS[network], epochs=EPOCHS[network], **SAME)
        assert finish(job)[0] == 0
        return out

    return train


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_two_processes_give_the_losses_of_one(outcome, network):
    out = outcome(network, 2)
    one, two = losses(outcome(network, 1)), losses(out)
    assert one["step"].tolist() == two["step"].tolist() == [5 * (epoch + 1) for epoch in range(EPOCHS[network])]
    for column in ("loss", "validation_loss"):
        assert np.abs(one[column] - two[column]).max() < 1e-5, column
        assert np.abs(np.diff(one[column])).max() > 1e-3  # it learned
    weights = [checkpoints.load(outcome(network, count) / "weights.pt")["weights"]["ema"] for count in (1, 2)]
    # The gradients of a residual branch whose scale starts at 0 are tiny; AdamW scales them up with their rounding.
    for key, value in weights[0].items():
        assert np.allclose(value, weights[1][key], atol=1e-3), key
    assert json.loads((out / "training.json").read_text())["device"] == "2 × CPU, 1 thread"
    assert (out / "log").read_text().count("Kept the weights of epoch") == 1


@pytest.mark.slow
def test_killed_and_resumed_as_one(data, outcome, tmp_path):
    undisturbed, log = outcome("residual", 2), tmp_path / "log"
    same = SAME | {"network": NETWORKS["residual"], "epochs": EPOCHS["residual"]}
    job = start(data, tmp_path, 2, **same)
    while not log.exists() or "epoch 1/4" not in log.read_text():
        assert job.poll() is None
        time.sleep(0.01)
    job.send_signal(signal.SIGTERM)
    assert finish(job)[0] == 143
    assert (tmp_path / "resume.pt").exists() and not (tmp_path / "weights.pt").exists()
    assert log.read_text().count("Terminated by SIGTERM; saved epoch") == 1
    assert finish(start(data, tmp_path, 2, **same))[0] == 0
    assert "Resumed after epoch" in log.read_text()
    pd.testing.assert_frame_equal(losses(tmp_path), losses(undisturbed), check_exact=True)
    assert (tmp_path / "weights.pt").read_bytes() == (undisturbed / "weights.pt").read_bytes()
    assert not (tmp_path / "resume.pt").exists()


@pytest.mark.slow
def test_the_error_of_a_process_is_that_of_the_job(data, tmp_path):
    status, text = finish(start(data, tmp_path, 2, fold=5))
    assert status == 1
    assert text.startswith("histo.errors.InputError: fold 5: expected validation tiles of both labels, found 0 tiles")
