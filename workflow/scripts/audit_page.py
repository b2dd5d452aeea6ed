"""Write the audit page: one self-contained HTML file on the quality of the tiles and on data leakage.

It shows faulty tiles, duplicates, tiles that share tissue and their arrangement on the slide, the leakage that random
folds would cause, differences between training and test tiles, and blank, black or blurred tiles. All metrics come from
the stages `audit` and `leaks`; this script selects the tiles and draws the charts.
"""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from histo import tables
from histo.faults import FAULTS
from histo.files import read_json
from histo.pages import mosaics
from histo.pages.charts import POSITIVE, Axis, Line, line_chart
from histo.pages.gallery import Shards, tile_gallery, tile_images
from histo.pages.layout import GALLERY_SIZE, SOURCES, evenly_spaced, links, provenance, render, write_page
from histo.pages.numbers import write_numbers
from histo.pages.offset_map import offset_map
from histo.tiles.overlap_graph import regions
from histo.tiles.quality import QUALITY_FLAGS, quality_flags
from histo.tiles.shards import geometry_of, open_shards

SPLITS = ("train", "test")
LISTED = 50  # tiles or sets of tiles in a table
LISTED_IDS = 200  # ids in a list of ids alone
MOSAICS = 6
TRAIN, TEST = 2, 3  # colours of the splits, different from those of the labels
BINS = 30  # of the colour histograms
MEASUREMENTS = {
    "brightness": "Brightness",
    "mean_r": "Mean of red",
    "mean_g": "Mean of green",
    "mean_b": "Mean of blue",
    "std_r": "Standard deviation of red",
    "std_g": "Standard deviation of green",
    "std_b": "Standard deviation of blue",
    "sharpness": "Sharpness",
}
CHARTED = ("brightness", "mean_r", "mean_g", "mean_b", "std_g", "sharpness")
SIZES = ((2, 2), (3, 3), (4, 5), (6, 9), (10, 19), (20, 49), (50, 99), (100, None))  # size classes of components


@dataclass(frozen=True)
class AuditPageInputs:
    """The files that the page reads."""

    template: Path
    layout: Path
    audit: Path
    tiles: Path
    overlaps: Path
    leaks: Path
    train_shards: list[Path]
    test_shards: list[Path]


def split_captions(rows: pd.DataFrame) -> list[str]:
    """Return the split of each row and its label, if known."""
    return [f"{row.split}, label {row.label}" if row.label >= 0 else row.split for row in rows.itertuples()]


def fault_sections(shards: Shards, tiles: pd.DataFrame, counts: dict[str, dict[str, int]]) -> list[dict[str, Any]]:
    """Return one entry per fault: code, meaning, counts, the tiles with details, and a gallery of some tiles.

    counts: {fault: {split: number of tiles}}.
    """
    entries = []
    for code, by_split in counts.items():
        rows = tiles[tiles["fault"] == code].sort_values(["split", "id"])
        shown = evenly_spaced(rows[rows["row"] >= 0])
        entries.append(
            {
                "code": code,
                "meaning": FAULTS.get(code, code),
                "counts": by_split,
                "rows": list(rows.head(LISTED)[["split", "id", "detail"]].itertuples(index=False)),
                "more": max(len(rows) - LISTED, 0),
                "tiles": tile_gallery(f"fault-{len(entries)}", shards, shown, split_captions(shown), f"fault {code}"),
            }
        )
    return entries


