"""The whole workflow at the size of the competition: synthetic tiles with known overlaps, two small networks, a report.

The workflow itself creates 220,025 training and 57,458 test tiles (`synthesize`) and runs every stage up to
`submission.csv`, `report.html` and `audit.html`. `--tiles` sets another number of tiles and writes no report.

Number and seconds of the jobs are Snakemake's records. Memory, processor time and bytes of a job are read from /proc
five times a second, because Snakemake samples memory only every 30 seconds after the first 15 and counts as read what
came from the disk alone. What a job does in its last 0.2 s can be missing, but not from the bytes of the whole run.
Disk is the space of all files in the working folder, summed twice a second. Orchestration is the time without a job.

The overlaps found are compared with the ground truth that `synthesize` writes. Recall refers to pairs that share at
least one block that is not flat; the others share only uniform background, which does not identify an overlap. Needs
25 GB of disk (TMPDIR) and at most 30 minutes on two cores without a GPU.
"""

import csv
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import yaml
from measure import ROOT, Report, arguments, cores, machine

from histo import tables
from histo.geometry import BLOCKS_PER_SIDE as PER_SIDE
from overlaps import read_blocks

TRAIN_TILES, TEST_TILES, SLIDES = 220_025, 57_458, 240  # of the competition; three of four slides are training slides
SMOKE = 2000
NETWORKS = {
    "plain": {"network": {"name": "plain_3conv"}},
    "residual": {"network": {"name": "residual", "width": 8, "blocks": 1}},
}
SCRIPT = re.compile(r"/\.snakemake/scripts/\w+\.(\w+)\.py$")  # Snakemake's copy of a job's script
JOB_SECONDS, DISK_SECONDS = 0.2, 0.5  # between two samples
MB = 1e6


def settings(tiles: int) -> dict:
    """Return the settings of the run: synthetic tiles in the competition's proportions, two cheap networks."""
    train, slides = round(tiles * TRAIN_TILES / (TRAIN_TILES + TEST_TILES)), SLIDES * tiles / (TRAIN_TILES + TEST_TILES)
    return {
        "dataset": {"name": "full", "source": "synthetic"},
        "synthesize": {
            "train_tiles": train,
            "test_tiles": tiles - train,
            "train_slides": max(6, round(slides * 3 / 4)),
            "test_slides": max(3, round(slides / 4)),
            "seed": 7,
            "faults": {},
        },
        "folds": {"count": 2},
        "train": {"center_crop": 32, "epochs": 2, "batch_size": 256},
        "models": NETWORKS,
        "submission": {"models": list(NETWORKS)},
    }


@dataclass
class Job:
    """What /proc said last about the process of a job; times in seconds, sizes in bytes."""

    rule: str
    begun: float
    ended: float = 0.0
    processor: float = 0.0
    resident: int = 0
    private: int = 0
    io: dict[str, int] = field(default_factory=dict)


def proc_values(path: str) -> dict[str, int]:
    """Return the numbers of a file of lines `name: number unit`; numbers in kB are converted to bytes."""
    found = {}
    with open(path) as file:
        for line in file:
            name, _, rest = line.partition(":")
            parts = rest.split()
            if parts and parts[0].isdigit():
                found[name] = int(parts[0]) * (1024 if parts[-1] == "kB" else 1)
    return found


class Watch:
    """Samples the jobs of a process and the disk space of its folder while the `with` block runs."""

    def __init__(self, folder: Path) -> None:
        self.jobs: dict[psutil.Process, Job] = {}
        self.disk = 0
        self.disk_parts: Counter[str] = Counter()
        self.disk_rules: set[str] = set()
        self._folder = folder
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._repeat, args=work) for work in self._work()]

    def _work(self):
        return (self._see_jobs, JOB_SECONDS), (self._see_disk, DISK_SECONDS)

    def _repeat(self, see, seconds: float) -> None:
        while not self._stop.wait(seconds):
            see()

    def __enter__(self) -> "Watch":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _see_jobs(self) -> None:
        for process in psutil.Process().children(recursive=True):
            try:
                if process not in self.jobs:
                    found = [SCRIPT.search(part) for part in process.cmdline()[1:2]]
                    if not found or not found[0]:
                        continue
                    self.jobs[process] = Job(found[0][1], process.create_time())
                job = self.jobs[process]
                status = proc_values(f"/proc/{process.pid}/status")
                job.io = proc_values(f"/proc/{process.pid}/io")
                times = process.cpu_times()
            except (psutil.Error, OSError):
                continue  # it has just ended
            if "VmHWM" in status:  # missing once the process has ended
                job.ended = time.time()
                job.processor = times.user + times.system
                job.resident = status["VmHWM"]
                job.private = max(job.private, status["RssAnon"] + status["RssShmem"])

    def _see_disk(self) -> None:
        parts = disk_space(self._folder)
        if parts.total() > self.disk:
            self.disk, self.disk_parts = parts.total(), parts
            now = time.time()
            self.disk_rules = {job.rule for job in list(self.jobs.values()) if now - job.ended < 4 * JOB_SECONDS}

    def uncovered(self, begun: float, ended: float) -> float:
        """Return the seconds between two times in which no job ran."""
        seconds, reached = 0.0, begun
        for job in sorted(self.jobs.values(), key=lambda job: job.begun):
            seconds += max(0.0, job.begun - reached)
            reached = max(reached, job.ended)
        return seconds + max(0.0, ended - reached)


