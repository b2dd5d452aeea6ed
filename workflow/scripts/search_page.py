"""Write a table and a page of all trials of a search.

`trials.csv` has one row per trial, `trials.json` all results of the trials and the importance of the settings.
`trials.html` shows the score by trial and by setting, and the learning curves; it is self-contained, opens offline and
is complete without scripts.
"""

import csv
import json
import math
from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import Any

from markupsafe import Markup

from histo.files import atomic_write, read_json, write_json
from histo.pages.charts import Axis, Canvas, CategoricalAxis, Dots, Line, LogAxis, legend_list, scatter_chart
from histo.pages.layout import SOURCES, links, provenance, render, write_page
from histo.training.best_trial import Trial, best_of
from histo.training.trial_sampling import importances

RESULTS = ["trial", "score", "loss", "epochs", "seconds", "failed"]  # columns of trials.csv before the settings
MAX_CATEGORIES = 8  # values of a range with steps that get a category each; with more, the axis is numeric
NAME_LENGTH = 14  # characters of a category below its axis


def as_text(value: Any) -> str:
    """Return a sampled value as short text."""
    if isinstance(value, list):
        return "-".join(as_text(one) for one in value)
    if isinstance(value, bool) or value is None:
        return {True: "on", False: "off", None: "none"}[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def score_axis(trials: list[Trial]) -> tuple[Axis, float]:
    """Return the axis of the scores, and the height below them at which failed trials are drawn."""
    scores = [trial["score"] for trial in trials if trial["score"] is not None]
    axis = Axis.around("validation AUC", scores, 1.0)
    if len(scores) == len(trials):
        return axis, axis.low
    room = 0.12 * (axis.high - axis.low)
    return Axis(axis.label, axis.low - room, axis.high), axis.low - room / 2


def trial_dots(trials: list[Trial], best: Trial, x: dict[int, float], failed_y: float) -> list[Dots]:
    """Return the points of a chart: trials, failed trials, and a ring around the best; x: position of each trial."""
    scored = [trial for trial in trials if trial["score"] is not None]
    failed = [x[trial["trial"]] for trial in trials if trial["score"] is None]
    return [
        Dots("trial", [x[trial["trial"]] for trial in scored], [trial["score"] for trial in scored], 0),
        Dots("failed", failed, [failed_y] * len(failed), 1, "cross"),
        Dots("best", [x[best["trial"]]], [best["score"]], 2, "ring"),
    ]


def history_chart(trials: list[Trial], best: Trial) -> Markup:
    """Return the chart of the score by trial number, with a line of the best score so far."""
    y, failed_y = score_axis(trials)
    dots = trial_dots(trials, best, {trial["trial"]: trial["trial"] for trial in trials}, failed_y)
    line_x, line_y, top = [], [], -math.inf
    for trial in trials:
        if trial["score"] is not None and trial["score"] > top:
            line_x += [trial["trial"]] * (1 + bool(line_y))
            line_y += [*line_y[-1:], trial["score"]]
            top = trial["score"]
    last = trials[-1]["trial"]
    line = Line("best so far", [*line_x, last], [*line_y, top], 2)
    axis = Axis("trial", 0.5, last + 0.5, integer=True)
    description = f"Best: trial {best['trial']} with {best['score']:.4f}; {len(dots[1].x)} of {len(trials)} failed."
    return scatter_chart("Validation AUC of each trial", dots, axis, y, description, line)


def curves_chart(trials: list[Trial], best: Trial) -> Markup:
    """Return the chart of the validation AUC by epoch, the mean over the folds, of all trials that did not fail."""
    curves = {
        trial["trial"]: [fmean(aucs) for aucs in zip(*(fold["aucs"] for fold in trial["folds"]), strict=False)]
        for trial in trials
        if trial["score"] is not None
    }  # a fold that stopped earlier ends the mean
    lines = {number: Line(f"trial {number}", list(range(1, len(aucs) + 1)), aucs, 0) for number, aucs in curves.items()}
    chosen = lines.pop(best["trial"])
    chosen = Line(chosen.name, chosen.x, chosen.y, 2, marks=True)
    values = [auc for aucs in curves.values() for auc in aucs]
    canvas = Canvas(Axis.counted("epoch", max(map(len, curves.values()))), Axis.around("validation AUC", values, 1.0))
    canvas.draw_y_axis()
    canvas.add('<g opacity="0.4">')
    for line in lines.values():
        canvas.path(line)
    canvas.add("</g>")
    canvas.path(chosen)
    canvas.draw_x_axis()
    legend = [("trial", line.legend_mark) for line in list(lines.values())[:1]] + [("best", chosen.legend_mark)]
    return canvas.figure(
        "Validation AUC by epoch", f"{len(curves)} trials; the best, {best['trial']}, ends at {chosen.y[-1]:.4f}.",
        legend_list(legend, toggles=False),
    )  # fmt: skip


def setting_chart(name: str, part: dict[str, Any], trials: list[Trial], best: Trial) -> Markup:
    """Return the chart of the score by the sampled value of one setting; part: the setting's range or choices."""
    y, failed_y = score_axis(trials)
    sampled = {trial["trial"]: trial["draws"][name] for trial in trials}
    categories = _categories(part)
    if categories:
        axis: Axis = CategoricalAxis.of(name, [as_text(value)[:NAME_LENGTH] for value in categories])
        x = _spread({trial: categories.index(value) for trial, value in sampled.items()})
    elif part["log"]:
        margin = (part["high"] / part["low"]) ** 0.04
        axis, x = LogAxis(name, part["low"] / margin, part["high"] * margin), sampled
    else:
        margin = 0.04 * (part["high"] - part["low"])
        axis, x = Axis(name, part["low"] - margin, part["high"] + margin), sampled
    description = f"Best score at {as_text(best['draws'][name])}."
    return scatter_chart(name, trial_dots(trials, best, x, failed_y), axis, y, description)


def _categories(part: dict[str, Any]) -> list[Any]:
    """Return the possible values of a setting if it has choices or few steps, else an empty list."""
    if "choices" in part:
        return part["choices"]
    count = round((part["high"] - part["low"]) / part["step"]) + 1 if part["step"] else math.inf
    if count > MAX_CATEGORIES:
        return []
    values = [part["low"] + k * part["step"] for k in range(int(count))]
    return values if part["whole"] else [float(f"{value:.12g}") for value in values]


def _spread(positions: dict[int, int]) -> dict[int, float]:
    """Spread the trials of each category around its position, in the order of the trials, so that all are visible."""
    counts = Counter(positions.values())
    seen: dict[int, int] = {}
    spread = {}
    for trial, position in positions.items():
        rank = seen[position] = seen.get(position, 0) + 1
        spread[trial] = position + 0.4 * (rank - (counts[position] + 1) / 2) / counts[position]
    return spread


def warnings(trials: list[Trial], folds: list[int]) -> list[str]:
    """Return what a reader must know first, one sentence or two each; folds: those that validate."""
    failed = [str(trial["trial"]) for trial in trials if trial["score"] is None]
    found = [f"Failed trials, in which training diverged: {', '.join(failed)}."] if failed else []
    plural = "s" if len(folds) > 1 else ""
    found.append(
        f"The best score is the highest of many trials on fold{plural} {', '.join(map(str, folds))}, so it is "
        "optimistically biased. Evaluate a model with these settings by its out-of-fold AUC, mainly on the folds that "
        "the search did not use."
    )
    return found


def write_table(path: Path, trials: list[Trial], names: list[str]) -> None:
    """Write one row per trial: its results, then its sampled values; lists are written as JSON."""
    with atomic_write(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*RESULTS, *names])
        for trial in trials:
            sampled = [trial["draws"][name] for name in names]
            sampled = [json.dumps(value) if isinstance(value, list) else value for value in sampled]
            writer.writerow([*(trial[key] for key in RESULTS), *sampled])


