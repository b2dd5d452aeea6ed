"""Download the competition's archive from Kaggle and prove it whole before it gets its final name.

The kaggle client signs in and obtains the storage's address; the bytes are fetched here, because the client's own
`competition_download_files` (2.2.4) loses work and time: a retry that meets an expired address or a storage error
writes the error page over all that was received; its first connection has no time limit, so a silent server holds it
for ever; a full disk is retried for a minute; a transfer cut short counts as complete when the storage gives no size,
and any older file of the right size is taken for the archive.

What is received outlives a failed run, see histo.remote.partial_download.
"""

import functools
import logging
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from histo.errors import InputError
from histo.formatting import duration, size_text
from histo.hashes import file_md5
from histo.remote.kaggle import Competition
from histo.remote.partial_download import Identity, PartialDownload, RemoteFile, fetch
from histo.tiles.zip_archive import crc_faults

CHAIN = 1.25  # bytes of shards and tables that the chain writes per byte of archive (7.7 GB for 6.3 GB)

log = logging.getLogger(__name__)


def download(archive: Path, *, competition: str, md5: str | None, results: Path, threads: int) -> None:
    """Fetch the archive of `competition` to `archive`, going on from what earlier runs left.

    `md5` (hexadecimal) is compared with the file's where given. `results` is where the chain will write: its file
    system must have room too. InputError says what went wrong, what is kept and what to do; `archive` then does not
    exist, or is what it was before.
    """
    signed_in = functools.cache(lambda: Competition(competition))
    origin = RemoteFile(
        connect=lambda: signed_in().archive(),
        host="Kaggle",
        page="https://www.kaggle.com",
        noun="archive",
        kind="zip archive",
        begins=b"PK",
        seems_whole=zipfile.is_zipfile,
        later=CHAIN,
    )
    fetch(archive, origin, results, lambda part: prove(part, md5, threads))


def prove(part: PartialDownload, md5: str | None, threads: int) -> None:
    """InputError unless the zip's directory can be read, every entry has its CRC and the file its MD5."""
    begun = time.monotonic()
    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        digest = pool.submit(file_md5, part.path) if md5 else None
        try:
            entries = zipfile.ZipFile(part.path).infolist()
        except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
            faults, entries = [f"its directory cannot be read: {error}"], []
        else:
            faults = crc_faults(part.path, entries, pool)
    if faults:
        shown = "; ".join(faults[:3]) + (f"; and {len(faults) - 3} more" if len(faults) > 3 else "")
        received = part.received
        part.restart(Identity(None, None))
        raise InputError(
            f"The archive that was received is damaged: {shown}. Its {size_text(received)} have been removed, since no "
            "part of them can be trusted; run again to fetch them anew."
        )
    if digest and digest.result() != md5.lower():
        raise InputError(
            f"The archive has the MD5 {digest.result()}, the settings (download.md5) expect {md5.lower()}. It is "
            "whole, so Kaggle offers another version, or the setting is wrong: correct or remove it and run again; "
            f"nothing needs to be fetched a second time ({part.folder})."
        )
    log.info("%d entries proven in %s", len(entries), duration(time.monotonic() - begun))


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    download(
        Path(snakemake.output.archive),
        results=Path(snakemake.params.results),
        threads=snakemake.threads,
        **snakemake.params.settings,
    )
