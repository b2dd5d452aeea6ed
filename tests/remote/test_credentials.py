"""Sources of Kaggle credentials, and their removal from text."""

import base64
import json
import os
from pathlib import Path

import pytest

from histo.remote.credentials import CredentialSource, credential_sources, scrub, sign_in_help


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """An empty home folder, and no environment variable of Kaggle."""
    for name in ("API_TOKEN", "API_V1_TOKEN", "KERNEL_RUN_TYPE", "USERNAME", "KEY", "CONFIG_DIR"):
        monkeypatch.delenv(f"KAGGLE_{name}", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def source(name: object) -> CredentialSource:
    [found] = [candidate for candidate in credential_sources() if candidate.name == str(name)]
    return found


def test_order_is_that_of_the_client(home):
    assert [(item.name, item.found) for item in credential_sources()] == [
        ("KAGGLE_API_TOKEN", False),
        (str(home / ".kaggle" / "access_token"), False),
        (str(home / ".kaggle" / "access_token.txt"), False),
        ("KAGGLE_USERNAME and KAGGLE_KEY", False),
        (str(home / ".config" / "kaggle" / "kaggle.json"), False),
        (str(home / ".kaggle" / "credentials.json"), False),
    ]


def test_token_in_the_environment(home, monkeypatch):
    assert source("KAGGLE_API_TOKEN").state == "not set"
    monkeypatch.setenv("KAGGLE_API_TOKEN", "secret-token")
    assert source("KAGGLE_API_TOKEN") == CredentialSource("KAGGLE_API_TOKEN", True, "set", ("secret-token",), True)
    path = write(home / "mine", "other-token\n")
    monkeypatch.setenv("KAGGLE_API_TOKEN", str(path))
    assert source("KAGGLE_API_TOKEN").secrets == (str(path), "other-token")


def test_token_of_a_kaggle_notebook_comes_first(home, monkeypatch):
    path = write(home / "token", "notebook-token")
    monkeypatch.setenv("KAGGLE_API_V1_TOKEN", str(path))
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    assert credential_sources()[0] == CredentialSource(str(path), True, "found", ("notebook-token",), True)


def test_token_in_a_file(home):
    path = home / ".kaggle" / "access_token"
    assert source(path).state == "not found"
    write(path, "\n")
    assert (source(path).found, source(path).state) == (False, "empty")
    write(path, "secret-token\n")
    assert source(path) == CredentialSource(str(path), True, "found", ("secret-token",), True)
    path.write_bytes(b"\xff\xfe")
    assert source(path).state == "cannot be read (UnicodeDecodeError)"


def test_user_and_key_in_the_environment(home, monkeypatch):
    name = "KAGGLE_USERNAME and KAGGLE_KEY"
    monkeypatch.setenv("KAGGLE_USERNAME", "tester")
    assert (source(name).found, source(name).state) == (False, "only one is set")
    monkeypatch.setenv("KAGGLE_KEY", "secret-key")
    basic = base64.b64encode(b"tester:secret-key").decode()
    assert source(name) == CredentialSource(name, True, "set", ("secret-key", basic))


def test_kaggle_json(home, monkeypatch):
    path = write(home / ".kaggle" / "kaggle.json", '{"username": "tester"}')
    assert source(path).state == 'found, but it is not JSON with "username" and "key"'
    write(path, json.dumps({"username": "tester", "key": "secret-key"}))
    assert source(path).found and not source(path).is_token
    assert source(path).secrets == ("secret-key", base64.b64encode(b"tester:secret-key").decode())
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(home / "own"))
    assert source(home / "own" / "kaggle.json").state == "not found"


def test_oauth(home):
    path = write(home / ".kaggle" / "credentials.json", json.dumps({"refresh_token": "one", "access_token": "two"}))
    assert source(path) == CredentialSource(str(path), True, "found", ("one", "two"))


def test_scrub(home, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "secret")
    monkeypatch.setenv("KAGGLE_USERNAME", "tester")
    monkeypatch.setenv("KAGGLE_KEY", "secret-key")  # contains another secret: the longer one is replaced first
    basic = base64.b64encode(b"tester:secret-key").decode()
    assert scrub(f"a secret-key, a secret and Basic {basic}") == "a ***, a *** and Basic ***"
    assert scrub("http://user:password@proxy:8080 refused") == "http://***@proxy:8080 refused"
    assert scrub("GET http://host/files/a.zip?Sig=123&e=4 failed") == "GET http://host/files/a.zip?*** failed"
    assert scrub("nothing to hide?") == "nothing to hide?"


def test_sign_in_help_names_every_way():
    for part in ("https://www.kaggle.com/settings/api", "KAGGLE_API_TOKEN", "make demo", "dataset.source: archive"):
        assert part in sign_in_help()


def test_a_token_with_a_line_break_is_shown_in_no_form(home, monkeypatch):
    token = "KGAT_0123456789\nfedcba9876543210"
    monkeypatch.setenv("KAGGLE_API_TOKEN", token)
    for text in (token, repr(f"Bearer {token}"), token.splitlines()[0], token.splitlines()[1]):
        assert not {"KGAT_0123456789", "fedcba9876543210"} & set(scrub(text).replace("'", " ").split()), text
        assert "0123456789" not in scrub(text) and "fedcba" not in scrub(text)


def test_a_user_without_a_home_folder(home, monkeypatch):
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert [item.found for item in credential_sources()] == [False] * 6
    assert scrub("text") == "text"