def search_page(
    trial_files: list[str],
    best_settings: Path,
    table_output: Path,
    page_output: Path,
    summary_output: Path,
    *,
    template: Path,
    layout: Path,
    search: str,
    settings: dict[str, Any],
    dataset: dict[str, str],
    code: dict[str, dict[str, str]],
) -> None:
    """Write the table, the page and the summary. Raises InputError if all trials failed.

    trial_files: from `search_trial`, in the order of the trials; settings: see there; best_settings: from
    `search_best`; dataset: name and source; code: {stage: `provenance.code_version`}.
    """
    trials = [read_json(path) for path in trial_files]
    space = settings["space"]
    best = best_of(trials)
    write_table(table_output, trials, list(space))
    importance = importances(space, trials)
    write_json(summary_output, {"best": best["trial"], "importances": importance, "trials": trials})
    ranked = sorted(trials, key=lambda trial: (-(trial["score"] or 0), trial["trial"]))
    page = render(
        template,
        layout,
        name=dataset["name"],
        source=SOURCES[dataset["source"]],
        provenance=provenance(code),
        warnings=warnings(trials, settings["folds"]),
        search=search,
        settings=settings,
        network=settings["base"]["network"].get("name", "any"),
        epochs=settings["base"]["epochs"],
        best=best,
        failed=sum(trial["score"] is None for trial in trials),
        seconds=sum(trial["seconds"] for trial in trials),
        numbers=links([table_output, summary_output, best_settings], page_output),
        importance=importance,
        history=history_chart(trials, best),
        curves=curves_chart(trials, best),
        charts=[setting_chart(name, part, trials, best) for name, part in space.items()],
        names=list(space),
        ranges={name: range_text(part) for name, part in space.items()},
        rows=[trial | {"values": [as_text(trial["draws"][name]) for name in space]} for trial in ranked],
        best_yaml=best_settings.read_text(),
    )
    write_page(page_output, page)


def range_text(part: dict[str, Any]) -> str:
    """Return the range or the choices of a setting as text."""
    if "choices" in part:
        return " · ".join(as_text(choice) for choice in part["choices"])
    limits = f"{as_text(part['low'])} to {as_text(part['high'])}"
    return limits + (", logarithmic" if part["log"] else "") + (f", steps of {part['step']:g}" if part["step"] else "")


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    inputs, outputs = snakemake.input, snakemake.output
    search_page(
        list(inputs.trials),
        Path(inputs.best),
        Path(outputs.table),
        Path(outputs.page),
        Path(outputs.summary),
        template=Path(snakemake.params.template),
        layout=Path(snakemake.params.layout),
        search=snakemake.wildcards.search,
        settings=snakemake.params.settings,
        dataset=snakemake.params.dataset,
        code=snakemake.params.code,
    )
