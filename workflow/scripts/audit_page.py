"""Write the audit page: one HTML file that shows what was found on the tiles, with pictures of it.

Which tiles are faulty, which are copies, which share tissue and how that lies on the slide, what random folds would
have leaked, how training and test tiles differ, and which tiles show nearly nothing. The figures come from `audit` and
`leaks`; this script chooses the tiles and draws.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from histo import tables
from histo.faults import FAULTS
from histo.files import atomic_write, read_json
from histo.pages import mosaics
from histo.pages.charts import POSITIVE, Axis, Line, histogram, line_chart
from histo.pages.gallery import tile_gallery
from histo.pages.layout import SHOWN, SOURCES, evenly, provenance, render
from histo.tiles.geometry import SIDE
from histo.tiles.overlap_graph import components, layout_component, positions
from histo.tiles.quality import QUALITY_FLAGS, quality_flags
from histo.tiles.shards import Shard, open_shards

Shards = dict[str, dict[int, Shard]]  # split → number → shard

SPLITS = ("train", "test")
LISTED = 50  # tiles in a list
IDS = 200  # ids in a list without words
MOSAICS = 6
TRAIN, TEST = 2, 3  # tones of the splits; those of the labels would mislead
BINS = 30
NAMES = {
    "brightness": "Brightness",
    "mean_r": "Mean of red",
    "mean_g": "Mean of green",
    "mean_b": "Mean of blue",
    "std_r": "Standard deviation of red",
    "std_g": "Standard deviation of green",
    "std_b": "Standard deviation of blue",
    "sharpness": "Sharpness",
}
DRAWN = ("brightness", "mean_r", "mean_g", "mean_b", "std_g", "sharpness")
SIZES = ((2, 2), (3, 3), (4, 5), (6, 9), (10, 19), (20, 49), (50, 99), (100, None))  # classes of component sizes


@dataclass(frozen=True)
class Found:
    """The files that the page reads."""

    template: Path
    layout: Path
    audit: Path
    tiles: Path
    overlaps: Path
    leaks: Path
    train_shards: list[Path]
    test_shards: list[Path]


def captions(rows: pd.DataFrame) -> list[str]:
    """Return split and label, if it is known, of each row."""
    return [f"{row.split}, label {row.label}" if row.label >= 0 else row.split for row in rows.itertuples()]


def faults(shards: Shards, tiles: pd.DataFrame, counts: dict[str, dict[str, int]]) -> list[dict[str, Any]]:
    """Return one entry per fault: code, meaning, counts, the tiles with what was found, and pictures of some."""
    entries = []
    for code, by_split in counts.items():
        rows = tiles[tiles["fault"] == code].sort_values(["split", "id"])
        seen = evenly(rows[rows["row"] >= 0])
        entries.append(
            {
                "code": code,
                "meaning": FAULTS.get(code, code),
                "counts": by_split,
                "rows": list(rows.head(LISTED)[["split", "id", "detail"]].itertuples(index=False)),
                "more": max(len(rows) - LISTED, 0),
                "tiles": tile_gallery(f"fault-{len(entries)}", shards, seen, captions(seen), f"fault {code}"),
            }
        )
    return entries


def copies(shards: Shards, tiles: pd.DataFrame, sets: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the sets of tiles with equal pixels, conflicts first, as a table and one picture per set."""
    ranked = sorted(sets, key=lambda one: (not one["conflict"], not one["both_splits"], -len(one["tiles"])))
    first = pd.DataFrame([one["tiles"][0] for one in ranked[:SHOWN]], columns=["split", "id"])
    rows = first.merge(tiles, on=["split", "id"], how="left")
    words = []
    for one in ranked[:SHOWN]:
        labels = sorted({tile["label"] for tile in one["tiles"]} - {-1})
        of_label = f", label{'s' if len(labels) > 1 else ''} {' and '.join(map(str, labels))}" if labels else ""
        words.append(f"{len(one['tiles'])} ×{of_label}")
    return {
        "sets": ranked[:LISTED],
        "count": len(sets),
        "more": max(len(sets) - LISTED, 0),
        "tiles": tile_gallery("copied", shards, rows, words, "equal pixels under several ids"),
    }


def size_classes(sizes: list[dict[str, int]]) -> list[dict[str, Any]]:
    """Return components and tiles by class of size; sizes: components by exact size."""
    rows = []
    for low, high in SIZES:
        inside = [one for one in sizes if low <= one["tiles"] and (high is None or one["tiles"] <= high)]
        count = sum(one["components"] for one in inside)
        if count:
            name = f"{low}" if low == high else f"{low} to {high}" if high else f"{low} or more"
            rows.append({"size": name, "components": count, "tiles": sum(x["tiles"] * x["components"] for x in inside)})
    return rows


