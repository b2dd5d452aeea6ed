"""The run behind a report: its command and rules, and the times and memory of its jobs.

`run.json` is written by the rules when a command starts that will write the report; Snakemake writes the benchmark
files. Both are read as they are when the report is written.
"""

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from histo.files import read_json

STAGES = ("download", "synthesize", "pcam_download", "pcam_gunzip", "index", "pcam_index", "unzip", "validate", "pack",
          "pcam_pack", "audit", "overlaps", "groups", "folds", "leaks", "audit_page",
          "stain", "imagenet_weights", "search_trial", "search_best", "train", "predict", "features", "classical",
          "evaluate", "ensemble", "submission_csv", "report")  # fmt: skip


@dataclass(frozen=True)
class Run:
    """The command that a report is from.

    started: seconds since 1970; rules: {rule: the rules whose files its jobs read}; jobs: {rule: number of jobs};
    planned: benchmark files of the jobs that the command ran, relative to their folder. All are empty if the command is
    not known.
    """

    command: str = ""
    started: float = 0.0
    rules: dict[str, list[str]] = field(default_factory=dict)
    jobs: dict[str, int] = field(default_factory=dict)
    planned: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float | None:
        """Elapsed time since the start of the command."""
        return time.time() - self.started if self.started else None


def read_run(path: Path) -> Run:
    """Read `run.json`; a run of which nothing is known if there is none."""
    return Run(**read_json(path)) if path.is_file() else Run()


def stage_of(benchmark: Path) -> str:
    """Return the stage of a benchmark file; benchmark: relative to the folder of all benchmark files."""
    return benchmark.with_suffix("").parts[0]


def in_order(stages: list[str]) -> list[str]:
    """Return stages in the order of the workflow, unknown ones last."""
    return sorted(stages, key=lambda stage: (STAGES.index(stage) if stage in STAGES else len(STAGES), stage))


def run_times(folder: Path, run: Run) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Return one row per stage from Snakemake's benchmark files, and the numbers of jobs by stage that are missing.

    Of each stage: number of jobs, total and longest time and processor time in seconds, peak memory in MB; the last two
    are None if no job ran long enough to be measured. Missing are the jobs of the command that have not ended yet: what
    their benchmark files say, if there are any, is of an earlier command. Stages are in the order of the workflow. Both
    results are empty if the folder does not exist.
    """
    missing = {folder / name for name in run.planned if not ended(folder / name, run.started)}
    tables = []
    for path in sorted(folder.rglob("*.tsv")):
        if path not in missing:
            table = pd.read_csv(path, sep="\t", na_values=["-", "NA"])[["s", "cpu_time", "max_rss"]].astype(float)
            tables.append(table.assign(stage=stage_of(path.relative_to(folder))))
    found = {str(stage): jobs for stage, jobs in pd.concat(tables).groupby("stage")} if tables else {}
    rows = [
        {
            "stage": stage,
            "jobs": len(jobs),
            "seconds": jobs["s"].sum(),
            "longest": jobs["s"].max(),
            "processor": _or_none(jobs["cpu_time"].sum(min_count=1)),
            "memory": _or_none(jobs["max_rss"].max()),
        }
        for stage in in_order(list(found))
        for jobs in [found[stage]]
    ]
    counts = Counter(stage_of(path.relative_to(folder)) for path in missing)
    return rows, {stage: counts[stage] for stage in in_order(list(counts))}


def ended(benchmark: Path, started: float) -> bool:
    """Whether the job of a benchmark file ended after a time, seconds since 1970."""
    return benchmark.is_file() and benchmark.stat().st_mtime >= started


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
