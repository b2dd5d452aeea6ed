"""List the tiles of an archive or a folder: everything that is known without decoding a tile.

Joins the list of files with `train_labels.csv` and `sample_submission.csv`, assigns the tiles to shards and records as
faults where tables and files disagree. An archive that cannot be used at all is rejected here, before any work is done.
"""

import logging
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from histo import tables
from histo.csv_tables import check_id, parse_csv
from histo.errors import InputError
from histo.faulty_tiles import describe, refused
from histo.files import atomic_write
from histo.tiles.source import how_to_restore, list_entries, open_source
from histo.tiles.zip_archive import TILES, DamagedEntry, Entry

LABELS = "train_labels.csv"
SAMPLE = "sample_submission.csv"

Listed = dict[str, tuple[int, str, str]]  # id → label (-1: unknown), fault, detail


def find_table(path: Path, entries: dict[str, Entry], name: str) -> str:
    """Return the name of a table's entry, in any folder of the archive; InputError unless there is exactly one."""
    found = [entry for entry in entries if PurePosixPath(entry).name == name and not entry.startswith("__MACOSX/")]
    if len(found) != 1:
        listed = ", ".join(sorted(found)) or ", ".join(sorted(entries)[:3]) + (", …" if len(entries) > 3 else "")
        raise InputError(
            f"{path}: expected one {name}, found {len(found)} (the archive contains {listed or 'nothing'}). "
            "Use the original archive of the competition."
        )
    return found[0]


