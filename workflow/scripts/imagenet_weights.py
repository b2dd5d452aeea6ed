"""Download a file of ImageNet weights, and verify its SHA-256 before it gets its final name.

torchvision ends the name of each file with the first digits of its SHA-256. They identify the file, so an interrupted
transfer resumes, and a file that was received once is not requested again.
"""

import logging
import re
from pathlib import Path
from urllib.parse import urlsplit

import requests

from histo.errors import InputError
from histo.hashes import file_sha256
from histo.remote.http import RetryableError, get
from histo.remote.partial_download import RemoteFile, fetch, verify_digest

MAGIC = (b"PK", b"\x80\x02")  # torch.save writes a zip archive; before torch 1.6, a pickle

log = logging.getLogger(__name__)


def imagenet_weights(output: Path, *, address: str) -> None:
    """Download the file with the name of `output` from the folder `address`, resuming what earlier runs left.

    Raises InputError where the file cannot be downloaded or does not have the SHA-256 in its name; the message says how
    to provide the file by hand.
    """
    digits = re.search(r"-([0-9a-f]{8,})\.pth$", output.name)[1]
    url = f"{address.rstrip('/')}/{output.name}"
    by_hand = (
        f"Or download {url} on another machine and save it as {output.absolute()}; or set network.weights to the path "
        "of your own file, or to none."
    )

    def connect() -> requests.Response:
        try:
            return get(url, "imagenet_weights.address")
        except RetryableError as error:
            advice = f"Check the network, or set imagenet_weights.address to a mirror. {by_hand}"
            raise RetryableError(error.reason, advice) from None
        except InputError as error:
            raise InputError(f"{error} {by_hand}") from None

    origin = RemoteFile(
        connect=connect,
        host=str(urlsplit(url).hostname),
        page=address,
        noun="file",
        kind="file of weights",
        magic=MAGIC,
        looks_complete=lambda path: file_sha256(path).startswith(digits),
        expansion=0,
        digest=f"SHA-256 {digits}",
    )
    advice = f"If this fails again, imagenet_weights.address offers another file. {by_hand}"
    log.info("%s", url)
    fetch(output, origin, output.parent, lambda part: verify_digest(part, "SHA-256", digits, "see its name", advice))


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    imagenet_weights(Path(snakemake.output[0]), address=snakemake.params.address)
