"""Access to a Kaggle competition through the official client; every failure becomes an InputError that says what to do.

The only module that imports `kaggle`. It works around these properties of the client (2.2.4):

* The import signs in, and without credentials it prints a help text and exits. Here, one message lists the sources of
  credentials and what was found in each.
* Requests have no timeout, so a silent server blocks the client for ever. Here, every request has one.
* An access token that Kaggle no longer accepts takes precedence over a valid key, and the client reports only HTTP 401.
  Here, the message names the token.
* With `VERBOSE` set, the client prints its headers, which contain the key, and urllib3 logs signed addresses. Here,
  both are suppressed.
* A failed upload gives a response without a reference, and no error.
"""

import contextlib
import functools
import io
import logging
import math
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import requests

from histo.errors import InputError
from histo.formatting import duration
from histo.remote import http
from histo.remote.credentials import TOKEN_PAGE, CredentialSource, credential_sources, scrub, sign_in_help
from histo.remote.http import RetryableError, TooManyRequests, connection_error, retry_after

PAGE_SIZE = 100  # submissions per request
MOST_PAGES = 50  # a limit for the case that the server repeats a page

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Submission:
    """A submission of this account to the competition, as Kaggle lists it."""

    reference: int
    time: str | None  # UTC, ISO 8601
    file: str
    description: str
    status: str  # "pending", "complete" or "error"
    public: float | None
    private: float | None
    error: str


class _ScrubFilter(logging.Filter):
    """Remove credentials from log records."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = scrub(record.getMessage()), ()
        return True


@functools.cache
def _guard_requests() -> None:
    """Set a timeout for every request of the process, and keep headers and signed addresses out of its output."""
    for name in ("VERBOSE", "VERBOSE_OUTPUT"):
        os.environ.pop(name, None)
    logging.getLogger("urllib3.connectionpool").addFilter(_ScrubFilter())
    send = requests.adapters.HTTPAdapter.send

    @functools.wraps(send)
    def send_with_timeout(
        self: requests.adapters.HTTPAdapter,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        **options: Any,
    ) -> requests.Response:
        return send(self, request, stream=stream, timeout=timeout or http.TIMEOUT, **options)

    requests.adapters.HTTPAdapter.send = send_with_timeout  # type: ignore[method-assign,assignment]

    target = requests.Session.get_redirect_target

    @functools.wraps(target)
    def checked_target(self: requests.Session, resp: requests.Response) -> str | None:
        return http.check_redirect(resp, target(self, resp))

    requests.Session.get_redirect_target = checked_target  # type: ignore[method-assign,assignment]


@contextlib.contextmanager
def _client_output() -> Iterator[io.StringIO]:
    """Capture what the client prints, and log its warnings."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            yield printed
    finally:
        for line in printed.getvalue().splitlines():
            if line.startswith("Warning"):
                log.warning("%s", scrub(line))


