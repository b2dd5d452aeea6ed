"""Write the report: one self-contained HTML file that opens offline and is complete without scripts.

It shows the out-of-fold results, the largest errors, the learning curves, the tiles, the submission, and how it was
made. The settings of the run, the misclassified tiles and all numbers of the page are written to files next to it. All
metrics come from the files of other stages; the layout of the page is in its template.
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
from histo.faults import FAULTS
from histo.files import atomic_write, read_json, write_json
from histo.hardware import hardware
from histo.model_files import by_model
from histo.overrides import resolve_search
from histo.pages import mosaics
from histo.pages.charts import Bars, histogram
from histo.pages.checklist import checklist
from histo.pages.feature_maps import feature_section
from histo.pages.fold_kinds import KINDS, fold_kinds_section, observed_aucs
from histo.pages.gallery import Shards, tile_gallery
from histo.pages.layout import SOURCES, evenly_spaced, links, provenance, render, write_page
from histo.pages.numbers import write_numbers
from histo.pages.probability_mosaics import probability_mosaics
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
from histo.predictions import join_folds
from histo.reproduction import digests_of_networks, record
from histo.statistics.comparison import p_of_decrease, p_of_difference
from histo.tiles.shards import geometry_of, open_shards

LISTED = 50  # faulty tiles in the list
REASONS = {
    "slide": "same slide in the table of slides, or tissue shared with a tile of that slide",
    "overlap": "tissue shared with another tile",
    "content": "pixels identical to those of another tile",
    "alone": "no known relation to another tile",
}
MISSING = "–"  # in a table
# Weights of warnings, the heaviest first.
BIASES, PREDICTIONS, DATA = WEIGHTS = ("May bias the AUC", "Concerns single predictions", "For information")
SIGNIFICANT = 0.05  # highest probability of a false alarm
FAR_MEAN = 0.05  # smallest difference of mean probabilities that is worth a warning


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


@dataclass(frozen=True)
class Finding:
    """A warning: one of `WEIGHTS`, the section of the page with the details, and a sentence or two."""

    weight: str
    section: str
    text: str

    def __html__(self) -> str:
        return Markup('<b>{}.</b> {} <a href="#{}">Details</a>').format(self.weight, self.text, self.section)


def settings_table(
    models: dict[str, dict[str, Any]], defaults: dict[str, dict[str, Any]]
) -> list[tuple[str, list[str]]]:
    """Return (setting, its value in each model) without settings that are off in all models.

    A mapping becomes one line of text. A setting that a model does not have is MISSING there. Values that differ from
    those of the model in `defaults` are marked; settings without a default are not.
    """

    def as_text(value: Any, usual: Any) -> str:
        if isinstance(value, dict):
            known = usual if isinstance(usual, dict) and usual.get("name") == value.get("name") else {}
            shown = [
                Markup("{}{}").format("" if k == "name" else f"{k} ", as_text(v, known.get(k, v)))
                for k, v in value.items()
                if v or (k in known and v != known[k])
            ]
            text: str = Markup(", ").join(shown) or "off"
            differs = isinstance(usual, dict) and not known
        else:
            text = (
                {True: "on", False: "off"}[value] if isinstance(value, bool) else str("off" if value is None else value)
            )
            differs = value != usual
        return Markup('<mark title="differs from the default">{}</mark>').format(text) if differs else text

    keys = dict.fromkeys(key for settings in models.values() for key in settings)
    table = []
    for key in keys:
        values = {name: settings[key] for name, settings in models.items() if key in settings}
        usual = {name: defaults.get(name, {}).get(key, value) for name, value in values.items()}
        if any(value or value != usual[name] for name, value in values.items()):
            shown = {name: as_text(value, usual[name]) for name, value in values.items()}
            table.append((key, [shown.get(name, MISSING) for name in models]))
    return table


def data_section(
    inputs: ReportInputs,
    shards: Shards,
    audit: dict[str, Any],
    tiles: pd.DataFrame,
    folds_table: pd.DataFrame,
    names: dict[int, str],
) -> dict[str, Any]:
    """Return counts, faults, groups, folds, overlaps and galleries of tiles.

    audit: the summary of the stage `audit`; tiles: `tables.TILES`; folds_table: `tables.FOLDS`; names: of the labels.
    """
    faulty = tiles[tiles["fault"] != ""]
    faulty_shown = evenly_spaced(faulty[faulty["row"] >= 0].sort_values(["fault", "id"]))
    kept = folds_table.assign(split="train").sort_values("id")
    samples = {}
    for label, name in names.items():
        rows = evenly_spaced(kept[kept["label"] == label])
        captions = [f"fold {fold}" for fold in rows["fold"]]
        samples[name] = tile_gallery(f"label-{label}", shards, rows, captions, f"label {label}, {name}")

    groups = tables.read(inputs.groups, tables.GROUPS)
    by_reason = groups.groupby("reason").agg(tiles=("id", "size"), groups=("group", "nunique"))
    pairs = tables.read(inputs.overlaps, tables.OVERLAPS)
    pairs = pairs[pairs["confirmed"]]
    # An id may occur in both splits; it then counts as a training tile.
    train = set(tiles.loc[tiles["split"] == "train", "id"])
    train_tiles = pairs["id_a"].isin(train).astype(int) + pairs["id_b"].isin(train)  # of each pair: 0, 1 or 2
    return {
        "audit": audit,
        "faults": [(code, FAULTS.get(code, code), counts) for code, counts in audit["faults"].items()],
        "faulty": list(faulty.head(LISTED)[["split", "id", "fault", "detail"]].itertuples(index=False)),
        "faulty_more": max(len(faulty) - LISTED, 0),
        "faulty_tiles": tile_gallery("faulty", shards, faulty_shown, faulty_shown["fault"].tolist(), "faulty tile"),
        "samples": samples,
        "reasons": [(name, text, by_reason.loc[name]) for name, text in REASONS.items() if name in by_reason.index],
        "unknown_slides": int((groups["reason"] != "slide").sum()),
        "groups": {"count": groups["group"].nunique(), "largest": int(groups["group"].value_counts().max())},
        "folds": read_json(inputs.folds_summary)["folds"],
        "overlaps": {
            "train": int((train_tiles == 2).sum()),
            "between": int((train_tiles == 1).sum()),
            "test": int((train_tiles == 0).sum()),
            "tiles": len(set(pairs["id_a"]) | set(pairs["id_b"])),
            "lossy": read_json(inputs.overlaps_summary)["lossy"],
        },
    }


def warnings(
    config: dict[str, Any],
    models: dict[str, dict[str, Any]],
    data: dict[str, Any],
    ensemble: dict[str, Any],
    submission: dict[str, Any],
) -> list[Finding]:
    """Return what a reader must know before using the results, by weight.

    data: from `data_section`; ensemble, submission: the summaries of these stages.
    """
    audit = data["audit"]
    found: list[Finding] = []

    def warn(weight: str, section: str, text: str) -> None:
        found.append(Finding(weight, section, text))

    two_classes = config["dataset"].get("classes", 2) == 2
    faulty = {split: audit["tiles"][split] - audit["kept"][split] for split in ("train", "test")}
    faulty["train"] -= sum(audit["left_out"].values())
    if any(faulty.values()):
        warn(
            DATA,
            "data",
            f"Tiles excluded because of a fault: {faulty['train']:,} training and {faulty['test']:,} test tiles.",
        )
    if any(audit["left_out"].values()):
        listed = ", ".join(f"{count:,} {flag}" for flag, count in audit["left_out"].items())
        warn(DATA, "data", f"Training tiles excluded by the setting `audit.leave_out`: {listed}.")
    if submission["filled"]:
        warn(
            PREDICTIONS,
            "submission",
            f"Test tiles without a prediction: {len(submission['filled']):,}. In the submission they have the "
            + (
                f"proportion of positive training tiles, {submission['filled_value']:.4f}."
                if two_classes
                else "proportion of each class in the training tiles."
            ),
        )
    if config["folds"]["fraction"] < 1:
        used = sum(row["tiles"] for row in data["folds"])
        warn(
            DATA,
            "data",
            f"Only {used:,} of {audit['kept']['train']:,} training tiles are used, by the setting `folds.fraction`.",
        )
    if not config["folds"]["slides"]:
        warn(
            BIASES,
            "data",
            "No table of slides is given (`folds.slides`), so only tiles that share pixels are kept in one fold. "
            "Training and validation may contain other tiles of the same slide, and the out-of-fold AUC may "
            "overestimate the AUC on new slides.",
        )
    elif data["unknown_slides"]:
        warn(
            BIASES,
            "data",
            f"The slide of {data['unknown_slides']:,} of {audit['kept']['train']:,} training tiles is unknown. "
            "If tiles of one slide are in different folds, the out-of-fold AUC may overestimate the AUC on new slides.",
        )
    if audit["in_both_splits"]:
        warn(BIASES, "data", f"Images that are in both the training and the test set: {audit['in_both_splits']:,}.")
    if data["overlaps"]["between"]:
        warn(
            BIASES,
            "data",
            f"Pairs of a training and a test tile that share tissue: {data['overlaps']['between']:,}. Some slides are "
            "in both sets, and the AUC on the test tiles may overestimate the AUC on new slides.",
        )
    best = [name for name, settings in models.items() if settings.get("checkpoint") == "best"]
    if best:
        warn(
            BIASES,
            "training",
            f"{', '.join(best)}: the epoch was chosen by validation AUC, so the out-of-fold AUC is optimistically "
            "biased.",
        )
    searched = [name for name, settings in models.items() if "search" in settings]
    if searched:
        warn(
            BIASES,
            "made",
            f"{', '.join(searched)}: a search chose the settings by validation AUC on folds that are evaluated here, "
            "so the out-of-fold AUC is optimistically biased.",
        )
    if not config["validate"]["id_is_sha1"]:
        warn(
            DATA,
            "data",
            "The pixels were not checked against the SHA-1 in the tile ids (`validate.id_is_sha1` is off).",
        )
    if (
        two_classes
        and "truth" in submission
        and (p := p_of_harder_test(ensemble, submission["truth"])) < SIGNIFICANT / 2
    ):
        warn(
            BIASES,
            "submission",
            f"The AUC on the held-out test labels, {submission['truth']['auc']:.4f}, is below the out-of-fold AUC, "
            f"{ensemble['auc']:.4f}, by more than both errors explain (one-sided p = {p:.2g}). The out-of-fold AUC may "
            "be too optimistic, or the test tiles may be harder.",
        )
    if ensemble["probability"]:
        found += mean_warning(ensemble, submission)
    return sorted(found, key=lambda one: WEIGHTS.index(one.weight))


def verdict(
    config: dict[str, Any],
    data: dict[str, Any],
    ensemble: dict[str, Any],
    submission: dict[str, Any],
    found: list[Finding],
) -> str:
    """Return one sentence that says what the out-of-fold AUC stands for; found: the warnings, see `warnings`."""
    sentence = (
        f"On tiles that the networks were not trained on, the AUC is {ensemble['auc']:.4f} (95 % CI "
        f"{ensemble['auc_low']:.4f} to {ensemble['auc_high']:.4f})"
    )
    if not config["folds"]["slides"]:
        sentence += "; slides are unknown, so it may be too high for new slides"
    elif data["unknown_slides"]:
        sentence += "; some slides are unknown, so it may be too high for new slides"
    else:
        sentence += ", all of other slides than those of training"
    if "truth" in submission:
        sentence += f"; on the held-out test tiles it is {submission['truth']['auc']:.4f}"
    biases = sum(one.weight == BIASES for one in found)
    if biases:
        sentence += f"; {biases} of the warnings below may bias it"
    return sentence + "."


def p_of_harder_test(ensemble: dict[str, Any], truth: dict[str, Any]) -> float:
    """Return the one-sided p value of test tiles on which the AUC is as high as out-of-fold.

    The slides of test tiles are unknown. The variance of their AUC is therefore at least that of independent tiles
    times the design effect of the groups of training tiles.
    """
    error = max(truth["auc_error"], truth["auc_error_tiles"] * ensemble["design_effect"] ** 0.5)
    degrees = min(truth["auc_degrees"], ensemble["auc_degrees"])
    return p_of_decrease(
        (ensemble["auc"], ensemble["auc_error"], ensemble["auc_degrees"]), (truth["auc"], error, degrees)
    )


def mean_warning(ensemble: dict[str, Any], submission: dict[str, Any]) -> list[Finding]:
    """Return a warning where the mean probability of the test tiles is far from that of the training tiles.

    Far is a difference of at least `FAR_MEAN` that the spread between groups of training tiles does not explain.
    """
    mean = ensemble["probability"]["mean"]
    difference = submission["mean"] - mean["value"]
    if mean["low"] is None or submission["rows"] == 0 or abs(difference) < FAR_MEAN:
        return []
    error, degrees = mean["error"], mean["degrees"]
    share = (ensemble["tiles"] / submission["rows"]) ** 0.5  # the error of as many groups as the test tiles may have
    p = p_of_difference(difference, error * (1 + share**2) ** 0.5, degrees)
    if p >= SIGNIFICANT / 2:  # half, since few slides of the test tiles spread more than the error says
        return []
    text = (
        f"The mean probability of the submission is {submission['mean']:.3f}; out-of-fold it is {mean['value']:.3f} "
        f"(p = {p:.2g} by the spread between groups of tiles). The proportion of tumour may differ in the test tiles, "
        "or the networks may be calibrated differently there. The AUC does not depend on it, a threshold does."
    )
    return [Finding(PREDICTIONS, "submission", text)]


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


def add_training_details(
    evaluations: list[dict[str, Any]], trainings: dict[str, list[Path]], sections: list[dict[str, Any]]
) -> None:
    """Add to each evaluation the number of parameters, the hardware and the training time of its model.

    trainings: see `ReportInputs`; sections: from `training_section`. What is not known is None, or empty (hardware).
    """
    seconds = {section["model"]: section["seconds"] for section in sections}
    for row in evaluations:
        runs = [read_json(path) for path in trainings.get(row["model"], [])]
        row["parameters"] = runs[0]["parameters"] if runs else None
        row["hardware"] = sorted({f"{run['device']}, {run['precision']}" for run in runs})
        row["seconds"] = seconds.get(row["model"])


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
    add_training_details(evaluations, inputs.trainings, training)
    # With a single model the ensemble equals the model, unless its probabilities become ranks.
    distinct = len(evaluations) > 1 or ensemble["method"] == "rank_mean"
    shown = (
        [*evaluations, ensemble | {"parameters": None, "hardware": [], "seconds": None}] if distinct else evaluations
    )

    shards = {"train": open_shards(inputs.train_shards, "train"), "test": open_shards(inputs.test_shards, "test")}
    tiles = tables.read(inputs.tiles, tables.TILES, ["id", "split", "shard", "row", "label", "kept", "fault", "detail"])
    folds_table = tables.read(inputs.folds, tables.FOLDS)
    geometry = geometry_of(shards["train"])
    names = class_names(geometry.classes)
    data = data_section(inputs, shards, audit, tiles, folds_table, names)
    oof = tables.read(inputs.oof, tables.probabilities(geometry.classes))
    predicted = {
        name: tables.probability_values(join_folds(paths, folds_table)) for name, paths in inputs.predictions.items()
    }
    results = results_section(shards, folds_table, oof, shown, ensemble, predicted)
    with atomic_write(outputs.errors) as temporary:
        results["error_table"].to_csv(temporary, index=False)
    pairs = tables.read(inputs.overlaps, tables.OVERLAPS)
    painted = (
        probability_mosaics(shards, tiles, pairs[pairs["confirmed"]], oof, ranks=ensemble["probability"] is None)
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
