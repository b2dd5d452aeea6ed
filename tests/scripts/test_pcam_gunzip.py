"""Unpacking PatchCamelyon's tiles: the exact content, or one error for a damaged file."""

import gzip

import numpy as np
import pytest

from histo.errors import InputError
from pcam_gunzip import pcam_gunzip
from support.pcam import gzipped


def test_the_content_is_unpacked(tmp_path):
    content = gzipped(x=np.arange(96 * 96 * 3, dtype=np.uint8).reshape(1, 96, 96, 3))
    (tmp_path / "x.h5.gz").write_bytes(content)
    pcam_gunzip(tmp_path / "x.h5.gz", tmp_path / "x.h5")
    assert (tmp_path / "x.h5").read_bytes() == gzip.decompress(content)


def test_damaged_files_are_refused(tmp_path):
    content = gzipped(x=np.zeros((3, 96, 96, 3), np.uint8))
    for damaged in (content[:-9], content[:-8] + bytes(8), b"<html>"):
        (tmp_path / "x.h5.gz").write_bytes(damaged)
        with pytest.raises(InputError, match=r"x\.h5\.gz: expected a complete gzip file, found a damaged one"):
            pcam_gunzip(tmp_path / "x.h5.gz", tmp_path / "x.h5")
        assert not (tmp_path / "x.h5").exists()
