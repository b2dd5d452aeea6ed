"""The demo on a real SLURM with and without the groups of profiles/slurm.

Starts the SLURM of tests/slurm on this machine: two virtual nodes, GPUs only in its books, so networks run on CPUs.
`make slurm` installs what it needs. Time in which no job runs is time in the queue and between jobs.
"""

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

CORES = "1"  # of a job
TILES = "synthesize={train_tiles: 600, test_tiles: 200}"
MODEL = "models={small: {epochs: 2, center_crop: 32}}"
PROFILES = ROOT / "profiles"


def ungrouped(folder: Path) -> Path:
    """Write profiles/slurm without its groups; return the folder of the profile."""
    profile = yaml.safe_load((PROFILES / "slurm" / "config.yaml").read_text())
    del profile["groups"], profile["group-components"]
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(profile))
    return folder


def run(folder: Path, target: str, model: str, profile: Path, cluster: Cluster, *options: str) -> float:
    """Run the demo up to a target; return the seconds."""
    command = [
        sys.executable, "-m", "snakemake", target, "--snakefile", str(ROOT / "Snakefile"),
        "--directory", str(folder), "--workflow-profile", str(profile), "--cores", CORES, "--max-threads", CORES,
        "--configfile", *(str(ROOT / "config" / name) for name in ("config.yaml", "demo.yaml")),
        "--config", TILES, model, *options,
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


def compare(folder: Path, cluster: Cluster, report: Report) -> None:
    """Run the demo with and without groups; report submissions and waiting."""
    rows, found = [], {}
    for name, profile in (("with", PROFILES / "slurm"), ("without", ungrouped(folder / "profile"))):
        before = len(cluster.jobs())
        seconds = run(folder / name, "submission", MODEL, profile, cluster)
        jobs = cluster.jobs()[before:]
        found[name] = len(jobs), seconds - busy(jobs)
        queued = sum(start - submitted for submitted, start, _ in map(times, jobs))
        rows.append([name, len(jobs), *(f"{value:.0f}" for value in (seconds, busy(jobs), found[name][1], queued))])
    report.add("", f"The demo, 28 jobs with the target, with `{TILES} {MODEL}`:")
    columns = ["groups", "submissions", "seconds", "with a job running", "with none", "in the queue, all jobs"]
    report.table(columns, rows)
    report.ratio("submissions_with_groups_vs_without", found["with"][0] / found["without"][0])
    report.ratio("waiting_with_groups_vs_without", found["with"][1] / found["without"][1])


def main() -> None:
    """Start SLURM, run the demo twice, stop SLURM."""
    options = arguments(__doc__).parse_args()
    report = Report(__file__, "cluster: the demo on SLURM", machine("snakemake"), options.smoke)
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, tempfile.TemporaryDirectory() as runs:
        cluster = Cluster(Path(folder))
        try:
            compare(Path(runs), cluster, report)
        finally:
            cluster.stop()
    report.close()


if __name__ == "__main__":
    main()
