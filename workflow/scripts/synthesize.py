"""Make an archive in the layout of Kaggle's, of any size, from tissue that is drawn (see histo.synthetic.slides).

It stands in for the real archive in the demo, in tests and in rehearsals at full size, so it has all that a stage
relies on: ids are the SHA-1 of the pixels, every TIFF is byte for byte in the form of the
originals, tiles of one slide overlap on a grid of 16 pixels, test tiles come from slides of their own, and a tile is
positive exactly when the centre of a tumour nucleus lies in its central 32 x 32 pixels. Faults can be planted.

Each region of a slide is divided into cells of two by two tiles. A cell gives either up to four tiles that touch
nowhere, or 2 to 12 tiles anywhere on the grid inside it, so that overlapping tiles form groups as small as those of
the real set, and no two cells share a pixel.

Tiles are stored, not deflated as Kaggle's are: deflating at the fastest level takes 450 microseconds a tile, as long
as everything else together, and saves a quarter of the size. Memory holds one region and the table of
tiles; entries are written in the order of drawing, and the directory of the archive lists them by name.
"""

import hashlib
import logging
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from histo.errors import InputError
from histo.files import atomic_write, write_json
from histo.synthetic.slides import REGION, Painter, Region
from histo.synthetic.tiff import tiff
from histo.tiles.geometry import CENTRE, SIDE

log = logging.getLogger(__name__)

GRID = 16  # pixels: origins of tiles are multiples of it
CELL = 2 * SIDE
GROUP = 12  # most tiles of an overlapping cell
POSITIVE = 0.4  # share of positive tiles aimed at
TISSUE = 0.1  # least share of a tile that is tissue
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
MADE = (2018, 11, 15, 17, 21, 32)  # one time for all entries, so that the same settings give the same bytes


@dataclass
class TileLoader:
    """The tiles made so far, of both splits."""

    ids: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    slides: list[str] = field(default_factory=list)
    pairs: list[np.ndarray] = field(default_factory=list)  # int [N, 4]: number of a tile, of another, dy, dx
    seen: set[str] = field(default_factory=set)  # SHA-1 of the pixels of every tile
    positives: int = 0
    overlapping: int = 0  # tiles that share pixels with another


