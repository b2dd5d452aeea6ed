"""Write the report: one HTML file with everything inside, which opens offline and needs no script.

What was run, on which tiles, how training went, what the out-of-fold probabilities are worth, which tiles are most
wrong, what goes to Kaggle and how long it took. The settings of the run are written beside it. Nothing is computed anew
that another stage has computed; the page's layout is the template's matter.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from histo import tables
from histo.faults import FAULTS
from histo.files import atomic_write, read_json
from histo.overrides import complete
from histo.pages.charts import histogram
from histo.pages.gallery import tile_gallery
from histo.pages.layout import SOURCES, evenly, provenance, render
from histo.pages.report_results import CLASSES, Shards, gains_table, results_section, training_section
from histo.tiles.shards import open_shards

LISTED = 50  # faulty tiles in the list
REASONS = {
    "slide": "share a slide of the table of slides, or tissue with a tile of it",
    "overlap": "share tissue with another tile",
    "content": "have the same pixels as another tile",
    "alone": "have nothing in common with another tile",
}
NONE = "–"  # in a table
STAGES = ("download", "synthesize", "pcam_download", "pcam_gunzip", "index", "pcam_index", "unzip", "validate", "pack",
          "pcam_pack", "audit", "overlaps", "groups", "folds", "leaks", "audit_page",
          "stain", "weights", "search_trial", "search_best", "train", "predict", "features", "classical",
          "evaluate", "ensemble", "submission_csv", "report")  # fmt: skip


@dataclass(frozen=True)
class Results:
    """The files that the report reads; histories and trainings: of each model, in the order of the folds.

    A model without trainings (`training.json`: parameters, device, precision) is shown without these three.
    """

    template: Path
    layout: Path
    audit: Path
    tiles: Path
    overlaps: Path
    groups: Path
    folds: Path
    fold_figures: Path
    train_shards: list[Path]
    test_shards: list[Path]
    histories: dict[str, list[Path]]
    trainings: dict[str, list[Path]]
    evaluations: list[Path]
    ensemble: Path
    oof: Path
    submission: Path


def read_times(folder: Path) -> list[dict[str, Any]]:
    """Return one row per stage from Snakemake's benchmark files: jobs, sum and longest in seconds, memory in MB.

    Stages come in the order of the workflow. Empty when the folder is missing; memory is None when no job lasted long
    enough to be measured.
    """
    rows = []
    for path in sorted(folder.rglob("*.tsv")) if folder.is_dir() else []:
        stage = path.relative_to(folder).with_suffix("").parts[0]
        table = pd.read_csv(path, sep="\t", na_values=["-", "NA"])
        rows += [(stage, seconds, memory) for seconds, memory in table[["s", "max_rss"]].to_numpy(float)]
    result = []
    for stage, part in pd.DataFrame(rows, columns=["stage", "seconds", "memory"]).groupby("stage"):
        memory = part["memory"].max()
        row = {"stage": stage, "jobs": len(part), "seconds": part["seconds"].sum(), "longest": part["seconds"].max()}
        result.append(row | {"memory": None if np.isnan(memory) else memory})
    return sorted(result, key=lambda row: STAGES.index(row["stage"]) if row["stage"] in STAGES else len(STAGES))


def settings_table(models: dict[str, dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Return (setting, its value in each model), without what is off in all models; mappings become one line.

    A setting that a model does not have at all is NONE there.
    """

    def words(value: Any) -> str:
        if isinstance(value, dict):
            shown = [words(v) if k == "name" else f"{k} {words(v)}" for k, v in value.items() if v]
            return ", ".join(shown) or "off"
        return (
            {True: "on", False: "off", None: "off"}[value] if value is None or isinstance(value, bool) else str(value)
        )

    keys = dict.fromkeys(key for settings in models.values() for key in settings)
    rows = [(key, [settings.get(key, NONE) for settings in models.values()]) for key in keys]
    return [(key, [words(value) for value in values]) for key, values in rows if any(v and v != NONE for v in values)]


