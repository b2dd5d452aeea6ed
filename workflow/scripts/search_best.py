"""Collect the trials of a search: the settings of the best one, and what all of them say.

Makes `best.yaml` (complete settings of a model, which the rule train reads and which can be copied under `models`),
`trials.csv` (a row for each trial) and `trials.html` (how the score went, and how it depends on each setting; opens
offline and needs no script).
"""

import csv
import json
import logging
import math
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from histo.errors import InputError
from histo.files import atomic_write, read_json
from histo.overrides import place
from histo.pages.charts import Axis, Dots, Line, LogAxis, NamedAxis, scatter_chart
from histo.pages.layout import SOURCES, provenance, render

FIGURES = ["trial", "score", "loss", "epochs", "seconds", "failed"]
MARKED = 8  # values of a stepped range that are marked one by one
NAME_LENGTH = 14  # of a value below its axis

Trial = dict[str, Any]


def best_of(trials: list[Trial]) -> Trial:
    """Return the trial with the highest score, the first of them; InputError when all failed."""
    scored = [trial for trial in trials if trial["score"] is not None]
    if not scored:
        raise InputError(
            f"All {len(trials)} trials failed, the first one so: {trials[0]['failed']} Narrow the space of the search, "
            "the learning rate above all."
        )
    return max(scored, key=lambda trial: trial["score"])


def text(value: Any) -> str:
    """Return a drawn value as a person would write it."""
    if isinstance(value, list):
        return "-".join(text(one) for one in value)
    if isinstance(value, bool) or value is None:
        return {True: "on", False: "off", None: "none"}[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def score_axis(trials: list[Trial]) -> tuple[Axis, float]:
    """Return the axis of the scores, and the place below them at which failed trials are marked."""
    scores = [trial["score"] for trial in trials if trial["score"] is not None]
    axis = Axis.around("validation AUC", scores, 1.0)
    if len(scores) == len(trials):
        return axis, axis.low
    room = 0.12 * (axis.high - axis.low)
    return Axis(axis.label, axis.low - room, axis.high), axis.low - room / 2


def groups(trials: list[Trial], best: Trial, where: dict[int, float], failed_at: float) -> list[Dots]:
    """Return the points of a chart: trials, failed trials, and a ring around the best; where: x of each trial."""
    scored = [trial for trial in trials if trial["score"] is not None]
    failed = [where[trial["trial"]] for trial in trials if trial["score"] is None]
    return [
        Dots("trial", [where[trial["trial"]] for trial in scored], [trial["score"] for trial in scored], 0),
        Dots("failed", failed, [failed_at] * len(failed), 1, "cross"),
        Dots("best", [where[best["trial"]]], [best["score"]], 2, "ring"),
    ]


def course_chart(trials: list[Trial], best: Trial) -> Markup:
    """Return the score of each trial in order, with the best so far as a line."""
    y, failed_at = score_axis(trials)
    dots = groups(trials, best, {trial["trial"]: trial["trial"] for trial in trials}, failed_at)
    line_x, line_y, top = [], [], -math.inf
    for trial in trials:
        if trial["score"] is not None and trial["score"] > top:
            line_x += [trial["trial"]] * (1 + bool(line_y))
            line_y += [*line_y[-1:], trial["score"]]
            top = trial["score"]
    last = trials[-1]["trial"]
    line = Line("best so far", [*line_x, last], [*line_y, top], 2)
    axis = Axis("trial", 0.5, last + 0.5, whole=True)
    said = f"Best: trial {best['trial']} with {best['score']:.4f}; {len(dots[1].x)} of {len(trials)} failed."
    return scatter_chart("Score of each trial", dots, axis, y, said, line)


def setting_chart(name: str, part: dict[str, Any], trials: list[Trial], best: Trial) -> Markup:
    """Return the scores over the drawn values of one setting; part: what it was drawn from."""
    y, failed_at = score_axis(trials)
    drawn = {trial["trial"]: trial["draws"][name] for trial in trials}
    few = _few_values(part)
    if few:
        x: Axis = NamedAxis.of(name, [text(value)[:NAME_LENGTH] for value in few])
        where = _apart({number: few.index(value) for number, value in drawn.items()})
    elif part["log"]:
        air = (part["high"] / part["low"]) ** 0.04
        x, where = LogAxis(name, part["low"] / air, part["high"] * air), drawn
    else:
        air = 0.04 * (part["high"] - part["low"])
        x, where = Axis(name, part["low"] - air, part["high"] + air), drawn
    said = f"Best score at {text(best['draws'][name])}."
    return scatter_chart(name, groups(trials, best, where, failed_at), x, y, said)


def _few_values(part: dict[str, Any]) -> list[Any]:
    """Return the values that a setting can have where they are few, else none."""
    if "choices" in part:
        return part["choices"]
    count = round((part["high"] - part["low"]) / part["step"]) + 1 if part["step"] else math.inf
    if count > MARKED:
        return []
    values = [part["low"] + place * part["step"] for place in range(int(count))]
    return values if part["whole"] else [float(f"{value:.12g}") for value in values]


def _apart(places: dict[int, int]) -> dict[int, float]:
    """Spread the trials of one value around its place, in the order of the trials."""
    counts = Counter(places.values())
    seen: dict[int, int] = {}
    spread = {}
    for number, at in places.items():
        rank = seen[at] = seen.get(at, 0) + 1
        spread[number] = at + 0.4 * (rank - (counts[at] + 1) / 2) / counts[at]
    return spread


def warnings(trials: list[Trial], folds: list[int]) -> list[str]:
    """Return what a reader has to know first, in plain sentences."""
    failed = [str(trial["trial"]) for trial in trials if trial["score"] is None]
    said = [f"Failed trials, whose training diverged: {', '.join(failed)}."] if failed else []
    plural = "s" if len(folds) > 1 else ""
    said.append(
        f"The best score is the highest of many on fold{plural} {', '.join(map(str, folds))} and so too good. Judge "
        "the model that takes the settings by its out-of-fold AUC, above all by its folds that took no part in the "
        "search."
    )
    return said


def write_table(path: Path, trials: list[Trial], names: list[str]) -> None:
    """Write a row for each trial: figures, then what was drawn; lists as JSON."""
    with atomic_write(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*FIGURES, *names])
        for trial in trials:
            drawn = [trial["draws"][name] for name in names]
            drawn = [json.dumps(value) if isinstance(value, list) else value for value in drawn]
            writer.writerow([*(trial[key] for key in FIGURES), *drawn])


