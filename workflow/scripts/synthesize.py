"""Create a synthetic archive in the layout of Kaggle's, of any size, from simulated slides (histo.synthetic.slides).

It replaces the real archive in the demo, in tests and in benchmarks at full size, and therefore has every property that
a stage relies on: ids are the SHA-1 of the pixels, every TIFF has the layout of the originals byte for byte, tiles of
one slide overlap on a grid of 16 pixels, test tiles come from their own slides, and a tile is positive if and only if
the centre of a tumour nucleus lies in its central square. With more than two classes, the label is the number of such
nuclei, or the last class for more. Faults can be planted.

Each region of a slide is divided into cells of two by two tiles. A cell yields either up to four tiles that do not
overlap, or 2 to 12 tiles at random positions of the grid inside it. Groups of overlapping tiles are thus as small as in
the real data set, and tiles of different cells share no pixel.

Tiles are stored without compression, unlike in Kaggle's archive: deflating a tile at the fastest level takes 450
microseconds, as long as everything else together, and saves a quarter of the size. Memory holds one region and the
table of tiles. Entries are written in the order of drawing; the directory of the archive is sorted by name.
"""

import hashlib
import logging
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from histo.errors import InputError
from histo.files import atomic_write, write_json
from histo.geometry import BLOCK, COMPETITION, SIDE, Geometry
from histo.synthetic.slides import REGION, Painter, Region
from histo.synthetic.tiff import tiff

log = logging.getLogger(__name__)

MAX_OVERLAPPING = 12  # tiles of an overlapping cell
POSITIVE_SHARE = 0.4  # intended share of positive tiles
MIN_TISSUE_SHARE = 0.1  # of a tile
FAULTS = (
    "corrupt_tiff",
    "wrong_size",
    "greyscale",
    "rgba",
    "missing_file",
    "duplicate_content",
    "bad_label",
    "altered_pixels",
)
ENTRY_DATE = (2018, 11, 15, 17, 21, 32)  # the same for all entries, so that equal settings give equal bytes

Origins = npt.NDArray[np.int64]  # [N, 2], y and x of the upper left corner of tiles


@dataclass
class TileRecords:
    """The tiles written so far, of both splits."""

    ids: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    slides: list[str] = field(default_factory=list)
    pairs: list[npt.NDArray[np.int64]] = field(default_factory=list)  # [N, 4]: numbers of two tiles, dy, dx
    seen: set[str] = field(default_factory=set)  # SHA-1 of the pixels of every tile
    positives: int = 0
    overlapping: int = 0  # tiles that share pixels with another


