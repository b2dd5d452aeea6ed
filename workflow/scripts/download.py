"""Download the competition's archive from Kaggle and prove it whole before it gets its final name.

The kaggle client signs in and obtains the storage's address; the bytes are fetched here, because the client's own
`competition_download_files` (2.2.4) loses work and time: a retry that meets an expired address or a storage error
writes the error page over all that was received; its first connection has no time limit, so a silent server holds it
for ever; a full disk is retried for a minute; a transfer cut short counts as complete when the storage gives no size,
and any older file of the right size is taken for the archive.

What is received lies in `<archive>.download/`, which no rule declares, so that it outlives a failed job: the bytes, and
the identity (ETag or date, and size) of the file they are part of. Bytes are only ever added to when the server still
offers that same file. After success the folder keeps a hard link to the archive where the file system has such: when
Snakemake deletes the archive to run this rule again, nothing needs to be transferred a second time.
"""

import contextlib
import errno
import logging
import os
import shutil
import signal
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import requests

from histo import competition as kaggle
from histo.competition import Competition, Unreachable, duration
from histo.errors import InputError
from histo.files import read_json, write_json
from histo.proof import crc_faults, file_md5, size_text

CHUNK = 1 << 16  # bytes read from the connection at a time; a cut loses less than that
SYNC = 64 << 20  # bytes after which they are forced to the disk: at most this much is lost when the machine dies
ATTEMPTS = 5  # connections in a row that bring nothing new before giving up
PAUSE = 2.0  # seconds before the second connection, doubled with every one that brings nothing
REPORT = 10.0  # seconds between two lines of progress
CHAIN = 1.25  # bytes of shards and tables that the chain writes per byte of archive (7.7 GB for 6.3 GB)
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

log = logging.getLogger(__name__)


def download(archive: Path, *, competition: str, md5: str | None, results: Path, threads: int) -> None:
    """Fetch the archive of `competition` to `archive`, going on from what earlier runs left.

    `md5` (hexadecimal) is compared with the file's where given. `results` is where the chain will write: its file
    system must have room too. InputError says what went wrong, what is kept and what to do; `archive` then does not
    exist, or is what it was before.
    """
    part = Part(archive.with_name(archive.name + ".download"))
    with stoppable():
        try:
            part.open()
            transfer(Competition(competition), part, results)
            prove(part, md5, threads)
            publish(part, archive)
        except KeyboardInterrupt:
            raise InputError(
                f"Interrupted. {size_text(part.received)} of the archive are kept in {part.folder}; the next run goes "
                "on from there."
            ) from None
        except OSError as error:
            trouble = "No room left" if error.errno in FULL else "Cannot read or write"
            raise InputError(
                f"{trouble} in {part.folder} ({os.strerror(error.errno or errno.EIO)}) after "
                f"{size_text(part.received)} of {size_text(part.identity.size)}. Make room, or put the folder "
                "where it can be written: the next run goes on from what is there."
            ) from None
    log.info("%s is whole: %s", archive, size_text(part.received))


@dataclass(frozen=True)
class Identity:
    """Which file the storage offers. Without a validator two files cannot be told apart, and nothing is resumed."""

    size: int | None
    validator: str | None

    @classmethod
    def of(cls, response: requests.Response) -> "Identity":
        headers = response.headers
        # A length of compressed content says nothing of the file's.
        length = None if headers.get("Content-Encoding", "identity") != "identity" else headers.get("Content-Length")
        etag = headers.get("ETag")
        strong = etag if etag and not etag.startswith("W/") else None
        return cls(int(length) if length else None, strong or headers.get("Last-Modified"))


