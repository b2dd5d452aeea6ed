"""Report section: which pixels the predictions of networks depend on, from the tables of the stage `saliency`."""

from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from histo.pages.gallery import Shards, gallery, tile_images
from histo.pages.mosaics import SCALE
from histo.statistics.clustered_means import clustered_mean
from histo.tiles.shards import geometry_of

SHOWN = 4  # tiles of each label, classified correctly and misclassified
QUALITY = 85  # of WebP


def overlay(tiles: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Return tiles in light grey, tinted by attribution: orange where it is positive, blue where it is negative.

    tiles: uint8 [N, side, side, 3]; maps: int8 [N, side, side], ±127 has no grey left. The result is uint8.
    """
    grey = 128 + tiles.mean(axis=3, keepdims=True) / 2
    strength = (np.abs(maps.astype(np.float64)) / 127)[..., None]
    colour = np.where(maps[..., None] > 0, SCALE[2], SCALE[0])
    tinted: np.ndarray = (grey * (1 - strength) + colour * strength).round().astype(np.uint8)
    return tinted


def saliency_section(
    tables: dict[str, pd.DataFrame], folds: pd.DataFrame, shards: Shards, names: dict[int, str]
) -> list[dict[str, Any]]:
    """Return of each model the shares of attribution inside the central square, and galleries of tiles with their maps.

    tables: `tables.saliency` of each model; folds: `tables.FOLDS`; names: of the labels. Keys: "model"; "area", the
    share of the area that the central square has; "error", the median of the errors of the integral; "rows", for all
    tiles and for each label, classified correctly and misclassified: name, tiles, groups and share (an interval over
    groups of tiles); "galleries": title and tiles.
    """
    geometry, sections = geometry_of(shards["train"]), []
    for number, (model, table) in enumerate(tables.items()):
        kinds = [
            (f"{name}, {'classified correctly' if right else 'misclassified'}", rows)
            for right in (True, False)
            for label, name in names.items()
            if len(rows := table[(table["label"] == label) & ((table["guess"] == label) == right)])
        ]
        galleries = []
        for kind, (title, rows) in enumerate(kinds):
            shown = rows.head(SHOWN).merge(folds[["id", "shard", "row"]], on="id").assign(split="train")
            images = tile_images(shards, shown)
            maps = np.stack(shown["map"].tolist()).reshape(images.shape[:3])
            columns = (shown[name] for name in ("guess", "confidence", "fold", "share"))
            words = [
                f"predicted: {names[guess]} {confidence:.4f}, fold {fold}; {100 * share:.0f} % in the centre"
                for guess, confidence, fold, share in zip(*columns, strict=True)
            ]
            captions = [
                Markup("<b>{}</b><br><code>{}</code>").format(text, tile)
                for text, tile in zip(words, shown["id"], strict=True)
            ]
            texts = [f"Map of attribution, {text}: tile {tile}" for text, tile in zip(words, shown["id"], strict=True)]
            pictures = np.concatenate([images, overlay(images, maps)], axis=2)
            name = f"saliency-{number}-{kind}"
            galleries.append(
                {"title": title, "tiles": gallery(name, pictures, captions, texts, geometry.centre_side, QUALITY)}
            )
        sections.append(
            {
                "model": model, "area": float(table["area"].iloc[0]), "error": float(table["error"].median()),
                "rows": [_share_row(*kind) for kind in [("all", table), *kinds]], "galleries": galleries,
            }
        )  # fmt: skip
    return sections


def _share_row(name: str, rows: pd.DataFrame) -> dict[str, Any]:
    """Return a row of the table of shares; tiles without any attribution do not count."""
    known = rows[rows["share"].notna()]
    share = clustered_mean(known["share"].to_numpy(), known["group"].to_numpy())
    return {"name": name, "tiles": len(known), "groups": known["group"].nunique(), "share": share}
