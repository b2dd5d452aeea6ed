"""Running the workflow in a folder of its own, as a user would."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from support import ROOT

CONFIG = (ROOT / "config" / "config.yaml", ROOT / "tests" / "config" / "tiny.yaml")
# The demo, with fewer tiles and epochs.
DEMO_CONFIG = (ROOT / "config" / "config.yaml", ROOT / "config" / "demo.yaml")
DEMO_SETTINGS = ("synthesize={train_tiles: 900, test_tiles: 300}", "models={small: {epochs: 5, batch_size: 64}}")
# A data set whose archive is in the folder of the run: a copy of the folder has the same settings.
DATASET = "dataset={name: small, source: archive, archive: archive.zip}"
TIMEOUT = 1200  # seconds
# What a copy of the workflow consists of.
TREE = ("Snakefile", "config", "envs", "profiles", "workflow")


def run_snakemake(
    *arguments: str | Path, folder: Path | None = None, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Snakemake on two cores, started in `folder`.

    environment: all variables of the process, instead of those of the tests.
    """
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    variables = dict(os.environ if environment is None else environment) | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=TIMEOUT)


def snakemake(
    folder: Path,
    target: str,
    *settings: str,
    config: Sequence[Path] = CONFIG,
    environment: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the workflow up to `target`, with its results under `folder`.

    settings: section={...}, changes to the settings of the files `config`; options of Snakemake may follow them.
    """
    files = ["--snakefile", ROOT / "Snakefile", "--directory", folder, "--configfile", *config]
    return run_snakemake(target, *files, "--config", *settings, environment=environment)


def job_counts(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Return the number of jobs by rule that a run or a dry run announced."""
    table = (done.stdout + done.stderr).partition("Job stats:")[2].partition("total")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, flags=re.MULTILINE)}


def training_inputs(done: subprocess.CompletedProcess[str], model: str, pattern: str) -> dict[str, list[str]]:
    """Return what the jobs that train a model read, by network, from a dry run; pattern: of a path, with one group."""
    found = {}
    for job in re.split(r"\n(?=rule |localrule )", done.stdout + done.stderr):
        output = re.search(rf"output: \S*train/{model}/([^/]+)/weights\.pt", job)
        if output:
            found[output[1]] = re.findall(pattern, job.partition("output:")[0])
    return found
