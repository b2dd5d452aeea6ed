"""The schemas of all tables: Parquet, one row per tile (of OVERLAPS: per pair of tiles), ids first.

Every table is written and read through this module, so that its column types are defined in one place.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from histo.errors import InputError, out_of_memory
from histo.files import atomic_write
from histo.geometry import BLOCK, SIDE

# Grey levels (0 to 255) over the tile; sharpness is the variance of the Laplacian of the green channel.
COLOUR = ("brightness", "mean_r", "mean_g", "mean_b", "std_r", "std_g", "std_b", "sharpness")
# All measurements; blank_share is the share of pixels without stain, from 0 to 1.
MEASUREMENTS = (*COLOUR, "blank_share")
_MEASUREMENTS = [(name, pa.float32()) for name in MEASUREMENTS]

INDEX = pa.schema(
    [
        ("id", pa.string()),
        ("split", pa.string()),
        ("label", pa.int8()),  # -1: unknown
        ("shard", pa.int32()),
        ("entry", pa.string()),  # name in the archive; empty: no file
        ("offset", pa.int64()),  # of the entry's local header, bytes
        ("compressed", pa.int64()),  # bytes
        ("size", pa.int64()),  # bytes
        ("crc", pa.uint32()),
        ("method", pa.int8()),  # zip compression method: 0 stored, 8 deflated
        ("fault", pa.string()),
        ("detail", pa.string()),
    ]
)
_VALIDATION = [
    ("id", pa.string()),
    ("split", pa.string()),
    ("shard", pa.int32()),
    ("bytes", pa.int32()),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("mode", pa.string()),
    ("md5", pa.string()),  # of the file
    ("crc", pa.uint32()),  # CRC-32 of the file; 0: no file
    ("pixels_offset", pa.int32()),  # in the file, bytes, if they lie there as the shard has them; -1: encoded
    ("pixels_sha1", pa.string()),
    ("fault", pa.string()),
    ("detail", pa.string()),
    *_MEASUREMENTS,
]


def validation(tile_side: int) -> pa.Schema:
    """Schema of the validation table of tiles of `tile_side` pixels."""
    # The hash of each 16 × 16 block, row by row; 0: flat.
    return pa.schema([*_VALIDATION, ("blocks", pa.list_(pa.uint64(), (tile_side // BLOCK) ** 2))])


VALIDATION = validation(SIDE)
OVERLAPS = pa.schema(
    [
        ("id_a", pa.string()),
        ("id_b", pa.string()),
        ("dy", pa.int16()),  # origin of b minus origin of a on the slide, pixels
        ("dx", pa.int16()),
        ("area", pa.int32()),  # shared pixels
        ("confirmed", pa.bool_()),  # whether all pixels of the shared region are equal
    ]
)
TILES = pa.schema(
    [
        ("id", pa.string()),
        ("split", pa.string()),
        ("shard", pa.int32()),
        ("row", pa.int32()),  # position in its shard; -1: not packed
        ("label", pa.int8()),
        ("kept", pa.bool_()),
        ("fault", pa.string()),
        ("detail", pa.string()),
        *_MEASUREMENTS,
    ]
)
GROUPS = pa.schema([("id", pa.string()), ("group", pa.string()), ("reason", pa.string())])
FOLDS = pa.schema(
    [
        ("id", pa.string()),
        ("shard", pa.int32()),
        ("row", pa.int32()),
        ("label", pa.int8()),
        ("group", pa.string()),
        ("fold", pa.int16()),
    ]
)
# Training tiles on the map of the features of one model.
FEATURE_MAP = pa.schema(
    [
        ("id", pa.string()),
        ("label", pa.int8()),
        ("group", pa.string()),
        ("fold", pa.int16()),
        ("x", pa.float32()),  # first principal component, or first axis of a UMAP
        ("y", pa.float32()),  # second
        ("explained_x", pa.float64()),  # its share of the variance, the same in all rows; null: a UMAP, which has none
        ("explained_y", pa.float64()),
    ]
)
PROBABILITIES = pa.schema(
    [("id", pa.string()), ("fold", pa.int16()), ("logit", pa.float32()), ("probability", pa.float64())]
)
# Of one network, also with less test-time augmentation than `logit`; null where that was not computed.
PREDICTIONS = pa.schema(
    [
        *PROBABILITIES,
        ("logit_none", pa.float32()),  # of the tile without augmentation
        ("logit_flips", pa.float32()),  # of its four flips, averaged as `logit` is
    ]
)


def probabilities(classes: int) -> pa.Schema:
    """Schema of probabilities: `PROBABILITIES`; of more than two classes, one column of probabilities per class."""
    if classes == 2:
        return PROBABILITIES
    return pa.schema(
        [("id", pa.string()), ("fold", pa.int16()), *((f"probability_{k}", pa.float64()) for k in range(classes))]
    )


def predictions(classes: int) -> pa.Schema:
    """Schema of the predictions of one network: `PREDICTIONS`; of more than two classes, `probabilities` and logits."""
    if classes == 2:
        return PREDICTIONS
    return pa.schema([*probabilities(classes), *((f"logit_{k}", pa.float32()) for k in range(classes))])


def saliency(tile_side: int) -> pa.Schema:
    """Schema of the explained tiles of `tile_side` pixels, of one model, in the order in which they are shown."""
    return pa.schema(
        [
            ("id", pa.string()),
            ("fold", pa.int16()),
            ("group", pa.string()),
            ("label", pa.int8()),
            ("guess", pa.int8()),  # predicted label
            ("confidence", pa.float64()),  # its probability
            ("share", pa.float64()),  # of the absolute attribution that is inside the central square
            ("area", pa.float64()),  # the share of the area of the crop that the central square has
            ("error", pa.float64()),  # of the integral, relative to the absolute attribution
            ("map", pa.list_(pa.int8(), tile_side**2)),  # smoothed attribution, row by row; ±127: the largest
        ]
    )


def probability_values(frame: pd.DataFrame) -> np.ndarray:
    """Return the probabilities of a table: of label 1, float64 [N]; of more than two classes, float64 [N, classes]."""
    if "probability" in frame:
        return frame["probability"].to_numpy()
    return frame[[name for name in frame.columns if name.startswith("probability_")]].to_numpy()


def probability_columns(values: np.ndarray) -> dict[str, np.ndarray]:
    """Return the columns of a table that hold `values`, as `probability_values` returns them."""
    return {"probability": values} if values.ndim == 1 else {f"probability_{k}": v for k, v in enumerate(values.T)}


def classes_of(path: str | Path) -> int:
    """Return the number of classes of a table of probabilities or predictions; 2 if it cannot be read."""
    try:
        names = pq.read_schema(path).names
    except (pa.ArrowException, OSError):
        return 2  # `read` explains what is wrong
    return sum(name.startswith("probability_") for name in names) or 2


def write(frame: pd.DataFrame, path: str | Path, schema: pa.Schema) -> None:
    """Write the columns of `schema` in its order, atomically."""
    table = pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)
    with atomic_write(path) as temporary:
        pq.write_table(table.replace_schema_metadata(None), temporary, compression="zstd")


def write_index(frame: pd.DataFrame, path: str | Path) -> None:
    """Write the index (`INDEX`), atomically: each run of rows of one shard is a row group, so that it is read alone."""
    with atomic_write(path) as temporary, pq.ParquetWriter(temporary, INDEX, compression="zstd") as writer:
        places = frame[["split", "shard"]].reset_index(drop=True)
        ends = np.flatnonzero((places != places.shift(-1)).any(axis=1)) + 1
        for start, stop in pairwise([0, *ends]):
            rows = frame[INDEX.names].iloc[start:stop]
            writer.write_table(pa.Table.from_pandas(rows, schema=INDEX, preserve_index=False))


def count_rows(path: str | Path) -> int:
    """Return the number of rows of a table; 0 for a file that is none."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowInvalid):
        return 0


