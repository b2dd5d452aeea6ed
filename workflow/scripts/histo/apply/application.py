"""Apply a model to tiles, or to larger images that are cut into tiles, and write what it predicts."""

from pathlib import Path

import pandas as pd

from histo.apply.fields import open_fields, predict_field
from histo.apply.flags import ColourReference
from histo.apply.images import open_images
from histo.apply.maps import maps_folder, write_map
from histo.apply.prediction import open_model, predict_tiles, write_predictions


def apply(
    weights: list[Path],
    evaluation: Path,
    reference: ColourReference,
    tiles: str | Path,
    out: Path,
    *,
    stride: int | None,
    tta: str,
    average: str,
    threads: int,
) -> None:
    """Predict tiles with a model (`Model`) and write a CSV table.

    stride: None for tiles (`open_images`, `predict_tiles`); otherwise the step, pixels, at which larger images are cut
    into tiles (`open_fields`, `predict_field`), and a map of each is written to `maps_folder`. reference: colours of
    the training tiles. Raises InputError for unusable input.
    """
    with open_model(weights, evaluation, tta=tta, average=average, threads=threads) as model:
        side = model.geometry.tile_side
        if stride is None:
            table = predict_tiles(model, open_images(tiles, side), reference, out.parent)
        else:
            tables = []
            for field in open_fields(tiles, side):
                found, values = predict_field(model, field, reference, stride, out.parent)
                write_map(values, maps_folder(out), field.id)
                tables.append(found)
            table = pd.concat(tables, ignore_index=True)
        write_predictions(table, out)
