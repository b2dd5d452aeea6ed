"""Download one file of PatchCamelyon; it gets its name when it has the MD5 that its authors state.

The MD5 says which file it is, so a transfer that was cut goes on where it stopped, on another day too, whether or not
the server names versions of its files.
"""

import logging
from pathlib import Path
from urllib.parse import urlsplit

from histo.hashes import file_md5
from histo.remote.http import get
from histo.remote.partial_download import RemoteFile, fetch, verify_digest

CHAIN = 2.5  # bytes of the unpacked file, of shards and tables per byte of the file, since both exist for a while

log = logging.getLogger(__name__)


def pcam_download(output: Path, *, address: str, md5: str, results: Path) -> None:
    """Fetch the file of the name of `output` from the folder `address`, going on from what earlier runs left.

    md5: what the file must have, hexadecimal. `results` is where the chain will write: its file system must have room.
    """
    url, md5 = f"{address.rstrip('/')}/{output.name}", md5.lower()
    origin = RemoteFile(
        connect=lambda: get(url, "pcam_download.address"),
        host=str(urlsplit(url).hostname),
        page=address,
        noun="file",
        kind="gzip file",
        magic=b"\x1f\x8b",
        looks_complete=lambda path: file_md5(path) == md5,
        expansion=CHAIN,
        digest=f"MD5 {md5}",
    )
    log.info("%s", url)
    advice = "If this fails again, pcam_download.address offers another file, or pcam_download.md5 is wrong."
    fetch(output, origin, results, lambda part: verify_digest(part, "MD5", md5, "pcam_download.md5", advice))


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    pcam_download(
        Path(snakemake.output[0]),
        results=Path(snakemake.params.results),
        **snakemake.params.settings,
    )
