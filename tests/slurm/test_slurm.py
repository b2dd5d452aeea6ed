"""The workflow through profiles/slurm on a real SLURM: from archive to submission, and what can go wrong on the way.

`short` runs every stage. The other tests repeat one training of it, long enough to be disturbed, and compare weights.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from slurm.cluster import CPUS, Cluster, wait_for
from support import ROOT
from support.archives import Archive
from support.chain import CONFIG, TIMEOUT, snakemake

pytestmark = pytest.mark.slow

CORES = "1"  # of a job
DATASET = "dataset={name: small, source: archive, archive: archive.zip}"
LONG = "models={tiny: {epochs: 100}}"
WEIGHTS = Path("results/small/train/tiny/fold-0/weights.pt")
TRAINING_LOG = Path("logs/small/train/tiny/fold-0.log")
PATIENCE = 600  # seconds, for a machine with a lot else to do


@dataclass
class Site:
    """A folder from which runs are submitted to a cluster."""

    folder: Path
    cluster: Cluster
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, target: str | Path, *settings: str, options: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Start Snakemake with the profile, with its output in a file."""
        command = [
            sys.executable, "-m", "snakemake", str(target), "--snakefile", str(ROOT / "Snakefile"),
            "--directory", str(self.folder), "--workflow-profile", str(ROOT / "profiles" / "slurm"),
            "--cores", CORES, "--max-threads", CORES,
            "--slurm-init-seconds-before-status-checks", "2", "--configfile", *map(str, CONFIG),
            "--config", *(settings or (DATASET,)), *options,
        ]  # fmt: skip
        # The GPUs of this cluster exist in its books only.
        environment = self.cluster.environment | {"OMP_NUM_THREADS": "1", "HISTO_DEVICE": "cpu"}
        with open(self.folder / "output.txt", "w") as output:
            running = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True
            )
        self.started.append(running)
        return running

    def clear(self) -> None:
        """Kill what still runs here and empty the queue."""
        for running in self.started:
            running.kill()
            running.wait()
        self.cluster.run("scancel", "--user", str(os.getuid()))
        wait_for(lambda: not self.cluster.run("squeue", "--noheader"), PATIENCE, "an empty queue")

    @property
    def output(self) -> str:
        """What the last run printed."""
        return (self.folder / "output.txt").read_text()

    def run(self, target: str | Path, *settings: str, options: tuple[str, ...] = ()) -> int:
        """Exit status of a run."""
        return self.start(target, *settings, options=options).wait(timeout=TIMEOUT)

    def train(self, *options: str) -> subprocess.Popen[str]:
        """Start the long training; return once it has trained for an epoch."""
        (self.folder / TRAINING_LOG).unlink(missing_ok=True)
        running = self.start(WEIGHTS, DATASET, LONG, options=options)
        wait_for(lambda: self.epochs() or running.poll() is not None, PATIENCE, "an epoch")
        assert running.poll() is None, self.output
        return running

    def epochs(self) -> int:
        """Number of epochs in the log of the training."""
        path = self.folder / TRAINING_LOG
        return (
            len(re.findall(r"INFO \[.+\] epoch \d+/\d+ step (\d+)/\1 .*AUC", path.read_text())) if path.is_file() else 0
        )

    def weights(self) -> str:
        """SHA-256 of the trained weights."""
        return hashlib.sha256((self.folder / WEIGHTS).read_bytes()).hexdigest()


def submitted_since(cluster: Cluster, before: list[dict[str, str]]) -> list[dict[str, str]]:
    """The jobs of a cluster that are not among those of an earlier call."""
    return cluster.jobs()[len(before) :]


@pytest.fixture(scope="module")
def short(cluster, tmp_path_factory) -> Iterator[tuple[Site, list[dict[str, str]]]]:
    """A finished run of all stages, and its SLURM jobs."""
    site = Site(tmp_path_factory.mktemp("short"), cluster)
    Archive(np.random.default_rng(5), train=40, test=10).write(site.folder / "archive.zip")
    status = site.run("submission")
    assert status == 0, site.output + cluster.logs()
    yield site, cluster.jobs()
    site.clear()


@pytest.fixture(scope="module")
def undisturbed(short, tmp_path_factory) -> str:
    """SHA-256 of the weights of the long training on this machine, without SLURM."""
    folder = tmp_path_factory.mktemp("undisturbed") / "site"
    shutil.copytree(short[0].folder, folder)
    done = snakemake(folder, str(WEIGHTS), DATASET, LONG, "--cores", CORES)
    assert done.returncode == 0, done.stderr
    return Site(folder, short[0].cluster).weights()


