"""The run behind a report: its command and rules, and the times and memory of its jobs.

`run.json` is written by the rules when a command starts that will write the report; Snakemake writes the benchmark
files. Both are read as they are when the report is written.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from histo.files import read_json

STAGES = ("download", "synthesize", "pcam_download", "pcam_gunzip", "index", "pcam_index", "unzip", "validate", "pack",
          "pcam_pack", "audit", "overlaps", "groups", "stain_vectors", "folds", "folds-by-stain", "leaks",
          "audit_page", "stain", "imagenet_weights", "search_trial", "search_best", "search_page", "train", "predict",
          "features", "classical", "saliency", "feature_map", "evaluate", "evaluate_by_stain", "ensemble",
          "ensemble_by_stain", "submission_csv", "report")  # fmt: skip


@dataclass(frozen=True)
class Run:
    """The command that a report is from.

    started: seconds since 1970; rules: {rule: the rules whose files its jobs read}; jobs: {rule: number of jobs};
    planned: benchmark files of the jobs that the command ran. All are empty if the command is not known.
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


def run_times(benchmarks: dict[str, Path], run: Run) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Return one row per stage from Snakemake's benchmark files, and the numbers of jobs by stage that are missing.

    benchmarks: of each stage, in the order of the workflow, its benchmark file without the ending, or the folder of its
    files; stages without any are left out. Of each stage: number of jobs, total and longest time and processor time in
    seconds, peak memory in MB; the last two are None if no job ran long enough to be measured. Missing are the jobs of
    the command that have not ended yet: what their benchmark files say, if there are any, is of an earlier command.
    """
    rows, missing = [], {}
    for stage, base in benchmarks.items():
        planned = {path for path in map(Path, run.planned) if path.with_suffix("") == base or base in path.parents}
        left = {path for path in planned if not ended(path, run.started)}
        if left:
            missing[stage] = len(left)
        files = [path for path in (base.with_suffix(".tsv"), *sorted(base.rglob("*.tsv"))) if path.is_file()]
        if jobs := [_measured(path) for path in files if path not in left]:
            rows.append({"stage": stage, "jobs": len(jobs)} | _summary(pd.concat(jobs)))
    return rows, missing


def _measured(benchmark: Path) -> pd.DataFrame:
    """Return seconds (s), processor seconds (cpu_time) and memory (max_rss, MB) of a job."""
    return pd.read_csv(benchmark, sep="\t", na_values=["-", "NA"])[["s", "cpu_time", "max_rss"]].astype(float)


def _summary(jobs: pd.DataFrame) -> dict[str, float | None]:
    """Return the times and the memory of the jobs of a stage, see `run_times`; jobs: rows of `_measured`."""
    return {
        "seconds": float(jobs["s"].sum()),
        "longest": float(jobs["s"].max()),
        "processor": _or_none(jobs["cpu_time"].sum(min_count=1)),
        "memory": _or_none(jobs["max_rss"].max()),
    }


def ended(benchmark: Path, started: float) -> bool:
    """Whether the job of a benchmark file ended after a time, seconds since 1970."""
    return benchmark.is_file() and benchmark.stat().st_mtime >= started


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
