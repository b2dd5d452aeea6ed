"""A training on a real SLURM through a time limit of one minute: its weights against those of an undisturbed training.

Starts the SLURM of tests/slurm on this machine: two virtual nodes, GPUs only in its books, so networks run on CPUs.
`make slurm` installs what it needs. A job that nears its limit saves its progress and goes back to the queue.
"""

import hashlib
import shutil
import tempfile
from pathlib import Path

from cluster import PROFILES, Cluster, run
from measure import Report, arguments, machine

TRAINING = "small/fold-0"
# SLURM looks at time limits every 30 seconds and sends the signal at the last look before it is due.
# The command line replaces all lines of the profile's set-resources.
LIMIT = [
    "--set-resources", "train:runtime=1", "train:slurm_extra='--signal=TERM@1'", "train:requeue=1",
    # A start that gets no step done is a failed attempt; each would request twice the memory.
    "train:mem_mb=8000", "--retries", "9",
]  # fmt: skip


def time_limit(folder: Path, cluster: Cluster, report: Report, epochs: int) -> None:
    """Train a network without SLURM, and on SLURM through a limit of one minute; compare the weights."""
    model = f"models={{small: {{epochs: {epochs}, center_crop: 32}}}}"
    weights = f"results/demo/train/{TRAINING}/weights.pt"
    undisturbed, limited = folder / "undisturbed", folder / "limited"
    run(undisturbed, "results/demo/folds.parquet", model, PROFILES / "default", cluster)
    shutil.copytree(undisturbed, limited)
    seconds = run(undisturbed, weights, model, PROFILES / "default", cluster)
    limited_seconds = run(limited, weights, model, PROFILES / "slurm", cluster, *LIMIT)
    digests = [hashlib.sha256((path / weights).read_bytes()).hexdigest() for path in (undisturbed, limited)]
    jobs = [job for job in cluster.jobs() if job["WorkDir"] == str(limited)]
    report.add("", f"A training of {epochs} epochs (`small` with `center_crop: 32`):", "")
    rows = [["none", f"{seconds:.0f}", "-", "-"]]
    rows.append(["1 minute", f"{limited_seconds:.0f}", len(jobs), sum(int(job["Restarts"]) for job in jobs)])
    report.table(["limit", "seconds", "submissions", "restarts"], rows)
    report.add("SHA-256 of the weights, without and with the limit:", "", *(f"- `{digest}`" for digest in digests))
    report.ratio("weights_with_limit_equal", digests[0] == digests[1])


def main() -> None:
    """Start SLURM, run the trainings, stop SLURM."""
    parser = arguments(__doc__)
    parser.add_argument("--epochs", type=int, default=900, help="of the training")
    options = parser.parse_args()
    report = Report(
        __file__, "time_limit: a training through a limit of one minute", machine("snakemake"), options.smoke
    )
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, tempfile.TemporaryDirectory() as runs:
        cluster = Cluster(Path(folder))
        try:
            time_limit(Path(runs), cluster, report, 2 if options.smoke else options.epochs)
        finally:
            cluster.stop()
    report.close()


if __name__ == "__main__":
    main()
