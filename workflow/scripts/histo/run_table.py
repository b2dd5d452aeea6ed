"""Print finished runs and their scores, one per line, from the results of all data sets (`make runs`)."""

import argparse
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from histo.errors import InputError
from histo.files import read_json

COLUMNS = ("run", "finished", "models", "out-of-fold AUC", "interval", "held-out AUC", "public", "private")


def finished_runs(results: Path) -> list[list[str]]:
    """Return one row of COLUMNS for each finished run below the folder `results`, oldest first.

    Public and private are Kaggle's scores of the last submission; "-" stands for what a run does not have. Raises
    InputError for a file that is damaged.
    """
    paths = [*results.glob("*/ensemble.json"), *results.glob("*/runs/*/ensemble.json")]
    return [_row(results, path) for path in sorted(paths, key=lambda path: (path.stat().st_mtime, path))]


def _row(results: Path, ensemble: Path) -> list[str]:
    """Return the row of the run with this file."""
    run = ensemble.parent
    scores = read_json(ensemble)
    submission, sent = (_read_optional(run / name) for name in ("submission.json", "submission-score.json"))
    return [
        str(run.relative_to(results)),
        f"{datetime.fromtimestamp(ensemble.stat().st_mtime):%Y-%m-%d %H:%M}",
        "+".join(scores["models"]),
        f"{scores['auc']:.4f}",
        f"{scores['auc_low']:.4f}-{scores['auc_high']:.4f}",
        *(
            f"{value:.4f}" if value is not None else "-"
            for value in (submission.get("truth", {}).get("auc"), sent.get("public"), sent.get("private"))
        ),
    ]


def _read_optional(path: Path) -> dict[str, Any]:
    """Return what a JSON file holds; nothing if there is none."""
    found: dict[str, Any] = read_json(path) if path.is_file() else {}
    return found


def main() -> None:
    """Run the command; an InputError ends it with its message alone."""
    parser = argparse.ArgumentParser(
        prog="python -m histo.run_table", description="Print finished runs and their scores."
    )
    parser.add_argument("results", nargs="?", type=Path, default=Path("results"), help="folder (default: results)")
    try:
        rows = finished_runs(parser.parse_args().results)
    except InputError as error:
        sys.exit(f"Failed: {error}")
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    for row in (COLUMNS, *rows):
        print("  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    main()
