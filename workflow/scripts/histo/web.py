"""Asking a web server for a file, with every failure put into words."""

from urllib.parse import urlsplit

import requests

from histo import competition
from histo.competition import TooManyRequests, Unreachable, duration, retry_after
from histo.credentials import scrub
from histo.errors import InputError


def ask(url: str, setting: str) -> requests.Response:
    """Ask for a file; returns the answer with its body unread. InputError in words for everything else.

    setting: the one that holds the address, for the messages.
    """
    host = urlsplit(url).hostname
    headers = {"Accept-Encoding": "identity"}
    try:
        response = requests.get(url, headers=headers, stream=True, timeout=competition.SILENCE)
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
