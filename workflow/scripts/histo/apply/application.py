"""Apply a model to tiles, or to larger images and slides that are cut into tiles, and write what it predicts."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from histo.apply.fields import FieldOfView, open_fields, predict_field
from histo.apply.flags import ColourReference
from histo.apply.images import open_images
from histo.apply.maps import maps_folder, write_map
from histo.apply.prediction import open_model, predict_tiles, write_predictions
from histo.errors import InputError


def apply(
    weights: list[Path],
    evaluation: Path,
    reference: ColourReference,
    tiles: str | Path,
    out: Path,
    *,
    stride: int | None,
    microns_per_pixel: float | None,
    tta: str,
    average: str,
    threads: int,
) -> None:
    """Predict tiles with a model (`Model`) and write a CSV table.

    stride: None for tiles (`open_images`, `predict_tiles`); otherwise the step, pixels, at which larger images are cut
    into tiles (`predict_field`), and a map of each is written to `maps_folder`. microns_per_pixel: of the training
    tiles, if the images are whole-slide files. reference: colours of the training tiles. Raises InputError for unusable
    input.
    """
    with open_model(weights, evaluation, tta=tta, average=average, threads=threads) as model:
        side = model.geometry.tile_side
        if stride is None:
            table = predict_tiles(model, open_images(tiles, side), reference, out.parent)
        else:
            tables = []
            for field in _fields(tiles, side, stride, microns_per_pixel):
                found, values = predict_field(model, field, reference, stride, out.parent)
                write_map(values, maps_folder(out), field.id)
                tables.append(found)
            table = pd.concat(tables, ignore_index=True)
        write_predictions(table, out)


def _fields(path: str | Path, side: int, stride: int, microns_per_pixel: float | None) -> Iterator[FieldOfView]:
    """Yield the images that tiles are cut from."""
    if microns_per_pixel is None:
        return open_fields(path, side)
    try:
        from histo.apply.slides import open_slides  # OpenSlide is not part of the environment of the other rules
    except ModuleNotFoundError as error:
        raise InputError(
            f"apply.microns_per_pixel: expected openslide-python and openslide-bin, found no {error.name}. "
            "Install them with the versions of envs/slides.yaml."
        ) from None
    return open_slides(path, side, stride, microns_per_pixel)