class Competition:
    """A competition, accessed with the account whose credentials are found.

    Every method raises InputError with what to do: RetryableError where the same call may succeed later,
    TooManyRequests for HTTP 429. No message contains a credential.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.source = "an unknown source"  # of the credentials in use
        self._api = self._sign_in()

    def archive(self) -> requests.Response:
        """Request the complete archive; returns the response of Kaggle's storage with its body unread."""
        from kagglesdk.competitions.types.competition_api_service import ApiDownloadDataFilesRequest

        request = ApiDownloadDataFilesRequest()
        request.competition_name = self.name
        with self._explain_errors("requesting the archive"):
            # Not a context manager: its end would close the session before the body is read.
            client = self._api.build_kaggle_client()
            response: requests.Response = client.competitions.competition_api_client.download_data_files(request)
        return response

    def send(self, file: Path, description: str) -> int:
        """Upload a submission; returns its reference at Kaggle.

        RetryableError: whether Kaggle received it is unknown. Any other InputError: nothing was submitted.
        """
        with self._explain_errors("sending the submission") as printed:
            response = self._api.competition_submit(str(file), description, self.name, quiet=True)
        if not response.ref:
            output = " ".join(scrub(printed.getvalue()).split())[-300:]
            detail = f" ({output})" if output else ""
            raise InputError(
                f"Kaggle did not accept {file}: its response has no reference and the message "
                f'"{scrub(response.message or "")}"{detail}. Nothing was submitted: run again in a few minutes.'
            )
        return int(response.ref)

    def submissions(self) -> list[Submission]:
        """All submissions of this account, newest first."""
        found: dict[int, Submission] = {}
        for page in range(1, MOST_PAGES + 1):
            with self._explain_errors("requesting the list of submissions"):
                listed = self._api.competition_submissions(self.name, page_number=page, page_size=PAGE_SIZE) or []
                new = [_submission(item) for item in listed if item is not None and item.ref not in found]
            found |= {submission.reference: submission for submission in new}
            if not new:
                break
        return sorted(found.values(), key=lambda item: (item.time or "", item.reference), reverse=True)

    def _sign_in(self) -> Any:
        """Import the client, which signs in; returns its API object and sets `source`."""
        _guard_requests()
        sources = credential_sources()
        for source in sources:
            if source.is_token and source.found and len(source.secrets[-1].split()) > 1:
                raise InputError(f"{source.name}: expected an access token, found text with spaces or line breaks. "
                                 f"Copy the token again, as one line. {sign_in_help()}")  # fmt: skip
        try:
            with _client_output():
                import kaggle
        except (ImportError, OSError) as error:
            raise InputError(
                f"The kaggle client cannot be imported ({type(error).__name__}: {scrub(str(error))}). If the home "
                "folder is not writable, set KAGGLE_CONFIG_DIR to a folder that is; otherwise rebuild the environment."
            ) from None
        api = kaggle.api
        if not api._authenticated:  # again, to see the error that the import hides
            self.source = next((source.name for source in sources if source.found), self.source)
            with self._explain_errors("signing in"):
                try:
                    api.authenticate()
                except SystemExit as end:
                    if end.code != 1:  # the client's status; any other comes from elsewhere
                        raise
                    self._refuse_credentials(sources)
        method = api.config_values.get(api.CONFIG_NAME_AUTH_METHOD, "")
        tokens = [source for source in sources if source.found and source.is_token]
        others = [source for source in sources if source.found and not source.is_token]
        if "ACCESS_TOKEN" in method:
            self.source = tokens[0].name
            _warn_of_readers(self.source)
        elif tokens:
            raise InputError(
                f"Kaggle does not accept the token in {tokens[0].name} (expired, revoked or mistyped), but the client "
                f"uses it instead of {others[0].name if others else 'other credentials'}. Remove it, or replace it by "
                f"a new one from {TOKEN_PAGE}."
            )
        elif "OAUTH" in method:
            self.source = str(Path("~/.kaggle/credentials.json").expanduser())
        elif not api.config_values.get(api.CONFIG_NAME_KEY):  # the client accepts an empty variable as a key
            self._refuse_credentials(sources)
        else:
            self.source = others[0].name if others else "KAGGLE_USERNAME, KAGGLE_KEY and kaggle.json together"
        log.info("signed in to Kaggle with the credentials of %s", self.source)
        return api

    @staticmethod
    def _refuse_credentials(sources: list[CredentialSource]) -> NoReturn:
        """Raise InputError: the credentials are invalid, or there are none."""
        states = "; ".join(f"{source.name}: {source.state}" for source in sources)
        refused = [source.name for source in sources if source.found]
        if refused:
            raise InputError(
                f"Kaggle does not accept the credentials in {refused[0]} (expired, revoked or mistyped). "
                f"{sign_in_help()}"
            ) from None
        raise InputError(f"No Kaggle credentials found. {sign_in_help()} Searched: {states}.") from None

    @contextlib.contextmanager
    def _explain_errors(self, doing: str) -> Iterator[io.StringIO]:
        """Convert exceptions of the client into InputError; yields what the client prints. doing: for the messages."""
        with _client_output() as printed:
            try:
                yield printed
            except InputError:
                raise
            except requests.HTTPError as error:
                raise self._http_error(error, doing) from None
            except http.UNREACHABLE as error:
                raise connection_error(f"Kaggle cannot be reached while {doing}", error) from None
            except requests.RequestException as error:
                raise RetryableError(
                    f"Kaggle sent an invalid response while {doing}: {scrub(str(error))[:200]}."
                ) from None
            except (KeyError, TypeError, ValueError, AttributeError, OSError, RecursionError) as error:
                raise InputError(
                    f"The kaggle client failed while {doing} ({type(error).__name__}: {scrub(str(error))[:200]}). "
                    "Kaggle may have changed its API: try a newer version of the package kaggle."
                ) from None

    def _http_error(self, error: requests.HTTPError, doing: str) -> InputError:
        """The InputError for an HTTP status other than success."""
        response = error.response
        code = response.status_code
        message = ""
        with contextlib.suppress(requests.RequestException, ValueError, AttributeError, RecursionError):
            content = response.json()
            stated = content.get("code", code)
            code = stated if code < 400 and isinstance(stated, int) else code
            message = scrub(str(content.get("message", "")))[:300]
        message = f', "{message}"' if message else ""
        if response.history and code != 429:  # the response of the storage to which Kaggle redirected the request
            return RetryableError(f"Kaggle's storage answered HTTP {code} while {doing}.")
        page = f"https://www.kaggle.com/competitions/{self.name}"
        if code == 401:
            return InputError(
                f"Kaggle does not accept the credentials in {self.source} (HTTP 401{message}). {sign_in_help()}"
            )
        if code == 403:
            return InputError(
                f"Kaggle refuses access to the competition {self.name!r} (HTTP 403 while {doing}{message}). Most "
                f"likely you have not accepted its rules: open {page}/rules, signed in with the same account, and "
                "accept them. A wrong kaggle.competition gives the same status: the name is the last part of the "
                "competition's address, such as histopathologic-cancer-detection. The credentials in use are those in "
                f"{self.source}."
            )
        if code == 404:
            return InputError(
                f"Kaggle has no competition {self.name!r} (HTTP 404 while {doing}{message}). Correct "
                "kaggle.competition: the name is the last part of the competition's address, such as "
                "histopathologic-cancer-detection."
            )
        if code == 429:
            wait = retry_after(response)
            delay = "about 15 minutes (Kaggle does not state how long)" if wait is None else duration(wait)
            until = "" if wait is None else f", until {datetime.now() + timedelta(seconds=wait):%H:%M:%S}"
            return TooManyRequests(
                f"Kaggle received too many requests from this account (HTTP 429 while {doing}{message}). Wait {delay}"
                f"{until}, then run again: it resumes from what is already there.",
                wait,
            )
        if code >= 500:
            return RetryableError(f"Kaggle has a server error (HTTP {code} while {doing}{message}).")
        return InputError(f"Kaggle answered HTTP {code} while {doing} for the competition {self.name!r}{message}.")


def _warn_of_readers(source: str) -> None:
    """Log a warning if other users can read the file of the token; of kaggle.json the client itself says so."""
    with contextlib.suppress(OSError, ValueError):
        if os.stat(source).st_mode & (stat.S_IRGRP | stat.S_IROTH):
            log.warning("%s can be read by other users of this machine. Run: chmod 600 %s", source, source)


def _submission(item: Any) -> Submission:
    """Convert the client's object."""
    return Submission(
        reference=int(item.ref),
        time=item.date.isoformat(timespec="seconds") + "Z" if item.date else None,
        file=item.file_name or "",
        description=item.description or "",
        status=item.status.name.lower(),
        public=_score(item.public_score),
        private=_score(item.private_score),
        error=scrub(item.error_description or ""),
    )


def _score(text: str | None) -> float | None:
    """Convert a score, which Kaggle sends as text; None where it is empty or not a finite number."""
    try:
        score = float(text) if text else math.nan
    except ValueError:
        return None
    return score if math.isfinite(score) else None
