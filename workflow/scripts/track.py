"""Log the finished trainings of one model to MLflow: one run for the model, one below it for each network.

A model is logged once: a run with the same weights is found by its tag. Credentials come from MLflow's own environment
variables.
"""

import csv
import fcntl
import hashlib
import importlib
import logging
import os
import time
from pathlib import Path
from typing import Any

from histo.errors import InputError
from histo.files import read_json, write_json

BATCH = 1000  # metrics that MLflow accepts in one request
PARAMS = 100  # parameters, likewise
TAG = "histo.weights_sha256"
METRICS = ("auc", "auc_low", "auc_high", "auc_pooled")  # of the evaluation, those that it has


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their dotted names."""
    found = {}
    for key, value in settings.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {prefix + key: value}
    return found


def read_history(path: Path) -> list[tuple[str, float, int]]:
    """Return (metric, value, epoch) of the rows of `history.csv`, without empty values."""
    with path.open(newline="") as file:
        return [
            (name, float(value), int(row["epoch"]))
            for row in csv.DictReader(file)
            for name, value in row.items()
            if name != "epoch" and value
        ]


def connect(uri: str) -> Any:
    """Return a client of MLflow. Raises InputError if the package is missing or the URI cannot be used."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing is sent but to the URI
    try:
        mlflow = importlib.import_module("mlflow")
    except ImportError:
        raise InputError("track.mlflow: expected the package mlflow-skinny, found none. Install it.") from None
    try:
        return mlflow.MlflowClient(uri)
    except Exception as error:
        raise InputError(f"track.mlflow: {uri}: expected a tracking URI, found: {error}. Correct it.") from None


def log_run(
    client: Any,
    experiment: str,
    name: str,
    tags: dict[str, str],
    settings: dict[str, Any],
    metrics: list[tuple[str, float, int]],
) -> str:
    """Log a finished run and return its id; experiment: id; metrics: (name, value, step)."""
    from mlflow.entities import Metric, Param

    run: str = client.create_run(experiment, run_name=name, tags=tags).info.run_id
    now = time.time_ns() // 1_000_000
    params = [Param(key, str(value)) for key, value in flat(settings).items()]
    for start in range(0, len(params), PARAMS):
        client.log_batch(run, params=params[start : start + PARAMS])
    points = [Metric(key, value, now, step) for key, value, step in metrics]
    for start in range(0, len(points), BATCH):
        client.log_batch(run, metrics=points[start : start + BATCH])
    client.set_terminated(run)
    return run


def log_model(
    client: Any,
    experiment: str,
    model: str,
    settings: dict[str, Any],
    code: dict[str, str],
    metrics: dict[str, Any],
    networks: dict[str, tuple[dict[str, Any], Path]],
) -> dict[str, Any]:
    """Log a model unless its weights are logged, and return the ids of its runs: {"run", "networks": {network: id}}.

    experiment: name; metrics: of the evaluation; networks: `training.json` and the path of `history.csv`, by name.
    """
    digests = "".join(summary["weights_sha256"] for summary, _ in networks.values())
    digest = hashlib.sha256(digests.encode()).hexdigest()
    found = client.get_experiment_by_name(experiment)
    identity = found.experiment_id if found else client.create_experiment(experiment)
    if earlier := client.search_runs([identity], filter_string=f"tags.`{TAG}` = '{digest}'"):
        run = earlier[0].info.run_id
        logging.info("%s: these weights are logged in %s.", model, run)
        below = client.search_runs([identity], filter_string=f"tags.`mlflow.parentRunId` = '{run}'")
        return {"run": run, "networks": {one.info.run_name.partition("/")[2]: one.info.run_id for one in below}}
    tags = {f"histo.code.{file}": fingerprint for file, fingerprint in code.items()}
    values = [(name, float(metrics[name]), 0) for name in METRICS if metrics.get(name) is not None]
    run = log_run(client, identity, model, tags, settings, values)
    runs = {}
    for name, (summary, history) in networks.items():
        tags = {
            "mlflow.parentRunId": run,
            "histo.device": summary["device"],
            "histo.network_sha256": summary["weights_sha256"],
        }
        runs[name] = log_run(client, identity, f"{model}/{name}", tags, settings, read_history(history))
    client.set_tag(run, TAG, digest)  # last: a model that was logged in part is logged again
    return {"run": run, "networks": runs}


def track(
    histories: list[Path],
    trainings: list[Path],
    evaluation: Path,
    output: Path,
    *,
    uri: str,
    experiment: str,
    model: str,
    settings: dict[str, Any],
    code: dict[str, str],
) -> None:
    """Log a model and write the ids of the runs as JSON.

    histories, trainings: `<network>/history.csv` and `training.json` of each network; evaluation: metrics of the model;
    settings: of the training; code: fingerprints of what trained it. Raises InputError if MLflow cannot be used.
    """
    pairs = zip(trainings, histories, strict=True)
    networks = {training.parent.name: (read_json(training), history) for training, history in pairs}
    # Two jobs at once would both create the tables of a new database, and the experiment.
    with open(output.with_name(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the process ends, however it does
        client = connect(uri)
        from mlflow.exceptions import MlflowException

        try:
            runs = log_model(client, experiment, model, settings, code, read_json(evaluation), networks)
        except MlflowException as error:
            raise InputError(f"track.mlflow: {uri}: the server refused: {error}. Correct it and run again.") from None
    write_json(output, runs)


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    track(
        [Path(path) for path in snakemake.input.histories],
        [Path(path) for path in snakemake.input.trainings],
        Path(snakemake.input.evaluation),
        Path(snakemake.output[0]),
        **snakemake.params.settings,
    )
