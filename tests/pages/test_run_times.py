"""Times and memory of the jobs of a run, from Snakemake's benchmark files."""

import os
import re
import time

import pytest

from histo.files import write_json
from histo.pages.run_times import STAGES, Run, read_run, run_times
from support import ROOT

HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def write_benchmark(path, seconds, memory, processor, age=0):
    """Write the benchmark file of a job that ended `age` seconds ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{HEADER}{seconds}\t0:00:00\t{memory}\t1\t1\t1\t1\t1\t1\t{processor}\n")
    os.utime(path, (time.time() - age,) * 2)


@pytest.fixture
def benchmarks(tmp_path):
    """Folder with two trainings, and an audit and the report of an earlier command."""
    write_benchmark(tmp_path / "train/small/fold-0.tsv", 70.0, 900.4, 100.0)
    write_benchmark(tmp_path / "train/small/fold-1.tsv", 60.5, 1200.2, 50.0)
    write_benchmark(tmp_path / "audit.tsv", 0.02, "-", "NA", age=1000)
    write_benchmark(tmp_path / "report.tsv", 9.0, 50.0, 8.0, age=1000)
    return tmp_path


def stages(folder):
    return {stage: folder / stage for stage in ("audit", "leaks", "train", "report")}


def test_times_are_summed_over_jobs(benchmarks):
    rows, missing = run_times(stages(benchmarks), Run())
    assert rows[:2] == [
        {"stage": "audit", "jobs": 1, "seconds": 0.02, "longest": 0.02, "processor": None, "memory": None},
        {"stage": "train", "jobs": 2, "seconds": 130.5, "longest": 70.0, "processor": 150.0, "memory": 1200.2},
    ]
    assert [row["stage"] for row in rows] == ["audit", "train", "report"]
    assert missing == {}
    assert run_times(stages(benchmarks / "missing"), Run()) == ([], {})


def test_jobs_that_have_not_ended_are_missing_and_their_earlier_times_are_left_out(benchmarks):
    names = ["train/small/fold-0", "train/small/fold-1", "train/small/fold-2", "leaks", "report"]
    planned = [str(benchmarks / f"{name}.tsv") for name in names]
    rows, missing = run_times(stages(benchmarks), Run(command="snakemake", started=time.time() - 500, planned=planned))
    assert [(row["stage"], row["jobs"]) for row in rows] == [("audit", 1), ("train", 2)]
    assert missing == {"leaks": 1, "train": 1, "report": 1}


def test_the_elapsed_time_is_that_of_the_command(tmp_path):
    path = tmp_path / "run.json"
    assert read_run(path) == Run() and read_run(path).seconds is None
    write_json(path, {"command": "snakemake -n", "started": time.time() - 90, "rules": {}, "jobs": {}, "planned": []})
    assert read_run(path).command == "snakemake -n"
    assert 90 <= read_run(path).seconds < 120


def test_all_stages_of_a_report_are_listed():
    """All that have a benchmark file, without those that run on request, after the report."""
    rules = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    on_request = {"verify", "submit", "scores", "apply", "export_model", "sketch_folds"}
    named = set(re.findall(r'benchmark_path\("([^"]+)"', rules)) - on_request
    assert (named - {"folds{kind}"}) | {"folds", "folds-by-stain"} == set(STAGES)
