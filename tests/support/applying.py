"""A model of a finished run (`support.finished_run`), applied to images."""

from pathlib import Path
from typing import Any

import pandas as pd

from histo.apply.application import apply
from histo.apply.flags import read_reference


def applied(
    run: Path,
    tiles: Path | str,
    out: Path,
    config: dict[str, Any],
    names: tuple[str, ...] = ("fold-0", "fold-1"),
    *,
    stride: int | None = None,
    microns_per_pixel: float | None = None,
) -> pd.DataFrame:
    """Apply the networks `names` of the model `tiny` of a run; returns the table that was written."""
    apply(
        [run / "train" / "tiny" / name / "weights.pt" for name in names],
        run / "evaluate" / "tiny.json", read_reference(run / "tiles.parquet"), tiles, out,
        stride=stride, microns_per_pixel=microns_per_pixel, **config["predict"], threads=1,
    )  # fmt: skip
    return pd.read_csv(out, keep_default_na=False, dtype={"id": str})