def disk_space(folder: Path) -> Counter[str]:
    """Return the bytes on disk of the files of a folder, by kind."""
    parts: Counter[str] = Counter()
    for path, _, names in os.walk(folder):
        below = Path(path).relative_to(folder).parts
        for name in names:
            try:
                size = os.lstat(os.path.join(path, name)).st_blocks * 512
            except FileNotFoundError:
                continue
            if below[:1] == ("resources",) and "archive" in name:
                parts["archive"] += size
            elif below[:1] == ("results",) and below[2:3] in (("pack",), ("unzip",)):
                parts[{"pack": "shards", "unzip": "unzipped tiles"}[below[2]]] += size
            else:
                parts["everything else"] += size
    return parts


def run(folder: Path, config: dict) -> None:
    """Run the workflow up to the submission and the pages."""
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 10**6
    command = [sys.executable, "-m", "snakemake", "submission", "--cores", str(cores())]
    command += ["--resources", "gpu=1", "unzip=1", f"mem_mb={memory}"]
    command += ["--snakefile", ROOT / "Snakefile", "--directory", folder]
    command += ["--configfile", ROOT / "config" / "config.yaml", path]
    subprocess.run(command, check=True)


def records(folder: Path) -> dict[str, list[float]]:
    """Return the seconds of the jobs by rule, from Snakemake's benchmark files, in the order in which they began."""
    found: dict[str, list[float]] = {}
    root = folder / "benchmarks" / "full"
    for path in sorted(root.rglob("*.tsv"), key=lambda path: path.stat().st_mtime):
        with open(path) as file:
            seconds = float(next(csv.DictReader(file, delimiter="\t"))["s"])
        found.setdefault(path.relative_to(root).parts[0].removesuffix(".tsv"), []).append(seconds)
    return found


def requests(folder: Path) -> dict[str, int]:
    """Return the largest request for memory of the jobs by rule, in MB, from Snakemake's log."""
    found: dict[str, int] = {}
    for path in (folder / ".snakemake" / "log").glob("*.log"):
        for rule, body in re.findall(r"^(?:local)?rule (\w+):\n((?:    .*\n)+)", path.read_text(), flags=re.MULTILINE):
            amount = re.search(r"^    resources: .*\bmem_mb=(\d+)", body, flags=re.MULTILINE)
            if amount:
                found[rule] = max(int(amount[1]), found.get(rule, 0))
    return found


def stages(seconds: dict[str, list[float]], jobs: list[Job], asked: dict[str, int], tiles: int) -> list[tuple]:
    """Return one row per stage: number, times and peaks of its jobs, and what all of them read and wrote.

    asked: request for memory by rule, in MB.
    """
    rows = []
    for rule, found in seconds.items():
        seen = [job for job in jobs if job.rule == rule and job.resident]
        io = {name: sum(job.io.get(name, 0) for job in seen) / MB for name in ("rchar", "read_bytes", "write_bytes")}
        rows.append(
            (
                rule,
                len(found),
                f"{sum(found):,.0f}",
                f"{max(found):,.0f}",
                f"{sum(found) / tiles * 1e6:,.0f}",
                f"{sum(job.processor for job in seen):,.0f}",
                f"{max((job.resident for job in seen), default=0) / MB:,.0f}",
                f"{max((job.private for job in seen), default=0) / MB:,.0f}",
                f"{asked[rule]:,}" if rule in asked else "-",
                *(f"{value:,.0f}" for value in io.values()),
            )
        )
    return rows


def visible(truth: pd.DataFrame, validations: list[Path]) -> np.ndarray:
    """Return whether each pair of `truth` (id_a, id_b, dy, dx) shares a block that is not flat: bool [N]."""
    tiles, hashes = read_blocks(validations)
    seen = (hashes.reshape(-1, PER_SIDE, PER_SIDE) != 0)[
        pd.Series(np.arange(len(tiles)), index=tiles["id"]).loc[truth["id_a"]].to_numpy()
    ]
    result = np.zeros(len(truth), bool)
    dy, dx = truth["dy"].to_numpy() // 16, truth["dx"].to_numpy() // 16
    for y in range(-PER_SIDE + 1, PER_SIDE):
        for x in range(-PER_SIDE + 1, PER_SIDE):
            here = (dy == y) & (dx == x)
            rows, columns = (slice(max(d, 0), PER_SIDE + min(d, 0)) for d in (y, x))
            result[here] = seen[here][:, rows, columns].any((1, 2))
    return result