def tile_map(region: Region) -> tuple[np.ndarray, np.ndarray]:
    """Label and usefulness (enough tissue) of the tile at each place of the grid: bool [places, places] each."""
    blocks = REGION // GRID
    places = (REGION - SIDE) // GRID + 1
    nuclei = np.zeros((blocks, blocks), int)
    np.add.at(nuclei, tuple(region.tumour.T // GRID), 1)
    tissue = region.tissue[::4, ::4].reshape(blocks, GRID // 4, blocks, GRID // 4).mean((1, 3)) / 255

    def windows(values: np.ndarray, start: int, side: int) -> np.ndarray:
        view = np.lib.stride_tricks.sliding_window_view(values, (side, side))
        return view[start : start + places, start : start + places].sum((2, 3))

    centre = (SIDE - CENTRE) // 2 // GRID
    return windows(nuclei, centre, CENTRE // GRID) > 0, windows(tissue, 0, SIDE // GRID) >= TISSUE * (SIDE // GRID) ** 2


def overlap_pairs(places: np.ndarray) -> np.ndarray:
    """int [N, 4]: i, j, dy, dx of all pairs i < j of tiles with origins `places` [N, 2] that share pixels."""
    offset = places[None, :] - places[:, None]
    i, j = np.nonzero(np.triu((np.abs(offset) < SIDE).all(axis=2), 1))
    return np.column_stack([i, j, offset[i, j]])


def choose_places(
    rng: np.random.Generator, labels: np.ndarray, useful: np.ndarray, wanted: int, overlapping: float, tiles: TileLoader
) -> Iterator[np.ndarray]:
    """Yield the origins (int [N, 2], pixels) of the tiles of one cell after the other, at most `wanted` in all.

    Cells and their kind are chosen so that the tiles written so far come near the shares aimed at.
    """
    step, steps = CELL // GRID, (CELL - SIDE) // GRID + 1
    cells = [(y, x) for y in range(0, REGION // GRID, step) for x in range(0, REGION // GRID, step)]
    rng.shuffle(cells)
    found = {cell: np.argwhere(useful[cell[0] :, cell[1] :][:steps, :steps]) + cell for cell in cells}
    cells = [cell for cell in cells if len(found[cell])]
    rich = {cell: labels[tuple(found[cell].T)].mean() > POSITIVE for cell in cells}
    while cells and wanted > 0:
        poor = tiles.positives <= POSITIVE * len(tiles.ids)
        cell = next((cell for cell in cells if rich[cell] == poor), cells[0])
        cells.remove(cell)
        places = found[cell]
        if tiles.overlapping < overlapping * (len(tiles.ids) + 1):
            places = places[rng.permutation(len(places))[: rng.integers(2, GROUP + 1)]]
        else:
            places = places[((places - cell) % (SIDE // GRID) == 0).all(axis=1)]
        places = places[:wanted] * GRID
        wanted -= len(places)
        yield places


def date_time(key: str) -> str:
    """When a tile was written: as in the originals one of 39 seconds, whatever its neighbours' is."""
    second = 32 + int(key[:8], 16) % 39
    return f"2018:11:15 17:{20 + second // 60}:{second % 60:02d}"


def damaged(kind: str, key: str, pixels: np.ndarray, number: int, rng: np.random.Generator) -> bytes | None:
    """The file of a tile under the fault `kind`, None where there is none; `number` counts the faults of this kind."""
    if kind == "missing_file":
        return None
    if kind == "corrupt_tiff":  # in turn an end that is lost and a header that is overwritten
        data = tiff(pixels, date_time(key))
        start = len(data) - pixels.nbytes
        return data[: rng.integers(start, len(data))] if number % 2 == 0 else rng.bytes(start) + data[start:]
    if kind == "wrong_size":
        pixels = pixels[: SIDE - GRID]
    elif kind == "greyscale":
        pixels = pixels[..., 1]
    elif kind == "rgba":
        pixels = np.dstack([pixels, np.full((SIDE, SIDE), 255, np.uint8)])
    elif kind == "altered_pixels":
        pixels = pixels.copy()
        pixels[tuple(rng.integers(0, SIDE, 2))] ^= 128
    return tiff(pixels, date_time(key))


@dataclass
class Archive:
    """The zip file under way, and what is known of its tiles."""

    file: zipfile.ZipFile
    painter: Painter
    overlapping: float
    rng: np.random.Generator  # of the faults alone, so that planting some changes no other tile
    planned: dict[int, str]  # which tiles get which fault, by their number
    planted: dict[str, list[str]]  # what has got it
    tiles: TileLoader = field(default_factory=TileLoader)

    def store(self, name: str, data: bytes) -> None:
        entry = zipfile.ZipInfo(name, MADE)
        entry.external_attr = 0o100644 << 16  # a plain file
        self.file.writestr(entry, data)

    def add(self, split: str, slide: str, key: str, pixels: np.ndarray, label: int, fault: str) -> None:
        """Write one tile under the id `key`."""
        data = tiff(pixels, date_time(key))
        if fault:
            data = damaged(fault, key, pixels, len(self.planted[fault]), self.rng)
            self.planted[fault].append(key)
        if data is not None:
            self.store(f"{split}/{key}.tif", data)
        self.tiles.ids.append(key)
        self.tiles.labels.append(label)
        self.tiles.slides.append(slide)
        self.tiles.positives += label

    def add_slide(self, split: str, slide: str, count: int, rng: np.random.Generator) -> None:
        """Draw a slide, region after region, and write `count` tiles of it, and copies of those that get one."""
        look = self.painter.slide(rng)
        while count:
            region = self.painter.region(rng, look)
            labels, useful = tile_map(region)
            first = len(self.tiles.ids)
            origins: list[np.ndarray] = []
            for places in choose_places(rng, labels, useful, count, self.overlapping, self.tiles):
                self.tiles.overlapping += len(np.unique(overlap_pairs(places)[:, :2]))
                for place in places:
                    y, x = place
                    pixels = np.ascontiguousarray(region.image[y : y + SIDE, x : x + SIDE])
                    key = hashlib.sha1(pixels).hexdigest()
                    if key in self.tiles.seen:
                        continue
                    label = int(labels[y // GRID, x // GRID])
                    fault = self.planned.get(len(self.tiles.seen), "")
                    copied = fault == "duplicate_content"
                    self.tiles.seen.add(key)
                    self.add(split, slide, key, pixels, label, "" if copied else fault)
                    origins += [place] * (1 + copied)
                    count -= 1
                    if copied:
                        self.add(split, slide, hashlib.sha1(key.encode()).hexdigest(), pixels, label, fault)
            if origins:
                self.tiles.pairs.append(overlap_pairs(np.array(origins)) + np.array([first, first, 0, 0]))


def share_out(rng: np.random.Generator, tiles: int, slides: int) -> list[int]:
    """Number of tiles of each slide: at least one, differing up to three times, `tiles` in all."""
    ends = np.cumsum(rng.uniform(0.5, 1.5, slides))
    ends = np.rint(ends / ends[-1] * (tiles - slides)).astype(int)
    return (np.diff(ends, prepend=0) + 1).tolist()


def check_settings(
    train_tiles: int, test_tiles: int, train_slides: int, test_slides: int, overlapping: float, faults: dict[str, int]
) -> None:
    """Refuse settings of which no archive can be made: InputError."""
    for split, tiles, slides in (("train", train_tiles, train_slides), ("test", test_tiles, test_slides)):
        if not 1 <= slides <= tiles:
            raise InputError(
                f"synthesize: expected at least one {split} slide and one tile for each, found "
                f"{split}_slides: {slides} and {split}_tiles: {tiles}. Change either."
            )
    if not 0 <= overlapping <= 1:
        raise InputError(f"synthesize.overlapping: expected a share from 0 to 1, found {overlapping}.")
    for kind, count in faults.items():
        if kind not in FAULTS:
            raise InputError(f"synthesize.faults: {kind} is not known. Choose from {', '.join(FAULTS)}.")
        if count < 0:
            raise InputError(f"synthesize.faults.{kind}: expected a count, found {count}. Write 0 for none.")
    needed = sum(faults.values()) + faults.get("duplicate_content", 0)  # a copy needs a sound original
    if needed > train_tiles:
        raise InputError(
            f"synthesize.faults: expected at most as many as there are train tiles, {train_tiles} (copies count "
            f"twice), found {needed}. Plant fewer or make more tiles."
        )


def overlap_table(tiles: TileLoader) -> pa.Table:
    """All overlaps: id_a < id_b, dy and dx = origin of b minus that of a in pixels; sorted by the ids."""
    ids = np.array(tiles.ids)
    rank = np.empty(len(ids), np.int32)
    rank[np.argsort(ids)] = np.arange(len(ids))
    pairs = np.concatenate(tiles.pairs)
    wrong = rank[pairs[:, 0]] > rank[pairs[:, 1]]
    pairs[wrong] = pairs[wrong][:, [1, 0, 2, 3]] * np.array([1, 1, -1, -1])
    pairs = pairs[np.lexsort((rank[pairs[:, 1]], rank[pairs[:, 0]]))]
    names = pa.array(ids)
    columns = {side: names.take(pa.array(pairs[:, k])) for k, side in enumerate(("id_a", "id_b"))}
    return pa.table(columns | {"dy": pairs[:, 2].astype(np.int16), "dx": pairs[:, 3].astype(np.int16)})


def csv(columns: str, rows: list[tuple[str, object]]) -> str:
    """CSV text of rows sorted by id; ids and values need no quotes."""
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
) -> dict[str, list[str]]:
    """Make an archive and what is true of it.

    archive: zip with `train/ID.tif`, `test/ID.tif`, `train_labels.csv`, `sample_submission.csv`.
    truth: CSV `id,label` of all test tiles.
    overlaps: Parquet id_a, id_b, dy, dx of all pairs of tiles that share pixels, whatever their files hold: a fault
        changes a file, not where its tile lay. A copy lies where its original does.
    slides: CSV `id,slide` of all train tiles.
    `faults.json` beside the truth: the ids that got each fault; returned too.
    overlapping: share of tiles that share pixels with another.
    faults: how many train tiles get which fault, of FAULTS. `train_tiles` includes them. Copies have ids that are
        not the SHA-1 of their pixels, bad labels are 2 and empty in turn.
    Raises InputError for settings of which no archive can be made.
    """
    check_settings(train_tiles, test_tiles, train_slides, test_slides, overlapping, faults)
    copies = faults.get("duplicate_content", 0)
    kinds = np.repeat(list(FAULTS), [faults.get(kind, 0) for kind in FAULTS])
    fault_rng = np.random.default_rng([seed, 0])
    numbers = fault_rng.permutation(train_tiles - copies)[: len(kinds)].tolist()
    with atomic_write(archive) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as file:
        made = Archive(
            file,
            Painter(np.random.default_rng([seed, 1])),
            overlapping,
            fault_rng,
            dict(zip(numbers, kinds.tolist(), strict=True)),
            {kind: [] for kind in FAULTS if faults.get(kind)},
        )
        tiles = made.tiles
        for stream, split, count, parts in (
            (2, "train", train_tiles - copies, train_slides),
            (3, "test", test_tiles, test_slides),
        ):
            for part, share in enumerate(share_out(np.random.default_rng([seed, stream]), count, parts)):
                made.add_slide(split, f"{split}-{part:03d}", share, np.random.default_rng([seed, stream, part]))
            log.info("%s: %d slides, %d tiles in all so far.", split, parts, len(tiles.ids))
        train = range(train_tiles)
        test = range(train_tiles, train_tiles + test_tiles)
        labels: dict[str, object] = {tiles.ids[k]: tiles.labels[k] for k in train}
        labels |= {key: "2" if k % 2 == 0 else "" for k, key in enumerate(made.planted.get("bad_label", []))}
        made.store("train_labels.csv", csv("id,label", list(labels.items())).encode())
        made.store("sample_submission.csv", csv("id,label", [(tiles.ids[k], 0) for k in test]).encode())
        file.filelist.sort(key=lambda entry: entry.filename)
    for path, text in (
        (truth, csv("id,label", [(tiles.ids[k], tiles.labels[k]) for k in test])),
        (slides, csv("id,slide", [(tiles.ids[k], tiles.slides[k]) for k in train])),
    ):
        with atomic_write(path) as temporary:
            temporary.write_text(text)
    with atomic_write(overlaps) as temporary:
        pq.write_table(overlap_table(tiles), temporary)
    write_json(Path(truth).with_name("faults.json"), made.planted)
    log.info(
        "%.1f %% positive, %.1f %% overlapping.",
        100 * tiles.positives / len(tiles.ids),
        100 * tiles.overlapping / len(tiles.ids),
    )
    return made.planted


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    synthesize(
        Path(snakemake.output.archive),
        Path(snakemake.output.truth),
        Path(snakemake.output.overlaps),
        Path(snakemake.output.slides),
        **snakemake.params.settings,
    )
