"""Write the report: one self-contained HTML file that opens offline and is complete without scripts.

It shows the out-of-fold results, the largest errors, the learning curves, the tiles, the submission, and how it was
made. All its times are in one element, `#times`: pages of equal runs differ in nothing else. The settings of the run,
the misclassified tiles and all numbers of the page are written to files next to it. All metrics come from the files of
other stages; the layout of the page is in its template.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

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
from histo.pages.fold_kinds import KINDS, expected_range, fold_kinds_section, observed_aucs
from histo.pages.gallery import Shards
from histo.pages.layout import SOURCES, links, provenance, render, write_page
from histo.pages.numbers import write_numbers
from histo.pages.probability_mosaics import probability_mosaics
from histo.pages.report_data import data_section
from histo.pages.report_inputs import ReportContents, ReportInputs, read_inputs
from histo.pages.report_results import (
    CALIBRATION_METRICS,
    CLASS_METRICS,
    METHODS,
    METRICS,
    VIEWS,
    gains_table,
    results_section,
    training_section,
)
from histo.pages.rule_graph import rule_graph
from histo.pages.run_times import Run, read_run, run_times
from histo.pages.saliency_maps import saliency_section
from histo.pages.settings_table import settings_table
from histo.reproduction import digests_of_networks, record


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


def sections(
    contents: ReportContents, config: dict[str, Any], models: dict[str, dict[str, Any]], sent: list[Path]
) -> dict[str, Any]:
    """Return the sections of the page, by the names that the template uses; config, models, sent: see `report`."""
    shards, names, ensemble, submission = contents.shards, contents.names, contents.ensemble, contents.submission
    data = data_section(
        shards, contents.audit, contents.tiles, contents.folds, contents.folds_summary, contents.groups,
        contents.pairs, contents.overlaps_summary, names,
    )  # fmt: skip
    kaggle = kaggle_submissions(sent, submission["sha256"])
    found = warnings(config, models, data, ensemble, submission)
    ranks = ensemble["probability"] is None
    kinds = fold_kinds_section(
        contents.evaluations, contents.evaluations_by_stain,
        (ensemble, contents.ensemble_by_stain) if contents.ensemble_by_stain else None,
        submission["rows"] - len(submission["filled"]), observed_aucs(submission, kaggle),
    )  # fmt: skip
    unknown_share = data["unknown_slides"] / max(len(contents.folds), 1)
    blended = config["submission"]
    trained = any(name in config["models"] for name in blended["models"])
    return {
        "data": data,
        "unknown_slides": data["unknown_slides"],
        "warnings": found,
        "verdict": verdict(config, data, ensemble, submission, found),
        "evaluations": contents.shown,
        "ensemble": ensemble,
        "results": results_section(
            shards, contents.folds, contents.oof, contents.shown, ensemble, contents.predictions
        ),
        "gains": gains_table(contents.evaluations, ensemble, config),
        "fold_kinds": kinds,
        "expected": expected_range(ensemble["expected"], unknown_share, kinds),
        "full_networks": blended["full_networks"] if trained else 0,
        "mosaics": probability_mosaics(shards, contents.tiles, contents.pairs, contents.oof, ranks=ranks)
        if len(names) == 2
        else [],
        "saliency": saliency_section(contents.saliency, contents.folds, shards, names),
        "feature_maps": feature_section(contents.feature_maps, contents.guesses, names),
        "training": training_section(contents.histories, models),
        "submission": submission,
        "submission_chart": submission_chart(submission, len(names)),
        "sent": kaggle,
        "checklist": checklist(config, data, ensemble, truth="truth" in submission, saliency=bool(contents.saliency)),
    }


def submission_chart(submission: dict[str, Any], classes: int) -> Markup:
    """Return the histogram of the predictions for the test tiles; submission: the summary of `submission_csv`."""
    distribution = submission["histogram"]
    return histogram(
        "Predictions for the test tiles",
        distribution["edges"],
        Bars("test tiles", distribution["tiles"], 2),
        "predicted probability of tumour" if classes == 2 else "predicted probabilities of all classes",
        f"{submission['rows']:,} rows, from {submission['min']:.4f} to {submission['max']:.4f}.",
    )


def summary(page: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    """Return the values of the page that no other stage writes; page: `sections`; made: `making`."""
    data = page["data"]
    return {
        "verdict": page["verdict"],
        "expected_test_auc": page["expected"],
        "warnings": [{"weight": one.weight, "text": one.text} for one in page["warnings"]],
        "gains": page["gains"],
        "groups": data["groups"] | {"unknown_slides": data["unknown_slides"]},
        "overlaps": data["overlaps"],
        "training_seconds": {section["model"]: section["seconds"] for section in page["training"]},
        "made": made,
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
    contents = read_inputs(inputs)
    page = sections(contents, config, models, sent)
    made = making(run, benchmarks, contents.shards, code)
    config_text = yaml.safe_dump(json.loads(json.dumps(config)), sort_keys=False, allow_unicode=True)
    with atomic_write(outputs.config) as temporary:
        temporary.write_text(config_text, encoding="utf-8")
    with atomic_write(outputs.errors) as temporary:
        page["results"]["error_table"].to_csv(temporary, index=False)
    digests = digests_of_networks(networks)
    write_json(outputs.provenance, record(made, settings, given, code, digests, contents.submission["sha256"]))
    write_json(outputs.summary, summary(page, made))
    write_numbers(outputs.numbers, [outputs.summary, *inputs.summaries])
    linked = [*inputs.summaries, outputs.summary, outputs.numbers, outputs.errors, outputs.config]
    text = render(
        inputs.template,
        inputs.layout,
        **page,
        name=config["dataset"]["name"],
        source=SOURCES[config["dataset"]["source"]],
        geometry=contents.geometry,
        names=contents.names,
        config=config,
        config_text=config_text,
        models=models | config["classical"],
        settings=settings_table(models | config["classical"], {name: default_settings(name) for name in models}),
        views=VIEWS,
        methods=METHODS,
        metrics=METRICS,
        calibration_metrics=CALIBRATION_METRICS,
        class_metrics=CLASS_METRICS,
        kinds=KINDS,
        mosaic_style=Markup(mosaics.STYLE),
        made=made,
        provenance=made["provenance"],
        rule_graph=rule_graph(run.rules, run.jobs),
        numbers=links(linked, outputs.report),
        errors_link=outputs.errors.name,
    )
    write_page(outputs.report, text)


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
            ensemble_by_stain=next(map(Path, files.ensemble_by_stain), None),
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
