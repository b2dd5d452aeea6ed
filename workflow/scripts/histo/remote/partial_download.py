"""Receiving a large file: resumed after any interruption, and given its name only when it is proven.

What is received lies in `<file>.download/`, which no rule declares, so that it outlives a failed job: the bytes, and
the identity (ETag or date, or the digest where that is known beforehand, and size) of the file they are part of. Bytes
are only ever added to when the server still offers that same file. After success the folder keeps a hard link to the
file where the file system has such: when Snakemake deletes the file to run the rule again, nothing needs to be
transferred a second time.
"""

import contextlib
import errno
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import requests

from histo.errors import InputError
from histo.files import read_json, write_json
from histo.formatting import duration, size_text
from histo.hashes import file_md5
from histo.remote import http
from histo.remote.http import Unreachable

CHUNK = 1 << 16  # bytes read from the connection at a time; a cut loses less than that
SYNC = 64 << 20  # bytes after which they are forced to the disk: at most this much is lost when the machine dies
ATTEMPTS = 5  # connections in a row that bring nothing new before giving up
PAUSE = 2.0  # seconds before the second connection, doubled with every one that brings nothing
REPORT = 10.0  # seconds between two lines of progress
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RemoteFile:
    """Where a file comes from.

    connect: asks for the whole file, each time anew, since addresses expire; returns the answer with its body unread;
        Unreachable where the same request may succeed later.
    host, page: whose storage it is, and what to open in a browser to see whether it can be reached.
    noun, kind, begins: what the file is in messages ("archive", "zip archive"), and its possible first bytes.
    seems_whole: whether a file has its end; asked when the storage does not tell the size.
    later: bytes that the chain will write for each byte of the file.
    digest: of the file ("MD5 1571f5…"), where it is known beforehand: it then identifies the file instead of the
        server's ETag or date.
    """

    connect: Callable[[], requests.Response]
    host: str
    page: str
    noun: str
    kind: str
    begins: bytes | tuple[bytes, ...]
    seems_whole: Callable[[Path], bool]
    later: float
    digest: str | None = None


def fetch(target: Path, origin: RemoteFile, results: Path, prove: Callable[["PartialDownload"], None]) -> None:
    """Receive a file to `target`, going on from what earlier runs left.

    results: where the chain will write; its file system must have room too. prove: InputError unless the bytes
    received are right. InputError says what went wrong, what is kept and what to do; `target` then does not exist, or
    is what it was before.
    """
    part = PartialDownload(target.with_name(target.name + ".download"))
    with stoppable():
        try:
            part.open()
            transfer(origin, part, results)
            prove(part)
            publish(part, target)
        except KeyboardInterrupt:
            raise InputError(
                f"Interrupted. {size_text(part.received)} of the {origin.noun} are kept in {part.folder}; the next run "
                "goes on from there."
            ) from None
        except OSError as error:
            trouble = "No room left" if error.errno in FULL else "Cannot read or write"
            raise InputError(
                f"{trouble} in {part.folder} ({os.strerror(error.errno or errno.EIO)}) after "
                f"{size_text(part.received)} of {size_text(part.identity.size)}. Make room, or put the folder "
                "where it can be written: the next run goes on from what is there."
            ) from None
    log.info("%s is whole: %s", target, size_text(part.received))


@dataclass(frozen=True)
class Identity:
    """Which file the storage offers. Without a validator two files cannot be told apart, and nothing is resumed."""

    size: int | None
    validator: str | None

    @classmethod
    def of(cls, response: requests.Response, origin: RemoteFile) -> "Identity":
        headers = response.headers
        # A length of compressed content says nothing of the file's.
        length = None if headers.get("Content-Encoding", "identity") != "identity" else headers.get("Content-Length")
        etag = headers.get("ETag")
        strong = etag if etag and not etag.startswith("W/") else None
        validator = origin.digest or strong or headers.get("Last-Modified")
        return cls(int(length) if length else None, validator)


class PartialDownload:
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

    def is_complete(self, origin: RemoteFile) -> bool:
        """Whether nothing is missing: by the size, or by the look of the file's end where the storage told no size."""
        if self.identity.size is None:
            return self.received > 0 and origin.seems_whole(self.path)
        return self.received == self.identity.size

    def restart(self, identity: Identity) -> None:
        """Forget the bytes at hand. The file is a new one: the old one may be linked under its final name."""
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


def transfer(origin: RemoteFile, part: PartialDownload, results: Path) -> None:
    """Receive the file into `part`, in as many connections as it takes."""
    if origin.digest and part.identity.validator == origin.digest and part.is_complete(origin):
        log.info("nothing to transfer: all %s are here already", size_text(part.received))
        return
    started, fruitless, reached = part.received, 0, False
    while True:
        before = part.received
        try:
            response = origin.connect()
            reached = True
            with contextlib.closing(response):
                receive(response, origin, part, results)
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


