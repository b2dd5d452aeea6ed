"""A Kaggle competition, spoken to through the official client, with every failure put into words.

The only module that imports `kaggle`. What it takes care of, because the client (2.2.4) does not:

* importing the client signs in, and without credentials prints a help text to standard output: the import is guarded,
  and what was looked for and found is said in one message;
* the client sets no time limit on a request, so that a silent server holds it for ever: every request gets one;
* an access token that Kaggle no longer accepts still shadows a good key: this is said instead of a bare HTTP 401;
* with `VERBOSE` set it prints its headers, the key among them; urllib3 logs signed addresses: neither happens here;
* a failed upload is an answer without a reference, not an error.
"""

import contextlib
import functools
import io
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import requests

from histo.errors import InputError
from histo.formatting import duration
from histo.remote import http
from histo.remote.credentials import TOKENS, Place, how_to_sign_in, places, scrub
from histo.remote.http import TooManyRequests, Unreachable, retry_after

PAGE = 100  # submissions asked for at a time
PAGES = 50  # at most, should the server keep answering the same

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Submission:
    """One line of the competition's list of what this account has sent."""

    reference: int
    time: str | None  # UTC, ISO 8601
    file: str
    description: str
    status: str  # "pending", "complete" or "error"
    public: float | None
    private: float | None
    error: str


