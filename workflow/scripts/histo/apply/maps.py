"""Probability maps: one pixel per tile, as TIFF and PNG."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from histo.files import atomic_write


def maps_folder(out: str | Path) -> Path:
    """Return the folder of the maps that belong to a table of predictions: beside it, named after it."""
    return Path(out).with_name(f"{Path(out).stem}_maps")


def write_map(values: npt.NDArray[np.float64], folder: Path, name: str) -> None:
    """Write the map of an image, atomically: `name`.tif and `name`.png; of more than two classes, `name`_0.tif, ….

    values: probabilities, [rows, columns] or [rows, columns, classes], NaN where there are none. The TIFF has one
    channel, float32. The PNG has grey levels, 0 to 255 for 0 to 1, and is transparent where there is no probability.
    """
    if values.ndim == 3:
        for number in range(values.shape[2]):
            write_map(values[..., number], folder, f"{name}_{number}")
        return
    with atomic_write(folder / f"{name}.tif") as temporary:
        Image.fromarray(values.astype(np.float32)).save(temporary, "TIFF")
    known = np.isfinite(values)
    grey = np.rint(255 * np.where(known, values, 0)).astype(np.uint8)
    with atomic_write(folder / f"{name}.png") as temporary:
        Image.fromarray(np.stack([grey, np.where(known, 255, 0).astype(np.uint8)], axis=-1)).save(temporary, "PNG")