class Part:
    """What has been received, and of which file; both survive failed runs and a machine's restart."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "archive.part"
        self._state = folder / "state.json"
        self.identity = Identity(None, None)
        self.received = 0

    def open(self) -> None:
        """Take up what an earlier run left, as far as it is certain."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            state = read_json(self._state)
            identity, received = Identity(state["size"], state["validator"]), state["received"]
            present = self.path.stat().st_size
        except (InputError, OSError, KeyError, TypeError):
            return
        if received <= present:
            if received < present:  # beyond this, a crash may have left anything
                os.truncate(self.path, received)
            self.identity, self.received = identity, received

    def is_of(self, identity: Identity) -> bool:
        """Whether the bytes at hand are certainly the beginning of that file. A size not told contradicts nothing."""
        sizes = {self.identity.size, identity.size} - {None}
        same = identity.validator is not None and identity.validator == self.identity.validator and len(sizes) < 2
        return same and 0 < self.received <= min(sizes, default=self.received)

    def is_complete(self) -> bool:
        """Whether nothing is missing: by the size, or by the zip's last record where the storage told no size."""
        if self.identity.size is None:
            return self.received > 0 and zipfile.is_zipfile(self.path)
        return self.received == self.identity.size

    def restart(self, identity: Identity) -> None:
        """Forget the bytes at hand. The file is a new one: the old one may be linked as an archive."""
        self.path.unlink(missing_ok=True)
        self.received = 0
        self.identity = identity
        self.keep()

    def keep(self) -> None:
        """Write down how many bytes count."""
        state = {"size": self.identity.size, "validator": self.identity.validator, "received": self.received}
        write_json(self._state, state)

    def append(self, chunks: Iterator[bytes]) -> None:
        """Add what comes; however it ends, the bytes written so far count."""
        synced = self.received
        with open(self.path, "ab", buffering=0) as file:
            try:
                for chunk in chunks:
                    rest = memoryview(chunk)
                    while rest:
                        written = file.write(rest)
                        self.received += written
                        rest = rest[written:]
                    if self.received - synced >= SYNC:
                        os.fsync(file.fileno())
                        synced = self.received
                        self.keep()
            finally:
                os.fsync(file.fileno())
                with contextlib.suppress(OSError):  # on a full disk the state of the last sync stands
                    self.keep()


def transfer(competition: Competition, part: Part, results: Path) -> None:
    """Receive the archive into `part`, with a new address for every connection, since addresses expire."""
    started, fruitless, reached = part.received, 0, False
    while True:
        before = part.received
        try:
            response = competition.archive()
            reached = True
            with contextlib.closing(response):
                receive(response, part, results)
            break
        except Unreachable as error:
            if not reached:
                raise
            fruitless = 0 if part.received > before else fruitless + 1
            if fruitless >= ATTEMPTS:
                raise InputError(
                    f"The transfer stopped at {size_text(part.received)} of {size_text(part.identity.size)} and "
                    f"{ATTEMPTS} connections in a row brought nothing more. Last: {error.reason} What is there is kept "
                    f"in {part.folder}; the next run goes on from it."
                ) from None
            pause = min(PAUSE * 2**fruitless, 60.0)
            log.warning("%s Going on from %s in %s.", error.reason, size_text(part.received), duration(pause))
            time.sleep(pause)
    log.info("received %s, of which %s in this run", size_text(part.received), size_text(part.received - started))


def receive(response: requests.Response, part: Part, results: Path) -> None:
    """Add to `part` what one connection brings; Unreachable when that is not all of it."""
    identity = Identity.of(response)
    if not part.is_of(identity):
        if part.received:
            log.warning("the file that Kaggle offers is not the one of which %s lie here, or cannot be told from it: "
                        "starting from its beginning", size_text(part.received))  # fmt: skip
        part.restart(identity)
    part.identity = Identity(identity.size or part.identity.size, identity.validator)
    if part.is_complete():
        log.info("nothing to transfer: all %s are here already", size_text(part.received))
        return
    require_room(part, results)
    if part.received:
        response.close()
        response = rest_of(response, part)
    first = part.received == 0
    try:
        part.append(checked_start(progress(response, part), response, first))
    except requests.RequestException as error:
        raise Unreachable(f"The connection broke ({type(error).__name__}).") from None
    finally:
        response.close()
    if not part.is_complete():
        raise Unreachable("The storage ended the transfer before the archive's end.")


