"""Logging to MLflow: a real store without a server, and what the rule asks of it."""

import subprocess
import sys
from multiprocessing import get_context

import numpy as np
import pytest
from pydantic import ValidationError

from histo.config.track import Track
from histo.errors import InputError
from histo.files import read_json, write_json
from support import ROOT
from support.archives import Archive
from support.chain import CONFIG, DATASET
from track import flat, read_history, track

HISTORY = "epoch,step,loss,auc\n1,10,0.7,0.6\n2,20,0.5,\n"
SETTINGS = {"epochs": 2, "network": {"name": "residual", "width": 8}, "pseudo_labels": [], "loss": None}


def run(folder, output=None, **changes):
    """Log a model of two networks to a store in the folder; returns what was written."""
    output = output or folder / "out.json"
    for name, digest in (("fold-0", "a"), ("fold-1", "b")):
        path = folder / "train" / name
        path.mkdir(parents=True, exist_ok=True)
        (path / "history.csv").write_text(HISTORY)
        write_json(path / "training.json", {"parameters": 5, "device": "CPU", "weights_sha256": digest})
    write_json(folder / "evaluate.json", {"auc": 0.9, "auc_low": 0.8, "auc_high": 0.95, "auc_pooled": None})
    values = {"uri": f"sqlite:///{folder}/mlflow.db", "experiment": "demo", "model": "tiny", "settings": SETTINGS}
    paths = [sorted(folder.glob(f"train/*/{name}")) for name in ("history.csv", "training.json")]
    track(*paths, folder / "evaluate.json", output, **values | {"code": {"train.py": "01"}} | changes)
    return read_json(output)


@pytest.mark.slow
def test_a_model_is_logged_once(tmp_path):
    written = run(tmp_path)
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("demo")
    assert len(client.search_runs([experiment.experiment_id])) == 3
    model = client.get_run(written["run"])
    assert model.info.run_name == "tiny" and model.info.status == "FINISHED"
    assert model.data.metrics == {"auc": 0.9, "auc_low": 0.8, "auc_high": 0.95}
    assert model.data.params["network.width"] == "8" and model.data.params["pseudo_labels"] == "[]"
    assert model.data.tags["histo.code.train.py"] == "01"
    fold = client.get_run(written["networks"]["fold-1"])
    assert fold.info.run_name == "tiny/fold-1"
    assert fold.data.tags["mlflow.parentRunId"] == written["run"]
    assert fold.data.tags["histo.device"] == "CPU" and fold.data.tags["histo.network_sha256"] == "b"
    curve = client.get_metric_history(fold.info.run_id, "loss")
    assert [(point.step, point.value) for point in curve] == [(1, 0.7), (2, 0.5)]
    assert [point.step for point in client.get_metric_history(fold.info.run_id, "auc")] == [1]
    assert run(tmp_path) == written
    assert len(client.search_runs([experiment.experiment_id])) == 3
    with pytest.raises(InputError, match=r"^track\.mlflow: ftp://x: expected a tracking URI, found: "):
        run(tmp_path, uri="ftp://x")


def log(folder, name):
    (folder / name).mkdir()
    run(folder / name, folder / f"{name}.json", uri=f"sqlite:///{folder}/mlflow.db", model=name)


@pytest.mark.slow
def test_two_models_are_logged_at_once(tmp_path):
    """Only one of them creates the tables of the database, and the experiment."""
    processes = [get_context("fork").Process(target=log, args=(tmp_path, name)) for name in ("one", "two")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert read_json(tmp_path / "two.json")["networks"].keys() == {"fold-0", "fold-1"}


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(InputError, match=r"^track\.mlflow: expected the package mlflow-skinny, found none"):
        run(tmp_path)


def test_a_missing_package_is_named_before_the_first_job(tmp_path):
    Archive(np.random.default_rng(9), train=40, test=10).write(tmp_path / "archive.zip")
    without = (
        "import importlib.util as util, sys; find = util.find_spec; "
        "util.find_spec = lambda name, *more: None if name == 'mlflow' else find(name, *more); "
        "from snakemake.cli import main; main()"
    )
    settings = ["--configfile", *map(str, CONFIG), "--config", DATASET, "track={mlflow: 'sqlite:///mlflow.db'}"]
    command = [sys.executable, "-c", without, "--snakefile", str(ROOT / "Snakefile"), "--directory", str(tmp_path)]
    done = subprocess.run([*command, "--cores", "1", "-n", *settings], capture_output=True, text=True, timeout=300)
    assert done.returncode != 0
    assert "track.mlflow: expected the package mlflow-skinny, found none. Install it, or set mlflow" in done.stdout
    assert "Job stats" not in done.stdout + done.stderr


def test_settings_and_curves_are_read_as_they_are(tmp_path):
    assert flat(SETTINGS) == {
        "epochs": 2, "network.name": "residual", "network.width": 8, "pseudo_labels": [], "loss": None,
    }  # fmt: skip
    (tmp_path / "history.csv").write_text(HISTORY)
    assert read_history(tmp_path / "history.csv") == [
        ("step", 10.0, 1), ("loss", 0.7, 1), ("auc", 0.6, 1), ("step", 20.0, 2), ("loss", 0.5, 2),
    ]  # fmt: skip


@pytest.mark.parametrize("uri", ["https://user:key@example.org", "mlruns", "sqlite:///a b", "file:///mlruns"])
def test_addresses_with_credentials_and_folders_are_refused(uri):
    assert Track(mlflow="sqlite:///mlflow.db").mlflow and Track(mlflow="https://example.org:5000").mlflow
    with pytest.raises(ValidationError):
        Track(mlflow=uri)
