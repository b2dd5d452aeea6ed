"""Parts that all pages share: rendering, number formats, and the code and package versions behind a page.

A page is one self-contained HTML file, readable offline and complete without scripts. Its template extends the layout
`page.html.j2`, which takes the values `name`, `source`, `provenance`, `warnings` and `numbers`. The script of the
layout sorts tables, shows the values of charts, filters and enlarges tiles, and saves charts.
"""

import base64
import hashlib
import json
import logging
import os
import platform
import re
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from histo.files import atomic_write
from histo.formatting import compact, duration, percent
from histo.pages import charts

GALLERY_SIZE = 8  # tiles in a gallery
SOURCES = {
    "kaggle": "Tiles of the Kaggle competition",
    "archive": "Tiles from a local archive",
    "folder": "Tiles from a local folder",
    "pcam": "Tiles of PatchCamelyon",
    "synthetic": "Synthetic tiles",
}
POLICY = "content-security-policy"  # stands for the policy until the page is complete
PACKAGES = ("torch", "torchvision", "numpy", "pandas", "scikit-learn", "h5py", "snakemake")


FILTERS: dict[str, Callable[..., str]] = {
    "duration": duration,
    "compact": compact,
    "percent": percent,
    "auc": "{:.4f}".format,
    "count": "{:,}".format,
}


def evenly_spaced(rows: pd.DataFrame, count: int = GALLERY_SIZE) -> pd.DataFrame:
    """Return at most `count` rows at even distances in the table."""
    return rows.iloc[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int))]


def links(files: list[Path], page: Path) -> list[tuple[str, str]]:
    """Return (path as shown, address) of files, relative to the folder of the page."""
    paths = [Path(os.path.relpath(path, page.parent)).as_posix() for path in files]
    return [(path, quote(path)) for path in paths]


def provenance(code: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Return date, commit, package versions and code fingerprints.

    code: of each stage, its files and their fingerprints.
    """
    files = {file: digest for stage in code.values() for file, digest in stage.items()}
    versions = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue  # the environment of the jobs has no Snakemake
    fingerprint = hashlib.sha256(json.dumps(sorted(files.items())).encode()).hexdigest()[:12]
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return {
        "date": now, "commit": _commit(), "versions": versions, "code": fingerprint, "files": sorted(files.items()),
    }  # fmt: skip


def _commit() -> str | None:
    """Return Git's name of the checked out commit, `-dirty` after changes to its files; None without a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def policy(layout: str, page: str) -> str:
    """Return the content security policy of a page: nothing but its own style sheet, script and embedded images.

    layout: text of the template of all pages. Its script alone is allowed, not what stands in the page as one: a text
    that is not escaped by mistake still does not run.
    """

    def source(tag: str, text: str) -> str:
        texts = re.findall(rf"<{tag}>(.*?)</{tag}>", text, flags=re.DOTALL)
        digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
        return " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"

    # Widths of bars are style attributes.
    return (
        f"default-src 'none'; img-src data:; script-src {source('script', layout)}; "
        f"style-src-elem {source('style', page)}; style-src-attr 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    )


def render(template: Path, layout: Path, **values: Any) -> str:
    """Return the page as HTML.

    Texts among the values are escaped. Raises jinja2.UndefinedError if the template uses a value that is not given.
    """
    text = layout.read_text(encoding="utf-8")
    environment = Environment(
        loader=DictLoader({layout.name: text}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    page = environment.from_string(template.read_text(encoding="utf-8")).render(
        figure_style=Markup(charts.STYLE), policy=POLICY, **values
    )
    return page.replace(POLICY, policy(text, page), 1)


def write_page(output: Path, page: str) -> None:
    """Write the HTML of a page and log its size."""
    with atomic_write(output) as temporary:
        temporary.write_text(page, encoding="utf-8")
    logging.info("Wrote %s (%.1f MB).", output, output.stat().st_size / 1e6)