class _Scrubbing(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = scrub(record.getMessage()), ()
        return True


@functools.cache
def _guard_requests() -> None:
    """Give every request of the process a time limit, and keep headers and signed addresses out of its output."""
    for name in ("VERBOSE", "VERBOSE_OUTPUT"):
        os.environ.pop(name, None)
    logging.getLogger("urllib3.connectionpool").addFilter(_Scrubbing())
    send = requests.adapters.HTTPAdapter.send

    @functools.wraps(send)
    def limited(self, request, stream=False, timeout=None, **settings):
        return send(self, request, stream=stream, timeout=timeout or http.SILENCE, **settings)

    requests.adapters.HTTPAdapter.send = limited


@contextlib.contextmanager
def _client_output() -> Iterator[io.StringIO]:
    """Catch what the client prints; a warning of its own goes on to the log."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            yield printed
    finally:
        for line in printed.getvalue().splitlines():
            if line.startswith("Warning"):
                log.warning("%s", scrub(line))


class Competition:
    """A competition as the signed-in account sees it. Every method raises InputError, `Unreachable` where waiting may
    help, with what to do; no message holds a secret."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.source = "no place"  # where the credentials in use come from
        self._api = self._sign_in()

    def archive(self) -> requests.Response:
        """The answer of Kaggle's storage to a request for the whole archive, its body not yet read."""
        from kagglesdk.competitions.types.competition_api_service import ApiDownloadDataFilesRequest

        request = ApiDownloadDataFilesRequest()
        request.competition_name = self.name
        with self._in_words("asking for the archive"):
            # Not as a context manager: leaving it would close the session, and the body is read after.
            kaggle = self._api.build_kaggle_client()
            response = kaggle.competitions.competition_api_client.download_data_files(request)
        return response

    def send(self, file: Path, description: str) -> int:
        """Upload a submission and return Kaggle's reference of it."""
        with self._in_words("sending the submission") as printed:
            answer = self._api.competition_submit(str(file), description, self.name, quiet=True)
        if not answer.ref:
            said = " ".join(scrub(printed.getvalue()).split())[-300:]
            detail = f" ({said})" if said else ""
            raise Unreachable(
                f"{file} was not accepted by Kaggle: the answer has no reference and says "
                f'"{scrub(answer.message or "nothing")}"{detail}. Nothing was submitted.'
            )
        return answer.ref

    def submissions(self) -> list[Submission]:
        """What this account has sent so far, newest first."""
        found: dict[int, Submission] = {}
        for page in range(1, PAGES + 1):
            with self._in_words("asking for the list of submissions"):
                answer = self._api.competition_submissions(self.name, page_number=page, page_size=PAGE) or []
            new = [_submission(one) for one in answer if one is not None and one.ref not in found]
            found |= {one.reference: one for one in new}
            if not new:
                break
        return sorted(found.values(), key=lambda one: (one.time or "", one.reference), reverse=True)

    def _sign_in(self):
        _guard_requests()
        before = places()
        try:
            with _client_output():
                import kaggle
        except (ImportError, OSError) as error:
            raise InputError(
                f"The kaggle client cannot be loaded ({type(error).__name__}: {scrub(str(error))}). Where the home "
                "folder cannot be written, set KAGGLE_CONFIG_DIR to one that can; else rebuild the environment."
            ) from None
        api = kaggle.api
        if not api._authenticated:  # once more, to learn why
            self.source = next((place.name for place in before if place.found), self.source)
            with self._in_words("signing in"):
                try:
                    api.authenticate()
                except SystemExit as end:
                    if end.code != 1:  # not the client's
                        raise
                    self._no_credentials(before)
        method = api.config_values.get(api.CONFIG_NAME_AUTH_METHOD, "")
        tokens = [place for place in before if place.found and place.is_token]
        others = [place for place in before if place.found and not place.is_token]
        if "ACCESS_TOKEN" in method:
            self.source = tokens[0].name
        elif tokens:
            raise InputError(
                f"Kaggle no longer accepts the token in {tokens[0].name} (expired, revoked or mistyped), but the "
                f"client would use it all the same instead of {others[0].name if others else 'others'}. Remove it, or "
                f"replace it by a new one from {TOKENS}."
            )
        elif "OAUTH" in method:
            self.source = str(Path("~/.kaggle/credentials.json").expanduser())
        elif not api.config_values.get(api.CONFIG_NAME_KEY):  # the client takes an empty variable for a key
            self._no_credentials(before)
        else:
            self.source = others[0].name if others else "KAGGLE_USERNAME, KAGGLE_KEY and kaggle.json together"
        log.info("signed in to Kaggle with the credentials of %s", self.source)
        return api

    @staticmethod
    def _no_credentials(found: list[Place]) -> None:
        looked = "; ".join(f"{place.name}: {place.state}" for place in found)
        refused = [place.name for place in found if place.found]
        if refused:
            raise InputError(
                f"Kaggle does not accept the credentials in {refused[0]} (expired, revoked or mistyped). "
                f"{how_to_sign_in()}"
            ) from None
        raise InputError(f"No Kaggle credentials found. {how_to_sign_in()} Looked at: {looked}.") from None

    @contextlib.contextmanager
    def _in_words(self, doing: str) -> Iterator[io.StringIO]:
        """Turn what the client raises while `doing` something into InputError; yields what the client prints."""
        with _client_output() as printed:
            try:
                yield printed
            except InputError:
                raise
            except requests.HTTPError as error:
                raise self._http_error(error, doing) from None
            except (requests.ConnectionError, requests.Timeout) as error:
                raise Unreachable(
                    f"Kaggle cannot be reached while {doing} ({type(error).__name__}: {scrub(str(error))[:200]}).",
                    "Check the network, and https_proxy where one is needed. Computing nodes often have no way out: "
                    "run this step on a machine that has one.",
                ) from None
            except requests.RequestException as error:
                raise Unreachable(f"Kaggle's answer while {doing} makes no sense: {scrub(str(error))[:200]}.") from None
            except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
                raise InputError(
                    f"The kaggle client failed while {doing} ({type(error).__name__}: {scrub(str(error))[:200]}). "
                    "Kaggle may have changed its answers: try a newer version of the package kaggle."
                ) from None

    def _http_error(self, error: requests.HTTPError, doing: str) -> InputError:
        response = error.response
        code = response.status_code
        said = ""
        with contextlib.suppress(requests.RequestException, ValueError, AttributeError):
            answer = response.json()
            code = answer.get("code", code) if code < 400 else code
            said = scrub(str(answer.get("message", "")))[:300]
        said = f', "{said}"' if said else ""
        if response.history and code != 429:  # the storage that Kaggle sent us on to
            return Unreachable(f"Kaggle's storage answered HTTP {code} while {doing}.")
        page = f"https://www.kaggle.com/competitions/{self.name}"
        if code == 401:
            return InputError(f"Kaggle refuses the credentials in {self.source} (HTTP 401{said}). {how_to_sign_in()}")
        if code == 403:
            return InputError(
                f"Kaggle refuses access to the competition {self.name!r} (HTTP 403 while {doing}{said}). Most likely "
                f"its rules are not accepted yet: open {page}/rules, signed in with the same account, and accept them. "
                "A wrong name gets the same answer: it is the last part of the competition's address, such as "
                f"histopathologic-cancer-detection. The credentials in use are those of {self.source}."
            )
        if code == 404:
            return InputError(
                f"Kaggle knows no competition {self.name!r} (HTTP 404 while {doing}{said}). Its name is the last part "
                "of its address, such as histopathologic-cancer-detection."
            )
        if code == 429:
            wait = retry_after(response)
            when = "about 15 minutes, Kaggle does not say" if wait is None else duration(wait)
            until = "" if wait is None else f", until {datetime.now() + timedelta(seconds=wait):%H:%M:%S}"
            return TooManyRequests(
                f"Kaggle has had too many requests from this account (HTTP 429 while {doing}{said}). Wait {when}"
                f"{until}, then run again: it goes on from what is already there.",
                wait,
            )
        if code >= 500:
            return Unreachable(f"Kaggle has trouble of its own (HTTP {code} while {doing}{said}).")
        return InputError(f"Kaggle answered HTTP {code} while {doing} for the competition {self.name!r}{said}.")


def _submission(one) -> Submission:
    return Submission(
        reference=one.ref,
        time=one.date.isoformat(timespec="seconds") + "Z" if one.date else None,
        file=one.file_name or "",
        description=one.description or "",
        status=one.status.name.lower(),
        public=_score(one.public_score),
        private=_score(one.private_score),
        error=scrub(one.error_description or ""),
    )


def _score(text: str | None) -> float | None:
    """Scores come as text, empty where there is none."""
    try:
        return float(text) if text else None
    except ValueError:
        return None
