"""Requests for files from a server on loopback: the response, or an error that says what to do."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import requests

from histo.errors import InputError
from histo.remote.http import RetryableError, TooManyRequests, get, retry_after
from support.file_server import FileServer

SETTING = "section.address"


@pytest.fixture
def server(loopback) -> Iterator[FileServer]:
    with FileServer({"a.bin": b"content"}) as running:
        yield running


def test_the_body_is_not_read_yet(server):
    with get(f"{server.address}/a.bin", SETTING) as response:
        assert not response._content_consumed
        assert response.content == b"content"


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (
            404,
            InputError,
            r"/a\.bin: 127\.0\.0\.1 answers HTTP 404\. Check `section\.address`: the file may have moved",
        ),
        (403, InputError, r"answers HTTP 403"),
        (500, RetryableError, r"has a server error \(HTTP 500\)\. Run again in a few minutes"),
        (429, TooManyRequests, r"received too many requests \(HTTP 429\)\. Wait some minutes, then run again"),
    ],
)
def test_other_statuses(server, status, kind, message):
    server.status = [(status, {})]
    with pytest.raises(InputError, match=message) as error:
        get(f"{server.address}/a.bin", SETTING)
    assert error.type is kind


def test_too_many_requests_with_a_time(server):
    server.status = [(429, {"Retry-After": "90"})]
    with pytest.raises(TooManyRequests, match=r"Wait 1 min 30 s, then run again") as error:
        get(f"{server.address}/a.bin", SETTING)
    assert error.value.wait == 90


def test_no_server(loopback):
    with pytest.raises(RetryableError) as error:
        get("http://127.0.0.1:9/a.bin", SETTING)
    assert error.value.reason.startswith("127.0.0.1 cannot be reached (ConnectionError: ")
    for advice in ("Check the network, and https_proxy", "download the file elsewhere and save it under its name."):
        assert advice in str(error.value)


def test_password_and_signature_are_not_shown(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://user:password@127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(
        RetryableError, match=r"cannot be reached \(ProxyError: .*http://server\.invalid/a\.bin\?\*\*\*"
    ) as error:
        get("http://server.invalid/a.bin?Sig=12345", SETTING)
    assert "password" not in str(error.value) and "12345" not in str(error.value)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/a.bin", "http://"])
def test_an_address_that_is_none(url):
    with pytest.raises(InputError, match=r"expected the address of a file .*Correct `section\.address`"):
        get(url, SETTING)


@pytest.mark.parametrize(("value", "seconds"), [("120", 120.0), ("-5", 0.0), ("", None), ("soon", None)])
def test_retry_after_in_seconds(value, seconds):
    response = requests.Response()
    response.headers["Retry-After"] = value
    assert retry_after(response) == seconds


def test_retry_after_as_a_date():
    response = requests.Response()
    response.headers["Retry-After"] = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert 95 < retry_after(response) <= 100
