"""Download of PatchCamelyon's files from a server on loopback: complete and verified, or one error and a resume."""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from histo.errors import InputError
from pcam_download import pcam_download
from support.file_server import FileServer

NAME = "camelyonpatch_level_2_split_train_x.h5.gz"
CONTENT = b"\x1f\x8b" + random.Random(1).randbytes(299_998)
MD5 = hashlib.md5(CONTENT).hexdigest()
CUT = 200_000
AT = CUT  # all bytes of a broken connection count


@pytest.fixture
def server(loopback) -> Iterator[FileServer]:
    with FileServer({NAME: CONTENT}) as running:
        yield running


@dataclass
class Case:
    """A download into the folder of one test."""

    folder: Path
    server: FileServer

    def run(self, **settings) -> None:
        values = {"address": self.server.address, "md5": MD5} | settings
        pcam_download(self.file, results=self.folder / "results", **values)

    @property
    def file(self) -> Path:
        return self.folder / "resources" / NAME

    def kept(self) -> int:
        """Return the number of bytes of the partial download."""
        part = self.folder / "resources" / f"{NAME}.download" / "archive.part"
        return part.stat().st_size if part.exists() else 0

    def ranges(self) -> list[str | None]:
        """Return the Range headers of all requests."""
        return [asked for _, asked in self.server.requests]


@pytest.fixture
def case(tmp_path, server) -> Case:
    return Case(tmp_path, server)


def test_complete_file_in_one_request(case):
    case.run(md5=MD5.upper())
    assert case.file.read_bytes() == CONTENT
    assert case.ranges() == [None]
    case.file.unlink()  # as Snakemake does before it runs a rule again
    case.run()
    assert case.file.read_bytes() == CONTENT
    assert case.ranges() == [None]  # no further request: the kept file has the expected MD5


@dataclass
class Fault:
    """A fault of the server, and what follows from it."""

    name: str
    faults: dict[str, Any]  # attributes of the server
    message: str = ""  # of the error; empty: the download succeeds
    kept: int = 0  # bytes of the partial download
    then: list[str | None] = field(default_factory=lambda: [None])  # Range headers of the next run
    ranges: list[str | None] | None = None  # Range headers of this run; None: not checked


HTML = b"<html>sign in to the guest network</html>"
FAULTS = [
    Fault("cut once", {"cut_after": [CUT]}, kept=len(CONTENT), then=[], ranges=[None, None, f"bytes={AT}-"]),
    Fault(
        "cut again and again",
        {"cut_after": [CUT] + [-1, 0] * 6},
        "5 connections in a row added nothing",
        AT,
        [None, f"bytes={AT}-"],
    ),
    Fault(
        "no ranges",
        {"cut_after": [CUT], "ranges": False},
        kept=len(CONTENT),
        then=[],
        ranges=[None, None, f"bytes={AT}-"],
    ),
    Fault(
        "cut short without a length",
        {"cut_after": [CUT], "content_length": False},
        kept=len(CONTENT),
        then=[],
        ranges=[None, None, f"bytes={CUT}-"],
    ),
    Fault(
        "wrong bytes",
        {"files": {NAME: CONTENT[:-1] + b"?"}},
        r"expected a file with the MD5 .*\(pcam_download\.md5\), found",
    ),
    Fault("a web page", {"files": {NAME: HTML}}, "Expected a gzip file from"),
    Fault("no such file", {"files": {}}, r"answers HTTP 404\. Check `pcam_download\.address`"),
    Fault("refused", {"status": [(403, {})]}, "answers HTTP 403"),
    Fault("too many requests", {"status": [(429, {"Retry-After": "90"})]}, "HTTP 429.*Wait 1 min 30 s"),
    Fault("trouble at the server", {"status": [(503, {})]}, "server error .HTTP 503.*Run again"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault(case, fault):
    for name, value in fault.faults.items():
        setattr(case.server, name, value)
    if fault.message:
        with pytest.raises(InputError, match=fault.message):
            case.run()
    else:
        case.run()
    assert case.file.exists() == (not fault.message)
    assert case.kept() == fault.kept
    assert fault.ranges is None or case.ranges() == fault.ranges

    case.file.unlink(missing_ok=True)
    case.server.files, case.server.cut_after, case.server.ranges = {NAME: CONTENT}, [], True
    case.server.requests.clear()
    case.run()
    assert case.file.read_bytes() == CONTENT
    assert case.ranges() == fault.then


def test_a_partial_download_of_another_file_is_discarded(case):
    """With another MD5 in the settings, the kept bytes are not the beginning of the expected file."""
    case.server.cut_after = [CUT] + [-1, 0] * 6
    with pytest.raises(InputError):
        case.run()
    other = b"\x1f\x8b" + bytes(len(CONTENT) - 2)
    case.server.files, case.server.cut_after = {NAME: other}, []
    case.server.requests.clear()
    case.run(md5=hashlib.md5(other).hexdigest())
    assert case.file.read_bytes() == other
    assert case.ranges() == [None]


def test_server_that_cannot_be_reached(case):
    with pytest.raises(InputError, match=r"127\.0\.0\.1 cannot be reached .*Check the network"):
        case.run(address="http://127.0.0.1:9")


def test_too_little_disk_space(case, monkeypatch):
    monkeypatch.setattr("pcam_download.SPACE_FACTOR", 1e12)
    with pytest.raises(InputError, match=r"Not enough disk space .*the file 300\.00 kB; later results"):
        case.run()
