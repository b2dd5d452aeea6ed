"""Faults of the machine that a run finds before its first job: one message, and nothing is changed."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from support import ROOT
from support.archives import Archive
from support.chain import CONFIG, snakemake

DATASET = "dataset={name: small, source: kaggle}"
NOBODY = 65534
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


def command(folder: Path, target: str, dataset: str) -> list[str | Path]:
    """The command of a run with its results in a folder."""
    files = ["--snakefile", ROOT / "Snakefile", "--directory", folder, "--configfile", *CONFIG, "--config", dataset]
    return [sys.executable, "-m", "snakemake", "--cores", "1", target, *files]


def test_results_dated_in_the_future(tmp_path):
    table = tmp_path / "results/small/folds.parquet"
    table.parent.mkdir(parents=True)
    table.touch()
    os.utime(table, (time.time() + 10**6,) * 2)
    done = snakemake(tmp_path, "submission", DATASET)
    assert done.returncode == 1
    assert "results/small/folds.parquet: dated 2" in done.stderr
    assert "Correct the clock, or give all such files its date and run again: find results/small " in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_space_without_room_for_pytorch(tmp_path):
    """Jobs without a network need less: the same limit is no fault for them."""
    limit = 1_500_000_000

    def run(target: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(tmp_path, target, dataset), capture_output=True, text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        )  # fmt: skip

    path = Archive(np.random.default_rng(5), train=40, test=10).write(tmp_path / "archive.zip")
    dataset = f"dataset={{name: small, source: archive, archive: {path}}}"
    refused = run("submission")
    assert refused.returncode == 1
    assert "The address space of a process is limited to 1.50 GB, in which PyTorch cannot be loaded." in refused.stderr
    assert "Traceback" not in refused.stderr and not (tmp_path / "results").exists()
    done = run("results/small/index.parquet")
    assert done.returncode == 0, done.stderr


def test_a_second_run_in_the_same_folder(tmp_path):
    """It ends at once; the first one is not disturbed."""
    path = Archive(np.random.default_rng(5), train=40, test=10).write(tmp_path / "archive.zip")
    dataset, table = f"dataset={{name: small, source: archive, archive: {path}}}", "results/small/index.parquet"
    first = subprocess.Popen(command(tmp_path, table, dataset), stderr=subprocess.PIPE, text=True)
    while not any(lock.stat().st_size for lock in tmp_path.glob(".snakemake/locks/*.output.lock")):
        assert first.poll() is None, "the first run has ended"
        time.sleep(0.02)
    first.send_signal(signal.SIGSTOP)
    try:
        second = snakemake(tmp_path, table, dataset)
    finally:
        first.send_signal(signal.SIGCONT)
    _, messages = first.communicate(timeout=600)
    assert second.returncode == 1
    assert "Directory cannot be locked" in second.stderr and "Traceback" not in second.stderr
    assert first.returncode == 0, messages
    assert (tmp_path / table).is_file()


def test_results_of_another_user():
    """The tests of root run it as another user, those of others on a folder that they cannot write."""
    root = os.geteuid() == 0
    if root and shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed, so root cannot start a run as another user")
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to other users
        folder = Path(name)
        (folder / "home").mkdir()
        (folder / "results").mkdir(mode=0o555)
        if root:
            folder.chmod(0o755)
            os.chown(folder / "home", NOBODY, NOBODY)
            reading = [*AS_NOBODY, sys.executable, "-c", "import snakemake, sys; open(sys.argv[1])", ROOT / "Snakefile"]
            if subprocess.run(reading, capture_output=True).returncode:
                pytest.skip("other users cannot read this repository or its environment")
        variables = os.environ | {"HOME": str(folder / "home"), "XDG_CACHE_HOME": str(folder / "home")}
        done = subprocess.run(
            [*(AS_NOBODY if root else []), *command(folder, "submission", DATASET)],
            env=variables | {"PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 1
        assert f"{folder}/results: cannot be written. Correct its permissions and run again." in done.stderr
        assert "Traceback" not in done.stderr