def read_rows(path: Path, entry: Entry, columns: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, values of `columns`) of a CSV table in the archive."""
    try:
        with open_source(path) as read:
            data = read(entry)
    except DamagedEntry as error:
        raise InputError(f"{path}: {entry.name}: damaged: {error}. {how_to_restore(path)}") from None
    yield from parse_csv(f"{path}: {entry.name}", data, columns)


def parse_label(text: str, classes: int = 2) -> tuple[int, str, str]:
    """Return (label, fault, detail): label 0 to classes - 1 in any number format, or -1 and what is wrong."""
    if not text:
        return -1, "no_label", "the label is empty"
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if value in range(classes):
        return int(value), "", ""
    return -1, "bad_label", f"the label is {text[:40]!r}"


def read_labels(path: Path, entry: Entry, classes: int = 2) -> Listed:
    """Return {id: (label, fault, detail)} of the training tiles."""
    labels: Listed = {}
    lines: dict[str, int] = {}
    for line, (text, value) in read_rows(path, entry, ["id", "label"]):
        name = check_id(f"{path}: {entry.name}, line {line}", text)
        parsed = parse_label(value, classes)
        if name in labels:
            detail = f"lines {lines[name]} and {line} of {LABELS}, labels {labels[name][0]} and {parsed[0]}"
            parsed = (labels[name][0] if labels[name][0] == parsed[0] else -1, "repeated_id", detail)
        labels[name] = parsed
        lines.setdefault(name, line)
    if not labels:
        raise InputError(f"{path}: {entry.name}: expected a row for each training tile, found none.")
    return labels


def read_test_ids(path: Path, entry: Entry) -> Listed:
    """Return {id: (-1, "", "")} of the test tiles; InputError for a repeated id, which a submission cannot have."""
    lines: dict[str, int] = {}
    for line, (text,) in read_rows(path, entry, ["id"]):
        name = check_id(f"{path}: {entry.name}, line {line}", text)
        if name in lines:
            raise InputError(
                f"{path}: {entry.name}: expected each id once, found {name} on lines {lines[name]} and {line}. "
                "Get the archive from its source."
            )
        lines[name] = line
    if not lines:
        raise InputError(f"{path}: {entry.name}: expected a row for each test tile, found none.")
    return dict.fromkeys(lines, (-1, "", ""))


def find_tiles(path: Path, entries: dict[str, Entry], root: PurePosixPath, split: str) -> dict[str, Entry]:
    """{id: entry} of the files ID.tif, ID.png or ID.jpg in the folder of a split; InputError if two have one id."""
    tiles: dict[str, Entry] = {}
    for name, entry in entries.items():
        file = PurePosixPath(name)
        if file.name.startswith("._"):  # metadata that macOS adds to an archive
            continue
        if file.parent == root / split and file.suffix.lower() in TILES:
            key = check_id(f"{path}: entry {name!r}", file.stem)
            if key in tiles:
                raise InputError(f"{path}: expected one file of each id, found {tiles[key].name} and {name}.")
            tiles[key] = entry
    return tiles


def join(split: str, listed: Listed, tiles: dict[str, Entry], shards: int) -> pd.DataFrame:
    """Join the ids of a table with the files of a split: one row per tile (`tables.INDEX`), sorted by id.

    Shard k is the k-th slice of the sorted tiles. Ids are hashes, so that every shard is a random sample of the tiles.
    """
    ids = sorted(listed.keys() | tiles.keys())
    rows = []
    for name in ids:
        label, fault, detail = listed.get(name, (-1, "unlisted_file", f"no row of the {split} table has this id"))
        entry = tiles.get(name)
        if entry is None:
            fault, detail = "missing_file", f"no {split}/{name}.tif, .png or .jpg in the archive"
            entry = Entry("", 0, 0, 0, 0, 0)
        position = (entry.name, entry.offset, entry.compressed, entry.size, entry.crc, entry.method)
        rows.append((name, label, *position, fault, detail))
    columns = ["id", "label", "entry", "offset", "compressed", "size", "crc", "method", "fault", "detail"]
    frame = pd.DataFrame(rows, columns=columns)
    frame["split"] = split
    frame["shard"] = np.repeat(np.arange(shards), [len(part) for part in np.array_split(np.arange(len(ids)), shards)])
    return frame


def index(
    archive: Path,
    output: Path,
    sample_copy: Path,
    *,
    train_shards: int,
    test_shards: int,
    classes: int = 2,
    on_fault: str = "leave_out",
) -> None:
    """Write one row per tile of both splits (`tables.INDEX`), and an unchanged copy of sample_submission.csv.

    archive: a zip archive, or a folder extracted from one; train_shards, test_shards: number of shards per split;
    classes: labels are 0 to classes - 1; on_fault: "fail" to end here, before anything is unpacked, if tables and files
    disagree, or "leave_out".
    Raises InputError when the archive cannot be used.
    """
    entries = list_entries(archive)
    labels = find_table(archive, entries, LABELS)
    sample = find_table(archive, entries, SAMPLE)
    root = PurePosixPath(labels).parent
    if PurePosixPath(sample).parent != root:
        raise InputError(f"{archive}: expected {LABELS} and {SAMPLE} in one folder, found {labels} and {sample}.")
    frames = []
    for split, listed, shards in (
        ("train", read_labels(archive, entries[labels], classes), train_shards),
        ("test", read_test_ids(archive, entries[sample]), test_shards),
    ):
        tiles = find_tiles(archive, entries, root, split)
        if not tiles:
            raise InputError(
                f"{archive}: expected files {root / split}/ID.tif, ID.png or ID.jpg, found none. "
                "Use the original archive of the competition."
            )
        frame = join(split, listed, tiles, shards)
        faulty = int((frame["fault"] != "").sum())
        logging.info("%s: %d ids listed, %d files, %d rows with a fault", split, len(listed), len(tiles), faulty)
        frames.append(frame)
    unused = len(entries) - 2 - sum(int((frame["entry"] != "").sum()) for frame in frames)
    if unused:
        logging.info("%d entries of the archive are neither tiles nor tables; they are ignored", unused)
    result = pd.concat(frames)
    faulty_rows = result[result["fault"] != ""]
    if len(faulty_rows) and on_fault == "fail":
        for line in describe(faulty_rows):
            logging.warning("%s", line)
        raise refused(faulty_rows, len(result))
    with open_source(archive) as read, atomic_write(sample_copy) as temporary:
        temporary.write_bytes(read(entries[sample]))
    tables.write_index(result, output)


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    index(
        Path(snakemake.params.archive),
        Path(snakemake.output.index),
        Path(snakemake.output.sample),
        on_fault=snakemake.params.on_fault,
        **snakemake.params.settings,
    )
