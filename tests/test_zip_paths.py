from pathlib import Path

from histo.zip_paths import split_zip_path


def test_a_path_is_split_at_an_archive_that_exists(tmp_path):
    archive = tmp_path / "a.ZIP"
    archive.write_bytes(b"")
    assert split_zip_path(archive / "test" / "deep") == (archive, "test/deep")
    assert split_zip_path(archive) == (archive, "")
    (tmp_path / "folder.zip").mkdir()
    assert split_zip_path(tmp_path / "folder.zip" / "test") == (tmp_path / "folder.zip" / "test", "")
    assert split_zip_path("b.zip/test") == (Path("b.zip/test"), "")
