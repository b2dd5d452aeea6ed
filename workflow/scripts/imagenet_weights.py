"""Download a file of ImageNet weights; it gets its name when it has the SHA-256 that this name begins.

torchvision ends the names of its files with the first digits of their SHA-256. They say which file it is, so a transfer
that was cut goes on where it stopped, and what has been received once is not asked for again.
"""

import logging
import re
from pathlib import Path
from urllib.parse import urlsplit

import requests

from histo.errors import InputError
from histo.formatting import size_text
from histo.hashes import file_sha256
from histo.remote.http import Unreachable, ask
from histo.remote.partial_download import Identity, PartialDownload, RemoteFile, fetch

BEGINNINGS = (b"PK", b"\x80\x02")  # of what torch.save writes: a zip archive, or a pickle before torch 1.6

log = logging.getLogger(__name__)


def weights(output: Path, *, address: str) -> None:
    """Fetch the file of the name of `output` from the folder `address`, going on from what earlier runs left.

    Raises InputError, with what to do by hand, where it cannot be had or is not the one that its name says.
    """
    digits = re.search(r"-([0-9a-f]{8,})\.pth$", output.name)[1]
    url = f"{address.rstrip('/')}/{output.name}"
    by_hand = (
        f"Or fetch {url} on another machine and put it at {output.absolute()}; or set network.weights to the path of a "
        "file that you have, or to none."
    )

    def connect() -> requests.Response:
        try:
            return ask(url, "weights.address")
        except Unreachable as error:
            raise Unreachable(
                error.reason, f"Check the network, or set weights.address to a mirror. {by_hand}"
            ) from None
        except InputError as error:
            raise InputError(f"{error} {by_hand}") from None

    origin = RemoteFile(
        connect=connect,
        host=str(urlsplit(url).hostname),
        page=address,
        noun="file",
        kind="file of weights",
        begins=BEGINNINGS,
        seems_whole=lambda path: file_sha256(path).startswith(digits),
        later=0,
        digest=f"SHA-256 {digits}",
    )
    log.info("%s", url)
    fetch(output, origin, output.parent, lambda part: prove(part, digits, by_hand))


def prove(part: PartialDownload, digits: str, by_hand: str) -> None:
    """InputError unless the SHA-256 of what was received begins with `digits`."""
    found = file_sha256(part.path)
    if not found.startswith(digits):
        received = part.received
        part.restart(Identity(None, None))
        raise InputError(
            f"What was received for {part.folder.name.removesuffix('.download')} has the SHA-256 {found}, its name "
            f"says {digits}…. Its {size_text(received)} have been removed; run again to fetch them anew. If that ends "
            f"here too, weights.address holds another file. {by_hand}"
        )


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    weights(Path(snakemake.output[0]), **snakemake.params.settings)