def data_section(results: Results, shards: Shards, audit: dict, tiles: pd.DataFrame, deal: pd.DataFrame) -> dict:
    """Return counts, faults, groups, folds, overlaps and galleries of tiles."""
    faulty = tiles[tiles["fault"] != ""]
    shown = evenly(faulty[faulty["row"] >= 0].sort_values(["fault", "id"]))
    kept = deal.assign(split="train").sort_values("id")
    samples = {}
    for label, name in CLASSES.items():
        rows = evenly(kept[kept["label"] == label])
        captions = [f"fold {fold}" for fold in rows["fold"]]
        samples[name] = tile_gallery(f"label-{label}", shards, rows, captions, f"label {label}, {name}")

    groups = tables.read(results.groups, tables.GROUPS)
    by_reason = groups.groupby("reason").agg(tiles=("id", "size"), groups=("group", "nunique"))
    pairs = tables.read(results.overlaps, tables.OVERLAPS)
    pairs = pairs[pairs["confirmed"]]
    # An id may stand in both splits; a training tile counts as such.
    train = set(tiles.loc[tiles["split"] == "train", "id"])
    sides = pairs["id_a"].isin(train).astype(int) + pairs["id_b"].isin(train)
    return {
        "audit": audit,
        "faults": [(code, FAULTS.get(code, code), counts) for code, counts in audit["faults"].items()],
        "faulty": list(faulty.head(LISTED)[["split", "id", "fault", "detail"]].itertuples(index=False)),
        "faulty_more": max(len(faulty) - LISTED, 0),
        "faulty_tiles": tile_gallery("faulty", shards, shown, shown["fault"].tolist(), "faulty tile"),
        "samples": samples,
        "reasons": [(name, text, by_reason.loc[name]) for name, text in REASONS.items() if name in by_reason.index],
        "groups": {"count": groups["group"].nunique(), "largest": int(groups["group"].value_counts().max())},
        "folds": read_json(results.fold_figures)["folds"],
        "overlaps": {
            "train": int((sides == 2).sum()),
            "between": int((sides == 1).sum()),
            "test": int((sides == 0).sum()),
            "tiles": len(set(pairs["id_a"]) | set(pairs["id_b"])),
        },
    }


def warnings(config: dict, models: dict[str, dict], data: dict, final: dict, submission: dict) -> list[str]:
    """Return what a reader has to know before trusting the figures, in plain sentences."""
    audit, found = data["audit"], []
    left = {split: audit["tiles"][split] - audit["kept"][split] for split in ("train", "test")}
    left["train"] -= sum(audit["left_out"].values())
    if any(left.values()):
        found.append(f"Left out because of a fault: {left['train']:,} training and {left['test']:,} test tiles.")
    if any(audit["left_out"].values()):
        listed = ", ".join(f"{count:,} {remark}" for remark, count in audit["left_out"].items())
        found.append(f"Training tiles left out as `audit.leave_out` says: {listed}.")
    if submission["filled"]:
        found.append(
            f"Test tiles without a prediction: {len(submission['filled']):,}. The submission gives them the share of "
            f"positives, {submission['filled_value']:.4f}."
        )
    unknown = sum(int(row["tiles"]) for name, _, row in data["reasons"] if name != "slide")
    if not config["folds"]["slides"]:
        found.append(
            "The folds know no slides: only tiles that share pixels are kept together. Tiles of one slide in training "
            "and validation make the out-of-fold AUC too good; expect less on new slides."
        )
    elif unknown:
        found.append(
            f"The slide of {unknown:,} of {audit['kept']['train']:,} training tiles is unknown. Where tiles of one "
            "slide fell into different folds, the out-of-fold AUC is too good."
        )
    if audit["in_both_splits"]:
        found.append(f"Pictures that are both in the training and in the test set: {audit['in_both_splits']:,}.")
    if data["overlaps"]["between"]:
        found.append(
            f"Pairs of a training and a test tile that share tissue: {data['overlaps']['between']:,}. The splits have "
            "slides in common, and a score on the test tiles is too good."
        )
    best = [name for name, settings in models.items() if settings.get("checkpoint") == "best"]
    if best:
        found.append(f"{', '.join(best)}: the epoch was chosen by validation AUC, which makes the AUC too good.")
    searched = [name for name, settings in models.items() if "search" in settings]
    if searched:
        found.append(
            f"{', '.join(searched)}: a search chose the settings by validation AUC on folds that are rated here, which "
            "makes the AUC somewhat too good."
        )
    if not config["validate"]["id_is_sha1"]:
        found.append("The pixels were not compared with the ids of the tiles (validate.id_is_sha1 is off).")
    if "truth" in submission and submission["truth"]["auc"] < final["auc_low"]:
        found.append(
            f"The score on the hidden labels, {submission['truth']['auc']:.4f}, lies below the interval of the "
            "out-of-fold AUC: new slides are harder than the folds suggest."
        )
    return found


def read_sent(paths: list[Path], digest: str) -> list[dict]:
    """Join what `submit` and `scores` wrote: one row per submission to Kaggle, newest first.

    paths: their JSON files, as far as there are any; digest: SHA-256 of the submission at hand, whose rows are marked.
    """
    rows: dict[int, dict] = {}
    for path in paths:
        value = read_json(path)
        for row in value.get("submissions", [value]):
            own = row["sha256"] is not None and digest.startswith(row["sha256"])
            rows[row["reference"]] = row | {"time": row.get("time") or row.get("sent"), "own": own}
    return sorted(rows.values(), key=lambda row: row["time"] or "", reverse=True)


