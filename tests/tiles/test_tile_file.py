"""Tile files: what was written is read; truncated and damaged files are refused."""

import inspect
import os
import re
import textwrap

import numpy as np
import pytest

from histo.errors import InputError
from histo.tiles import tile_file
from histo.tiles.tile_file import TileFile, writing

FILES = [b"first", b"", b"the third", bytes(range(256)) * 40]


@pytest.fixture
def path(tmp_path):
    """A tile file of FILES, written in another order than theirs."""
    path = tmp_path / "train-0.tiles"
    with writing(path, [len(data) for data in FILES]) as write:
        for number in (3, 0, 2, 1):
            write(number, FILES[number])
    return path


def test_what_was_written_is_read(path):
    files = TileFile(path, len(FILES))
    assert len(files) == len(FILES)
    assert [bytes(files[number]) for number in range(len(files))] == FILES
    assert files.data.tobytes() == b"".join(FILES)
    assert files.offsets.tolist() == [0, 5, 5, 14, 14 + 256 * 40]
    found = []
    for block in files.blocks(3):  # pages are unmapped after each block, and mapped again when read again
        assert [bytes(files[number]) for number in block.numbers] == [bytes(file) for file in block.files()]
        found.append([bytes(file) for file in block.files()])
    assert found == [FILES[:3], FILES[3:]]
    assert [bytes(files[number]) for number in range(len(files))] == FILES


@pytest.mark.parametrize("order", ["ascending", "descending", "in runs"])
def test_neighbours_are_written_together(tmp_path, monkeypatch, order):
    """Whatever the order, each tile lies in its place; runs of neighbours need few writes."""
    tiles = [bytes([number]) * (number * 7 % 50) for number in range(60)]
    numbers = {"ascending": range(60), "descending": range(59, -1, -1), "in runs": [*range(30, 60), *range(30)]}[order]
    writes = []
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda *arguments: writes.append(1) or pwrite(*arguments))
    monkeypatch.setattr(tile_file, "WRITTEN", 500)
    with writing(tmp_path / "a", [len(data) for data in tiles]) as write:
        for number in numbers:
            write(number, tiles[number])
    files = TileFile(tmp_path / "a", 60)
    assert [bytes(files[number]) for number in range(60)] == tiles
    assert len(writes) < (6 if order != "descending" else 62)


def test_short_writes_are_continued(tmp_path, monkeypatch):
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, start: pwrite(file, data[:1000], start))
    with writing(tmp_path / "a", [len(data) for data in FILES]) as write:
        for number, data in enumerate(FILES):
            write(number, data)
    assert TileFile(tmp_path / "a", len(FILES)).data.tobytes() == b"".join(FILES)


def test_the_reader_in_the_docstring_reads_it(path):
    code = re.search(r"    import struct\n.*", inspect.getdoc(tile_file), re.DOTALL)[0]
    namespace = {}
    exec(textwrap.dedent(code), namespace)
    assert namespace["read_tiles"](path) == FILES


def test_a_file_without_tiles(tmp_path):
    with writing(tmp_path / "a", []):
        pass
    assert (tmp_path / "a").read_bytes() == bytes(16)
    files = TileFile(tmp_path / "a", 0)
    assert (len(files), len(files.data), list(files.blocks(32))) == (0, 0, [])


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="tile 0: 3 bytes, got 2"), writing(tmp_path / "a", [3, 4]) as write:
        write(0, b"xy")
    assert list(tmp_path.iterdir()) == []


def offsets(*values: int) -> bytes:
    return np.array(values, "<u8").tobytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a tile file, of at least 16 bytes, found 0 bytes"),
        (b"x" * 15, "of at least 16 bytes, found 15 bytes"),
        (b"abcd" + offsets(0, 2, 4, 2)[:-5], r"expected the 2 tiles of the index, found \d+ tiles .*truncated"),
        (b"abcd" + offsets(0, 2, 4, 1), "expected the 2 tiles of the index, found 1 tiles"),
        (b"abcd" + offsets(0, 2, 4, 3), "expected the 2 tiles of the index, found 3 tiles"),
        (offsets(4, 2), "expected 3 offsets, found a file of 16 bytes"),
        (b"abcd" + offsets(0, 5, 4, 2), "expected offsets in ascending order from 0 to 4"),
        (b"abcd" + offsets(0, 2**63, 4, 2), "expected offsets in ascending order"),
        (b"abcd" + offsets(1, 2, 4, 2), "expected offsets in ascending order"),
        (b"abc" + offsets(0, 2, 4, 2), "expected offsets in ascending order from 0 to 3"),
    ],
)
def test_damaged_files_are_refused(tmp_path, content, message):
    (tmp_path / "a.tiles").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.tiles: .*{message}.*Delete the file and run again\."):
        TileFile(tmp_path / "a.tiles", 2)


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(InputError, match=r"no such file\. Run the stage that writes it"):
        TileFile(tmp_path / "a.tiles", 2)