def read(
    path: str | Path,
    schema: pa.Schema,
    columns: list[str] | None = None,
    filters: list[tuple[str, str, object]] | None = None,
) -> pd.DataFrame:
    """Read a table, or some of its columns; InputError when it is missing, damaged or does not have the schema.

    filters: (column, operator, value) as pyarrow has them; row groups without such rows are not read.
    """
    try:
        table = pq.read_table(path, columns=columns, filters=filters)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file. Run the stage that writes it.") from None
    except (pa.ArrowException, OSError) as error:
        if out_of_memory(error):
            raise
        raise InputError(f"{path}: not a readable Parquet file ({error}). Delete it and run again.") from None
    expected = pa.schema([schema.field(name) for name in columns or schema.names])
    if not table.schema.equals(expected, check_metadata=False):
        raise InputError(
            f"{path}: expected the columns {expected.names} of an up-to-date table, found {table.schema.names}. "
            "Delete it and run again."
        )
    frame: pd.DataFrame = table.to_pandas()
    return frame


def read_index_of_shard(path: str | Path, split: str, shard: int, columns: list[str] | None = None) -> pd.DataFrame:
    """Read the rows of the index (`INDEX`) that belong to one shard, and nothing of the others."""
    return read(path, INDEX, columns, [("split", "==", split), ("shard", "==", shard)])
