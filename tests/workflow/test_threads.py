"""Threads of the jobs with a network: with a GPU they follow cores and GPUs, on a CPU the setting `threads`."""

import os
import re

import pytest
import yaml

from support import ROOT
from support.chain import snakemake

SAMPLING = "sampler: random, trials: 1, trials_per_batch: 1, seed: 1, folds: [0]"
SEARCH = f"search={{fine: {{model: tiny, {SAMPLING}, space: {{learning_rate: {{low: 1e-3, high: 1e-2}}}}}}}}"


GPU, CPU = (os.environ | {"HISTO_DEVICE": device} for device in ("cuda", "cpu"))


def threads_of(text):
    """Return the numbers of threads in the output of a dry run, by rule; jobs with one thread do not name it.

    The jobs of a group are indented.
    """
    found = {}
    for indent, name, body in re.findall(r"^( *)rule (\w+):\n((?:\1    .*\n)+)", text, flags=re.MULTILINE):
        number = re.search(rf"^{indent}    threads: (\d+)$", body, flags=re.MULTILINE)
        found.setdefault(name, []).append(int(number[1]) if number else 1)
    return found


@pytest.mark.parametrize(
    ("options", "threads"),
    [
        (["--cores", "8", "--resources", "gpu=2"], 4),
        (["--cores", "40", "--resources", "gpu=2"], 16),
        (["--cores", "2", "--resources", "gpu=4"], 1),
        (["--cores", "8"], 8),  # the default profile sets gpu: 1
        (["--cores", "64"], 16),
        (["--cores", "8", "--workflow-profile", "none"], 8),
    ],
)
def test_threads_are_cores_by_gpus(tmp_path, options, threads):
    done = snakemake(tmp_path, "submission", "--dry-run", *options, environment=GPU)
    assert done.returncode == 0, done.stderr
    found = threads_of(done.stdout)
    assert found["train"] == found["predict"] == [threads] * 2


@pytest.mark.parametrize(
    ("options", "threads"),
    [
        (["--cores", "8"], 1),
        (["train={threads: 3}", "--cores", "8"], 3),
        (["models={tiny: {threads: 4}}", "--cores", "2"], 2),  # Snakemake cannot reserve more than all cores
    ],
)
def test_a_cpu_reserves_the_threads_that_compute_and_no_gpu(tmp_path, options, threads):
    done = snakemake(tmp_path, "submission", *options, "--dry-run", environment=CPU)
    assert done.returncode == 0, done.stderr
    found = threads_of(done.stdout)
    assert found["train"] == found["predict"] == [threads] * 2
    assert "gpu=1" not in done.stdout


def test_threads_of_a_training_on_several_gpus(tmp_path):
    options = ("--cores", "8", "--resources", "gpu=4", "--set-resources", "train:gpu=2")
    done = snakemake(tmp_path, "submission", "--dry-run", *options, environment=GPU)
    assert done.returncode == 0, done.stderr
    found = threads_of(done.stdout)
    assert found["train"] == [4, 4] and found["predict"] == [2, 2]


def test_threads_of_trials(tmp_path):
    options = ("--dry-run", "--cores", "8", "--resources", "gpu=2")
    done = snakemake(tmp_path, "search", SEARCH, *options, environment=GPU)
    assert done.returncode == 0, done.stderr
    assert threads_of(done.stdout)["search_trial"] == [4]


def test_no_job_of_a_cluster_gets_more_threads_than_a_node_has_cores(tmp_path):
    """`cores` of profiles/slurm; rules ask for up to 16 threads."""
    profile = ("--workflow-profile", ROOT / "profiles" / "slurm")
    more = ("submission={models: [tiny, forest]}", "classical={forest: {method: random_forest}}")
    done = snakemake(tmp_path, "submission", *more, "--dry-run", "--cores", "4", *profile, environment=GPU)
    assert done.returncode == 0, done.stderr
    found = threads_of(done.stdout)
    assert found["train"] == found["predict"] == found["classical"] == [4, 4]
    profile = yaml.safe_load((ROOT / "profiles" / "slurm" / "config.yaml").read_text())
    assert profile["cores"] == 8
