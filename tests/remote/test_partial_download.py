"""Downloads from a server on loopback: resumed, verified, and given their final name."""

import hashlib
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from histo.errors import InputError
from histo.files import read_json, write_json
from histo.remote import partial_download
from histo.remote.http import get
from histo.remote.partial_download import Identity, PartialDownload, RemoteFile, fetch, verify_digest
from support.file_server import FileServer
from support.imports import loaded_modules

CONTENT = b"\x1f\x8b" + random.Random(1).randbytes(299_998)
MD5 = hashlib.md5(CONTENT).hexdigest()
CUT = 200_000
AT = CUT  # all bytes of a broken connection count
NAME = "file.gz"


@pytest.fixture
def server(loopback) -> Iterator[FileServer]:
    with FileServer({NAME: CONTENT}) as running:
        yield running


@pytest.fixture
def part(tmp_path) -> PartialDownload:
    """A partial download with the first 10 bytes of a file of 30."""
    part = PartialDownload(tmp_path / f"{NAME}.download")
    part.open()
    part.restart(Identity(30, "tag"))
    part.append(iter([b"01234", b"56789"]))
    return part


def origin(server: FileServer, **changes) -> RemoteFile:
    values = {
        "connect": lambda: get(f"{server.address}/{NAME}", "section.address"), "host": "127.0.0.1",
        "page": server.address, "noun": "file", "kind": "gzip file", "magic": b"\x1f\x8b",
        "looks_complete": lambda path: hashlib.md5(path.read_bytes()).hexdigest() == MD5, "expansion": 0,
        "digest": f"MD5 {MD5}",
    }  # fmt: skip
    return RemoteFile(**values | changes)


def download(server: FileServer, target: Path, **changes) -> None:
    def verify(part: PartialDownload) -> None:
        verify_digest(part, "MD5", MD5, "section.md5", "")

    fetch(target, origin(server, **changes), target.parent / "results", verify)


def test_no_download_imports_kaggle():
    names = loaded_modules("histo.remote.http", "histo.remote.partial_download", "imagenet_weights", "pcam_download")
    assert not {"kaggle", "kagglesdk", "histo.remote.kaggle"} & names
    assert "kaggle" not in loaded_modules("histo.remote.kaggle")  # importing the client signs in


def test_resumed_and_published(server, tmp_path):
    server.cut_after = [CUT]
    target = tmp_path / NAME
    download(server, target)
    assert target.read_bytes() == CONTENT
    assert server.requests == [(NAME, None), (NAME, None), (NAME, f"bytes={AT}-")]
    assert os.path.samefile(target, tmp_path / f"{NAME}.download" / "archive.part")


def test_published_without_hard_links(server, tmp_path, monkeypatch):
    def refuse(*paths):
        raise OSError("no hard links")

    monkeypatch.setattr(os, "link", refuse)
    download(server, tmp_path / NAME)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_the_final_name_appears_after_verification(server, tmp_path):
    seen = []
    fetch(
        tmp_path / NAME,
        origin(server),
        tmp_path,
        lambda part: seen.append((part.received, list(tmp_path.glob("*.gz")))),
    )
    assert seen == [(len(CONTENT), [])]
    assert (tmp_path / NAME).exists()


def test_connections_that_add_nothing(server, tmp_path):
    server.cut_after = [CUT] + [-1, 0] * 6
    message = (
        r"stopped at 200\.00 kB of 300\.00 kB, and 5 connections in a row added nothing or too little\. "
        rf"Last error: The connection broke .*kept in .*{NAME}\.download; run again to resume"
    )
    with pytest.raises(InputError, match=message):
        download(server, tmp_path / NAME)
    assert read_json(tmp_path / f"{NAME}.download" / "state.json") == {
        "size": len(CONTENT), "validator": f"MD5 {MD5}", "received": AT,
    }  # fmt: skip


def test_a_first_connection_that_fails_is_not_repeated(server, tmp_path):
    server.status = [(503, {})]
    with pytest.raises(InputError, match=r"server error \(HTTP 503\)"):
        download(server, tmp_path / NAME)
    assert len(server.requests) == 1


def test_another_kind_of_file(server, tmp_path):
    server.files[NAME] = b"<html>sign in</html>"
    message = r"Expected a gzip file from 127\.0\.0\.1, found something else \(no content type\).*open http://127"
    with pytest.raises(InputError, match=message):
        download(server, tmp_path / NAME)


def test_wrong_digest_deletes_the_bytes(server, tmp_path):
    server.files[NAME] = wrong = CONTENT[:-1] + b"?"
    found = hashlib.md5(wrong).hexdigest()
    message = (
        rf"^file\.gz: expected a file with the MD5 {MD5} \(section\.md5\), found {found}\. The 300\.00 kB received "
        r"have been deleted, since none of them can be trusted\. Run again to download them again\.$"
    )
    with pytest.raises(InputError, match=message):
        download(server, tmp_path / NAME)
    assert [path.name for path in (tmp_path / f"{NAME}.download").iterdir()] == ["state.json"]