def receive(response: requests.Response, origin: RemoteFile, part: PartialDownload, results: Path) -> None:
    """Add to `part` what one connection brings; Unreachable when that is not all of it."""
    identity = Identity.of(response, origin)
    if not part.is_of(identity):
        if part.received:
            log.warning("the file that %s offers is not the one of which %s lie here, or cannot be told from it: "
                        "starting from its beginning", origin.host, size_text(part.received))  # fmt: skip
        part.restart(identity)
    part.identity = Identity(identity.size or part.identity.size, identity.validator)
    if part.is_complete(origin):
        log.info("nothing to transfer: all %s are here already", size_text(part.received))
        return
    require_room(origin, part, results)
    if part.received:
        response.close()
        response = rest_of(response, origin, part)
    first = part.received == 0
    try:
        part.append(checked_start(progress(response, part), response, origin, first))
    except requests.RequestException as error:
        raise Unreachable(f"The connection broke ({type(error).__name__}).") from None
    finally:
        response.close()
    if not part.is_complete(origin):
        raise Unreachable(f"The storage ended the transfer before the {origin.noun}'s end.")


def rest_of(first: requests.Response, origin: RemoteFile, part: PartialDownload) -> requests.Response:
    """Ask the same address for the bytes not yet here; the storage sends the whole file when it is another by now."""
    headers = dict(first.request.headers)
    headers |= {"Range": f"bytes={part.received}-", "Accept-Encoding": "identity"}
    if not origin.digest:
        headers["If-Range"] = part.identity.validator
    try:
        response = requests.request(first.request.method, first.url, headers=headers, stream=True, timeout=http.SILENCE)
    except requests.RequestException as error:
        raise Unreachable(f"The storage cannot be reached ({type(error).__name__}).") from None
    place, _, size = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    same_size = part.identity.size is None or size in ("", "*", str(part.identity.size))
    fits = place.split("-")[0] == str(part.received) and same_size
    if response.status_code == 206 and fits:
        log.info("going on from %s of %s", size_text(part.received), size_text(part.identity.size))
        return response
    if response.status_code == 200:
        log.warning("the storage sends the file from its beginning: %s fetched before are dropped",
                    size_text(part.received))  # fmt: skip
        part.restart(Identity.of(response, origin))
        return response
    response.close()
    if response.status_code in (206, 416):  # another part than asked for, or none: what is here does not fit
        part.restart(Identity(None, None))
    raise Unreachable(f"The storage answered HTTP {response.status_code} to a request for the rest.")


def checked_start(
    chunks: Iterator[bytes], response: requests.Response, origin: RemoteFile, first: bool
) -> Iterator[bytes]:
    """The same chunks; InputError at once when a file's beginning is not that of its kind."""
    for chunk in chunks:
        if first and not chunk.startswith(origin.begins):
            kind = response.headers.get("Content-Type", "no type given")
            raise InputError(
                f"{origin.host}'s storage sent no {origin.kind} ({kind}). A proxy or the sign-in page of a network may "
                f"have answered in its place: open {origin.page} from this machine, then run again."
            )
        first = False
        yield chunk


def require_room(origin: RemoteFile, part: PartialDownload, results: Path) -> None:
    """InputError unless the rest of the file fits, and what the chain makes of it."""
    size = part.identity.size
    if size is None:
        log.info("the storage does not say how large the %s is: free space is not checked", origin.noun)
        return
    needs = [
        (part.folder, size - part.received, f"the {origin.noun}"),
        (results, int(size * origin.later), "what is made of it"),
    ]
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


def progress(response: requests.Response, part: PartialDownload) -> Iterator[bytes]:
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


def publish(part: PartialDownload, target: Path) -> None:
    """Give the proven file its final name."""
    link = part.folder / "archive.link"
    link.unlink(missing_ok=True)
    try:
        os.link(part.path, link)
    except OSError:  # a file system without hard links
        os.replace(part.path, target)
        shutil.rmtree(part.folder)
    else:
        os.replace(link, target)


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM interrupts like Ctrl-C, so that what was received is written down."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def prove_md5(part: PartialDownload, expected: str, setting: str) -> None:
    """InputError unless what was received has the MD5 that `setting` expects (hexadecimal, lower case)."""
    found = file_md5(part.path)
    if found != expected:
        received = part.received
        part.restart(Identity(None, None))
        raise InputError(
            f"What was received for {part.folder.name.removesuffix('.download')} has the MD5 {found}, the settings "
            f"({setting}) expect {expected}. Its {size_text(received)} have been removed, since no part of them can be "
            "trusted; run again to fetch them anew. If that ends here too, the file or the setting is another one."
        )
