"""HTTP requests for files; every failure becomes an InputError that says what to do."""

import ipaddress
import logging
import math
import socket
from datetime import datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from histo.errors import InputError
from histo.formatting import duration
from histo.remote.credentials import scrub

# Of headers against the rules it logs a traceback with all that the server sent.
logging.getLogger("urllib3.connection").setLevel(logging.ERROR)

TIMEOUT = 60  # seconds without a byte after which a connection counts as broken
LONGEST_WAIT = 7 * 86_400.0  # seconds; a server that asks for more is not believed
# What a broken connection or a header against the rules raises; requests passes on some errors of urllib3.
UNREACHABLE = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.InvalidHeader,
    urllib3.exceptions.HTTPError,
)
BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError)


class RetryableError(InputError):
    """The server cannot be reached or has a temporary fault: the same request may succeed later.

    `reason` is the message without the advice, for callers that retry themselves.
    """

    def __init__(self, reason: str, advice: str = "Run again in a few minutes.") -> None:
        super().__init__(f"{reason} {advice}".rstrip())
        self.reason = reason


class TooManyRequests(InputError):
    """HTTP 429. `wait`: seconds that the server asks to wait, None where it does not say."""

    def __init__(self, message: str, wait: float | None) -> None:
        super().__init__(message)
        self.wait = wait


def connection_error(what: str, error: Exception, alternative: str = "") -> RetryableError:
    """The error for a server that does not answer: `what` failed because of `error`."""
    return RetryableError(
        f"{what} ({type(error).__name__}: {scrub(str(error))[:200]}).",
        "Check the network, and https_proxy if the network needs a proxy. Compute nodes often have no internet access: "
        f"run this step on a machine that has it{alternative}.",
    )


def retry_after(response: requests.Response) -> float | None:
    """Seconds that a response asks to wait (header Retry-After: seconds or a date), at most `LONGEST_WAIT`.

    None where it does not say.
    """
    value = response.headers.get("Retry-After", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        seconds = (moment - datetime.now(moment.tzinfo)).total_seconds()
    return min(max(0.0, seconds), LONGEST_WAIT) if math.isfinite(seconds) else None


def check_redirect(response: requests.Response, location: str | None) -> str | None:
    """Return the address to which a response redirects.

    Raises InputError where it leaves https for another scheme, or a public host for one of a private network, whose
    services the server must not reach through this machine.
    """
    if not location:
        return location
    address = urljoin(response.url, location)
    source, target = urlsplit(response.url), urlsplit(address)
    if source.scheme == "https" and target.scheme != "https":
        raise InputError(
            f"{source.hostname}: expected a redirect to an https address, found {target.scheme}://{target.hostname}. "
            "Anyone on the way could read and change such a transfer. A proxy or the sign-in page of a network may "
            "have answered instead: use another network, or a mirror with https."
        )
    if _is_private(address) and not _is_private(response.url):
        raise InputError(
            f"{source.hostname}: expected a redirect to a public address, found {target.hostname}, which is of a "
            "private network or of this machine. Use another mirror."
        )
    return location


def _is_private(url: str) -> bool:
    """Whether the host of an address is this machine or in a private network. A name that a proxy resolves is not."""
    host = urlsplit(url).hostname or ""
    try:
        found = [host] if _is_address(host) else [] if requests.utils.get_environ_proxies(url) else _addresses(host)
    except (OSError, UnicodeError):  # connecting fails too, and says why
        return False
    return any(not ipaddress.ip_address(address.partition("%")[0]).is_global for address in found)


def _is_address(host: str) -> bool:
    """Whether a host is stated as an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _addresses(host: str) -> list[str]:
    """Return the IP addresses of a name."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)]


class _Session(requests.Session):
    """A session that follows only redirects that `check_redirect` accepts."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return check_redirect(resp, super().get_redirect_target(resp))


def request(method: str, url: str, headers: dict[str, str]) -> requests.Response:
    """Send a request without a body and return the response with its body unread; redirects are checked."""
    with _Session() as session:  # closing it leaves connections in use open
        return session.request(method, url, headers=headers, stream=True, timeout=TIMEOUT)


def get(url: str, setting: str) -> requests.Response:
    """Request the file at `url` and return the response with its body unread.

    setting: name of the setting that holds the address, for messages. Raises RetryableError where the server cannot be
    reached or has a fault, TooManyRequests for HTTP 429 and InputError for everything else but HTTP 200.
    """
    host = urlsplit(url).hostname
    headers = {"Accept-Encoding": "identity"}
    try:
        response = request("GET", url, headers)
    except UNREACHABLE as error:
        alternative = ", or download the file elsewhere and save it under its name"
        raise connection_error(f"{host} cannot be reached", error, alternative) from None
    except (requests.RequestException, ValueError) as error:
        reason = scrub(str(error))
        raise InputError(f"{url}: expected the address of a file ({reason}). Correct `{setting}`.") from None
    code = response.status_code
    if code == 200:
        return response
    response.close()
    if code == 429:
        wait = retry_after(response)
        delay = "some minutes" if wait is None else duration(wait)
        raise TooManyRequests(f"{host} received too many requests (HTTP 429). Wait {delay}, then run again.", wait)
    if code >= 500:
        raise RetryableError(f"{host} has a server error (HTTP {code}).")
    raise InputError(f"{url}: {host} answers HTTP {code}. Check `{setting}`: the file may have moved.")
