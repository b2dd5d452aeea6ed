"""Log the finished trainings of one model to MLflow: one run for the model, one below it for each network.

A model is logged once: a run with the same weights is found by its tag. Credentials come from MLflow's own environment
variables.
"""

import csv
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
    """Log a model to the experiment and write the ids of the runs as JSON: {"run", "networks": {network: id}}.

    histories, trainings: `<network>/history.csv` and `training.json` of each network; evaluation: metrics of the model;
    settings: of the training; code: fingerprints of what trained it. Raises InputError if MLflow cannot be used.
    """
    client = connect(uri)
    from mlflow.entities import Metric, Param
    from mlflow.exceptions import MlflowException

    summaries = {path.parent.name: read_json(path) for path in trainings}
    digests = "".join(summary["weights_sha256"] for summary in summaries.values())
    digest = hashlib.sha256(digests.encode()).hexdigest()
    metrics = read_json(evaluation)

    def log_run(identity: str, name: str, tags: dict[str, str], values: list[tuple[str, float, int]]) -> str:
        run = client.create_run(identity, run_name=name, tags=tags).info.run_id
        now = time.time_ns() // 1_000_000
        params = [Param(key, str(value)) for key, value in flat(settings).items()]
        for start in range(0, len(params), PARAMS):
            client.log_batch(run, params=params[start : start + PARAMS])
        points = [Metric(key, value, now, step) for key, value, step in values]
        for start in range(0, len(points), BATCH):
            client.log_batch(run, metrics=points[start : start + BATCH])
        client.set_terminated(run)
        return str(run)

    try:
        found = client.get_experiment_by_name(experiment)
        identity = found.experiment_id if found else client.create_experiment(experiment)
        earlier = client.search_runs([identity], filter_string=f"tags.`{TAG}` = '{digest}'")
        if earlier:
            run = earlier[0].info.run_id
            below = client.search_runs([identity], filter_string=f"tags.`mlflow.parentRunId` = '{run}'")
            networks = {one.info.run_name.partition("/")[2]: one.info.run_id for one in below}
            logging.info("%s: these weights are logged in %s.", model, run)
        else:
            tags = {f"histo.code.{file}": fingerprint for file, fingerprint in code.items()}
            networks = {}
            values = [(name, float(metrics[name]), 0) for name in METRICS if metrics.get(name) is not None]
            run = log_run(identity, model, tags, values)
            for history in histories:
                network = history.parent.name
                summary = summaries[network]
                own = {"mlflow.parentRunId": run, "histo.device": summary["device"]}
                own |= {"histo.network_sha256": summary["weights_sha256"]}
                networks[network] = log_run(identity, f"{model}/{network}", own, read_history(history))
            client.set_tag(run, TAG, digest)  # last: a model that was logged in part is logged again
            logging.info("%s: logged %d trainings to %s.", model, len(networks), uri)
    except MlflowException as error:
        raise InputError(f"track.mlflow: {uri}: the server refused: {error}. Correct it and run again.") from None
    write_json(output, {"run": run, "networks": networks})


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
