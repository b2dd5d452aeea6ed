"""The workflow through profiles/slurm on a real SLURM: from archive to submission, and what can go wrong on the way.

Every run of the workflow here shows several cases, since most of its time is waiting. Nothing waits for a number of
seconds: a training is stopped (SIGSTOP) after its first epoch, and goes on when what disturbs it has happened.
"""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from slurm.cluster import CPUS, NODES, Cluster
from support import ROOT
from support.archives import Archive
from support.chain import CONFIG, DATASET, run_snakemake
from support.kaggle_client import BY_KEY
from support.kaggle_server import COMPETITION, KaggleServer
from support.waiting import wait_for

pytestmark = pytest.mark.slow

PROFILES = ROOT / "profiles"
CORES = "1"  # of a job
FETCHED = ("dataset={name: fetched, source: kaggle}", f"kaggle={{competition: {COMPETITION}}}")
TWIN = "network: {width: 8, blocks: 1}, center_crop: 32, batch_size: 8, precision: float32, epochs: 100, seed: 7"
LONG = f"models={{tiny: {{epochs: 100}}, twin: {{{TWIN}}}}}"
LIMITED, REQUEUED, ON_KILLED_NODE, CANCELLED = TRAININGS = ("tiny/fold-0", "tiny/fold-1", "twin/fold-0", "twin/fold-1")
PATIENCE = 2400  # seconds, for a machine with a lot else to do


def weights_of(training: str) -> Path:
    return Path(f"results/small/train/{training}/weights.pt")


def log_of(training: str) -> Path:
    return Path(f"logs/small/train/{training}.log")


