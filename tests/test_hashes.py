"""Checksums of files, compared with published test vectors."""

import pytest

from histo.hashes import file_md5, file_sha256

VECTORS = {
    # RFC 1321 (MD5), FIPS 180-4 (SHA-256)
    b"": (
        "d41d8cd98f00b204e9800998ecf8427e",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ),
    b"abc": (
        "900150983cd24fb0d6963f7d28e17f72",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    ),
    b"a" * 1_000_000: (
        "7707d6ae4e027c70eea2a935c2296f21",
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
    ),
}


@pytest.mark.parametrize(("content", "digests"), VECTORS.items(), ids=lambda value: "")
def test_digests(tmp_path, content, digests):
    path = tmp_path / "file"
    path.write_bytes(content)
    assert (file_md5(path), file_sha256(path)) == digests


def test_a_missing_file(tmp_path):
    for digest in (file_md5, file_sha256):
        with pytest.raises(FileNotFoundError):
            digest(tmp_path / "none")