def area_chart(pairs: pd.DataFrame) -> Markup:
    """Return the histogram of the share of a tile that two tiles have in common, in per cent."""
    shares = 100 * pairs["area"].to_numpy() / SIDE**2
    edges = np.linspace(0, 100, 21)
    # A tile's side has 6 grid steps, so shares are n/36; half of one keeps them off the edges.
    counts = np.histogram(shares - 100 / 72, edges)[0]
    return histogram(
        "Shared area of a pair",
        edges.tolist(),
        ("pairs", counts.tolist(), TRAIN),
        "share of a tile, per cent",
        f"{len(pairs):,} pairs, median {np.median(shares):.0f} per cent.",
        unit="pairs",
    )


def draw_mosaics(shards: Shards, tiles: pd.DataFrame, pairs: pd.DataFrame) -> tuple[list[Markup], list[str]]:
    """Return pictures of the largest components and sentences on those that cannot be drawn.

    tiles: id, split, shard, row, label of the tiles with pixels, ids unique; pairs: confirmed overlaps.
    """
    links, kept = positions(tiles["id"], pairs)
    component = components(len(tiles), links)
    sizes = np.bincount(component)
    order = np.argsort(-sizes, kind="stable")
    pictures, notes = [], []
    for number in order[: MOSAICS * 2]:
        if len(pictures) == MOSAICS or sizes[number] < 2:
            break
        members = np.flatnonzero(component == number)
        own = component[links[:, 0]] == number
        rows = tiles.iloc[members]
        offsets = kept.loc[own, ["dy", "dx"]].to_numpy(np.int64)
        places = layout_component(len(members), np.searchsorted(members, links[own]), offsets)
        named = f"{len(members):,} tiles with {rows['id'].min()}"
        if places is None:
            notes.append(f"{named}: offsets contradict each other, so equal pixels are not everywhere the same place.")
            continue
        scale = mosaics.scale_for(places)
        if scale is None:
            notes.append(f"{named}: {' × '.join(f'{side:,}' for side in mosaics.extent(places))} pixels, too large.")
            continue
        images = [shards[row.split][row.shard].images[row.row] for row in rows.itertuples()]
        canvas = mosaics.compose(images, places, scale)
        height, width = mosaics.extent(places)
        positives, known = int((rows["label"] == 1).sum()), int((rows["label"] >= 0).sum())
        parts = [f"{count:,} {split}" for split in SPLITS if (count := int((rows["split"] == split).sum()))]
        caption = f"{' + '.join(parts)} tiles, {positives:,} of {known:,} with tumour" if known else parts[0] + " tiles"
        caption += f"; {width:,} × {height:,} pixels" + (f", shown at 1/{scale}" if scale > 1 else "")
        text = f"Tissue put together from {caption}, among them tile {rows['id'].min()}"
        labels = rows["label"].to_numpy()
        pictures.append(mosaics.figure(canvas, places, labels, scale, caption, text))
    return pictures, notes


def neighbour_chart(found: dict[str, Any]) -> Markup:
    """Return the share of tumour by number of overlapping neighbours."""
    rows = [row for row in found["rows"] if row["tiles"]]
    shares = [100 * row["positives"] / row["tiles"] for row in rows]
    return line_chart(
        "Share with tumour by number of neighbours",
        [Line("training tiles", [row["neighbours"] for row in rows], shares, POSITIVE, marks=True)],
        Axis(f"overlapping tiles ({found['at_least']}: that many or more)", 0, found["at_least"], whole=True),
        Axis("with tumour, per cent", 0, 100),
        "; ".join(f"{row['neighbours']}: {share:.0f} per cent" for row, share in zip(rows, shares, strict=True)),
    )


def colour_charts(tiles: pd.DataFrame) -> list[Markup]:
    """Return the distribution of each measurement over train and test, as shares, so that sizes do not matter."""
    charts = []
    for column in DRAWN:
        values = {split: tiles.loc[tiles["split"] == split, column].to_numpy(np.float64) for split in SPLITS}
        # A few extreme tiles must not squeeze all others into one bin.
        low, high = np.quantile(np.concatenate(list(values.values())), [0.002, 0.998])
        edges = np.linspace(low, max(high, low + 1), BINS + 1)
        middles = ((edges[1:] + edges[:-1]) / 2).tolist()
        lines = []
        for split, tone in zip(SPLITS, (TRAIN, TEST), strict=True):
            counts = np.histogram(np.clip(values[split], edges[0], edges[-1]), edges)[0]
            lines.append(Line(split, middles, (100 * counts / max(len(values[split]), 1)).tolist(), tone))
        top = max(max(line.y) for line in lines)
        medians = ", ".join(f"{split} {np.median(values[split]):.1f}" for split in SPLITS if len(values[split]))
        unit = "variance of the Laplacian" if column == "sharpness" else "grey levels"
        charts.append(
            line_chart(
                NAMES[column], lines, Axis(unit, edges[0], edges[-1]), Axis("tiles, per cent", 0, 1.08 * top),
                f"Medians: {medians}.",
            )
        )  # fmt: skip
    return charts


