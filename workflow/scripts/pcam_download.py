"""Download one file of PatchCamelyon; it gets its final name once it has the MD5 published by the authors.

The MD5 identifies the file, so that an interrupted download resumes, even days later, whether or not the server sends
an identifier of the file's version.
"""

import logging
from pathlib import Path
from urllib.parse import urlsplit

from histo.hashes import file_md5
from histo.remote.http import get
from histo.remote.partial_download import RemoteFile, fetch, verify_digest

SPACE_FACTOR = 2.5  # disk space per byte of the file: unpacked file, shards and tables, which exist at the same time

log = logging.getLogger(__name__)


def pcam_download(output: Path, *, address: str, md5: str, results: Path) -> None:
    """Download the file named as `output` from the folder `address`; resume a partial download of an earlier run.

    md5: expected MD5, hexadecimal; results: folder of the results, whose file system must have enough space. Raises
    InputError when the download fails, when the file has another MD5 or when space is short.
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
        expansion=SPACE_FACTOR,
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
        md5=snakemake.params.md5,
        address=snakemake.params.address,
    )