def test_disk_space(server, tmp_path):
    message = (
        r"Not enough disk space in .*: .* are needed \(the file 300\.00 kB; later results 300000\.00 GB\), .* are free"
    )
    with pytest.raises(InputError, match=message):
        download(server, tmp_path / NAME, expansion=1e9)


def test_sigterm_keeps_the_bytes(server, tmp_path, monkeypatch):
    def stop(*values):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(partial_download, "REPORT", 0.0)
    monkeypatch.setattr(partial_download.log, "info", lambda text, *values: "/s" in text and stop())
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(InputError, match=r"Interrupted\. [\d.]+ kB of the file are kept in .*the next run resumes"):
        download(server, tmp_path / NAME)
    assert signal.getsignal(signal.SIGTERM) == before


def test_write_error(server, tmp_path):
    (tmp_path / "resources").write_text("a file where a folder is expected")
    with pytest.raises(InputError, match=r"Cannot read or write in .*resources/file\.gz\.download \("):
        download(server, tmp_path / "resources" / NAME)


@pytest.mark.parametrize(
    ("identity", "same"),
    [
        (Identity(30, "tag"), True),
        (Identity(None, "tag"), True),  # an unknown size fits
        (Identity(30, "other"), False),
        (Identity(31, "tag"), False),
        (Identity(30, None), False),
        (Identity(None, None), False),
    ],
)
def test_identity(part, identity, same):
    assert part.is_of(identity) is same


def test_more_bytes_than_the_file_has(part):
    part.identity = Identity(None, "tag")
    assert part.is_of(Identity(10, "tag"))
    assert not part.is_of(Identity(9, "tag"))


@pytest.mark.parametrize(
    ("headers", "identity"),
    [
        ({"Content-Length": "30", "ETag": '"tag"', "Last-Modified": "date"}, Identity(30, '"tag"')),
        ({"Content-Length": "30", "ETag": 'W/"tag"', "Last-Modified": "date"}, Identity(30, "date")),
        ({"Content-Length": "30", "Content-Encoding": "gzip"}, Identity(None, None)),
    ],
)
def test_identity_of_a_response(server, headers, identity):
    response = requests.Response()
    response.headers.update(headers)
    assert Identity.of(response, origin(server, digest=None)) == identity
    assert Identity.of(response, origin(server)).validator == f"MD5 {MD5}"


def opened(part: PartialDownload) -> PartialDownload:
    """The same partial download as the next run opens it."""
    other = PartialDownload(part.folder)
    other.open()
    return other


def test_the_next_run_finds_the_state(part):
    assert (opened(part).identity, opened(part).received) == (Identity(30, "tag"), 10)


def test_bytes_after_the_last_sync_are_cut_off(part):
    with open(part.path, "ab") as file:
        file.write(b"garbage")
    assert opened(part).received == 10
    assert part.path.read_bytes() == b"0123456789"


@pytest.mark.parametrize("state", ["not JSON", "{}", "[]"])
def test_an_unusable_state_is_ignored(part, state):
    (part.folder / "state.json").write_text(state)
    assert (opened(part).identity, opened(part).received) == (Identity(None, None), 0)


def test_fewer_bytes_than_the_state_says(part):
    write_json(part.folder / "state.json", {"size": 30, "validator": "tag", "received": 11})
    assert opened(part).received == 0


def test_completeness(part, server):
    assert not part.is_complete(origin(server))
    part.append(iter([bytes(20)]))
    assert part.is_complete(origin(server))
    part.identity = Identity(None, "tag")
    assert part.is_complete(origin(server, looks_complete=lambda path: path.stat().st_size == 30))
    assert not part.is_complete(origin(server, looks_complete=lambda path: False))


def test_restart_does_not_change_a_hard_link(part, tmp_path):
    os.link(part.path, tmp_path / NAME)
    part.restart(Identity(5, "new"))
    part.append(iter([b"other"]))
    assert (tmp_path / NAME).read_bytes() == b"0123456789"
    assert (opened(part).identity, opened(part).received) == (Identity(5, "new"), 5)


def test_bytes_before_an_error_count(part):
    def chunks():
        yield b"abc"
        raise requests.ConnectionError

    with pytest.raises(requests.ConnectionError):
        part.append(chunks())
    assert opened(part).received == 13
    assert part.path.read_bytes() == b"0123456789abc"


def test_bytes_that_are_written_when_an_interrupt_arrives_count(part):
    """The interrupt arrives between a write and its count."""
    interrupts = [KeyboardInterrupt]

    class Interrupted(PartialDownload):
        def __setattr__(self, name, value):
            if name == "received" and value == 15 and interrupts:
                raise interrupts.pop()
            super().__setattr__(name, value)

    interrupted = Interrupted(part.folder)
    interrupted.open()
    with pytest.raises(KeyboardInterrupt):
        interrupted.append(iter([b"abcde", b"fghij"]))
    assert interrupted.received == opened(part).received == 15
    assert part.path.read_bytes() == b"0123456789abcde"