def duplicates_section(shards: Shards, tiles: pd.DataFrame, sets: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the sets of tiles with identical pixels as a table and one picture per set, label conflicts first.

    sets: from leaks.json.
    """
    ranked = sorted(sets, key=lambda one: (not one["conflict"], not one["both_splits"], -len(one["tiles"])))
    first = pd.DataFrame([one["tiles"][0] for one in ranked[:GALLERY_SIZE]], columns=["split", "id"])
    rows = first.merge(tiles, on=["split", "id"], how="left")
    captions = []
    for one in ranked[:GALLERY_SIZE]:
        labels = sorted({tile["label"] for tile in one["tiles"]} - {-1})
        of_label = f", label{'s' if len(labels) > 1 else ''} {' and '.join(map(str, labels))}" if labels else ""
        captions.append(f"{len(one['tiles'])} ×{of_label}")
    return {
        "sets": ranked[:LISTED],
        "count": len(sets),
        "more": max(len(sets) - LISTED, 0),
        "tiles": tile_gallery("duplicate", shards, rows, captions, "identical pixels under several ids"),
    }


def size_classes(sizes: list[dict[str, int]]) -> list[dict[str, Any]]:
    """Return the numbers of components and of their tiles by size class; sizes: number of components by exact size."""
    rows = []
    for low, high in SIZES:
        members = [one for one in sizes if low <= one["tiles"] and (high is None or one["tiles"] <= high)]
        count = sum(one["components"] for one in members)
        if count:
            name = f"{low}" if low == high else f"{low} to {high}" if high else f"{low} or more"
            total = sum(one["tiles"] * one["components"] for one in members)
            rows.append({"size": name, "components": count, "tiles": total})
    return rows


def positive_text(classes: int) -> str:
    """Return what the tiles with a label above 0 have in common."""
    return "with tumour" if classes == 2 else "with a label above 0"


def tile_counts(rows: pd.DataFrame, classes: int = 2) -> str:
    """Return the number of tiles by split and the number with tumour, as text; rows: split and label of the tiles."""
    positives, known = int((rows["label"] > 0).sum()), int((rows["label"] >= 0).sum())
    names = {"train": "training", "test": "test"}
    counts = [f"{count:,} {names[split]}" for split in SPLITS if (count := int((rows["split"] == split).sum()))]
    text = f"{' + '.join(counts)} tiles"
    return text + (f", {positives:,} of {known:,} labelled tiles {positive_text(classes)}" if known else "")


def draw_mosaics(shards: Shards, tiles: pd.DataFrame, pairs: pd.DataFrame) -> tuple[list[Markup], list[str]]:
    """Return mosaics of the largest components, and a note on each that cannot be drawn.

    tiles: id, split, shard, row and label of the tiles with pixels, ids unique; pairs: confirmed overlaps.
    """
    figures, notes = [], []
    geometry = geometry_of(shards["train"])
    for region in islice(regions(tiles["id"], pairs), MOSAICS * 2):
        if len(figures) == MOSAICS:
            break
        rows, offsets = tiles.iloc[region.members], region.offsets()
        name = f"region of {len(rows):,} tiles with tile {rows['id'].min()}"
        if offsets is None:
            notes.append(f"{name}: the offsets of its pairs contradict each other, so some identical pixels do not "
                         "come from the same position of a slide.")  # fmt: skip
            continue
        height, width = mosaics.extent(offsets, geometry.tile_side)
        scale = mosaics.scale_for(offsets, geometry.tile_side)
        if scale is None:
            notes.append(f"{name}: {width:,} × {height:,} pixels are too large.")
            continue
        canvas = mosaics.compose(tile_images(shards, rows), offsets, scale)
        caption = f"{tile_counts(rows, geometry.classes)}; {width:,} × {height:,} pixels" + (
            f", shown at 1/{scale}" if scale > 1 else ""
        )
        alternative_text = f"Mosaic of {caption}, including tile {rows['id'].min()}"
        labels = rows["label"].to_numpy()
        figures.append(mosaics.figure(canvas, offsets, labels, scale, caption, alternative_text, geometry))
    return figures, notes


def neighbour_chart(neighbours: dict[str, Any], classes: int = 2) -> Markup:
    """Return the chart of the tumour proportion by number of overlapping tiles; neighbours: from leaks.json."""
    rows = [row for row in neighbours["rows"] if row["tiles"]]
    shares = [100 * row["positives"] / row["tiles"] for row in rows]
    last = neighbours["at_least"]
    return line_chart(
        ("Tumour tiles" if classes == 2 else "Tiles with a label above 0") + " by number of overlapping tiles",
        [Line("training tiles", [row["neighbours"] for row in rows], shares, POSITIVE, marks=True)],
        Axis(f"overlapping tiles ({last}: {last} or more)", 0, last, integer=True),
        Axis(f"{positive_text(classes)}, per cent", 0, 100),
        "; ".join(f"{row['neighbours']}: {share:.0f} per cent" for row, share in zip(rows, shares, strict=True)),
    )


def colour_charts(tiles: pd.DataFrame) -> list[Markup]:
    """Return a chart per measurement of its distribution in both splits, in per cent of the tiles of the split."""
    charts = []
    for column in CHARTED:
        values = {split: tiles.loc[tiles["split"] == split, column].to_numpy(np.float64) for split in SPLITS}
        # Quantiles, because a few extreme values would put all others into one bin.
        low, high = np.quantile(np.concatenate(list(values.values())), [0.002, 0.998])
        edges = np.linspace(low, max(high, low + 1), BINS + 1)
        middles = ((edges[1:] + edges[:-1]) / 2).tolist()
        lines = []
        for split, colour in zip(SPLITS, (TRAIN, TEST), strict=True):
            counts = np.histogram(np.clip(values[split], edges[0], edges[-1]), edges)[0]
            lines.append(Line(split, middles, (100 * counts / max(len(values[split]), 1)).tolist(), colour))
        top = max(max(line.y) for line in lines)
        medians = ", ".join(f"{split} {np.median(values[split]):.1f}" for split in SPLITS if len(values[split]))
        unit = "variance of the Laplacian" if column == "sharpness" else "grey levels"
        charts.append(
            line_chart(
                MEASUREMENTS[column], lines, Axis(unit, edges[0], edges[-1]), Axis("tiles, per cent", 0, 1.08 * top),
                f"Medians: {medians}.",
            )
        )  # fmt: skip
    return charts


def flag_sections(shards: Shards, tiles: pd.DataFrame, left_out: dict[str, int]) -> list[dict[str, Any]]:
    """Return one entry per quality flag: name, meaning, counts by split, ids and a gallery of some tiles.

    left_out: number of training tiles excluded because of each flag.
    """
    flags = quality_flags(tiles)
    entries = []
    for name, meaning in QUALITY_FLAGS.items():
        rows = tiles[(flags == name) & (tiles["row"] >= 0)].sort_values(["sharpness", "id"])
        shown = evenly_spaced(rows, 2 * GALLERY_SIZE)
        known = rows[rows["label"] >= 0]
        entries.append(
            {
                "name": name,
                "meaning": meaning,
                "count": len(rows),
                "shown": len(shown),
                "counts": {split: int((rows["split"] == split).sum()) for split in SPLITS},
                "positives": int((known["label"] > 0).sum()),
                "left_out": left_out.get(name, 0),
                "ids": [
                    f"{row.split}/{row.id}" for row in rows.sort_values(["split", "id"]).head(LISTED_IDS).itertuples()
                ],
                "more": max(len(rows) - LISTED_IDS, 0),
                "tiles": tile_gallery(f"flag-{name}", shards, shown, split_captions(shown), f"{name} tile"),
            }
        )
    return entries


def warnings(audit: dict[str, Any], leaks: dict[str, Any]) -> list[str]:
    """Return what a reader must know first, one sentence or two each; audit, leaks: the summaries of these stages."""
    found = []
    faulty = {split: sum(counts[split] for counts in audit["faults"].values()) for split in SPLITS}
    if any(faulty.values()):
        found.append(
            f"Tiles excluded because of a fault: {faulty['train']:,} training and {faulty['test']:,} test tiles."
        )
    if leaks["duplicates"]["conflicts"]:
        found.append(f"Sets of tiles with identical pixels but different labels: {leaks['duplicates']['conflicts']:,}.")
    both = leaks["duplicates"]["in_both_splits"]
    if both:
        found.append(f"Images that are in both the training and the test set: {both:,}.")
    crossing = leaks["overlaps"]["crossing_tiles"]
    if crossing["test"]:
        share = 100 * leaks["overlaps"]["crossing_share"]["test"]
        found.append(
            f"Test tiles that share tissue with a training tile: {crossing['test']:,} ({share:.1f} %). Some slides are "
            "in both sets, and the AUC on these test tiles may overestimate the AUC on new slides."
        )
    if leaks["leak"]["ours"]:
        found.append(
            "The folds leak: tiles that share pixels are in different folds. Bug: do not train on these folds."
        )
    return found


def audit_page(
    inputs: AuditPageInputs,
    output: Path,
    numbers: Path,
    *,
    dataset: dict[str, Any],
    code: dict[str, dict[str, str]],
) -> None:
    """Write the page, and its numbers as CSV.

    dataset: name and source; code: {stage: `provenance.code_version`}.
    """
    audit, leaks = read_json(inputs.audit), read_json(inputs.leaks)
    shards = {"train": open_shards(inputs.train_shards, "train"), "test": open_shards(inputs.test_shards, "test")}
    tiles = tables.read(inputs.tiles, tables.TILES)
    pairs = tables.read(inputs.overlaps, tables.OVERLAPS)
    pairs = pairs[pairs["confirmed"] & (pairs["id_a"] != pairs["id_b"])]
    packed = tiles[tiles["row"] >= 0].sort_values(["split", "id"], ascending=[False, True])
    mosaic_figures, mosaic_notes = draw_mosaics(shards, packed.drop_duplicates("id"), pairs)
    single = leaks["adversarial"]["single"]
    write_numbers(numbers, [inputs.audit, inputs.leaks])
    page = render(
        inputs.template,
        inputs.layout,
        name=dataset["name"],
        geometry=geometry_of(shards["train"]),
        with_tumour=positive_text(geometry_of(shards["train"]).classes),
        source=SOURCES[dataset["source"]],
        provenance=provenance(code),
        warnings=warnings(audit, leaks),
        numbers=links([inputs.audit, inputs.leaks, numbers], output),
        audit=audit,
        leaks=leaks,
        random_splits=leaks["adversarial"]["random_splits"],
        faults=fault_sections(shards, tiles, audit["faults"]),
        duplicates=duplicates_section(shards, tiles, leaks["duplicates"]["sets"]),
        sizes=size_classes(leaks["overlaps"]["component_sizes"]),
        offset_map=offset_map(
            zip(pairs["dx"].tolist(), pairs["dy"].tolist(), strict=True), geometry_of(shards["train"]).tile_side
        ),
        mosaic_style=Markup(mosaics.STYLE),
        mosaics=mosaic_figures,
        mosaic_notes=mosaic_notes,
        neighbour_chart=neighbour_chart(leaks["neighbours"], geometry_of(shards["train"]).classes),
        colour_charts=colour_charts(tiles[tiles["kept"]]),
        single=sorted(((MEASUREMENTS[key], auc) for key, auc in single.items()), key=lambda row: -abs(row[1] - 0.5)),
        flags=flag_sections(shards, tiles, audit["left_out"]),
    )
    write_page(output, page)


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    files = snakemake.input
    audit_page(
        AuditPageInputs(
            template=Path(snakemake.params.template),
            layout=Path(snakemake.params.layout),
            audit=Path(files.audit),
            tiles=Path(files.tiles),
            overlaps=Path(files.overlaps),
            leaks=Path(files.leaks),
            train_shards=[Path(path) for path in files.train_shards],
            test_shards=[Path(path) for path in files.test_shards],
        ),
        Path(snakemake.output.page),
        Path(snakemake.output.numbers),
        code=snakemake.params.code,
        **snakemake.params.settings,
    )