@dataclass
class Site:
    """A folder from which runs are submitted to a cluster."""

    folder: Path
    cluster: Cluster
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(
        self,
        *targets: str | Path,
        settings: tuple[str, ...] = (DATASET,),
        options: tuple[str | Path, ...] = (),
        profiles: tuple[str | Path, ...] = ("--workflow-profile", PROFILES / "slurm"),
        **more: str,
    ) -> subprocess.Popen[str]:
        """Start Snakemake with a profile, with its output in a file; more: environment variables."""
        command = [
            sys.executable, "-m", "snakemake", *map(str, targets), "--snakefile", str(ROOT / "Snakefile"),
            "--directory", str(self.folder), *map(str, profiles), "--cores", CORES, "--max-threads", CORES,
            "--slurm-init-seconds-before-status-checks", "2",
            "--configfile", *map(str, CONFIG), "--config", *settings, *map(str, options),
        ]  # fmt: skip
        # The GPUs of this cluster exist in its books only.
        environment = self.cluster.environment | {"OMP_NUM_THREADS": "1", "HISTO_DEVICE": "cpu"} | more
        with open(self.folder / f"output-{len(self.started)}.txt", "w") as output:
            running = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True
            )
        self.started.append(running)
        return running

    def __enter__(self) -> "Site":
        return self

    def __exit__(self, *_: object) -> None:
        """Kill what still runs here and cancel its jobs."""
        for running in self.started:
            running.kill()
            running.wait()
        self.cancel()

    def cancel(self) -> None:
        """Cancel the jobs that were submitted from here; return when they have ended."""
        if left := self.left():
            self.cluster.run("scancel", *left)
        wait_for(lambda: not self.left(), PATIENCE, "the end of cancelled jobs")

    def left(self) -> list[str]:
        """Numbers of the jobs in the queue that were submitted from here."""
        listed = self.cluster.run("squeue", "--noheader", "--format=%A %Z").splitlines()
        return [number for number, _, folder in (line.partition(" ") for line in listed) if folder == str(self.folder)]

    @property
    def output(self) -> str:
        """What the run that was started last printed."""
        return (self.folder / f"output-{len(self.started) - 1}.txt").read_text()

    def run(self, *targets: str | Path, settings: tuple[str, ...] = (DATASET,), options: tuple[str, ...] = ()) -> int:
        """Exit status of a run."""
        return self.start(*targets, settings=settings, options=options).wait(timeout=PATIENCE)

    def train(self, *trainings: str, options: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Start long trainings; return when each has been stopped after an epoch."""
        for training in trainings:
            (self.folder / log_of(training)).unlink(missing_ok=True)
        running = self.start(*map(weights_of, trainings), settings=(DATASET, LONG), options=options)
        left = set(trainings)

        def stopped() -> bool:
            assert running.poll() is None, self.output
            for training in [training for training in left if self.epochs(training)]:
                self.send(training, signal.SIGSTOP)
                left.remove(training)
            return not left

        wait_for(stopped, PATIENCE, "an epoch of each training")
        return running

    def epochs(self, training: str) -> int:
        """Number of epochs in the log of a training."""
        path = self.folder / log_of(training)
        return (
            len(re.findall(r"INFO \[.+\] epoch \d+/\d+ step (\d+)/\1 .*AUC", path.read_text())) if path.is_file() else 0
        )

    def jobs(self, training: str = "") -> list[dict[str, str]]:
        """The jobs, of one training or all, that were submitted from here, the oldest first."""
        logs = f"{self.folder}/.snakemake/"
        if training:
            logs += f"slurm_logs/rule_train/{training.replace('/', '_')}/"
        return [job for job in self.cluster.jobs() if job.get("StdOut", "").startswith(logs)]

    def processes(self, training: str) -> list[Path]:
        """Entries of /proc of the processes that run a training in its latest job."""
        found = []
        mark = f"SLURM_JOB_ID={self.jobs(training)[-1]['JobId']}".encode()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                script = (entry / "cmdline").read_bytes().split(b"\0")[1:2]
                if (
                    script
                    and script[0].endswith(b".train.py")
                    and mark in (entry / "environ").read_bytes().split(b"\0")
                ):
                    found.append(entry)
            except OSError:  # it has ended
                continue
        return found

    def send(self, training: str, number: signal.Signals) -> None:
        """Send a signal to the processes of a training."""
        processes = self.processes(training)
        assert processes, f"{training} has ended"
        for entry in processes:
            os.kill(int(entry.name), number)

    def log(self, training: str) -> str:
        return (self.folder / log_of(training)).read_text()

    def weights(self, training: str) -> str:
        """SHA-256 of the trained weights."""
        return hashlib.sha256((self.folder / weights_of(training)).read_bytes()).hexdigest()


def copy_of(straight: Site, folder: Path) -> Site:
    """The finished runs in another folder."""
    shutil.copytree(straight.folder, folder, symlinks=True)
    return Site(folder, straight.cluster)


def run_locally(folder: Path, *targets: str | Path, settings: tuple[str, ...]) -> None:
    """Run the workflow on this machine without SLURM."""
    files = ["--snakefile", ROOT / "Snakefile", "--directory", folder, "--configfile", *CONFIG]
    environment = dict(os.environ) | {"HISTO_DEVICE": "cpu"}
    done = run_snakemake(*targets, *files, "--config", *settings, environment=environment)
    assert done.returncode == 0, done.stderr


def states(jobs: list[dict[str, str]]) -> list[tuple[str, str]]:
    """State and number of restarts of jobs."""
    return [(job["JobState"], job["Restarts"]) for job in jobs]


@pytest.fixture(scope="module")
def straight(cluster, tmp_path_factory) -> Iterator[Site]:
    """Two runs of all stages in one folder at once, of an archive that is there and of one on Kaggle."""
    folder = tmp_path_factory.mktemp("straight")
    content = Archive(np.random.default_rng(5), train=40, test=10).write(folder / "archive.zip").read_bytes()
    with Site(folder, cluster) as site, KaggleServer(content) as server:
        kaggle = server.environment(site.folder / "home", **BY_KEY)
        site.start("submission")
        # A Snakemake that ends deletes the folder of the locks: two that do so at once fail with FileNotFoundError.
        path = {"PATH": cluster.environment["PATH"]}
        site.start("submission", settings=FETCHED, options=("--nolock",), **kaggle | path)
        statuses = [running.wait(timeout=PATIENCE) for running in site.started]
        printed = "".join((folder / f"output-{number}.txt").read_text() for number in range(2))
        assert statuses == [0, 0], printed + cluster.logs()
        reach = f"import socket; socket.create_connection(('127.0.0.1', {server.server_port}))"
        subprocess.run([sys.executable, "-c", reach], check=True)
        on_node = subprocess.run(["srun", sys.executable, "-c", reach], env=cluster.environment, capture_output=True)
        assert (b"ConnectionRefusedError" in on_node.stderr) == cluster.isolated
        yield site


@pytest.fixture(scope="module")
def local(straight, tmp_path_factory) -> Path:
    """A run of all stages on this machine without SLURM."""
    folder = tmp_path_factory.mktemp("local")
    shutil.copy(straight.folder / "archive.zip", folder)
    run_locally(folder, "submission", settings=(DATASET,))
    return folder


@pytest.fixture(scope="module")
def undisturbed(local, cluster) -> dict[str, str]:
    """SHA-256 of the weights of the long trainings on this machine without SLURM."""
    run_locally(local, *map(weights_of, TRAININGS), settings=(DATASET, LONG))
    return {training: Site(local, cluster).weights(training) for training in TRAININGS}


@pytest.fixture(scope="module")
def disturbed(straight, cluster, tmp_path_factory) -> Iterator[Site]:
    """A run of four trainings at once, each of them disturbed in another way."""
    with copy_of(straight, tmp_path_factory.mktemp("disturbed") / "site") as site:
        running = site.train(*TRAININGS, options=("--retries", "0"))
        jobs = {training: site.jobs(training)[0] for training in TRAININGS}

        node = jobs[ON_KILLED_NODE]["BatchHost"]
        cluster.kill_node(node)
        cluster.start_node(node)
        wait_for(lambda: cluster.responds(node), PATIENCE, "the node")
        site.send(ON_KILLED_NODE, signal.SIGCONT)

        cluster.run("scancel", jobs[CANCELLED]["JobId"])
        cluster.run("scontrol", "requeue", jobs[REQUEUED]["JobId"])

        # SLURM looks at time limits every 30 seconds; the profile wants its signal 120 seconds before the limit. SLURM
        # lets a stopped process go on when it sends this signal.
        limited = jobs[LIMITED]["JobId"]
        elapsed = time.time() - datetime.fromisoformat(jobs[LIMITED]["StartTime"]).timestamp()
        cluster.run("scontrol", "update", f"JobId={limited}", f"TimeLimit={int(elapsed // 60) + 2}")
        wait_for(lambda: site.jobs(LIMITED)[0]["Restarts"] == "1", PATIENCE, "a job that is back in the queue")
        cluster.run("scontrol", "update", f"JobId={limited}", "TimeLimit=60")
        running.wait(timeout=PATIENCE)
        yield site


@pytest.fixture(scope="module")
def interrupted(disturbed) -> Site:
    """The same folder after Ctrl-C in a run of the training that was cancelled."""
    running = disturbed.train(CANCELLED)
    running.send_signal(signal.SIGINT)
    assert running.wait(timeout=PATIENCE) != 0
    wait_for(lambda: not disturbed.left(), PATIENCE, "the end of cancelled jobs")
    return disturbed


@pytest.fixture(scope="module")
def special(straight, tmp_path_factory) -> Iterator[Site]:
    """A run with as many cores as a node has, an account, a partition, types of GPUs, and shards on the nodes' disk."""
    with copy_of(straight, tmp_path_factory.mktemp("special") / "site") as site:
        scratch = "scratch='$NODE_DISK/tiles'"
        places = (
            "train:gpu_model=fake", "train:slurm_partition=paid", "train:slurm_account=lab", f"train:{scratch}",
            "predict:gpu=0", "predict:gres=gpu:fake:1", f"predict:{scratch}",
        )  # fmt: skip
        running = site.start(
            "results/small/predict/tiny/fold-0/test.parquet",
            settings=(DATASET, "models={tiny: {seed: 3}}"),
            options=("--cores", str(CPUS), "--max-threads", str(CPUS), "--set-resources", *places),
            NODE_DISK=str(site.folder / "disk"),
        )
        assert running.wait(timeout=PATIENCE) == 0, site.output
        yield site


def test_a_run_from_archive_to_submission(straight):
    """40 training tiles in two shards: 26 jobs, seven submissions on both nodes; jobs with a network ask for a GPU."""
    runs: dict[str, list[dict[str, str]]] = {}
    for job in straight.jobs():
        runs.setdefault(job["JobName"], []).append(job)
    assert len(runs) == 2
    for jobs in runs.values():
        assert [job["JobState"] for job in jobs] == ["COMPLETED"] * 7
        assert [job.get("TresPerJob") for job in jobs] == [None] * 3 + ["gres:gpu:1"] * 3 + [None]
        assert {int(job["NumCPUs"]) for job in jobs} == {1}
    assert {job["BatchHost"] for jobs in runs.values() for job in jobs} == set(NODES)
    assert not list((straight.folder / ".snakemake" / "slurm_logs").rglob("*.log"))


@pytest.mark.parametrize("name", ["small", "fetched"])
def test_two_data_sets_in_one_folder_have_the_results_of_a_local_run(straight, local, name):
    for path in ("submission.csv", "folds.parquet", "train/tiny/fold-0/weights.pt", "train/tiny/fold-1/weights.pt"):
        expected, found = local / "results" / "small" / path, straight.folder / "results" / name / path
        assert found.read_bytes() == expected.read_bytes(), path


def test_nodes_without_network(straight, cluster):
    """The archive was downloaded where Snakemake runs; the nodes could not reach its server."""
    if not cluster.isolated:
        pytest.skip("only root can start nodes without network")
    assert (straight.folder / "results" / "fetched" / "submission.csv").is_file()
    assert (straight.folder / "resources" / "fetched" / "archive.zip").is_file()


def test_a_training_near_its_time_limit_goes_back_to_the_queue(disturbed, undisturbed):
    assert states(disturbed.jobs(LIMITED)) == [("COMPLETED", "1")]
    text = disturbed.log(LIMITED)
    assert "Resumed after epoch" in text and "CPU, 1 thread." in text
    assert disturbed.weights(LIMITED) == undisturbed[LIMITED]


def test_a_requeued_job_ends_with_the_same_weights(disturbed, undisturbed):
    assert states(disturbed.jobs(REQUEUED)) == [("COMPLETED", "1")]
    assert disturbed.weights(REQUEUED) == undisturbed[REQUEUED]


def test_a_job_runs_on_while_slurmd_of_its_node_is_dead(disturbed, undisturbed):
    assert states(disturbed.jobs(ON_KILLED_NODE)) == [("COMPLETED", "0")]
    assert "Resumed after epoch" not in disturbed.log(ON_KILLED_NODE)
    assert disturbed.weights(ON_KILLED_NODE) == undisturbed[ON_KILLED_NODE]


def test_a_cancelled_training_is_reported(disturbed):
    assert disturbed.started[0].returncode == 1
    failed = (disturbed.folder / "output-0.txt").read_text().partition("\nFailed: ")[2]
    assert str(log_of(CANCELLED)) in failed
    assert states(disturbed.jobs(CANCELLED)[:1]) == [("CANCELLED", "0")]


def test_an_interrupt_cancels_the_jobs(interrupted):
    assert states(interrupted.jobs(CANCELLED)) == [("CANCELLED", "0")] * 2
    assert "Resumed after epoch" in interrupted.log(CANCELLED)  # what the cancelled job had saved


def test_a_killed_snakemake_is_started_again(interrupted, undisturbed):
    """It leaves its job and its lock; the training resumes once they are gone."""
    running = interrupted.train(CANCELLED)
    running.kill()
    running.wait()
    assert interrupted.jobs(CANCELLED)[-1]["JobState"] == "RUNNING"
    interrupted.cancel()
    target = {"settings": (DATASET, LONG)}
    assert interrupted.run(weights_of(CANCELLED), **target, options=("--unlock",)) == 0, interrupted.output
    assert interrupted.run(weights_of(CANCELLED), **target) == 0, interrupted.output
    assert states(interrupted.jobs(CANCELLED)) == [("CANCELLED", "0")] * 3 + [("COMPLETED", "0")]
    assert "Resumed after epoch" in interrupted.log(CANCELLED)
    assert interrupted.weights(CANCELLED) == undisturbed[CANCELLED]


def test_no_job_asks_for_more_cores_than_the_profile_names(special):
    """Rules ask for up to 16 threads; a node here has four cores."""
    assert [int(job["NumCPUs"]) for job in special.jobs("tiny/fold-0")] == [CPUS]


def test_type_of_gpu_account_and_partition(special):
    (job,) = special.jobs("tiny/fold-0")
    assert (job["TresPerJob"], job["Account"], job["Partition"]) == ("gres:gpu:fake:1", "lab", "paid")


def test_a_gpu_as_gres(special):
    assert special.jobs()[-1]["TresPerNode"] == "gres:gpu:fake:1"


def test_shards_are_copied_to_the_node_once(special):
    assert len(list((special.folder / "disk" / "tiles").glob("*.h5"))) == 3
    logs = [(special.folder / f"logs/small/{rule}/tiny/fold-0.log").read_text() for rule in ("train", "predict")]
    assert [text.count(": copied to ") for text in logs] == [2, 1]


def test_errors_of_jobs_and_of_sbatch_are_shown(straight, tmp_path):
    """At the same time: a job that fails, and a partition that refuses jobs without an account."""
    with copy_of(straight, tmp_path / "broken") as broken, copy_of(straight, tmp_path / "refused") as refused:
        (broken.folder / "archive.zip").write_bytes(b"PK\3\4" + bytes(5000))
        broken.start("submission", options=("--retries", "0"))
        options = ("--set-resources", "train:slurm_partition=paid", "--retries", "0")
        refused.start(weights_of("tiny/fold-0"), settings=(DATASET, "models={tiny: {seed: 2}}"), options=options)
        assert [site.started[0].wait(timeout=PATIENCE) for site in (broken, refused)] == [1, 1]
    last = broken.output.partition("\nFailed: ")[2]
    assert last.startswith("archive.zip: expected a complete zip archive, found 5004 bytes")
    assert "Partition paid: the account lab is required." in refused.output


def test_another_scheduler(straight, tmp_path):
    """The commands of profiles/generic are those of SLURM."""
    profiles = ("--profile", PROFILES / "slurm", "--workflow-profile", PROFILES / "generic")
    with copy_of(straight, tmp_path / "site") as site:
        running = site.start("results/small/folds-by-groups.parquet", profiles=profiles)
        assert running.wait(timeout=PATIENCE) == 0, site.output
        (job,) = site.jobs()
    assert (job["JobState"], job["NumCPUs"]) == ("COMPLETED", CORES)
    found, expected = (site.folder / "results/small" / name for name in ("folds-by-groups.parquet", "folds.parquet"))
    assert found.read_bytes() == expected.read_bytes()
