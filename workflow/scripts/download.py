"""Download the competition's archive from Kaggle, and verify it before it gets its final name.

The kaggle client signs in and obtains the address of the storage. The bytes are received by
`histo.remote.partial_download`, which resumes after a failed run, because `competition_download_files` of the client
(2.2.4) has these faults: after an expired address or an error of the storage, a retry overwrites all received bytes
with the error page; the first connection has no timeout, so a silent server blocks it for ever; a full disk is retried
for a minute; a truncated transfer counts as complete where the storage does not state the size; and any older file of
the same size is taken for the archive.
"""

import functools
import logging
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from histo.errors import InputError
from histo.formatting import duration
from histo.hashes import file_md5
from histo.remote.kaggle import Competition
from histo.remote.partial_download import PartialDownload, RemoteFile, fetch, reject
from histo.tiles.zip_archive import crc_faults

EXPANSION = 1.25  # bytes of shards and tables that later stages write per byte of the archive (7.7 GB for 6.3 GB)

log = logging.getLogger(__name__)


def download(archive: Path, *, competition: str, md5: str | None, results: Path, threads: int) -> None:
    """Download the archive of `competition` to `archive`, resuming what earlier runs left.

    md5: expected MD5, hexadecimal, or None. results: the folder into which later stages write; its file system needs
    space too. Raises InputError with what went wrong, what is kept and what to do; `archive` is then missing or
    unchanged.
    """
    sign_in = functools.cache(lambda: Competition(competition))
    origin = RemoteFile(
        connect=lambda: sign_in().archive(),
        host="Kaggle",
        page="https://www.kaggle.com",
        noun="archive",
        kind="zip archive",
        magic=b"PK",
        looks_complete=zipfile.is_zipfile,
        expansion=EXPANSION,
    )
    fetch(archive, origin, results, lambda part: verify(part, md5, threads))


def verify(part: PartialDownload, md5: str | None, threads: int) -> None:
    """Raise InputError unless the directory of the zip can be read, all entries have their CRC and the file its MD5."""
    start = time.monotonic()
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
        reject(part, f"The downloaded archive is damaged: {shown}.")
    if digest and digest.result() != md5.lower():
        raise InputError(
            f"The downloaded archive: expected the MD5 {md5.lower()} (download.md5), found {digest.result()}. It is "
            "not damaged, so Kaggle offers another version, or the setting is wrong. Correct or remove the setting and "
            f"run again; the archive is kept in {part.folder} and not downloaded again."
        )
    log.info("%d entries verified in %s", len(entries), duration(time.monotonic() - start))


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    download(
        Path(snakemake.output.archive),
        results=Path(snakemake.params.results),
        threads=snakemake.threads,
        md5=snakemake.params.md5,
        **snakemake.params.settings,
    )
