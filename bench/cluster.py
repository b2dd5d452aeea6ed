"""The demo on a real SLURM with and without the groups of profiles/slurm, and a training through a short time limit.

Starts the SLURM of tests/slurm on this machine: two virtual nodes, GPUs only in its books, so networks run on CPUs.
`make slurm` installs what it needs. Time in which no job runs is time in the queue and between jobs.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import yaml
from measure import ROOT, Report, arguments, machine

sys.path.insert(0, str(ROOT / "tests"))

from slurm.cluster import Cluster

CORES = "1"  # of a job; the number of threads changes rounding
TILES = "synthesize={train_tiles: 600, test_tiles: 200}"
DEMO = "models={small: {epochs: 2, center_crop: 32}}"
WEIGHTS = "results/demo/train/small/fold-0/weights.pt"
LOG = "logs/demo/train/small/fold-0.log"


def ungrouped(folder: Path) -> Path:
    """Write profiles/slurm without its groups; return the folder of the profile."""
    profile = yaml.safe_load((ROOT / "profiles" / "slurm" / "config.yaml").read_text())
    del profile["groups"], profile["group-components"]
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(profile))
    return folder


def snakemake(folder: Path, target: str, *settings: str, profile: Path, cluster: Cluster, options: list[str]) -> float:
    """Run the demo up to `target`; return its seconds."""
    command = [
        sys.executable, "-m", "snakemake", target, "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder),
        "--workflow-profile", str(profile), "--cores", CORES, "--max-threads", CORES, *options,
        "--configfile", *(str(ROOT / "config" / name) for name in ("config.yaml", "demo.yaml")), "--config", *settings,
    ]  # fmt: skip
    variables = cluster.environment | {"OMP_NUM_THREADS": "1", "HISTO_DEVICE": "cpu"}
    begun = time.monotonic()
    done = subprocess.run(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + cluster.logs())
    return time.monotonic() - begun


def times(job: dict[str, str]) -> list[float]:
    """When a job was submitted, started and ended, in seconds."""
    return [datetime.fromisoformat(job[key]).timestamp() for key in ("SubmitTime", "StartTime", "EndTime")]


def busy(jobs: list[dict[str, str]]) -> float:
    """Seconds in which at least one of the jobs ran."""
    total, reached = 0.0, 0.0
    for _, start, end in sorted(map(times, jobs), key=lambda moments: moments[1]):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def demo(folder: Path, cluster: Cluster, report: Report) -> None:
    """Run all stages without and with groups."""
    rows, found = [], {}
    for name, profile in (("with", ROOT / "profiles" / "slurm"), ("without", ungrouped(folder / "profile"))):
        before = len(cluster.jobs())
        run = folder / name
        seconds = snakemake(run, "submission", TILES, DEMO, profile=profile, cluster=cluster, options=[])
        jobs = cluster.jobs()[before:]
        found[name] = len(jobs), seconds - busy(jobs)
        queued = sum(start - submitted for submitted, start, _ in map(times, jobs))
        rows.append([name, len(jobs), *(f"{value:.0f}" for value in (seconds, busy(jobs), found[name][1], queued))])
    report.add("", f"The demo, 28 jobs with the target, with `{TILES} {DEMO}`:")
    columns = ["groups", "submissions", "seconds", "with a job running", "with none", "in the queue, all jobs"]
    report.table(columns, rows)
    report.ratio("submissions_with_groups_vs_without", found["with"][0] / found["without"][0])
    report.ratio("waiting_with_groups_vs_without", found["with"][1] / found["without"][1])


def time_limit(folder: Path, cluster: Cluster, report: Report, epochs: int) -> None:
    """Train a network undisturbed and through a time limit of one minute, and compare the weights."""
    settings = (TILES, f"models={{small: {{epochs: {epochs}, center_crop: 32}}}}")
    local = ["--executor", "local", "--resources", "gpu=1"]
    profile = ROOT / "profiles" / "slurm"
    prepared, undisturbed, limited = (folder / name for name in ("prepared", "undisturbed", "limited"))
    snakemake(prepared, "results/demo/folds.parquet", *settings, profile=profile, cluster=cluster, options=local)
    digests, seconds = [], []
    # SLURM looks at time limits every 30 seconds and sends the signal at the last look before it is due.
    short = ["--set-resources", "train:runtime=1", "train:slurm_extra='--signal=TERM@1'"]
    for run, options in ((undisturbed, local), (limited, short)):
        shutil.copytree(prepared, run)
        seconds.append(snakemake(run, WEIGHTS, *settings, profile=profile, cluster=cluster, options=options))
        digests.append(hashlib.sha256((run / WEIGHTS).read_bytes()).hexdigest())
    job = cluster.jobs()[-1]
    text = (limited / LOG).read_text()
    report.add(
        "",
        f"A training of {epochs} epochs through a limit of one minute: {seconds[0]:.0f} seconds undisturbed, without "
        f"SLURM; {seconds[1]:.0f} through the limit, in one submission with {job['Restarts']} restarts, of which "
        f"{text.count('Resumed after epoch')} resumed from a save. SHA-256 of the weights: `{digests[0]}` undisturbed, "
        f"`{digests[1]}` through the limit.",
    )
    report.ratio("limited_weights_equal", digests[0] == digests[1])
    report.ratio("restarts", int(job["Restarts"]))


def main() -> None:
    """Start SLURM, run both parts, stop SLURM."""
    parser = arguments(__doc__)
    parser.add_argument("--epochs", type=int, default=60, help="of the training through the time limit")
    options = parser.parse_args()
    report = Report(__file__, "cluster: the workflow on SLURM", machine("snakemake"), options.smoke)
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, tempfile.TemporaryDirectory() as runs:
        cluster = Cluster(Path(folder))
        try:
            time_limit(Path(runs), cluster, report, 2 if options.smoke else options.epochs)
            demo(Path(runs), cluster, report)
        finally:
            cluster.stop()
    report.close()


if __name__ == "__main__":
    main()
