"""The stages from archive to folds at the size of the competition, on synthetic tiles with known overlaps.

The workflow itself creates 220,025 training and 57,458 test tiles (`synthesize`) and runs all stages up to `leaks`.
Running time and peak memory of a stage are Snakemake's records. The overlaps found are compared with the ground truth
that `synthesize` writes. Recall refers to pairs that share at least one block that is not flat; the others share only
uniform background, which does not identify an overlap. Needs 30 GB of disk (TMPDIR) and about 15 minutes on two cores.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from measure import ROOT, Report, arguments, cores, machine

from histo import tables
from histo.geometry import BLOCKS_PER_SIDE as PER_SIDE
from overlaps import read_blocks

STAGES = ("synthesize", "index", "unzip", "validate", "pack", "audit", "overlaps", "groups", "folds", "leaks")
SIZES = {"train_tiles": 220_025, "test_tiles": 57_458, "train_slides": 180, "test_slides": 60}
SMOKE = {"train_tiles": 1_500, "test_tiles": 500, "train_slides": 6, "test_slides": 3}


def run(folder: Path, sizes: dict[str, int]) -> None:
    """Run the workflow up to `leaks`."""
    settings = ", ".join(f"{key}: {value}" for key, value in sizes.items())
    command = [sys.executable, "-m", "snakemake", "results/full/leaks.json", "--cores", str(cores())]
    command += ["--snakefile", ROOT / "Snakefile", "--directory", folder]
    command += ["--configfile", ROOT / "config" / "config.yaml", "--config", "dataset={name: full, source: synthetic}"]
    command += [f"synthesize={{{settings}, seed: 7, faults: {{}}}}"]
    subprocess.run(command, check=True)


def times(folder: Path) -> list[tuple]:
    """Return one row per stage: jobs, total seconds, seconds of the longest job, peak memory of a job in MB."""
    rows = []
    for stage in STAGES:
        paths = [*folder.glob(f"benchmarks/full/{stage}.tsv"), *folder.glob(f"benchmarks/full/{stage}/*.tsv")]
        records = []
        for path in paths:
            with open(path) as file:
                records.append(next(csv.DictReader(file, delimiter="\t")))
        seconds = [float(record["s"]) for record in records]
        memory = [float(record["max_rss"]) for record in records if record["max_rss"] not in ("-", "NA")]
        peak = f"{max(memory):,.0f}" if memory else "-"
        rows.append((stage, len(records), f"{sum(seconds):,.0f}", f"{max(seconds):,.0f}", peak))
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


def main() -> None:
    smoke = arguments(__doc__).parse_args().smoke
    lines = machine("snakemake", "numpy", "pandas", "pillow")
    report = Report(__file__, "rehearsal: archive to folds at full size", lines, smoke)
    sizes = SMOKE if smoke else SIZES
    report.add("", f"{sizes['train_tiles']:,} training and {sizes['test_tiles']:,} test tiles, synthetic; one run.")
    with tempfile.TemporaryDirectory(prefix="rehearsal-", dir=os.environ.get("TMPDIR")) as name:
        folder = Path(name)
        run(folder, sizes)
        report.table(("stage", "jobs", "total seconds", "longest job, s", "peak memory of a job, MB"), times(folder))
        pairs = compare(folder)
        counts = json.loads((folder / "results" / "full" / "overlaps.json").read_text())
    rows = [(key.replace("_", " "), f"{value:,}") for key, value in {**counts, **pairs}.items()]
    report.table(("overlaps", "number"), rows)
    report.ratio("overlap_recall", pairs["found_visible"] / pairs["visible"])
    report.ratio("overlap_precision", 1 - pairs["false"] / max(pairs["found"], 1))
    report.close()


if __name__ == "__main__":
    main()