@pytest.fixture
def site(short, cluster, tmp_path) -> Iterator[Site]:
    """A copy of the finished run; the next test finds an empty queue."""
    shutil.copytree(short[0].folder, tmp_path / "site", symlinks=True)
    copy = Site(tmp_path / "site", cluster)
    yield copy
    copy.clear()


def test_a_run_from_archive_to_submission(short):
    """40 training tiles in two shards: 24 jobs, seven submissions; only jobs with a network ask for a GPU."""
    site, jobs = short
    assert len((site.folder / "results/small/submission.csv").read_text().split()) == 11
    assert [job["JobState"] for job in jobs] == ["COMPLETED"] * 7
    requests = [job.get("TresPerJob") for job in jobs]
    assert requests == [None] * 3 + ["gres:gpu:1"] * 3 + [None]
    assert {int(job["NumCPUs"]) for job in jobs} == {1}
    assert not list((site.folder / ".snakemake" / "slurm_logs").rglob("*.log"))


def test_a_training_near_its_time_limit_goes_back_to_the_queue(site, cluster, undisturbed):
    """SLURM sends the signal of `--signal` to the processes of a job that goes on running; here a command sends it."""
    before = cluster.jobs()
    running = site.train()
    (job,) = submitted_since(cluster, before)
    cluster.run("scancel", "--signal=TERM", job["JobId"])
    wait_for(lambda: submitted_since(cluster, before)[0]["Restarts"] == "1", PATIENCE, "a second start")
    assert running.wait(timeout=TIMEOUT) == 0, site.output
    (job,) = submitted_since(cluster, before)
    assert (job["JobState"], job["Restarts"]) == ("COMPLETED", "1")
    text = (site.folder / TRAINING_LOG).read_text()
    assert "Resumed after epoch" in text and f" {CORES} threads." in text
    assert site.weights() == undisturbed


def test_no_job_asks_for_more_cores_than_the_profile_names(site, cluster):
    """Rules ask for up to 16 threads; a node here has four cores."""
    before = cluster.jobs()
    status = site.run(
        WEIGHTS, DATASET, "models={tiny: {seed: 3}}", options=("--cores", str(CPUS), "--max-threads", str(CPUS))
    )
    assert status == 0, site.output
    assert [int(job["NumCPUs"]) for job in submitted_since(cluster, before)] == [CPUS]


def test_type_of_gpu_account_and_partition(site, cluster):
    before = cluster.jobs()
    places = ("train:gpu_model=fake", "train:slurm_partition=paid", "train:slurm_account=lab")
    status = site.run(WEIGHTS, DATASET, "models={tiny: {seed: 2}}", options=("--set-resources", *places))
    assert status == 0, site.output
    (job,) = submitted_since(cluster, before)
    assert (job["TresPerJob"], job["Account"], job["Partition"]) == ("gres:gpu:fake:1", "lab", "paid")


def test_a_missing_account_is_reported(site):
    options = ("--set-resources", "train:slurm_partition=paid", "--retries", "0")
    assert site.run(WEIGHTS, DATASET, "models={tiny: {seed: 2}}", options=options) == 1
    assert "Partition paid: the account lab is required." in site.output


def test_the_error_of_a_job_is_the_last_output(site):
    path = site.folder / "archive.zip"
    path.write_bytes(b"PK\3\4" + bytes(5000))
    assert site.run("submission", options=("--retries", "0")) == 1
    last = site.output.partition("\nFailed: ")[2]
    assert last.startswith("archive.zip: expected a complete zip archive, found 5004 bytes")


def test_a_cancelled_training_is_reported_and_resumes_in_the_next_run(site, cluster, undisturbed):
    before = cluster.jobs()
    running = site.train("--retries", "0")
    cluster.run("scancel", submitted_since(cluster, before)[0]["JobId"])
    assert running.wait(timeout=TIMEOUT) == 1
    assert str(TRAINING_LOG) in site.output.partition("\nFailed: ")[2]
    assert [(job["JobState"], job["Restarts"]) for job in submitted_since(cluster, before)] == [("CANCELLED", "0")]
    assert site.run(WEIGHTS, DATASET, LONG) == 0, site.output
    assert "Resumed after epoch" in (site.folder / TRAINING_LOG).read_text()
    assert site.weights() == undisturbed


def test_a_requeued_job_ends_with_the_same_weights(site, cluster, undisturbed):
    before = cluster.jobs()
    running = site.train()
    cluster.run("scontrol", "requeue", submitted_since(cluster, before)[0]["JobId"])
    assert running.wait(timeout=TIMEOUT) == 0, site.output
    (job,) = submitted_since(cluster, before)
    assert (job["JobState"], job["Restarts"]) == ("COMPLETED", "1")
    assert site.weights() == undisturbed
