"""Folds by stain on original tiles of known slide: do they follow the slide, and not the label or density of cells?

The tiles are those of $PCAM_REAL_ARCHIVE (a zip in the layout of Kaggle's) whose slides are in $PCAM_REAL_SLIDES
(default: beside the archive, …-slides.csv, columns id,slide). Stain vectors are compared with the logarithms of the
ratios of mean absorbance, red to blue and green to blue. Neither knows the slides.
"""

import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from measure import Report, archive, arguments, machine
from PIL import Image
from scipy.cluster.vq import kmeans2

from folds import balanced_clusters, same_fold_neighbours
from histo.tiles.stain_vectors import BANDS, OFFSET, WHITE, band_sums, stain_vectors

Numbers = npt.NDArray[np.float64]
CLUSTERS = 8
FOLDS = 5
SEEDS = 5  # of clusters and folds


def known_tiles(path: Path, slides: Path) -> tuple[npt.NDArray[np.uint8], pd.DataFrame]:
    """Return the training tiles of known slide, uint8 [N, 96, 96, 3], and their id, label and slide."""
    with zipfile.ZipFile(path) as file:
        labels = pd.read_csv(file.open("train_labels.csv")).merge(pd.read_csv(slides), on="id")
        tiles = [np.asarray(Image.open(file.open(f"train/{name}.tif"))) for name in labels["id"]]
    return np.stack(tiles), labels


def absorbances(tiles: npt.NDArray[np.uint8]) -> Numbers:
    """Return the mean absorbance of red, green and blue of each tile, [N, 3]."""
    table = np.maximum(-np.log(np.maximum(np.arange(256), 1) / WHITE), 0)
    return np.stack([table[tile].mean((0, 1)) for tile in tiles])


def within(values: Numbers, slide: npt.NDArray[np.int64]) -> Numbers:
    """Return values, [N, F], minus their mean over the tiles of the same slide."""
    means = np.stack([values[slide == k].mean(0) for k in range(slide.max() + 1)])
    return values - means[slide]


def correlation(values: Numbers, other: Numbers) -> float:
    """Return the mean absolute correlation of the columns of values, [N, F], with `other`, [N, 1]."""
    return float(np.mean([abs(np.corrcoef(column, other[:, 0])[0, 1]) for column in values.T]))


def same_slide(part: npt.NDArray[np.int64], slide: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Return the shares of pairs of tiles in one part: of pairs of the same slide and of different slides."""
    together, same = part[:, np.newaxis] == part, slide[:, np.newaxis] == slide
    return float(together[same & ~np.eye(len(part), dtype=bool)].mean()), float(together[~same].mean())


def between_share(values: Numbers, part: npt.NDArray[np.int64]) -> float:
    """Return the share of the variance of values, [N, F], that lies between the parts."""
    return float(1 - within(values, np.unique(part, return_inverse=True)[1]).var(0).sum() / values.var(0).sum())


def main() -> None:
    options = arguments(__doc__).parse_args()
    report = Report(__file__, "stain_folds: what folds by stain follow", machine("numpy", "scipy"), options.smoke)
    with tempfile.TemporaryDirectory() as name:
        path, kind = archive(Path(name), options.smoke)
        beside = path.with_name("slides.csv" if kind == "synthetic tiles" else f"{path.stem}-slides.csv")
        tiles, known = known_tiles(path, Path(os.environ.get("PCAM_REAL_SLIDES", beside)))
    slide = pd.factorize(known["slide"])[0].astype(np.int64)
    label = known[["label"]].to_numpy(np.float64)
    absorbance = absorbances(tiles)
    density = absorbance[:, :1]  # haematoxylin, the stain of nuclei, absorbs red light
    ratios = np.log((absorbance[:, :2] + OFFSET) / (absorbance[:, 2:] + OFFSET))
    vectors = stain_vectors(band_sums(tiles).reshape(-1, BANDS, 3).astype(np.float64), np.ones(len(tiles)))
    sizes = np.concatenate([1 - label, label], axis=1).astype(np.int64)
    rows, shares = [], {}
    for name, values in (("ratios of mean absorbance", ratios / ratios.std(0)), ("stain vectors", vectors)):
        clusters = [kmeans2(values, CLUSTERS, minit="++", seed=seed)[1] for seed in range(SEEDS)]
        folds = [balanced_clusters(values, sizes, FOLDS, seed) for seed in range(SEEDS)]
        in_cluster = np.mean([same_slide(part, slide) for part in clusters], axis=0)
        in_fold = np.mean([same_slide(part, slide) for part in folds], axis=0)
        of_label = float(np.mean([between_share(label, part) for part in clusters]))
        shares[name] = in_cluster
        inner = within(values, slide)
        rows.append(
            (
                name, f"{between_share(values, slide):.2f}", f"{correlation(inner, within(density, slide)):.2f}",
                f"{correlation(inner, within(label, slide)):.2f}", f"{of_label:.2f}",
                *(f"{share:.2f}" for share in (*in_cluster, *in_fold)),
                f"{np.mean([same_fold_neighbours(values, part) for part in folds]):.2f}",
            )
        )  # fmt: skip
    report.add(f"{len(tiles):,} {kind} of {slide.max() + 1} slides; means over {SEEDS} seeds.")
    report.table(
        [
            "feature", "variance between slides", "density", "label", "variance of the label between clusters",
            "cluster: same slide", "cluster: other slides", "fold: same slide", "fold: other slides",
            "neighbours in the fold",
        ],
        rows,
    )  # fmt: skip
    report.add(
        "Density, label: mean absolute correlation of the feature with the mean absorbance of red light and with the",
        "label, within slides: 0 is best.",
        f"Clusters: {CLUSTERS}, by k-means. Folds: {FOLDS}, `folds.by: stain`, each tile a group of its own. Share of",
        "pairs of tiles in one cluster or fold, for tiles of the same slide and of different slides.",
        "Neighbours in the fold: share of a tile's ten most similar tiles that are in its own fold; random: 0.2.",
        "Ratio: how many times as often tiles of one slide are in one cluster as others, stain vectors / ratios.",
    )
    before, now = (shares[name][0] / shares[name][1] for name in shares)
    report.ratio("stain_slides_vs_ratios", now / before)
    report.close()


if __name__ == "__main__":
    main()
