"""A run on an unusual machine that is stopped three times ends with the same bits as any other run."""

import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT
from support.chain import CONFIG, DATASET
from support.machine import digests
from support.waiting import wait_for

PATIENCE = 1200  # seconds
# A signal for all processes of the run, and the job in which they get it.
STOPS = [
    (signal.SIGINT, "train/tiny/fold-0"),
    (signal.SIGTERM, "predict/tiny/fold-0"),
    (signal.SIGKILL, "ensemble"),
]
WITH_TIMES = {"history.csv", "training.json", "run.json", "report.json", "numbers.csv", "provenance.json"}


def make_unusual() -> None:
    """Few file handles, and files that nobody else can read."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def start(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start a run in a folder, with an ASCII locale, without a home, in a process group of its own."""
    variables = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME", "LANG")}
    files = ["--snakefile", ROOT / "Snakefile", "--directory", folder, "--configfile", *CONFIG]
    with open(folder / "output.txt", "ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--cores", "1", "submission", *options, *files, "--config", DATASET],
            env=variables | {"LC_ALL": "C", "PYTHONUTF8": "0", "OMP_NUM_THREADS": "1"},
            stdout=output, stderr=output, preexec_fn=make_unusual, start_new_session=True,
        )  # fmt: skip


def results(folder: Path) -> dict[str, str]:
    """SHA-256 of all results that hold no times."""
    found = digests(folder / "results/small").items()
    timed = (".html", *WITH_TIMES)
    return {name: digest for name, digest in found if not name.endswith(timed) and "tfevents" not in name}


@pytest.mark.slow
def test_every_stage_gives_the_same_bits(tiny_run, tmp_path):
    folder = tmp_path / 'it\'s a "folder" of Größe $x; 组织'
    folder.mkdir()
    shutil.copy(tiny_run / "archive.zip", folder)
    for number, job in STOPS:
        running, log = start(folder), folder / f"logs/small/{job}.log"

        def begun(running: subprocess.Popen[bytes] = running, log: Path = log) -> bool:
            assert running.poll() is None, (folder / "output.txt").read_text()
            return log.is_file()

        wait_for(begun, PATIENCE, job)
        os.killpg(running.pid, number)
        assert running.wait(PATIENCE) != 0
    assert start(folder, "--unlock").wait(PATIENCE) == 0
    assert start(folder).wait(PATIENCE) == 0, (folder / "output.txt").read_text()

    assert results(folder) == results(tiny_run)
    names = ("train/tiny/fold-0/weights.pt", "predict/tiny/fold-1/test.parquet", "pack/test-00000.h5", "submission.csv")
    assert set(names) <= results(folder).keys()
    files = [path for path in (folder / "results").rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert not [path for path in files if ".part" in path.name]
    assert not [path for path in (folder / "logs").rglob("*.log") if "Traceback" in path.read_text()]
