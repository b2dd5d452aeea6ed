"""Random damage to archives, tables, tiles and answers of a server: refused in one message, or read correctly.

Each case damages one of these at one random position, half of them near the beginning or in the directory of the
archive, and gives it to the code of the workflow:

* archive: index, unzip, validate, pack; each tile without a fault must have the original pixels
* table: index; each label must stand beside its id in the damaged table
* tile: the decoder that has learned the layout of the original; pixels must be those that Pillow reads
* answer: a download; the file must be the original one

An InputError is a refusal. Any other exception, and a case that takes longer than a minute, is a failure.
"""

import hashlib
import io
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measure import ROOT, Report, arguments, machine, peak_mb
from PIL import Image

sys.path.insert(0, str(ROOT / "tests"))

from histo import tables
from histo.errors import InputError
from histo.remote import http, partial_download
from histo.remote.partial_download import PartialDownload, RemoteFile, fetch
from histo.synthetic.tiff import tiff
from histo.tiles.decoding import Decoder
from histo.tiles.shards import Shard
from index import index
from support.archives import Archive
from support.damage import damage
from support.file_server import FileServer
from support.stages import Results

CASES = {"archive": 300, "table": 500, "tile": 800, "answer": 400}
LIMIT = 60  # seconds of a case
CONTENT = b"\x1f\x8b" + bytes(range(256)) * 100


def damaged_archive(random: np.random.Generator, folder: Path) -> bool:
    """Return whether all accepted tiles of a damaged archive are right."""
    archive = Archive(random, train=4, test=2)
    path = archive.write(folder / "archive.zip")
    data = path.read_bytes()
    directory = data.index(b"PK\1\2")
    whole = random.random() < 0.5
    path.write_bytes(damage(data, random) if whole else data[:directory] + damage(data[directory:], random))
    results = Results(path, folder / "results", 1, 1).prepare()
    right = True
    for split, validation in zip(("train", "test"), results.validations(), strict=True):
        faults = tables.read(validation, tables.VALIDATION).set_index("id")["fault"]
        shard = Shard(results.packed(split)[0])
        for name, image in zip(shard.ids, shard.images, strict=True):
            right &= faults[name] != "" or np.array_equal(image, archive.pixels[name])
    return right


def damaged_table(random: np.random.Generator, folder: Path) -> bool:
    """Return whether all labels of a damaged table are those that stand in it."""
    archive = Archive(random, train=6, test=3)
    name = str(random.choice(list(archive.tables)))
    table = damage(archive.tables[name].encode(), random)
    archive.tables[name] = table  # type: ignore[assignment]
    output = folder / "index.parquet"
    index(archive.write(folder / "archive.zip"), output, folder / "sample.csv", train_shards=1, test_shards=1)
    text = table.decode() if name == "train_labels.csv" else archive.tables["train_labels.csv"]
    rows = tables.read(output, tables.INDEX)
    labelled = rows[(rows["split"] == "train") & (rows["label"] >= 0)]
    stated = [re.search(rf'{row.id}"?[ \t]*,[ \t"]*{row.label}', text, re.I) for row in labelled.itertuples()]
    return all(stated) and not rows["id"].duplicated().any()


def damaged_tile(random: np.random.Generator, folder: Path) -> bool:
    """Return whether a damaged tile has the pixels that Pillow reads, or a fault."""
    pixels = random.integers(0, 256, (96, 96, 3), dtype=np.uint8)
    decoder = Decoder()
    decoder.decode(tiff(pixels))
    data = damage(tiff(pixels), random)
    found = decoder.decode(data)
    if found.fault:
        raise InputError(found.detail)
    with Image.open(io.BytesIO(data)) as image:
        return np.array_equal(np.asarray(image), found.pixels)


def damaged_answer(random: np.random.Generator, folder: Path) -> bool:
    """Return whether a download from a server with damaged answers is the file."""
    head = f'HTTP/1.1 200 OK\r\nContent-Length: {len(CONTENT)}\r\nETag: "1"\r\nAccept-Ranges: bytes\r\n\r\n'
    part = f"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 9000-{len(CONTENT) - 1}/{len(CONTENT)}\r\n\r\n"
    answers = [damage(head.encode(), random) + CONTENT, head.encode() + damage(CONTENT, random)]
    answers += [damage(part.encode(), random) + CONTENT[9000:]]

    def verify(download: PartialDownload) -> None:
        if hashlib.md5(download.path.read_bytes()).digest() != hashlib.md5(CONTENT).digest():
            raise InputError("another MD5")

    with FileServer({}) as server:
        server.answer = lambda file, requested: file.write(answers[int(random.integers(3))])
        origin = RemoteFile(
            connect=lambda: http.get(f"{server.address}/file.gz", "section.address"),
            host="127.0.0.1", page=server.address, noun="file", kind="gzip file", magic=b"\x1f\x8b",
            looks_complete=lambda path: path.stat().st_size == len(CONTENT), expansion=0, digest="MD5 known",
        )  # fmt: skip
        fetch(folder / "file.gz", origin, folder / "results", verify)
    return (folder / "file.gz").read_bytes() == CONTENT


KINDS: dict[str, Callable[[np.random.Generator, Path], bool]] = {
    "archive": damaged_archive, "table": damaged_table, "tile": damaged_tile, "answer": damaged_answer
}  # fmt: skip


def hang(*_: object) -> None:
    raise TimeoutError(f"no end within {LIMIT} s")


def run(kind: str, seed: int) -> str:
    """Return what happened in one case: refused, correct, wrong, or the name of an exception."""
    with tempfile.TemporaryDirectory() as folder:
        signal.alarm(LIMIT)
        try:
            return "correct" if KINDS[kind](np.random.default_rng(seed), Path(folder)) else "wrong"
        except InputError:
            return "refused"
        except Exception as error:
            print(f"{kind}, seed {seed}: {type(error).__name__}: {error}", file=sys.stderr)
            return "failed"
        finally:
            signal.alarm(0)


def main() -> None:
    options = arguments(__doc__).parse_args()
    signal.signal(signal.SIGALRM, hang)
    partial_download.PAUSE, http.TIMEOUT = 0.001, 2
    title = "hostile: damaged archives, tables, tiles and answers of a server"
    report = Report(__file__, title, machine("pillow", "requests"), options.smoke)
    rows, handled, total = [], 0, 0
    for kind, count in CASES.items():
        found: Counter[str] = Counter()
        longest = 0.0
        for seed in range(count // 100 if options.smoke else count):
            begun = time.perf_counter()
            found[run(kind, seed)] += 1
            longest = max(longest, time.perf_counter() - begun)
        cells = [found[name] for name in ("refused", "correct", "wrong", "failed")]
        handled, total = handled + sum(cells[:2]), total + sum(cells)
        rows.append([kind, sum(cells), *cells, f"{longest:.2f}"])
    report.table(["damaged", "cases", "refused", "correct", "wrong", "failed", "longest, s"], rows)
    report.add(f"Peak memory of the process: {peak_mb():.0f} MB.")
    report.ratio("hostile_handled", handled / total)
    report.close()


if __name__ == "__main__":
    main()