def write_settings(path: Path, trial: Trial, settings: dict[str, Any], search: str) -> None:
    """Write the settings of a trial, whose draws change the complete settings `settings` of a model."""
    # Without the number of trials: a search that goes on without a better one must not train its model again.
    head = f"# Settings of trial {trial['trial']} of the search {search}, validation AUC {trial['score']:.4f}.\n"
    with atomic_write(path) as temporary:
        temporary.write_text(head + yaml.safe_dump(place(settings, trial["draws"]), sort_keys=False))


def search_best(
    trial_files: list[str],
    best_output: Path,
    table_output: Path,
    page_output: Path,
    *,
    template: Path,
    layout: Path,
    search: str,
    settings: dict[str, Any],
    dataset: dict[str, str],
    code: dict[str, dict[str, str]],
) -> None:
    """Write the best settings, the table and the page; InputError when all trials failed.

    trial_files: what `search_trial` wrote, in the order of the trials; settings: see there; dataset: name and source;
    code: {stage: `provenance.code_version`}.
    """
    trials = [read_json(path) for path in trial_files]
    space = settings["space"]
    best = best_of(trials)
    write_settings(best_output, best, settings["base"], search)
    write_table(table_output, trials, list(space))
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
        course=course_chart(trials, best),
        charts=[setting_chart(name, part, trials, best) for name, part in space.items()],
        names=list(space),
        ranges={name: range_text(part) for name, part in space.items()},
        rows=[trial | {"texts": [text(trial["draws"][name]) for name in space]} for trial in ranked],
        best_text=best_output.read_text(),
    )
    with atomic_write(page_output) as temporary:
        temporary.write_text(page, encoding="utf-8")
    logging.info("%s: trial %d of %d, AUC %.4f.", search, best["trial"], len(trials), best["score"])


def range_text(part: dict[str, Any]) -> str:
    """Say what a setting was drawn from."""
    if "choices" in part:
        return " · ".join(text(choice) for choice in part["choices"])
    words = f"{text(part['low'])} to {text(part['high'])}"
    return words + (", logarithmic" if part["log"] else "") + (f", steps of {part['step']:g}" if part["step"] else "")


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    inputs, outputs = snakemake.input, snakemake.output
    search_best(
        list(inputs.trials),
        Path(outputs.best),
        Path(outputs.table),
        Path(outputs.page),
        template=Path(inputs.template),
        layout=Path(inputs.layout),
        search=snakemake.wildcards.search,
        settings=snakemake.params.settings,
        dataset=snakemake.params.dataset,
        code=snakemake.params.code,
    )