def tile_map(region: Region, geometry: Geometry = COMPETITION) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return, for a tile at each position of the grid, its label and whether it has enough tissue.

    int and bool [positions, positions].
    """
    blocks = REGION // BLOCK
    positions = (REGION - geometry.tile_side) // BLOCK + 1
    centre, across = geometry.centre_side // BLOCK, geometry.tile_side // BLOCK
    nuclei = np.zeros((blocks, blocks), int)
    np.add.at(nuclei, tuple(region.tumour.T // BLOCK), 1)
    tissue = region.tissue[::4, ::4].reshape(blocks, BLOCK // 4, blocks, BLOCK // 4).mean((1, 3)) / 255

    def window_sums(values: npt.NDArray[Any], start: int, side: int) -> npt.NDArray[Any]:
        view = np.lib.stride_tricks.sliding_window_view(values, (side, side))
        return np.asarray(view[start : start + positions, start : start + positions].sum((2, 3)))

    labels = np.minimum(window_sums(nuclei, (across - centre) // 2, centre), geometry.classes - 1)
    return labels, window_sums(tissue, 0, across) >= MIN_TISSUE_SHARE * across**2


def overlap_pairs(origins: Origins, side: int = SIDE) -> npt.NDArray[np.int64]:
    """Return all pairs i < j of tiles that share pixels, given their origins: int [N, 4] of i, j, dy, dx.

    side: of the tiles, pixels.
    """
    offset = origins[None, :] - origins[:, None]
    i, j = np.nonzero(np.triu((np.abs(offset) < side).all(axis=2), 1))
    return np.column_stack([i, j, offset[i, j]])


def choose_origins(
    rng: np.random.Generator,
    labels: npt.NDArray[np.int64],
    usable: npt.NDArray[np.bool_],
    count: int,
    overlapping: float,
    tiles: TileRecords,
    tile_side: int = SIDE,
) -> Iterator[Origins]:
    """Yield the origins (int [N, 2], pixels) of the tiles of one cell after another, at most `count` in total.

    labels, usable: see `tile_map`; tile_side: pixels. The next cell and its kind (overlapping or not) are chosen such
    that the tiles written so far approach the intended shares of positive and of overlapping tiles.
    """
    across = tile_side // BLOCK
    step, steps = 2 * across, across + 1
    cells = [(y, x) for y in range(0, REGION // BLOCK, step) for x in range(0, REGION // BLOCK, step)]
    rng.shuffle(cells)
    positions = {cell: np.argwhere(usable[cell[0] :, cell[1] :][:steps, :steps]) + cell for cell in cells}
    cells = [cell for cell in cells if len(positions[cell])]
    mostly_tumour = {cell: (labels[tuple(positions[cell].T)] > 0).mean() > POSITIVE_SHARE for cell in cells}
    while cells and count > 0:
        wants_tumour = tiles.positives <= POSITIVE_SHARE * len(tiles.ids)
        cell = next((cell for cell in cells if mostly_tumour[cell] == wants_tumour), cells[0])
        cells.remove(cell)
        chosen = positions[cell]
        if tiles.overlapping < overlapping * (len(tiles.ids) + 1):
            chosen = chosen[rng.permutation(len(chosen))[: rng.integers(2, MAX_OVERLAPPING + 1)]]
        else:
            chosen = chosen[((chosen - cell) % across == 0).all(axis=1)]
        chosen = chosen[:count] * BLOCK
        count -= len(chosen)
        yield chosen


def date_time(key: str) -> str:
    """Return the date in a tile's TIFF: as in the originals one of 39 seconds, here derived from the id."""
    second = 32 + int(key[:8], 16) % 39
    return f"2018:11:15 17:{20 + second // 60}:{second % 60:02d}"


def damaged(kind: str, key: str, pixels: npt.NDArray[np.uint8], number: int, rng: np.random.Generator) -> bytes | None:
    """Return the file of a tile with the fault `kind`, or None for a missing file.

    number: how many tiles have this fault already.
    """
    if kind == "missing_file":
        return None
    if kind == "corrupt_tiff":  # alternately a truncated file and an overwritten header
        data = tiff(pixels, date_time(key))
        start = len(data) - pixels.nbytes
        return data[: rng.integers(start, len(data))] if number % 2 == 0 else rng.bytes(start) + data[start:]
    if kind == "wrong_size":
        pixels = pixels[:-BLOCK]
    elif kind == "greyscale":
        pixels = pixels[..., 1]
    elif kind == "rgba":
        pixels = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    elif kind == "altered_pixels":
        pixels = pixels.copy()
        pixels[tuple(rng.integers(0, len(pixels), 2))] ^= 128
    return tiff(pixels, date_time(key))


