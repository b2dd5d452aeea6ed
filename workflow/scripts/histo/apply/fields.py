"""Fields of view: images larger than a tile, which are cut into overlapping tiles, row by row of tiles.

One image is decoded at a time, and at most `CHUNK` tiles lie in a temporary shard: memory and disk do not grow with the
number of images or tiles.
"""

import functools
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageFile

from histo.apply.flags import ColourReference
from histo.apply.images import Images, Pixels, image_files, unusable_files
from histo.apply.prediction import Model, predict_tiles
from histo.errors import InputError
from histo.tiles.decoding import channel_fault

CHUNK = 8192  # tiles that are predicted at a time: 226 MB of disk


@dataclass(frozen=True)
class FieldOfView:
    """An image of which tiles are cut.

    id; width, height: pixels; lines: returns `count` lines from line `top` on, uint8 [count, width, 3]; tissue: which
    tiles are predicted, bool [rows, columns] of the tiles, None for all.
    """

    id: str
    width: int
    height: int
    lines: Callable[[int, int], Pixels]
    tissue: npt.NDArray[np.bool_] | None = None


def open_fields(path: str | Path, side: int) -> Iterator[FieldOfView]:
    """Yield the images of a folder or zip archive (`image_files`), one decoded at a time.

    side: of the tiles, pixels. Raises InputError, before anything is decoded, if there are images that are smaller than
    a tile or not of three channels of 8 bits: all are in its message.
    """
    files = image_files(path)
    faults = {name: _fault(read(), side) for name, read in files.values()}
    if unusable := [f"{name}: {fault}" for name, fault in faults.items() if fault]:
        raise InputError(unusable_files(str(path), unusable, len(files), f"images of at least {side} × {side} pixels"))
    for key, (name, read) in files.items():
        try:
            with _opened(read()) as image:
                pixels = np.asarray(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(f"{path}: {name} cannot be decoded ({error}). Fix or remove it.") from None
        yield FieldOfView(key, pixels.shape[1], pixels.shape[0], functools.partial(_lines, pixels))


@contextmanager
def _opened(data: bytes) -> Iterator[ImageFile.ImageFile]:
    """Yield an image, given its bytes, opened but not decoded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # at half the size that Pillow refuses
        with Image.open(io.BytesIO(data), formats=("TIFF", "PNG", "JPEG")) as image:
            yield image


def _lines(pixels: Pixels, top: int, count: int) -> Pixels:
    return pixels[top : top + count]


def _fault(data: bytes, side: int) -> str:
    """Return why an image, given its bytes, cannot be cut into tiles, from its header; "" if it can be."""
    try:
        with _opened(data) as image:
            return f"{image.width} × {image.height} pixels" if min(image.size) < side else channel_fault(image)[1]
    except Exception as error:
        # Pillow raises many types of exceptions on damaged files; all of them mean the same here.
        return f"{type(error).__name__}: {error}".replace("\n", " ")[:200]


def grid(length: int, side: int, stride: int) -> range:
    """Return where tiles of `side` pixels begin along a line of `length` pixels, every `stride` pixels."""
    return range(0, length - side + 1, stride)


def predict_field(
    model: Model, field: FieldOfView, reference: ColourReference, stride: int, folder: Path
) -> tuple[pd.DataFrame, npt.NDArray[np.float64]]:
    """Return the predictions of the tiles of a field of view, and their map.

    stride: between tiles, pixels; folder: for temporary shards. The table has the columns of `predict_tiles`, and x and
    y, the upper left corner of each tile, pixels. The map has the probability of each tile, calibrated if the model is:
    float64 [rows, columns], with more than two classes [rows, columns, classes]; NaN where there is no tissue.
    """
    side = model.geometry.tile_side
    tops, lefts = grid(field.height, side, stride), grid(field.width, side, stride)
    tissue = np.ones((len(tops), len(lefts)), bool) if field.tissue is None else field.tissue
    step = max(1, CHUNK // len(lefts))
    tables = []
    for first in range(0, len(tops), step):
        chosen = tissue[first : first + step]
        if chosen.any():
            images = Images(
                [field.id] * int(chosen.sum()),
                functools.partial(_tiles, field, tops[first : first + step], chosen, side, stride),
            )
            tables.append(predict_tiles(model, images, reference, folder))
    rows, columns = np.nonzero(tissue)
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    names = [name for name in table if str(name).startswith("probability")]
    values = table[["calibrated"] if "calibrated" in table else names].to_numpy(np.float64)
    pixels = np.full((*tissue.shape, values.shape[1] or 1), np.nan)
    pixels[tissue] = values
    if len(table):
        table.insert(1, "x", columns * stride)
        table.insert(2, "y", rows * stride)
    return table, pixels[..., 0] if pixels.shape[2] == 1 else pixels


def _tiles(field: FieldOfView, tops: range, chosen: npt.NDArray[np.bool_], side: int, stride: int) -> Iterator[Pixels]:
    """Yield the chosen tiles of each row that has any, uint8 [n, side, side, 3]; chosen: bool [rows, columns]."""
    for top, row in zip(tops, chosen, strict=True):
        if row.any():
            windows = np.lib.stride_tricks.sliding_window_view(field.lines(top, side), side, axis=1)[:, ::stride]
            yield np.ascontiguousarray(windows[:, row].transpose(1, 0, 3, 2))
