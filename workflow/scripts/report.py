"""Write the report: one self-contained HTML file that opens offline and is complete without scripts.

It shows the out-of-fold results, the largest errors, the learning curves, the tiles, the submission, and how it was
made. All its times are in one element, `#times`: pages of equal runs differ in nothing else. The settings of the run,
the misclassified tiles and all numbers of the page are written to files next to it. All metrics come from the files of
other stages; the layout of the page is in its template.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from markupsafe import Markup

from histo import tables
from histo.config.configuration import default_settings
from histo.files import atomic_write, read_json, write_json
from histo.hardware import hardware
from histo.model_files import by_model
from histo.overrides import resolve_search
from histo.pages import mosaics
from histo.pages.charts import Bars, histogram
from histo.pages.checklist import checklist
from histo.pages.feature_maps import feature_section
from histo.pages.findings import verdict, warnings
from histo.pages.fold_kinds import KINDS, fold_kinds_section, observed_aucs
from histo.pages.gallery import Shards
from histo.pages.layout import SOURCES, links, provenance, render, write_page
from histo.pages.numbers import write_numbers
from histo.pages.probability_mosaics import probability_mosaics
from histo.pages.report_data import data_section
from histo.pages.report_results import (
    CALIBRATION_METRICS,
    CLASS_METRICS,
    METHODS,
    METRICS,
    VIEWS,
    class_names,
    gains_table,
    results_section,
    training_section,
)
from histo.pages.rule_graph import rule_graph
from histo.pages.run_times import Run, read_run, run_times
from histo.pages.saliency_maps import saliency_section
from histo.pages.settings_table import settings_table
from histo.predictions import join_folds
from histo.reproduction import digests_of_networks, record
from histo.tiles.shards import geometry_of, open_shards


@dataclass(frozen=True)
class ReportInputs:
    """The files that the report reads; histories, trainings and predictions (out-of-fold): of each model, one per fold.

    trainings: `training.json` of the networks; classical models have none, and the report then omits number of
    parameters, device and precision. saliency, feature_maps: of each network; without any, the report has no such
    section.
    """

    template: Path
    layout: Path
    audit: Path
    tiles: Path
    overlaps: Path
    overlaps_summary: Path
    groups: Path
    folds: Path
    folds_summary: Path
    train_shards: list[Path]
    test_shards: list[Path]
    histories: dict[str, list[Path]]
    trainings: dict[str, list[Path]]
    evaluations: list[Path]
    evaluations_by_stain: list[Path]
    ensemble: Path
    oof: Path
    predictions: dict[str, list[Path]]
    submission: Path
    saliency: dict[str, Path] = field(default_factory=dict)
    feature_maps: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportOutputs:
    """The files that the report writes.

    config: the settings of the run as YAML; errors: all misclassified training tiles as CSV; summary: the values of the
    page that no other stage writes, as JSON; numbers: the values of all JSON files that the page links, as CSV;
    provenance: from which the run can be repeated, see `histo.reproduction`.
    """

    report: Path
    config: Path
    errors: Path
    summary: Path
    numbers: Path
    provenance: Path


def kaggle_submissions(paths: list[Path], digest: str) -> list[dict[str, Any]]:
    """Return one row per submission to Kaggle, the newest first, from the files of the stages `submit` and `scores`.

    paths: those of the files that exist; digest: SHA-256 of the current submission.csv, whose rows are marked.
    """
    rows: dict[int, dict[str, Any]] = {}
    for path in paths:
        value = read_json(path)
        for row in value.get("submissions", [value]):
            current = row["sha256"] is not None and digest.startswith(row["sha256"])
            rows[row["reference"]] = row | {"time": row.get("time") or row.get("sent"), "current": current}
    return sorted(rows.values(), key=lambda row: row["time"] or "", reverse=True)


def add_training_details(evaluations: list[dict[str, Any]], trainings: dict[str, list[Path]]) -> None:
    """Add to each evaluation the number of parameters and the hardware of its model, None and empty if not known.

    trainings: see `ReportInputs`.
    """
    for row in evaluations:
        runs = [read_json(path) for path in trainings.get(row["model"], [])]
        row["parameters"] = runs[0]["parameters"] if runs else None
        row["hardware"] = sorted({f"{run['device']}, {run['precision']}" for run in runs})


def tiles_sha256(shards: Shards) -> str:
    """Return the SHA-256 of the digests of all shards, each of which covers ids, labels and pixels."""
    parts = (shard.sha256 for split in sorted(shards) for _, shard in sorted(shards[split].items()))
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def making(run: Run, benchmarks: dict[str, Path], shards: Shards, code: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Return how the results were made: command, versions, hardware, fingerprint of the tiles, times, memory.

    run: the command; benchmarks: see `run_times`; code: see `report`.
    """
    times, missing = run_times(benchmarks, run)
    processor = [row["processor"] for row in times if row["processor"] is not None]
    return {
        "command": run.command,
        "wall_seconds": run.seconds,
        "processor_seconds": sum(processor) if processor else None,
        "peak_memory_mb": max((row["memory"] for row in times if row["memory"] is not None), default=None),
        "hardware": hardware(),
        "tiles_sha256": tiles_sha256(shards),
        "provenance": provenance(code),
        "times": times,
        "times_missing": missing,
    }


