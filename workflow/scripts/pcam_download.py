"""Download one file of PatchCamelyon; it gets its name when it has the MD5 that its authors state.

The MD5 says which file it is, so a transfer that was cut goes on where it stopped, on another day too, whether or not
the server names versions of its files.
"""

import logging
from pathlib import Path
from urllib.parse import urlsplit

import requests

from histo import competition
from histo.competition import TooManyRequests, Unreachable, duration, retry_after
from histo.credentials import scrub
from histo.errors import InputError
from histo.proof import file_md5
from histo.transfer import Origin, fetch, prove_md5

CHAIN = 2.5  # bytes of the unpacked file, of shards and tables per byte of the file, since both exist for a while

log = logging.getLogger(__name__)


def ask(url: str) -> requests.Response:
    """Ask for a file; returns the answer with its body unread. InputError in words for everything else."""
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
        raise InputError(f"{url}: not an address to fetch from ({error}). Check `pcam_download.address`.") from None
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
    raise InputError(f"{url}: {host} answers HTTP {code}. Check `pcam_download.address`: the files may have moved.")


def pcam_download(output: Path, *, address: str, md5: str, results: Path) -> None:
    """Fetch the file of the name of `output` from the folder `address`, going on from what earlier runs left.

    md5: what the file must have, hexadecimal. `results` is where the chain will write: its file system must have room.
    """
    url, md5 = f"{address.rstrip('/')}/{output.name}", md5.lower()
    origin = Origin(
        connect=lambda: ask(url),
        host=str(urlsplit(url).hostname),
        page=address,
        noun="file",
        kind="gzip file",
        begins=b"\x1f\x8b",
        seems_whole=lambda path: file_md5(path) == md5,
        later=CHAIN,
        md5=md5,
    )
    log.info("%s", url)
    fetch(output, origin, results, lambda part: prove_md5(part, md5, "pcam_download.md5"))


if __name__ == "__main__":
    from histo import run

    run.start(snakemake)  # noqa: F821
    pcam_download(
        Path(snakemake.output[0]),  # noqa: F821
        results=Path(snakemake.params.results),  # noqa: F821
        **snakemake.params.settings,  # noqa: F821
    )