def compare(folder: Path) -> dict[str, int]:
    """Compare the overlaps found with the true ones as sets of (id_a, id_b, dy, dx); return counts."""
    columns = ["id_a", "id_b", "dy", "dx"]
    results = folder / "results" / "full"
    truth = pd.read_parquet(folder / "resources" / "full" / "overlaps.parquet")[columns]
    found = tables.read(results / "overlaps.parquet", tables.OVERLAPS)
    found = found.loc[found["confirmed"], columns]
    validations = sorted(results.glob("validate/*.parquet"))
    truth = truth.assign(visible=visible(truth, validations))
    joined = truth.merge(found, on=columns, how="outer", indicator=True)
    return {
        "true": len(truth),
        "visible": int(truth["visible"].sum()),
        "found": len(found),
        "found_visible": int(((joined["_merge"] == "both") & (joined["visible"] == True)).sum()),  # noqa: E712
        "false": int((joined["_merge"] == "right_only").sum()),
    }


def disk_bound(folder: Path) -> int:
    """Return the bytes of the archive, all shards and the two largest shards once more."""
    shards = sorted(path.stat().st_size for path in (folder / "results" / "full" / "pack").glob("*.h5"))
    return (folder / "resources" / "full" / "archive.zip").stat().st_size + sum(shards) + sum(shards[-2:])


def main() -> None:
    parser = arguments(__doc__)
    default = TRAIN_TILES + TEST_TILES
    parser.add_argument("--tiles", type=int, default=default, help="number of tiles of both splits; default: all")
    options = parser.parse_args()
    tiles = SMOKE if options.smoke else options.tiles
    full = tiles == default
    lines = machine("snakemake", "torch", "numpy", "pandas", "pyarrow")
    report = Report(__file__, "rehearsal: the whole workflow", lines, options.smoke, write=full)
    config = settings(tiles)
    counts = config["synthesize"]
    networks = ", ".join(model["network"]["name"] for model in NETWORKS.values())
    report.add(
        "",
        f"{counts['train_tiles']:,} training and {counts['test_tiles']:,} test tiles, synthetic; two models "
        f"({networks}; central {config['train']['center_crop']} pixels), {config['folds']['count']} folds, "
        f"{config['train']['epochs']} epochs; one run.",
    )
    with tempfile.TemporaryDirectory(prefix="rehearsal-", dir=os.environ.get("TMPDIR")) as name:
        folder = Path(name)
        before, begun = proc_values("/proc/self/io"), time.time()
        with Watch(folder) as watch:
            run(folder, config)
            ended, after = time.time(), proc_values("/proc/self/io")
        seconds, jobs = records(folder), list(watch.jobs.values())
        asked = requests(folder)
        columns = ["stage", "jobs", "total s", "longest s", "µs/tile", "CPU s", "resident MB", "private MB"]
        columns += ["requested MB", "read calls MB", "from disk MB", "written MB"]
        report.table(columns, stages(seconds, jobs, asked, tiles))
        report.add(
            "Resident, private: peak of a job; resident memory includes mapped files, which the kernel can drop. "
            "Requested: `mem_mb`. Read calls: without what is read by memory maps.",
        )
        bound, uncovered, wall = disk_bound(folder), watch.uncovered(begun, ended), ended - begun
        busy = sum(job.processor for job in jobs) / (wall * cores())
        total = {name: (after[name] - before[name]) / MB for name in ("read_bytes", "write_bytes")}
        rows = [
            ("wall clock, s", f"{wall:,.0f}"),
            ("without a job, s", f"{uncovered:,.1f}"),
            ("processor time of jobs / (cores × wall clock)", f"{busy:.2f}"),
            ("read from disk, MB", f"{total['read_bytes']:,.0f}"),
            ("written, MB", f"{total['write_bytes']:,.0f}"),
            (f"largest disk space, MB, during {', '.join(sorted(watch.disk_rules))}", f"{watch.disk / MB:,.0f}"),
            *((f"… {part}", f"{size / MB:,.0f}") for part, size in watch.disk_parts.most_common()),
            ("archive + shards + two shards, MB", f"{bound / MB:,.0f}"),
        ]
        report.table(["whole run", "value"], rows)
        pairs = compare(folder)
        overlaps = json.loads((folder / "results" / "full" / "overlaps.json").read_text())
    rows = [(key.replace("_", " "), f"{value:,}") for key, value in {**overlaps, **pairs}.items()]
    report.table(["overlaps", "number"], rows)
    report.ratio("overlap_recall", pairs["found_visible"] / pairs["visible"])
    report.ratio("overlap_precision", 1 - pairs["false"] / max(pairs["found"], 1))
    report.ratio("memory_vs_request", max(job.private / MB / asked[job.rule] for job in jobs if job.rule in asked))
    report.ratio("orchestration_share", uncovered / wall)
    report.ratio("disk_vs_bound", watch.disk / bound)
    report.close()


if __name__ == "__main__":
    main()