def report(
    inputs: ReportInputs,
    outputs: ReportOutputs,
    *,
    config: dict[str, Any],
    models: dict[str, dict[str, Any]],
    code: dict[str, dict[str, str]],
    benchmarks: dict[str, Path],
    run: Run,
    sent: list[Path],
    networks: list[Path],
    settings: dict[str, Any],
    given: dict[str, str],
) -> None:
    """Write the report and the files beside it.

    config: the complete configuration; models: resolved settings of the networks of the submission; code: {stage:
    `provenance.code_version`}; benchmarks: see `run_times`; run: the command that the report is from; sent: see
    `kaggle_submissions`; networks: `training.json` of those that the provenance names; settings, given: see
    `histo.reproduction.record`.
    """
    audit, ensemble, submission = (read_json(path) for path in (inputs.audit, inputs.ensemble, inputs.submission))
    training = training_section(
        {model: [pd.read_csv(path) for path in paths] for model, paths in inputs.histories.items()}, models
    )
    evaluations = [read_json(path) for path in inputs.evaluations]
    add_training_details(evaluations, inputs.trainings)
    # With a single model the ensemble equals the model, unless its probabilities become ranks.
    distinct = len(evaluations) > 1 or ensemble["method"] == "rank_mean"
    shown = [*evaluations, ensemble | {"parameters": None, "hardware": []}] if distinct else evaluations

    shards = {"train": open_shards(inputs.train_shards, "train"), "test": open_shards(inputs.test_shards, "test")}
    tiles = tables.read(inputs.tiles, tables.TILES, ["id", "split", "shard", "row", "label", "kept", "fault", "detail"])
    folds_table = tables.read(inputs.folds, tables.FOLDS)
    geometry = geometry_of(shards["train"])
    names = class_names(geometry.classes)
    pairs = tables.read(inputs.overlaps, tables.OVERLAPS)
    pairs = pairs[pairs["confirmed"]]
    groups = tables.read(inputs.groups, tables.GROUPS)
    folds, overlaps = read_json(inputs.folds_summary), read_json(inputs.overlaps_summary)
    data = data_section(shards, audit, tiles, folds_table, folds, groups, pairs, overlaps, names)
    oof = tables.read(inputs.oof, tables.probabilities(geometry.classes))
    predicted = {
        name: tables.probability_values(join_folds(paths, folds_table)) for name, paths in inputs.predictions.items()
    }
    results = results_section(shards, folds_table, oof, shown, ensemble, predicted)
    with atomic_write(outputs.errors) as temporary:
        results["error_table"].to_csv(temporary, index=False)
    painted = (
        probability_mosaics(shards, tiles, pairs, oof, ranks=ensemble["probability"] is None)
        if geometry.classes == 2
        else []
    )
    saliency = {
        model: tables.read(path, tables.saliency(geometry.tile_side)) for model, path in inputs.saliency.items()
    }
    feature_maps = {model: tables.read(path, tables.FEATURE_MAP) for model, path in inputs.feature_maps.items()}
    # `predicted` is sorted by id.
    guesses = {
        model: pd.Series(
            values.argmax(axis=1) if values.ndim == 2 else (values >= 0.5).astype(int), sorted(folds_table["id"])
        )
        for model, values in predicted.items()
    }
    distribution = submission["histogram"]
    config_text = yaml.safe_dump(json.loads(json.dumps(config)), sort_keys=False, allow_unicode=True)

    kaggle = kaggle_submissions(sent, submission["sha256"])
    by_stain = [read_json(path) for path in inputs.evaluations_by_stain]
    fold_kinds = fold_kinds_section(evaluations, by_stain, submission["rows"], observed_aucs(submission, kaggle))
    found = warnings(config, models, data, ensemble, submission)
    sentence = verdict(config, data, ensemble, submission, found)
    made = making(run, benchmarks, shards, code)
    digests = digests_of_networks(networks)
    write_json(outputs.provenance, record(made, settings, given, code, digests, submission["sha256"]))
    gains = gains_table(evaluations, ensemble, config)
    write_json(
        outputs.summary,
        {
            "verdict": sentence,
            "warnings": [{"weight": one.weight, "text": one.text} for one in found],
            "gains": gains,
            "groups": data["groups"] | {"unknown_slides": data["unknown_slides"]},
            "overlaps": data["overlaps"],
            "training_seconds": {section["model"]: section["seconds"] for section in training},
            "made": made,
        },
    )
    summaries = [inputs.ensemble, inputs.submission, inputs.audit, inputs.folds_summary]
    sources = [*inputs.evaluations, *inputs.evaluations_by_stain, *summaries]
    write_numbers(outputs.numbers, [outputs.summary, *sources])
    page = render(
        inputs.template,
        inputs.layout,
        name=config["dataset"]["name"],
        geometry=geometry,
        names=names,
        source=SOURCES[config["dataset"]["source"]],
        config=config,
        config_text=config_text,
        models=models | config["classical"],
        settings=settings_table(models | config["classical"], {name: default_settings(name) for name in models}),
        views=VIEWS,
        methods=METHODS,
        metrics=METRICS,
        calibration_metrics=CALIBRATION_METRICS,
        class_metrics=CLASS_METRICS,
        provenance=made["provenance"],
        warnings=found,
        verdict=sentence,
        numbers=links([*sources, outputs.summary, outputs.numbers, outputs.errors, outputs.config], outputs.report),
        data=data,
        unknown_slides=data["unknown_slides"],
        training=training,
        evaluations=shown,
        ensemble=ensemble,
        results=results,
        errors_link=outputs.errors.name,
        gains=gains,
        mosaic_style=Markup(mosaics.STYLE),
        mosaics=painted,
        feature_maps=feature_section(feature_maps, guesses, names),
        saliency=saliency_section(saliency, folds_table, shards, names),
        submission=submission,
        submission_chart=histogram(
            "Predictions for the test tiles",
            distribution["edges"],
            Bars("test tiles", distribution["tiles"], 2),
            "predicted probability of tumour" if geometry.classes == 2 else "predicted probabilities of all classes",
            f"{submission['rows']:,} rows, from {submission['min']:.4f} to {submission['max']:.4f}.",
        ),
        sent=kaggle,
        fold_kinds=fold_kinds,
        kinds=KINDS,
        made=made,
        rule_graph=rule_graph(run.rules, run.jobs),
        checklist=checklist(config, data, ensemble, truth="truth" in submission, saliency=bool(saliency)),
    )
    write_page(outputs.report, page)
    with atomic_write(outputs.config) as temporary:
        temporary.write_text(config_text, encoding="utf-8")


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    files = snakemake.input
    models = {name: resolve_search(own, list(files.bests)) for name, own in snakemake.params.models.items()}
    report(
        ReportInputs(
            template=Path(snakemake.params.template),
            layout=Path(snakemake.params.layout),
            audit=Path(files.audit),
            tiles=Path(files.tiles),
            overlaps=Path(files.overlaps),
            overlaps_summary=Path(files.overlaps_summary),
            groups=Path(files.groups),
            folds=Path(files.folds),
            folds_summary=Path(files.folds_summary),
            train_shards=[Path(path) for path in files.train_shards],
            test_shards=[Path(path) for path in files.test_shards],
            histories=by_model(files.histories, list(models)),
            trainings=by_model(files.trainings, list(models)),
            evaluations=[Path(path) for path in files.evaluations],
            evaluations_by_stain=[Path(path) for path in files.evaluations_by_stain],
            ensemble=Path(files.ensemble),
            oof=Path(files.oof),
            predictions=by_model(files.predictions, snakemake.params.evaluated),
            submission=Path(files.submission),
            saliency={Path(path).stem: Path(path) for path in files.saliency},
            feature_maps={Path(path).stem: Path(path) for path in files.feature_maps},
        ),
        ReportOutputs(**{name: Path(path) for name, path in snakemake.output.items()}),
        config=snakemake.params.config,
        models=models,
        code=snakemake.params.code,
        benchmarks={stage: Path(path) for stage, path in snakemake.params.benchmarks.items()},
        run=read_run(Path(snakemake.params.run)),
        sent=[Path(path) for path in snakemake.params.sent],
        networks=[Path(path) for path in [*files.trainings, *files.full_trainings]],
        settings=snakemake.params.settings,
        given=snakemake.params.given,
    )
