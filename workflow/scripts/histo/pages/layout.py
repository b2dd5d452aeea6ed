"""What the pages share: how they are rendered, how numbers read, and which code and versions made them.

A page is one HTML file with everything inside, which opens offline and needs no script. Its template fills the blocks
of the layout, whose values are `name`, `source`, `provenance` and `warnings`.
"""

import hashlib
import json
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from histo.formatting import compact, duration, percent
from histo.pages import charts

SHOWN = 8  # tiles in a gallery
SOURCES = {
    "kaggle": "Tiles of the Kaggle competition",
    "archive": "Tiles of a given archive",
    "folder": "Tiles of a given folder",
    "pcam": "Tiles of PatchCamelyon",
    "synthetic": "Made tiles",
}
PACKAGES = ("torch", "torchvision", "numpy", "pandas", "scikit-learn", "h5py", "snakemake")


FILTERS: dict[str, Callable[..., str]] = {
    "duration": duration,
    "compact": compact,
    "percent": percent,
    "auc": "{:.4f}".format,
    "count": "{:,}".format,
}


def evenly(rows: pd.DataFrame, count: int = SHOWN) -> pd.DataFrame:
    """Return at most `count` rows, spread over the table."""
    return rows.iloc[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int))]


def provenance(code: dict[str, dict[str, str]]) -> dict:
    """Return date, versions and fingerprints; code: of each stage, its files and their fingerprints."""
    files = {file: digest for stage in code.values() for file, digest in stage.items()}
    found = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue  # the environment of the jobs has no Snakemake
    whole_code = hashlib.sha256(json.dumps(sorted(files.items())).encode()).hexdigest()[:12]
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return {"date": now, "versions": found, "code": whole_code, "files": sorted(files.items())}


def render(template: Path, layout: Path, **values: Any) -> str:
    """Return the page. Texts among the values are escaped; a value that the template misses is an error."""
    environment = Environment(
        loader=DictLoader({layout.name: layout.read_text()}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    return environment.from_string(template.read_text()).render(figure_style=Markup(charts.STYLE), **values)
