"""Group the training tiles that must not be split across folds.

Tiles of one group share a slide (where a table of slides is given), share tissue (`overlaps`) or have equal pixels.
A group is a connected component of these relations, so a tile of unknown slide joins the slide that it overlaps.
"""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from histo import tables
from histo.csv_tables import check_id, parse_csv
from histo.errors import InputError
from histo.tiles.overlap_graph import components, equal_links, positions

SHOWN = 10  # contradicting pairs that an error names


def read_slides(path: Path) -> dict[str, str]:
    """Return {id: slide} of a CSV table with these columns; InputError when a tile has two slides."""
    if not path.is_file():
        raise InputError(f"{path}: no such file. `folds.slides` names a CSV table with the columns id,slide, or null.")
    slides: dict[str, str] = {}
    for line, (text, slide) in parse_csv(str(path), path.read_bytes(), ["id", "slide"]):
        name = check_id(f"{path}, line {line}", text)
        if not slide:
            raise InputError(
                f"{path}, line {line}: expected a slide, found nothing. Omit the rows of tiles whose slide is unknown."
            )
        if slides.setdefault(name, slide) != slide:
            raise InputError(f"{path}, line {line}: tile {name} is of slide {slide!r}, before it was {slides[name]!r}.")
    return slides


def check_slides(slides: dict[str, str], pairs: pd.DataFrame) -> None:
    """InputError when two slides share pixels; pairs: id_a, id_b of overlapping training tiles."""
    slide_a, slide_b = pairs["id_a"].map(slides), pairs["id_b"].map(slides)
    wrong = pairs[slide_a.notna() & slide_b.notna() & (slide_a != slide_b)]
    if len(wrong):
        lines = [f"{a} ({slides[a]}) and {b} ({slides[b]})" for a, b in wrong[["id_a", "id_b"]].to_numpy()]
        more = f"\n… and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
        raise InputError(
            f"The table of slides contradicts the pixels: {len(lines)} pairs of tiles share tissue but stand under "
            "two slides:\n" + "\n".join(lines[:SHOWN]) + f"{more}\nGive these slides one name in `folds.slides`."
        )


def group(ids: np.ndarray, contents: np.ndarray, slides: dict[str, str], pairs: pd.DataFrame) -> pd.DataFrame:
    """Return (id, group, reason) for each of `ids` (N strings); contents: N values, equal for equal pixels.

    A group is named by its lowest slide, or by its lowest id if it has none. The reason is the strongest relation
    in the group: slide, overlap, content, or alone.
    """
    slide = pd.Series(ids).map(slides).astype(object)
    overlaps, _ = positions(pd.Series(ids), pairs)
    component = components(len(ids), np.concatenate([overlaps, equal_links(slide), equal_links(pd.Series(contents))]))

    frame = pd.DataFrame({"id": ids, "component": component, "slide": slide})
    parts = frame.groupby("component")
    lowest = parts["slide"].min().where(parts["slide"].count() > 0, parts["id"].min())
    overlapping = np.zeros(component.max() + 1 if len(ids) else 0, bool)
    overlapping[component[overlaps[:, 0]]] = True
    reason = np.where(parts.size() > 1, np.where(overlapping, "overlap", "content"), "alone")
    reason = np.where(parts["slide"].count() > 0, "slide", reason)
    return pd.DataFrame({"id": ids, "group": lowest.to_numpy()[component], "reason": reason[component]})


def groups(tiles: Path, validations: list[Path], overlaps: Path, slides: Path | None, output: Path) -> None:
    """Write the group of every kept training tile (`tables.GROUPS`)."""
    frame = tables.read(tiles, tables.TILES, ["id", "split", "kept"])
    ids = np.sort(frame.loc[(frame["split"] == "train") & frame["kept"], "id"].to_numpy(object))
    checked = pd.concat(tables.read(path, tables.VALIDATION, ["id", "split", "pixels_sha1"]) for path in validations)
    contents = checked[checked["split"] == "train"].set_index("id")["pixels_sha1"].loc[ids].to_numpy(object)
    pairs = tables.read(overlaps, tables.OVERLAPS)
    pairs = pairs[pairs["confirmed"]]
    known = read_slides(slides) if slides else {}
    if slides:
        found = sum(name in known for name in ids)
        if not found:
            raise InputError(f"{slides}: none of its {len(known)} ids is a training tile. Is it of another data set?")
        logging.info("%d of %d training tiles have a slide", found, len(ids))
        if found < len(known):
            others = sorted(known.keys() - set(ids))
            logging.warning(
                "%s: %d of its %d ids are no training tiles that are used, such as %s",
                slides, len(others), len(known), ", ".join(others[:3]),
            )  # fmt: skip
        check_slides(known, pairs)
    result = group(ids, contents, known, pairs)
    tables.write(result, output, tables.GROUPS)
    logging.info("%d groups; tiles by reason: %s", result["group"].nunique(), result["reason"].value_counts().to_dict())


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    slides = snakemake.params.slides
    groups(
        Path(snakemake.input.tiles),
        [Path(path) for path in snakemake.input.validations],
        Path(snakemake.input.overlaps),
        Path(slides) if slides else None,
        Path(snakemake.output[0]),
    )