def rest_of(first: requests.Response, part: Part) -> requests.Response:
    """Ask the same address for the bytes not yet here; the storage sends the whole file when it is another by now."""
    headers = dict(first.request.headers)
    headers |= {"Range": f"bytes={part.received}-", "If-Range": part.identity.validator, "Accept-Encoding": "identity"}
    try:
        response = requests.request(
            first.request.method, first.url, headers=headers, stream=True, timeout=kaggle.SILENCE
        )
    except requests.RequestException as error:
        raise Unreachable(f"The storage cannot be reached ({type(error).__name__}).") from None
    start = response.headers.get("Content-Range", "").removeprefix("bytes ").split("-")[0]
    if response.status_code == 206 and start == str(part.received):
        log.info("going on from %s of %s", size_text(part.received), size_text(part.identity.size))
        return response
    if response.status_code == 200:
        log.warning("the storage sends the file from its beginning: %s fetched before are dropped",
                    size_text(part.received))  # fmt: skip
        part.restart(Identity.of(response))
        return response
    response.close()
    if response.status_code in (206, 416):  # another part than asked for, or none: what is here does not fit
        part.restart(Identity(None, None))
    raise Unreachable(f"The storage answered HTTP {response.status_code} to a request for the rest.")


def checked_start(chunks: Iterator[bytes], response: requests.Response, first: bool) -> Iterator[bytes]:
    """The same chunks; InputError at once when a file's beginning is not that of a zip archive."""
    for chunk in chunks:
        if first and not chunk.startswith(b"PK"):
            kind = response.headers.get("Content-Type", "no type given")
            raise InputError(
                f"Kaggle's storage sent no zip archive ({kind}). A proxy or the sign-in page of a network may have "
                "answered in its place: open https://www.kaggle.com from this machine, then run again."
            )
        first = False
        yield chunk


def require_room(part: Part, results: Path) -> None:
    """InputError unless the rest of the archive fits, and what the chain makes of it."""
    size = part.identity.size
    if size is None:
        log.info("the storage does not say how large the archive is: free space is not checked")
        return
    needs = [(part.folder, size - part.received, "the archive"), (results, int(size * CHAIN), "what is made of it")]
    total: dict[int, int] = {}
    for folder, needed, _ in needs:
        while not folder.exists():
            folder = folder.parent
        device = folder.stat().st_dev
        total[device] = total.get(device, 0) + needed
        free = shutil.disk_usage(folder).free
        if free < total[device]:
            raise InputError(
                f"Not enough room in {folder.resolve()}: {size_text(total[device])} are needed "
                f"({'; '.join(f'{what} {size_text(bytes_)}' for _, bytes_, what in needs)}), {size_text(free)} are "
                f"free. Make room, or put the folder on a larger disk."
            )


def progress(response: requests.Response, part: Part) -> Iterator[bytes]:
    """The chunks of `response`; every few seconds a line says how far, how fast and how much longer."""
    size, last, seen = part.identity.size, time.monotonic(), part.received
    log.info("%s to come", size_text(size - part.received if size is not None else None))
    for chunk in response.iter_content(CHUNK):
        yield chunk
        now = time.monotonic()
        if now - last >= REPORT:
            rate = (part.received - seen) / (now - last)
            share = f" ({part.received / size:.0%})" if size else ""
            left = f", {duration((size - part.received) / rate)} left" if size and rate else ""
            log.info("%s of %s%s, %s/s%s", size_text(part.received), size_text(size), share, size_text(int(rate)), left)
            last, seen = now, part.received


def prove(part: Part, md5: str | None, threads: int) -> None:
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


def publish(part: Part, archive: Path) -> None:
    """Give the proven file its final name."""
    link = part.folder / "archive.link"
    link.unlink(missing_ok=True)
    try:
        os.link(part.path, link)
    except OSError:  # a file system without hard links
        os.replace(part.path, archive)
        shutil.rmtree(part.folder)
    else:
        os.replace(link, archive)


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM interrupts like Ctrl-C, so that what was received is written down."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    from histo import run

    run.start(snakemake)  # noqa: F821
    download(
        Path(snakemake.output.archive),  # noqa: F821
        results=Path(snakemake.params.results),  # noqa: F821
        threads=snakemake.threads,  # noqa: F821
        **snakemake.params.settings,  # noqa: F821
    )
