"""Asking a web server for a file, with every failure put into words."""

from datetime import datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import requests

from histo.errors import InputError
from histo.formatting import duration
from histo.remote.credentials import scrub

SILENCE = 60  # seconds without a byte after which a connection counts as cut


class Unreachable(InputError):
    """Kaggle or its storage cannot be reached, or has trouble of its own: the same request may succeed later.

    `reason` is the message without the advice, for those who try again themselves.
    """

    def __init__(self, reason: str, advice: str = "Run again in a few minutes.") -> None:
        super().__init__(f"{reason} {advice}".rstrip())
        self.reason = reason


class TooManyRequests(InputError):
    """HTTP 429. `wait`: seconds that Kaggle asks for, None where it does not say."""

    def __init__(self, message: str, wait: float | None) -> None:
        super().__init__(message)
        self.wait = wait


def retry_after(response: requests.Response) -> float | None:
    """Seconds that the answer asks to wait (header Retry-After: seconds or a date), None where it does not say."""
    value = response.headers.get("Retry-After", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (moment - datetime.now(moment.tzinfo)).total_seconds())


def ask(url: str, setting: str) -> requests.Response:
    """Ask for a file; returns the answer with its body unread. InputError in words for everything else.

    setting: the one that holds the address, for the messages.
    """
    host = urlsplit(url).hostname
    headers = {"Accept-Encoding": "identity"}
    try:
        response = requests.get(url, headers=headers, stream=True, timeout=SILENCE)
    except (requests.ConnectionError, requests.Timeout) as error:
        raise Unreachable(
            f"{host} cannot be reached ({type(error).__name__}: {scrub(str(error))[:200]}).",
            "Check the network, and https_proxy where one is needed. Computing nodes often have no way out: run this "
            "step on a machine that has one, or fetch the file elsewhere and put it under its name.",
        ) from None
    except (requests.RequestException, ValueError) as error:
        raise InputError(f"{url}: not an address to fetch from ({error}). Check `{setting}`.") from None
    code = response.status_code
    if code == 200:
        return response
    response.close()
    if code == 429:
        wait = retry_after(response)
        when = "some minutes" if wait is None else duration(wait)
        raise TooManyRequests(f"{host} has had too many requests (HTTP 429). Wait {when}, then run again.", wait)
    if code >= 500:
        raise Unreachable(f"{host} has trouble of its own (HTTP {code}).")
    raise InputError(f"{url}: {host} answers HTTP {code}. Check `{setting}`: the files may have moved.")
