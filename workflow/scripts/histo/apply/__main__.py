"""Apply a model of a finished run to other tiles, without Snakemake.

PYTHONPATH=workflow/scripts python -m histo.apply --run results/demo --model small --tiles tiles/ --out predictions.csv
"""

import argparse
import logging
import os
import sys
from pathlib import Path

from histo.apply.application import apply
from histo.apply.finished_run import networks, read_settings
from histo.apply.flags import read_reference
from histo.errors import InputError


def positive(text: str) -> int:
    """Return a whole number above 0; ValueError for any other text."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(prog="python -m histo.apply", description="Apply a trained model to tiles.")
    parser.add_argument("--run", type=Path, required=True, help="folder of the results of a finished run")
    parser.add_argument("--model", required=True, help="name of a network in `models`")
    parser.add_argument("--tiles", required=True, help="folder, zip archive, folder in a zip archive, or shards")
    parser.add_argument("--out", type=Path, required=True, help="CSV file to write")
    parser.add_argument("--stride", type=positive, help="cut larger images into tiles, one every STRIDE pixels")
    parser.add_argument(
        "--microns-per-pixel", type=float, help="of the training tiles: the tiles are cut from whole-slide files"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="threads on a CPU (default: all)")
    return parser.parse_args()


def main() -> None:
    """Run the command; an InputError ends it with its message alone."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    found = arguments()
    if found.microns_per_pixel and not found.stride:
        sys.exit("Failed: --microns-per-pixel: expected --stride too, found none. Add --stride 32.")
    run, model = found.run, found.model
    try:
        config = read_settings(run, model)
        names = networks(range(config["folds"]["count"]), config["submission"]["full_networks"])
        apply(
            [run / "train" / model / name / "weights.pt" for name in names],
            run / "evaluate" / f"{model}.json",
            read_reference(run / "tiles.parquet"),
            found.tiles,
            found.out,
            stride=found.stride,
            microns_per_pixel=found.microns_per_pixel,
            **config["predict"],
            threads=found.threads,
        )
    except InputError as error:
        sys.exit(f"Failed: {error}")


if __name__ == "__main__":
    main()
