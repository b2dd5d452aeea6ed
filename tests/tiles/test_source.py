"""The source of the tiles: a folder is listed and read like an archive, and trusted as little."""

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from histo.errors import InputError
from histo.tiles.source import count_tiles, how_to_restore, list_entries, open_source
from histo.tiles.zip_archive import DamagedEntry


@pytest.fixture
def folder(archive, tmp_path) -> Path:
    """The extracted archive."""
    return archive.extract(tmp_path / "extracted")


def read_all(path: Path) -> dict[str, bytes]:
    """Return the content of all entries by name."""
    with open_source(path) as read:
        return {name: read(entry) for name, entry in list_entries(path).items()}


def test_folder_and_archive_have_the_same_entries(archive, folder, tmp_path):
    expected = archive.files | {name: text.encode() for name, text in archive.tables.items()}
    assert read_all(folder) == read_all(archive.write(tmp_path / "archive.zip")) == expected


def test_tiles_are_counted_without_checks(archive, folder, tmp_path):
    path = archive.write(tmp_path / "archive.zip")
    assert count_tiles(path) == len(archive.files)
    assert count_tiles(folder) == len(archive.files) + 2  # the headers of the tables
    path.write_bytes(b"no zip")
    assert count_tiles(path) == count_tiles(tmp_path / "none") == 0


def test_entries_of_a_folder_have_a_size_only(archive, folder):
    name = f"train/{archive.train[0]}.tif"
    entry = list_entries(folder)[name]
    assert (entry.name, entry.size, entry.compressed) == (name, 27935, 27935)
    assert (entry.offset, entry.crc, entry.method) == (0, 0, zipfile.ZIP_STORED)


def test_other_files_are_ignored(archive, folder):
    (folder / "train" / "deeper").mkdir()
    (folder / "train" / "deeper" / f"{'e' * 40}.tif").write_bytes(b"x")
    (folder / "notes.csv").symlink_to("/etc/passwd")
    (folder / "train" / "Thumbs.db").write_bytes(b"x")
    assert set(list_entries(folder)) == {*archive.files, *archive.tables}


def test_links_inside_the_folder_count_as_their_targets(archive, folder, tmp_path):
    objects = folder / "objects"
    (folder / "train").rename(objects)
    (folder / "train").mkdir()
    for path in objects.iterdir():
        (folder / "train" / path.name).symlink_to(f"../objects/{path.name}")
    link = tmp_path / "link"
    link.symlink_to(folder)  # the folder itself may be a link, too
    tile = f"train/{archive.train[0]}.tif"
    assert read_all(link)[tile] == archive.files[tile]


def removed(path: Path) -> Path:
    path.unlink()
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tile: removed(tile).symlink_to("/etc/passwd"), "found a link that leads out of it, to '/etc/passwd'"),
        (lambda tile: removed(tile).symlink_to("none.tif"), "found a broken link"),
        (lambda tile: removed(tile).symlink_to(tile.name), "found a broken link"),
        (lambda tile: os.mkfifo(removed(tile)), "expected a file, found a pipe or a device"),
        (lambda tile: removed(tile).mkdir(), "expected a file, found a folder"),
        (lambda tile: os.truncate(tile, 1 << 30), "expected at most 16,777,216 bytes, found 1,073,741,824"),
    ],
    ids=["leads out", "broken link", "circular link", "pipe", "folder", "too large"],
)
def test_entries_that_are_not_regular_files_are_rejected(
    archive, folder, change: Callable[[Path], object], message: str
):
    change(folder / f"train/{archive.train[0]}.tif")
    with pytest.raises(InputError, match=message):
        list_entries(folder)


def test_a_folder_of_tiles_outside_is_rejected(folder, tmp_path):
    (folder / "train").rename(tmp_path / "elsewhere")
    (folder / "train").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="'train': expected a folder, found a link that leads out of it"):
        list_entries(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_missing_permissions_are_reported(archive, folder):
    (folder / "train").chmod(0)
    with pytest.raises(InputError, match="train cannot be read"):
        list_entries(folder)
    (folder / "train").chmod(0o700)
    (folder / f"train/{archive.train[0]}.tif").chmod(0)
    with pytest.raises(DamagedEntry, match=r"cannot be read \(Permission denied\)"):
        read_all(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tile: tile.write_bytes(b"short"), "expected 27,935 bytes, found 5"),
        (lambda tile: tile.write_bytes(bytes(30000)), "expected 27,935 bytes, found more than 27,935"),
        (lambda tile: tile.unlink(), "cannot be read"),
        (lambda tile: removed(tile).symlink_to("/etc/passwd"), "is now a link that leads out of the folder"),
        (lambda tile: os.mkfifo(removed(tile)), "is no longer a regular file"),
    ],
    ids=["shorter", "longer", "missing", "leads out", "pipe"],
)
def test_a_file_that_changed_after_it_was_listed_is_damaged(
    archive, folder, change: Callable[[Path], object], message: str
):
    tile = f"train/{archive.train[0]}.tif"
    entry = list_entries(folder)[tile]
    change(folder / tile)
    with open_source(folder) as read, pytest.raises(DamagedEntry, match=message):
        read(entry)


def test_a_missing_source_is_reported(folder):
    shutil.rmtree(folder)
    message = "expected the archive or folder that was indexed, found nothing"
    with pytest.raises(InputError, match=message), open_source(folder):
        pass


def test_how_to_restore(folder, tmp_path):
    assert how_to_restore(folder) == "Fix the folder, then run with `--forcerun index`."
    assert how_to_restore(tmp_path / "archive.zip") == "Get the archive again."