@dataclass
class ArchiveWriter:
    """The zip file being written, and the records of its tiles."""

    file: zipfile.ZipFile
    painter: Painter
    overlapping: float  # intended share of overlapping tiles
    rng: np.random.Generator  # for the faults only, so that planting faults changes no other tile
    planned: dict[int, str]  # number of a tile → fault
    planted: dict[str, list[str]]  # fault → ids of the tiles that have it
    geometry: Geometry
    tiles: TileRecords = field(default_factory=TileRecords)

    def store(self, name: str, data: bytes) -> None:
        """Write one file."""
        entry = zipfile.ZipInfo(name, ENTRY_DATE)
        entry.external_attr = 0o100644 << 16  # a regular file
        self.file.writestr(entry, data)

    def add(self, split: str, slide: str, key: str, pixels: npt.NDArray[np.uint8], label: int, fault: str) -> None:
        """Write one tile with the id `key`, and with the fault, if any."""
        data: bytes | None = tiff(pixels, date_time(key))
        if fault:
            data = damaged(fault, key, pixels, len(self.planted[fault]), self.rng)
            self.planted[fault].append(key)
        if data is not None:
            self.store(f"{split}/{key}.tif", data)
        self.tiles.ids.append(key)
        self.tiles.labels.append(label)
        self.tiles.slides.append(slide)
        self.tiles.positives += label > 0

    def add_slide(self, split: str, slide: str, count: int, rng: np.random.Generator) -> None:
        """Draw a slide, region by region, and write `count` tiles of it, plus the planted copies."""
        properties, side = self.painter.slide(rng), self.geometry.tile_side
        while count:
            region = self.painter.region(rng, properties)
            labels, usable = tile_map(region, self.geometry)
            first = len(self.tiles.ids)
            origins: list[Origins] = []
            for chosen in choose_origins(rng, labels, usable, count, self.overlapping, self.tiles, side):
                self.tiles.overlapping += len(np.unique(overlap_pairs(chosen, side)[:, :2]))
                for origin in chosen:
                    y, x = origin
                    pixels = np.ascontiguousarray(region.image[y : y + side, x : x + side])
                    key = hashlib.sha1(pixels.data).hexdigest()
                    if key in self.tiles.seen:
                        continue
                    label = int(labels[y // BLOCK, x // BLOCK])
                    fault = self.planned.get(len(self.tiles.seen), "")
                    copied = fault == "duplicate_content"
                    self.tiles.seen.add(key)
                    self.add(split, slide, key, pixels, label, "" if copied else fault)
                    origins += [origin] * (1 + copied)
                    count -= 1
                    if copied:
                        self.add(split, slide, hashlib.sha1(key.encode()).hexdigest(), pixels, label, fault)
            if origins:
                self.tiles.pairs.append(overlap_pairs(np.array(origins), side) + np.array([first, first, 0, 0]))


def tiles_per_slide(rng: np.random.Generator, tiles: int, slides: int) -> list[int]:
    """Distribute `tiles` over slides at random: at least one per slide, sizes within about a factor of three."""
    ends = np.cumsum(rng.uniform(0.5, 1.5, slides))
    ends = np.rint(ends / ends[-1] * (tiles - slides)).astype(int)
    return [int(count) + 1 for count in np.diff(ends, prepend=0)]


def check_settings(
    train_tiles: int, test_tiles: int, train_slides: int, test_slides: int, overlapping: float, faults: dict[str, int]
) -> None:
    """Raise InputError for settings from which no archive can be created."""
    for split, tiles, slides in (("train", train_tiles, train_slides), ("test", test_tiles, test_slides)):
        if not 1 <= slides <= tiles:
            raise InputError(
                f"synthesize: expected at least one {split} slide and at least one tile per slide, found "
                f"{split}_slides: {slides} and {split}_tiles: {tiles}. Change one of them."
            )
    if not 0 <= overlapping <= 1:
        raise InputError(f"synthesize.overlapping: expected a share from 0 to 1, found {overlapping}.")
    for kind, count in faults.items():
        if kind not in FAULTS:
            raise InputError(f"synthesize.faults: expected one of {', '.join(FAULTS)}, found {kind}.")
        if count < 0:
            raise InputError(f"synthesize.faults.{kind}: expected a count, found {count}. Use 0 for none.")
    needed = sum(faults.values()) + faults.get("duplicate_content", 0)  # a copy needs an original without a fault
    if needed > train_tiles:
        raise InputError(
            f"synthesize.faults: expected at most as many faults as training tiles, {train_tiles} (copies count "
            f"twice), found {needed}. Set fewer faults or a larger train_tiles."
        )


def overlap_table(tiles: TileRecords) -> pa.Table:
    """Return all overlaps, sorted by the ids: id_a < id_b; dy, dx: origin of b minus origin of a in pixels."""
    ids = np.array(tiles.ids)
    rank = np.empty(len(ids), np.int32)
    rank[np.argsort(ids)] = np.arange(len(ids))
    pairs = np.concatenate(tiles.pairs)
    swap = rank[pairs[:, 0]] > rank[pairs[:, 1]]
    pairs[swap] = pairs[swap][:, [1, 0, 2, 3]] * np.array([1, 1, -1, -1])
    pairs = pairs[np.lexsort((rank[pairs[:, 1]], rank[pairs[:, 0]]))]
    names = pa.array(ids)
    columns = {side: names.take(pa.array(pairs[:, k])) for k, side in enumerate(("id_a", "id_b"))}
    return pa.table(columns | {"dy": pairs[:, 2].astype(np.int16), "dx": pairs[:, 3].astype(np.int16)})


def csv(columns: str, rows: list[tuple[str, object]]) -> str:
    """Return CSV text, with rows sorted by id; ids and values need no quotes."""
    return "\n".join([columns, *(f"{key},{value}" for key, value in sorted(rows, key=lambda row: row[0]))]) + "\n"


def synthesize(
    archive: Path,
    truth: Path,
    overlaps: Path,
    slides: Path,
    *,
    train_tiles: int,
    test_tiles: int,
    train_slides: int,
    test_slides: int,
    seed: int,
    faults: dict[str, int],
    overlapping: float = 0.5,
    geometry: Geometry = COMPETITION,
) -> dict[str, list[str]]:
    """Write a synthetic archive and its ground truth; return the ids of the tiles that have each fault.

    archive: zip with `train/ID.tif`, `test/ID.tif`, `train_labels.csv`, `sample_submission.csv`.
    truth: CSV `id,label` of all test tiles.
    overlaps: Parquet id_a, id_b, dy, dx of all pairs of tiles that share pixels. It describes the positions on the
        slide, whatever fault a file has; a copy has the position of its original.
    slides: CSV `id,slide` of all training tiles.
    `faults.json`, in the folder of `truth`: the ids of the tiles that have each fault.
    overlapping: share of tiles that share pixels with another tile.
    geometry: of the tiles; tile and centre on the grid of 16 pixels.
    faults: number of training tiles by fault (one of FAULTS), included in `train_tiles`. Copies have ids that are not
        the SHA-1 of their pixels; bad labels are alternately the number of classes and empty.
    Raises InputError for settings from which no archive can be created.
    """
    check_settings(train_tiles, test_tiles, train_slides, test_slides, overlapping, faults)
    copies = faults.get("duplicate_content", 0)
    kinds = np.repeat(list(FAULTS), [faults.get(kind, 0) for kind in FAULTS])
    fault_rng = np.random.default_rng([seed, 0])
    numbers = fault_rng.permutation(train_tiles - copies)[: len(kinds)].tolist()
    with atomic_write(archive) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as file:
        writer = ArchiveWriter(
            file,
            Painter(np.random.default_rng([seed, 1])),
            overlapping,
            fault_rng,
            dict(zip(numbers, kinds.tolist(), strict=True)),
            {kind: [] for kind in FAULTS if faults.get(kind)},
            geometry,
        )
        tiles = writer.tiles
        for stream, split, count, slide_count in (
            (2, "train", train_tiles - copies, train_slides),
            (3, "test", test_tiles, test_slides),
        ):
            sizes = tiles_per_slide(np.random.default_rng([seed, stream]), count, slide_count)
            for number, size in enumerate(sizes):
                writer.add_slide(split, f"{split}-{number:03d}", size, np.random.default_rng([seed, stream, number]))
            log.info("%s: %d slides; %d tiles written so far", split, slide_count, len(tiles.ids))
        train = range(train_tiles)
        test = range(train_tiles, train_tiles + test_tiles)
        labels: dict[str, object] = {tiles.ids[k]: tiles.labels[k] for k in train}
        bad = (str(geometry.classes), "")
        labels |= {key: bad[k % 2] for k, key in enumerate(writer.planted.get("bad_label", []))}
        writer.store("train_labels.csv", csv("id,label", list(labels.items())).encode())
        writer.store("sample_submission.csv", csv("id,label", [(tiles.ids[k], 0) for k in test]).encode())
        file.filelist.sort(key=lambda entry: entry.filename)
    for path, text in (
        (truth, csv("id,label", [(tiles.ids[k], tiles.labels[k]) for k in test])),
        (slides, csv("id,slide", [(tiles.ids[k], tiles.slides[k]) for k in train])),
    ):
        with atomic_write(path) as temporary:
            temporary.write_text(text)
    with atomic_write(overlaps) as temporary:
        pq.write_table(overlap_table(tiles), temporary)
    write_json(Path(truth).with_name("faults.json"), writer.planted)
    log.info(
        "%.1f %% of the tiles positive, %.1f %% overlapping",
        100 * tiles.positives / len(tiles.ids),
        100 * tiles.overlapping / len(tiles.ids),
    )
    return writer.planted


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    synthesize(
        Path(snakemake.output.archive),
        Path(snakemake.output.truth),
        Path(snakemake.output.overlaps),
        Path(snakemake.output.slides),
        **snakemake.params.settings,
        geometry=Geometry(**snakemake.params.geometry),
    )