def faint(shards: Shards, tiles: pd.DataFrame, left_out: dict[str, int]) -> list[dict[str, Any]]:
    """Return one entry per remark: name, meaning, counts by split, ids and pictures."""
    remark = quality_flags(tiles)
    entries = []
    for name, meaning in QUALITY_FLAGS.items():
        rows = tiles[(remark == name) & (tiles["row"] >= 0)].sort_values(["sharpness", "id"])
        seen = evenly(rows, 2 * SHOWN)
        known = rows[rows["label"] >= 0]
        entries.append(
            {
                "name": name,
                "meaning": meaning,
                "count": len(rows),
                "counts": {split: int((rows["split"] == split).sum()) for split in SPLITS},
                "positives": int((known["label"] == 1).sum()),
                "left_out": left_out.get(name, 0),
                "ids": [f"{row.split}/{row.id}" for row in rows.sort_values(["split", "id"]).head(IDS).itertuples()],
                "more": max(len(rows) - IDS, 0),
                "tiles": tile_gallery(f"remark-{name}", shards, seen, captions(seen), f"{name} tile"),
            }
        )
    return entries


def warnings(audit: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Return what a reader has to know first, in plain sentences."""
    said = []
    faulty = {split: sum(counts[split] for counts in audit["faults"].values()) for split in SPLITS}
    if any(faulty.values()):
        said.append(f"Faulty and left out: {faulty['train']:,} training and {faulty['test']:,} test tiles.")
    if found["duplicates"]["conflicts"]:
        said.append(f"Equal pixels under two labels: {found['duplicates']['conflicts']:,} sets of tiles.")
    both = found["duplicates"]["in_both_splits"]
    if both:
        said.append(f"Pictures that are both in the training and in the test set: {both:,}.")
    crossing = found["overlaps"]["crossing_tiles"]
    if crossing["test"]:
        share = 100 * found["overlaps"]["crossing_share"]["test"]
        said.append(
            f"Test tiles that share tissue with a training tile: {crossing['test']:,} ({share:.1f} %). The splits have "
            "slides in common, and a score on these test tiles is too good."
        )
    if found["leak"]["ours"]:
        said.append("The folds leak: tiles that share pixels stand in different folds. This must not be; do not train.")
    return said


def audit_page(found: Found, output: Path, *, dataset: dict[str, Any], code: dict[str, dict[str, str]]) -> None:
    """Write the page; dataset: name and source; code: {stage: `provenance.code_version`}."""
    audit, leaks = read_json(found.audit), read_json(found.leaks)
    shards = {"train": open_shards(found.train_shards, "train"), "test": open_shards(found.test_shards, "test")}
    tiles = tables.read(found.tiles, tables.TILES)
    pairs = tables.read(found.overlaps, tables.OVERLAPS)
    pairs = pairs[pairs["confirmed"] & (pairs["id_a"] != pairs["id_b"])]
    packed = tiles[tiles["row"] >= 0].sort_values(["split", "id"], ascending=[False, True])
    pictures, notes = draw_mosaics(shards, packed.drop_duplicates("id"), pairs)
    single = leaks["adversarial"]["single"]
    page = render(
        found.template,
        found.layout,
        name=dataset["name"],
        source=SOURCES[dataset["source"]],
        provenance=provenance(code),
        warnings=warnings(audit, leaks),
        audit=audit,
        leaks=leaks,
        faults=faults(shards, tiles, audit["faults"]),
        copies=copies(shards, tiles, leaks["duplicates"]["sets"]),
        sizes=size_classes(leaks["overlaps"]["component_sizes"]),
        area_chart=area_chart(pairs) if len(pairs) else None,
        mosaics=pictures,
        mosaic_notes=notes,
        neighbour_chart=neighbour_chart(leaks["neighbours"]),
        colour_charts=colour_charts(tiles[tiles["kept"]]),
        single=sorted(((NAMES[key], area) for key, area in single.items()), key=lambda row: -abs(row[1] - 0.5)),
        faint=faint(shards, tiles, audit["left_out"]),
    )
    with atomic_write(output) as temporary:
        temporary.write_text(page, encoding="utf-8")
    logging.info("%s: %.1f MB", output, output.stat().st_size / 1e6)


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    inputs = snakemake.input
    single = ("template", "layout", "audit", "tiles", "overlaps", "leaks")
    several = ("train_shards", "test_shards")
    audit_page(
        Found(
            **{name: Path(inputs[name]) for name in single},
            **{name: [Path(path) for path in inputs[name]] for name in several},
        ),
        Path(snakemake.output[0]),
        code=snakemake.params.code,
        **snakemake.params.settings,
    )
