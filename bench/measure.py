"""Shared by all benchmarks: interleaved repeats, tables, the machine, and the report beside the script.

Importing this module puts `workflow/scripts` first on sys.path, so that `from validate import …` imports the stage and
not the benchmark of the same name.
"""

import argparse
import ctypes
import mmap
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from histo.hardware import hardware  # noqa: E402


def arguments(text: str | None) -> argparse.ArgumentParser:
    """Return a parser with the option of every benchmark: `--smoke`, a run of seconds without meaningful numbers."""
    parser = argparse.ArgumentParser(description=(text or "").split("\n")[0])
    parser.add_argument("--smoke", action="store_true", help="minimal sizes, a few seconds; writes no report")
    return parser


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


def machine(*packages: str) -> list[str]:
    """Return lines that describe the machine: processor, cores, memory, kernel, date, versions."""
    versions = [f"Python {platform.python_version()}"]
    for package in packages:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"no {package}")
    load = os.getloadavg()[0]
    return [
        f"{hardware()}; load {load:.1f} at the start.",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {', '.join(versions)}.",
    ]


def alternate(
    methods: dict[str, Callable[[], float]],
    repeats: int,
    before: Callable[[str], object] = lambda name: None,
    warm_up: bool = True,
) -> dict[str, list[float]]:
    """Run every method once per repeat and return {name: results}.

    The order rotates by one per repeat, so that a slow phase of the machine affects all methods alike.

    before: called untimed before each method. warm_up: run one more round first and discard its results.
    """
    names, found = list(methods), {name: [] for name in methods}
    for repeat in range(-1 if warm_up else 0, repeats):
        start = repeat % len(names)
        for name in names[start:] + names[:start]:
            before(name)
            value = methods[name]()
            if repeat >= 0:
                found[name].append(value)
    return found


def archive(folder: Path, smoke: bool) -> tuple[Path, str]:
    """Return an archive and the kind of its tiles: $PCAM_REAL_ARCHIVE if that exists, otherwise synthetic."""
    from synthesize import synthesize

    real = Path(os.environ.get("PCAM_REAL_ARCHIVE", ROOT.parent / "shared" / "data" / "pcam-real.zip"))
    if real.is_file() and not smoke:
        return real, "original tiles"
    synthetic = folder / "archive.zip"
    tiles = {"train_tiles": 60, "test_tiles": 40} if smoke else {"train_tiles": 2700, "test_tiles": 1400}
    beside = (folder / name for name in ("truth.csv", "overlaps.parquet", "slides.csv"))
    synthesize(synthetic, *beside, **tiles, train_slides=6, test_slides=3, seed=1, faults={})
    return synthetic, "synthetic tiles"


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> Callable[[], float]:
    """Return a method for `alternate` that runs `work` and returns its seconds.

    clock: `time.process_time` for processor time, which varies less under load.
    """

    def timed() -> float:
        begun = clock()
        work()
        return clock() - begun

    return timed


def paired(numerators: list[float], denominators: list[float]) -> float:
    """Return the median of the ratios within each repeat: a disturbance of a repeat affects both sides of its ratio."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def spread(values: list[float]) -> str:
    """Return the interquartile range relative to the median, in percent."""
    if len(values) < 4:
        return "-"
    low, _, high = statistics.quantiles(values, n=4)
    return f"{100 * (high - low) / statistics.median(values):.0f} %"


def peak_mb() -> float:
    """Return the peak resident memory of this process so far, in 10^6 bytes.

    VmHWM instead of ru_maxrss, which a child process inherits from its parent.
    """
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) * 1024 / 1e6


def evict(paths: Iterable[str | Path]) -> None:
    """Drop files from the page cache, except for pages that a process maps."""
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)  # only clean pages can be dropped
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def cached_share(path: str | Path) -> float:
    """Return the fraction of a file's pages that are in the page cache."""
    size = os.path.getsize(path)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ) as mapped:
        pages = np.zeros(-(-size // mmap.PAGESIZE), np.uint8)
        view = np.frombuffer(mapped, np.uint8)
        libc = ctypes.CDLL(None, use_errno=True)
        failed = libc.mincore(
            ctypes.c_void_p(view.ctypes.data), ctypes.c_size_t(size), ctypes.c_void_p(pages.ctypes.data)
        )
        del view  # a map cannot be closed while a view of it exists
    if failed:
        raise OSError(ctypes.get_errno(), "mincore", str(path))
    return float((pages & 1).mean())


class Report:
    """Prints the lines of a benchmark as they come and finally writes them beside the script as `<name>.md`."""

    def __init__(self, script: str, title: str, machine_lines: list[str], smoke: bool, write: bool = True) -> None:
        self._path = None if smoke or not write else Path(script).resolve().with_suffix(".md")
        self._lines: list[str] = []
        self._ratios: list[str] = []
        self.add(f"# {title}", "", *machine_lines)
        if smoke:
            self.add("Smoke run: these numbers mean nothing.")

    def add(self, *lines: str) -> None:
        """Print lines of Markdown."""
        self._lines += lines
        print(*lines, sep="\n", flush=True)

    def table(self, columns: list[str], rows: Iterable[Iterable[object]]) -> None:
        """Print a table with the first column aligned left, the others right."""
        cells = [columns, *([str(cell) for cell in row] for row in rows)]
        widths = [max(len(row[k]) for row in cells) for k in range(len(columns))]
        lines = [
            "| "
            + " | ".join(c.rjust(w) if k else c.ljust(w) for k, (c, w) in enumerate(zip(row, widths, strict=True)))
            + " |"
            for row in cells
        ]
        rule = "|" + "|".join("-" * (w + 1) + (":" if k else "-") for k, w in enumerate(widths)) + "|"
        self.add("", lines[0], rule, *lines[1:], "")

    def ratio(self, name: str, value: float) -> None:
        """Add a summary ratio; `close` prints all of them."""
        self._ratios.append(f"RATIO {name} {value:.4g}")

    def close(self) -> None:
        """Print the summary ratios and write the report, unless this is a smoke run."""
        print("", *self._ratios, sep="\n", flush=True)
        self._lines += ["", "```", *self._ratios, "```"]
        if self._path:
            self._path.write_text("\n".join(self._lines) + "\n")
