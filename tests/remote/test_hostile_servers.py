"""Servers on loopback whose answers are wrong, without end or slow: one message, no loop without end, no full disk."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

import pytest
import requests

from histo.errors import InputError
from histo.remote import http, partial_download
from histo.remote.http import LONGEST_WAIT, get, retry_after
from histo.remote.partial_download import RemoteFile, fetch
from support.file_server import FileServer

CONTENT = b"\x1f\x8b" + bytes(range(256)) * 1000
NAME = "file.gz"
HALF = len(CONTENT) // 2


@pytest.fixture
def server(loopback, monkeypatch) -> Iterator[FileServer]:
    monkeypatch.setattr(partial_download, "PAUSE", 0.001)
    with FileServer({NAME: CONTENT}) as running:
        yield running


def download(server: FileServer, folder) -> bytes:
    """Download the file, whose content is not known beforehand; returns it."""
    origin = RemoteFile(
        connect=lambda: get(f"{server.address}/{NAME}", "section.address"),
        host="127.0.0.1",
        page=server.address,
        noun="file",
        kind="gzip file",
        magic=b"\x1f\x8b",
        looks_complete=lambda path: path.stat().st_size == len(CONTENT),
        expansion=0,
        digest="MD5 known",
    )
    fetch(folder / NAME, origin, folder / "results", lambda part: None)
    return (folder / NAME).read_bytes()


def answer(status: str, *headers: str, body: bytes = b"", then: Callable[[BinaryIO], None] | None = None):
    """A response, written as it is, whatever was requested; then: writes more."""

    def write(file: BinaryIO, requested: str | None) -> None:
        file.write("\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode() + body)
        file.flush()
        if then:
            then(file)

    return write


def in_turn(complete, rest):
    """Another answer to a request for the rest of the file."""
    return lambda file, requested: (rest if requested else complete)(file, requested)


def without_end(file: BinaryIO) -> None:
    try:
        for _ in range(2000):
            file.write(bytes(1 << 16))
    except OSError:
        pass


@pytest.mark.parametrize("length", ["abc", "0x10", "-5", "1e3", "5, 6"])
def test_a_size_that_is_none(server, tmp_path, length):
    server.answer = answer("200 OK", f"Content-Length: {length}", body=CONTENT)
    with pytest.raises(InputError, match=r"not a number of bytes|cannot be reached"):
        download(server, tmp_path)
    server.answer = None
    assert download(server, tmp_path) == CONTENT


def test_headers_that_are_none_are_not_logged(server, tmp_path, caplog):
    server.answer = answer("200 OK", f"Content-Length: {len(CONTENT)}", "\x01no header", body=CONTENT)
    with contextlib.suppress(InputError):
        download(server, tmp_path)
    assert "no header" not in caplog.text and "Traceback" not in caplog.text
    server.answer = None
    assert download(server, tmp_path) == CONTENT


@pytest.mark.parametrize(
    "wrong",
    [
        answer("206 Partial Content", f"Content-Range: bytes 7-{len(CONTENT) - 1}/{len(CONTENT)}", body=CONTENT[7:]),
        answer("206 Partial Content", f"Content-Range: bytes {HALF}-{HALF + 9}/{HALF + 10}", body=bytes(10)),
        answer("206 Partial Content", "Content-Type: multipart/byteranges; boundary=x", body=b"--x\r\n"),
        answer("206 Partial Content", "Content-Range: rubbish", body=CONTENT[HALF:]),
        answer("416 Range Not Satisfiable", f"Content-Range: bytes */{len(CONTENT)}"),
    ],
    ids=["another start", "another total", "multipart", "no range", "416"],
)
def test_a_server_that_never_continues(server, tmp_path, wrong):
    """It sends half of the file, and something else when asked for the rest: that is not asked without end."""
    half = answer("200 OK", f"Content-Length: {len(CONTENT)}", body=CONTENT[:HALF])
    server.answer = in_turn(half, wrong)
    with pytest.raises(InputError, match="5 connections in a row added nothing"):
        download(server, tmp_path)
    assert len(server.requests) < 30
    server.answer = None
    assert download(server, tmp_path) == CONTENT


@pytest.mark.parametrize("known", [True, False], ids=["size known", "size unknown"])
def test_a_body_without_end(server, tmp_path, monkeypatch, known):
    monkeypatch.setattr(partial_download, "MOST_UNSTATED", 2 * len(CONTENT))
    start = answer("200 OK", f"Content-Length: {len(CONTENT)}", body=CONTENT[:HALF])
    endless = answer("200 OK", body=CONTENT[:HALF], then=without_end)
    server.answer = in_turn(start, endless) if known else endless
    with pytest.raises(InputError, match="sends more than the"):
        download(server, tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*")) < 3 * len(CONTENT)
    server.answer = None
    assert download(server, tmp_path) == CONTENT


def test_single_bytes(server, tmp_path, monkeypatch, caplog):
    """Each byte resets the timeout of the connection; there is a line of progress, and an end."""
    monkeypatch.setattr(partial_download, "SLOW", (2.0, 1000))
    monkeypatch.setattr(partial_download, "REPORT", 0.2)
    caplog.set_level(logging.INFO)

    def whole(file: BinaryIO, requested: str | None) -> None:
        start = int(requested.removeprefix("bytes=").rstrip("-"))
        of = f"Content-Range: bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
        answer("206 Partial Content", of, f"Content-Length: {len(CONTENT) - start}", body=CONTENT[start:])(file, None)

    def drip(file: BinaryIO) -> None:
        try:
            for byte in CONTENT:
                file.write(bytes([byte]))
                file.flush()
                time.sleep(0.05)
        except OSError:
            pass

    server.answer = in_turn(answer("200 OK", f"Content-Length: {len(CONTENT)}", then=drip), whole)
    assert download(server, tmp_path) == CONTENT
    lines = [record.getMessage() for record in caplog.records]
    assert any("bytes of 256.00 kB" in line and "/s" in line for line in lines)
    assert any(line.startswith("The server sent ") and "Resuming at" in line for line in lines)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("never", None), ("1000000000000", LONGEST_WAIT), ("inf", None), ("nan", None), ("1e400", None), ("-1", 0.0),
     ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_WAIT), ("Fri, 99 Foo 99999", None)],
)  # fmt: skip
def test_a_wait_that_nobody_waits(value, seconds):
    response = requests.Response()
    response.headers["Retry-After"] = value
    assert retry_after(response) == seconds


def redirect(url: str, location: str) -> requests.Response:
    """The response of a redirect from `url` to `location`."""
    response = requests.Response()
    response.url, response.status_code = url, 302
    response.headers["Location"] = location
    return response


@pytest.fixture
def resolved(loopback, monkeypatch) -> None:
    """Names are resolved without a name server: those of private.example to 10.0.0.7, others to 8.8.8.8."""
    addresses = {"localhost": "127.0.0.1", "private.example": "10.0.0.7"}

    def getaddrinfo(host, *_, **__):
        return [(2, 1, 6, "", (addresses.get(host, "8.8.8.8"), 0))]

    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(http.socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize(
    ("url", "location", "refused"),
    [
        ("https://a.example/x", "http://b.example/y", True),
        ("https://a.example/x", "file:///etc/passwd", True),
        ("https://a.example/x", "/y", False),
        ("https://a.example/x", "https://b.example/y", False),
        ("http://a.example/x", "http://b.example/y", False),
    ],
)
def test_a_redirect_never_leaves_https(url, location, refused, resolved):
    response = redirect(url, location)
    with http._Session() as session:
        if refused:
            with pytest.raises(InputError, match="expected a redirect to an https address"):
                session.get_redirect_target(response)
        else:
            assert session.get_redirect_target(response) == location


@pytest.mark.parametrize(
    ("url", "location", "refused"),
    [
        ("https://a.example/x", "https://169.254.169.254/latest/meta-data", True),
        ("https://a.example/x", "https://private.example/y", True),
        ("http://a.example/x", "http://localhost:8080/y", True),
        ("http://a.example/x", "http://[::1]/y", True),
        ("http://a.example/x", "http://[fe80::1]/y", True),
        ("http://8.8.8.8/x", "//192.168.0.1/y", True),
        ("http://a.example/x", "http://b.example/y", False),
        ("http://127.0.0.1:81/x", "http://localhost:82/y", False),
        ("http://private.example/x", "http://10.1.1.1/y", False),
        ("http://private.example/x", "http://a.example/y", False),
    ],
)
def test_a_public_server_does_not_redirect_into_a_private_network(url, location, refused, resolved):
    response = redirect(url, location)
    with http._Session() as session:
        if refused:
            with pytest.raises(InputError, match="expected a redirect to a public address, found "):
                session.get_redirect_target(response)
        else:
            assert session.get_redirect_target(response) == location


def test_names_are_left_to_a_proxy(resolved, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    location = "https://private.example/y"
    with http._Session() as session:
        assert session.get_redirect_target(redirect("https://a.example/x", location)) == location