def report(
    results: Results,
    output: Path,
    config_output: Path,
    *,
    config: dict[str, Any],
    models: dict[str, dict[str, Any]],
    code: dict[str, dict[str, str]],
    benchmarks: Path,
    sent: list[Path],
) -> None:
    """Write the report and, as YAML, the settings of the run.

    config: the whole configuration; models: resolved settings of the models of the submission; code: {stage:
    `provenance.code_version`}; benchmarks: folder of Snakemake's benchmark files, may be missing.
    """
    audit, final, submission = (read_json(path) for path in (results.audit, results.ensemble, results.submission))
    rated = [read_json(path) for path in results.evaluations]
    for row in rated:
        trainings = [read_json(path) for path in results.trainings.get(row["model"], [])]
        row["parameters"] = trainings[0]["parameters"] if trainings else None
        row["computed"] = sorted({f"{one['device']}, {one['precision']}" for one in trainings})
    histories = {model: [pd.read_csv(path) for path in paths] for model, paths in results.histories.items()}
    training = training_section(histories)
    seconds = {curves["model"]: curves["seconds"] for curves in training}
    for row in rated:
        row["seconds"] = seconds.get(row["model"])
    # A single model is the ensemble, except for its ranks.
    several = len(rated) > 1 or final["method"] == "rank_mean"
    shown = [*rated, final | {"parameters": None, "computed": [], "seconds": None}] if several else rated

    shards = {"train": open_shards(results.train_shards, "train"), "test": open_shards(results.test_shards, "test")}
    tiles = tables.read(
        results.tiles, tables.TILES, ["id", "split", "shard", "row", "label", "kept", "fault", "detail"]
    )
    deal = tables.read(results.folds, tables.FOLDS)
    data = data_section(results, shards, audit, tiles, deal)
    distribution = submission["histogram"]
    text = yaml.safe_dump(json.loads(json.dumps(config)), sort_keys=False, allow_unicode=True)

    page = render(
        results.template,
        results.layout,
        name=config["dataset"]["name"],
        source=SOURCES[config["dataset"]["source"]],
        config=config,
        config_text=text,
        models=models | config["classical"],
        settings=settings_table(models | config["classical"]),
        provenance=provenance(code),
        warnings=warnings(config, models, data, final, submission),
        data=data,
        training=training,
        rated=shown,
        final=final,
        results=results_section(shards, deal, tables.read(results.oof, tables.PROBABILITIES), shown, final),
        gains=gains_table(rated, final, config),
        submission=submission,
        submission_chart=histogram(
            "Probabilities of the test tiles",
            distribution["edges"],
            ("test tiles", distribution["tiles"], 2),
            "probability of tumour",
            f"{submission['rows']:,} rows from {submission['min']:.4f} to {submission['max']:.4f}.",
        ),
        sent=read_sent(sent, submission["sha256"]),
        times=read_times(benchmarks),
    )
    with atomic_write(output) as temporary:
        temporary.write_text(page, encoding="utf-8")
    with atomic_write(config_output) as temporary:
        temporary.write_text(text, encoding="utf-8")
    logging.info("%s: %.1f MB", output, output.stat().st_size / 1e6)


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    inputs = snakemake.input
    bests = list(inputs.bests)
    models = {name: complete(own, bests) for name, own in snakemake.params.models.items()}

    def by_model(paths: list[str]) -> dict[str, list[Path]]:
        """Split a flat list, models in order and the folds of each in order."""
        count = len(paths) // max(len(models), 1)
        return {model: [Path(p) for p in paths[i * count : (i + 1) * count]] for i, model in enumerate(models)}

    single = (
        "template",
        "layout",
        "audit",
        "tiles",
        "overlaps",
        "groups",
        "folds",
        "fold_figures",
        "ensemble",
        "oof",
        "submission",
    )
    several = ("train_shards", "test_shards", "evaluations")
    report(
        Results(
            **{name: Path(inputs[name]) for name in single},
            **{name: [Path(path) for path in inputs[name]] for name in several},
            histories=by_model(inputs.histories),
            trainings=by_model(inputs.trainings),
        ),
        Path(snakemake.output.report),
        Path(snakemake.output.config),
        config=snakemake.params.config,
        models=models,
        code=snakemake.params.code,
        benchmarks=Path(snakemake.params.benchmarks),
        sent=[Path(path) for path in snakemake.params.sent],
    )
