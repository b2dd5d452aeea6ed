"""`Competition` with the real kaggle client, as a process: sign-in, and errors of Kaggle's API."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.kaggle_client import BY_KEY, Client, last_line
from support.kaggle_server import COMPETITION, KEY, TOKEN, USER, Faults, KaggleServer

# Prints the source of the credentials and the number of submissions.
PROGRAM = """
import sys
from types import SimpleNamespace
from histo import job
from histo.remote import http
from histo.remote.kaggle import Competition
http.TIMEOUT = 5.0
job.start(SimpleNamespace(log=["logs/kaggle.log"], threads=1))
competition = Competition(sys.argv[1])
print(len(competition.submissions()), "submissions with", competition.source)
"""

TOKEN_PAGE = "https://www.kaggle.com/settings/api"
EXPIRED = {"KAGGLE_API_TOKEN": "KGAT_" + "e" * 32}
KAGGLE_JSON = json.dumps({"username": USER, "key": KEY})
OAUTH = {
    "refresh_token": "refresh",
    "access_token": TOKEN,
    "access_token_expiration": "2126-01-01T00:00:00+00:00",
    "username": USER,
}


@pytest.fixture
def client(tmp_path) -> Iterator[Client]:
    with KaggleServer() as server:
        yield Client(tmp_path, server, PROGRAM)


# Environment variables and files in the home folder; the source of the credentials; the scheme of the requests.
SIGN_IN = {
    "KAGGLE_API_TOKEN": ({"KAGGLE_API_TOKEN": TOKEN}, {}, "KAGGLE_API_TOKEN", "Bearer"),
    "path in KAGGLE_API_TOKEN": ({"KAGGLE_API_TOKEN": "{home}/mine"}, {"mine": TOKEN}, "KAGGLE_API_TOKEN", "Bearer"),
    "access_token": ({}, {".kaggle/access_token": TOKEN + "\n"}, "{home}/.kaggle/access_token", "Bearer"),
    "KAGGLE_USERNAME and KAGGLE_KEY": (BY_KEY, {}, "KAGGLE_USERNAME and KAGGLE_KEY", "Basic"),
    "~/.kaggle/kaggle.json": ({}, {".kaggle/kaggle.json": KAGGLE_JSON}, "{home}/.kaggle/kaggle.json", "Basic"),
    "~/.config/kaggle/kaggle.json": (
        {}, {".config/kaggle/kaggle.json": KAGGLE_JSON}, "{home}/.config/kaggle/kaggle.json", "Basic"
    ),
    "KAGGLE_CONFIG_DIR": (
        {"KAGGLE_CONFIG_DIR": "{home}/own"}, {"own/kaggle.json": KAGGLE_JSON}, "{home}/own/kaggle.json", "Basic"
    ),
    "OAuth": ({}, {".kaggle/credentials.json": json.dumps(OAUTH)}, "{home}/.kaggle/credentials.json", "Bearer"),
}  # fmt: skip


@pytest.mark.parametrize("way", SIGN_IN)
def test_sign_in(client: Client, way: str) -> None:
    environment, files, source, scheme = SIGN_IN[way]
    home = client.home
    for name, text in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
        (home / name).chmod(0o600)
    status, output = client.run({name: value.format(home=home) for name, value in environment.items()}, COMPETITION)
    assert status == 0, output
    assert last_line(output) == f"0 submissions with {source.format(home=home)}"
    [header] = [authorization for _, path, _, authorization in client.server.requests if path.endswith("Submissions")]
    assert header and header.startswith(scheme)


REFUSED = {
    "no credentials": ({}, ["No Kaggle credentials found", TOKEN_PAGE, "KAGGLE_API_TOKEN: not set"]),
    "one of two variables": (
        {"KAGGLE_USERNAME": USER},
        ["No Kaggle credentials found", "KAGGLE_USERNAME and KAGGLE_KEY: only one is set"],
    ),
    "an empty key": (
        {"KAGGLE_USERNAME": USER, "KAGGLE_KEY": ""},
        ["No Kaggle credentials found", "KAGGLE_USERNAME and KAGGLE_KEY: only one is set"],
    ),
    "a wrong key": (
        {"KAGGLE_USERNAME": USER, "KAGGLE_KEY": "f" * 32},
        ["does not accept the credentials in KAGGLE_USERNAME and KAGGLE_KEY (HTTP 401", TOKEN_PAGE],
    ),
    "an expired token": (
        EXPIRED,
        ["does not accept the credentials in KAGGLE_API_TOKEN (expired, revoked or mistyped)", TOKEN_PAGE],
    ),
    "an expired token and a valid key": (
        EXPIRED | BY_KEY,
        [
            "does not accept the token in KAGGLE_API_TOKEN (expired",
            "uses it instead of KAGGLE_USERNAME and KAGGLE_KEY. Remove it",
        ],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_credentials(client: Client, case: str) -> None:
    environment, messages = REFUSED[case]
    status, output = client.run(environment, COMPETITION)
    assert status == 1
    for text in messages:
        assert text in last_line(output)


def test_unusable_kaggle_json_is_named(client: Client) -> None:
    path = client.home / ".kaggle" / "kaggle.json"
    path.parent.mkdir()
    path.write_text('{"username": "tester"}')
    status, output = client.run({}, COMPETITION)
    assert status == 1
    assert f'{path}: found, but it is not JSON with "username" and "key"' in last_line(output)


def test_verbose_client_prints_no_secret(client: Client) -> None:
    status, output = client.run({"VERBOSE": "true", "KAGGLE_API_TOKEN": TOKEN}, COMPETITION)  # run() searches
    assert status == 0, output


def test_home_folder_that_is_not_writable(client: Client) -> None:
    status, output = client.finish(client.start(BY_KEY, COMPETITION, home=Path("/proc/nobody")))
    assert status == 1
    assert "The kaggle client cannot be imported" in last_line(output)
    assert "set KAGGLE_CONFIG_DIR" in last_line(output)


def test_no_network(client: Client) -> None:
    status, output = client.run(BY_KEY | {"http_proxy": "http://127.0.0.1:9"}, COMPETITION)
    assert status == 1
    assert "Kaggle cannot be reached while requesting the list of submissions (ProxyError: " in last_line(output)
    assert "Check the network, and https_proxy" in last_line(output)
    assert last_line(output).endswith("run this step on a machine that has it.")


# HTTP status, message and headers of Kaggle's response; parts of the error.
STATUSES = {
    "rules not accepted": (
        (403, {}, "You must accept this competition's rules"),
        [
            "HTTP 403 while requesting the list of submissions, \"You must accept this competition's rules\"",
            f"open https://www.kaggle.com/competitions/{COMPETITION}/rules",
            "A wrong kaggle.competition gives the same status",
            "The credentials in use are those in KAGGLE_USERNAME and KAGGLE_KEY.",
        ],
    ),
    "no such competition": ((404, {}, "no"), [f"has no competition '{COMPETITION}'", "Correct kaggle.competition"]),
    "too many requests": (
        (429, {"Retry-After": "5400"}, "Too many requests"),
        ["HTTP 429", "Wait 1 h 30 min, until ", "then run again"],
    ),
    "too many requests, no time": ((429, {}, "no"), ["Wait about 15 minutes (Kaggle does not state how long), then"]),
    "server error": ((500, {}, "no"), ["Kaggle has a server error (HTTP 500", "Run again in a few minutes"]),
    "another status": ((400, {}, "no"), ["HTTP 400 while requesting the list of submissions for the competition"]),
}  # fmt: skip


@pytest.mark.parametrize("case", STATUSES)
def test_http_status(client: Client, case: str) -> None:
    (code, headers, text), messages = STATUSES[case]
    client.server.faults = Faults(status={"ListSubmissions": [(code, headers, text)]})
    status, output = client.run(BY_KEY, COMPETITION)
    assert status == 1
    for message in messages:
        assert message in last_line(output)


def test_a_token_of_two_lines_is_refused_before_it_is_sent(client: Client) -> None:
    status, output = client.run({"KAGGLE_API_TOKEN": TOKEN[:20] + "\n" + TOKEN[20:]}, COMPETITION)
    assert status == 1
    assert "KAGGLE_API_TOKEN: expected an access token, found text with spaces or line breaks" in output
    assert TOKEN[:20] not in output and TOKEN[20:] not in output
    assert client.server.requests == []


@pytest.mark.parametrize(("mode", "mentioned"), [(0o644, True), (0o600, False)])
def test_a_token_that_others_can_read_is_mentioned(client: Client, mode: int, mentioned: bool) -> None:
    path = client.home / ".kaggle" / "access_token"
    path.parent.mkdir()
    path.write_text(TOKEN)
    path.chmod(mode)
    status, output = client.run({}, COMPETITION)
    assert status == 0, output
    assert (f"{path} can be read by other users of this machine. Run: chmod 600" in output) == mentioned
