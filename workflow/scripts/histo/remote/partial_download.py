"""Download of a large file: it resumes after any interruption, and gets its final name only when it is verified.

Data are received in the folder `<file>.download/`. No rule declares it, so it survives a failed job. It holds the bytes
received so far and the identity of the file to which they belong: its size, and its ETag, modification date or, where
known beforehand, digest. A download resumes only while the server still offers the same file. After success the folder
keeps a hard link to the file, on file systems that have hard links: Snakemake deletes the file before it runs the rule
again, and nothing needs to be downloaded again.
"""

import contextlib
import errno
import logging
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import requests

from histo import disk_space
from histo.errors import InputError
from histo.files import read_json, write_json
from histo.formatting import duration, size_text
from histo.hashes import file_md5, file_sha256
from histo.remote import http
from histo.remote.http import BROKEN, RetryableError

CHUNK = 1 << 16  # bytes read from the connection at a time; a broken connection loses less than that
SYNC = 64 << 20  # bytes between two syncs to disk: a crash of the machine loses at most that much
ATTEMPTS = 5  # connections in a row that may add nothing
PAUSE = 2.0  # seconds before the second connection; doubled for each connection that adds nothing
REPORT = 10.0  # seconds between two lines of progress
SLOW = (60.0, 60_000)  # a connection that brings fewer bytes than this in so many seconds is given up
MOST_UNSTATED = 20 * 10**9  # bytes that are received from a server that does not state the size
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
DIGESTS = {"MD5": file_md5, "SHA-256": file_sha256}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RemoteFile:
    """A file to download.

    connect: requests the complete file and returns the response with its body unread. It is called for each connection,
        since signed addresses expire. Raises RetryableError where the same request may succeed later.
    host, page: the owner of the server, and a page to open in a browser to check whether it can be reached.
    noun, kind: the file in messages ("archive", "zip archive").
    magic: the first bytes of such a file, or several alternatives.
    looks_complete: whether a file is not truncated; used where the server does not state the size.
    expansion: bytes that later stages write for each byte of the file.
    digest: algorithm and digest ("MD5 1571f5…") where known beforehand; it then identifies the file instead of the
        server's ETag or date.
    """

    connect: Callable[[], requests.Response]
    host: str
    page: str
    noun: str
    kind: str
    magic: bytes | tuple[bytes, ...]
    looks_complete: Callable[[Path], bool]
    expansion: float
    digest: str | None = None


def fetch(target: Path, origin: RemoteFile, results: Path, verify: Callable[["PartialDownload"], None]) -> None:
    """Download `origin` to `target`, resuming what earlier runs left.

    results: where later stages write; its file system needs space too. verify: raises InputError unless the bytes
    received are correct. Raises InputError with what went wrong, what is kept and what to do; `target` is then missing
    or unchanged.
    """
    part = PartialDownload(target.with_name(target.name + ".download"))
    with interrupt_on_sigterm():
        try:
            part.open()
            transfer(origin, part, results)
            verify(part)
            publish(part, target)
        except KeyboardInterrupt:
            raise InputError(
                f"Interrupted. {size_text(part.received)} of the {origin.noun} are kept in {part.folder}; the next run "
                "resumes from there."
            ) from None
        except OSError as error:
            failure = "No space left" if error.errno in NO_SPACE else "Cannot read or write"
            raise InputError(
                f"{failure} in {part.folder} ({os.strerror(error.errno or errno.EIO)}) after "
                f"{size_text(part.received)} of {size_text(part.identity.size)}. Free some space, or move the folder "
                "to a disk that can be written; the next run resumes from what is there."
            ) from None
    log.info("%s is complete: %s", target, size_text(part.received))


@dataclass(frozen=True)
class Identity:
    """Size in bytes and validator of the file that a server offers; None where not stated.

    The validator is a digest known beforehand, the ETag or the modification date. Without one, two files cannot be
    distinguished and no download resumes.
    """

    size: int | None
    validator: str | None

    @classmethod
    def of(cls, response: requests.Response, origin: RemoteFile) -> "Identity":
        """The identity that the headers of a response state; RetryableError where they state no sound size."""
        headers = response.headers
        # The length of compressed content is not the size of the file.
        length = None if headers.get("Content-Encoding", "identity") != "identity" else headers.get("Content-Length")
        etag = headers.get("ETag")
        strong = etag if etag and not etag.startswith("W/") else None
        validator = origin.digest or strong or headers.get("Last-Modified")
        if length and not re.fullmatch("[0-9]{1,18}", length):
            raise RetryableError(f"{origin.host} states a size that is not a number of bytes, {length[:40]!r}.")
        return cls(int(length) if length else None, validator)


class TooSlow(RetryableError):
    """A connection brings next to nothing, see `SLOW`."""


class TooLarge(RetryableError):
    """A server sends more than the file has: none of its bytes can be trusted."""


class PartialDownload:
    """The bytes received so far and the identity of their file, kept on disk across runs.

    folder: the folder that holds both. path: the file of the bytes. identity: of the file to which they belong.
    received: number of bytes that count; the file may be longer after a crash.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "archive.part"
        self._state = folder / "state.json"
        self.identity = Identity(None, None)
        self.received = 0

    def open(self) -> None:
        """Load what an earlier run left; bytes after the last saved state are cut off."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            state = read_json(self._state)
            identity, received = Identity(state["size"], state["validator"]), state["received"]
            present = self.path.stat().st_size
        except (InputError, OSError, KeyError, TypeError):
            return
        if received <= present:
            if received < present:  # a crash may leave arbitrary bytes after those that were synced
                os.truncate(self.path, received)
            self.identity, self.received = identity, received

    def is_of(self, identity: Identity) -> bool:
        """Whether the bytes are known to be the beginning of the file `identity`; an unknown size fits any size."""
        if identity.validator is None or identity.validator != self.identity.validator:
            return False
        sizes = {size for size in (self.identity.size, identity.size) if size is not None}
        return len(sizes) < 2 and 0 < self.received <= min(sizes, default=self.received)

    def is_complete(self, origin: RemoteFile) -> bool:
        """Whether all bytes are received: by the size, or by `looks_complete` where the size is unknown."""
        if self.identity.size is None:
            return self.received > 0 and origin.looks_complete(self.path)
        return self.received == self.identity.size

    def restart(self, identity: Identity) -> None:
        """Discard the bytes and begin the file `identity`."""
        # A new file, not a truncated one: the final name may be a hard link to the old one.
        self.path.unlink(missing_ok=True)
        self.received = 0
        self.identity = identity
        self.save_state()

    def save_state(self) -> None:
        """Write the number of bytes that count, and their file's identity, to disk."""
        state = {"size": self.identity.size, "validator": self.identity.validator, "received": self.received}
        write_json(self._state, state)

    def append(self, chunks: Iterator[bytes]) -> None:
        """Append chunks; when an exception ends them, the bytes written before still count."""
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
                        self.save_state()
            finally:
                self.received = os.fstat(file.fileno()).st_size  # an exception may come between a write and its count
                os.fsync(file.fileno())
                with contextlib.suppress(OSError):  # on a full disk the state of the last sync remains
                    self.save_state()


def transfer(origin: RemoteFile, part: PartialDownload, results: Path) -> None:
    """Receive the file into `part`, with as many connections as necessary."""
    if origin.digest and part.identity.validator == origin.digest and part.is_complete(origin):
        log.info("nothing to transfer: all %s were received before", size_text(part.received))
        return
    started, failures, reached, most = part.received, 0, False, part.received
    while True:
        try:
            response = origin.connect()
            reached = True
            with contextlib.closing(response):
                receive(response, origin, part, results)
            break
        except RetryableError as error:
            if not reached:
                raise
            # More than ever before: a server that refuses to continue and begins anew would be asked without end.
            failures = 0 if part.received > most and not isinstance(error, TooSlow) else failures + 1
            most = max(most, part.received)
            if failures >= ATTEMPTS:
                raise InputError(
                    f"The download stopped at {size_text(part.received)} of {size_text(part.identity.size)}, and "
                    f"{ATTEMPTS} connections in a row added nothing or too little. Last error: {error.reason} "
                    f"The bytes received are kept in {part.folder}; run again to resume from them."
                ) from None
            pause = min(PAUSE * 2**failures, 60.0)
            log.warning("%s Resuming at %s in %s.", error.reason, size_text(part.received), duration(pause))
            time.sleep(pause)
    log.info("received %s, of which %s in this run", size_text(part.received), size_text(part.received - started))


def receive(response: requests.Response, origin: RemoteFile, part: PartialDownload, results: Path) -> None:
    """Append the bytes of one connection to `part`; RetryableError where the file is still incomplete."""
    identity = Identity.of(response, origin)
    if not part.is_of(identity):
        if part.received:
            log.warning("the file that %s offers is not known to be the one of which %s were received before: starting "
                        "from its beginning", origin.host, size_text(part.received))  # fmt: skip
        part.restart(identity)
    part.identity = Identity(identity.size or part.identity.size, identity.validator)
    if part.is_complete(origin):
        log.info("nothing to transfer: all %s were received before", size_text(part.received))
        return
    require_space(origin, part, results)
    if part.received:
        response.close()
        response = request_rest(response, origin, part)
    first = part.received == 0
    try:
        part.append(check_magic(bounded(log_progress(response, part), part, origin), response, origin, first))
    except TooLarge:
        part.restart(Identity(None, None))
        raise
    except BROKEN as error:
        raise RetryableError(f"The connection broke ({type(error).__name__}).") from None
    finally:
        response.close()
    if not part.is_complete(origin):
        raise RetryableError(f"The server ended the transfer before the end of the {origin.noun}.")


def request_rest(first: requests.Response, origin: RemoteFile, part: PartialDownload) -> requests.Response:
    """Request the missing bytes from the address of `first`; the server sends the complete file if it has changed."""
    headers = {"Range": f"bytes={part.received}-", "Accept-Encoding": "identity"}
    if not origin.digest and part.identity.validator:
        headers["If-Range"] = part.identity.validator
    request = first.request
    try:
        response = http.request(request.method or "GET", first.url, {**request.headers, **headers})
    except BROKEN as error:
        raise RetryableError(f"The server cannot be reached ({type(error).__name__}).") from None
    offset, _, size = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    same_size = part.identity.size is None or size in ("", "*", str(part.identity.size))
    fits = offset.split("-")[0] == str(part.received) and same_size
    if response.status_code == 206 and fits:
        log.info("resuming at %s of %s", size_text(part.received), size_text(part.identity.size))
        return response
    if response.status_code == 200:
        log.warning("the server sends the file from its beginning: the %s received before are discarded",
                    size_text(part.received))  # fmt: skip
        part.restart(Identity.of(response, origin))
        return response
    response.close()
    if response.status_code in (206, 416):  # another range than requested, or none: the bytes received do not fit
        part.restart(Identity(None, None))
    raise RetryableError(f"The server answered HTTP {response.status_code} to a request for the missing bytes.")


def check_magic(
    chunks: Iterator[bytes], response: requests.Response, origin: RemoteFile, first: bool
) -> Iterator[bytes]:
    """Pass on the chunks; InputError where the `first` ones do not begin as files of this kind do."""
    magics = (origin.magic,) if isinstance(origin.magic, bytes) else origin.magic
    for chunk in in_pieces(chunks, max(map(len, magics))) if first else chunks:
        if first and not chunk.startswith(magics):
            content = response.headers.get("Content-Type", "no content type")
            raise InputError(
                f"Expected a {origin.kind} from {origin.host}, found something else ({content}). A proxy or the "
                f"sign-in page of a network may have answered instead: open {origin.page} on this machine, then run "
                "again."
            )
        first = False
        yield chunk


def in_pieces(chunks: Iterator[bytes], least: int) -> Iterator[bytes]:
    """Pass on the chunks, the first with at least `least` bytes if there are as many."""
    begin = b""
    for chunk in chunks:
        begin += chunk
        if len(begin) >= least:
            break
    if begin:
        yield begin
    yield from chunks


def bounded(chunks: Iterator[bytes], part: PartialDownload, origin: RemoteFile) -> Iterator[bytes]:
    """Pass on the chunks; TooLarge where they are more than the file has."""
    most = MOST_UNSTATED if part.identity.size is None else part.identity.size
    for chunk in chunks:
        if part.received + len(chunk) > most:
            raise TooLarge(f"{origin.host} sends more than the {size_text(most)} of the {origin.noun}.")
        yield chunk


def read_chunks(response: requests.Response) -> Iterator[bytes]:
    """Yield what arrives as soon as it arrives; TooSlow where it is next to nothing.

    `Response.iter_content` waits for a whole chunk, without end if a server sends single bytes.
    """
    seconds, least = SLOW
    begin, received = time.monotonic(), 0
    while chunk := response.raw.read1(CHUNK, decode_content=True):
        yield chunk
        received += len(chunk)
        if (passed := time.monotonic() - begin) >= seconds:
            if received < least:
                raise TooSlow(f"The server sent {size_text(received)} in {duration(passed)}.")
            begin, received = time.monotonic(), 0


def require_space(origin: RemoteFile, part: PartialDownload, results: Path) -> None:
    """Raise InputError unless there is disk space for the rest of the file and for the results of later stages."""
    size = part.identity.size
    if size is None:
        log.info("the server does not state the size of the %s: disk space is not checked", origin.noun)
        return
    rest = (part.folder, size - part.received, f"the {origin.noun}")
    disk_space.require_space([rest, (results, int(size * origin.expansion), "later results")])


def log_progress(response: requests.Response, part: PartialDownload) -> Iterator[bytes]:
    """Yield the chunks of `response`; every REPORT seconds, log the share received, the rate and the time left."""
    size, last, seen = part.identity.size, time.monotonic(), part.received
    log.info("%s to receive", size_text(size - part.received if size is not None else None))
    for chunk in read_chunks(response):
        yield chunk
        now = time.monotonic()
        if now - last >= REPORT:
            rate = (part.received - seen) / (now - last)
            share = f" ({part.received / size:.0%})" if size else ""
            left = f", {duration((size - part.received) / rate)} left" if size and rate else ""
            log.info("%s of %s%s, %s/s%s", size_text(part.received), size_text(size), share, size_text(int(rate)), left)
            last, seen = now, part.received


def publish(part: PartialDownload, target: Path) -> None:
    """Give the verified file its final name."""
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
def interrupt_on_sigterm() -> Iterator[None]:
    """Make SIGTERM raise KeyboardInterrupt, as Ctrl-C does, so that the state is saved."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def verify_digest(part: PartialDownload, algorithm: str, expected: str, source: str, advice: str) -> None:
    """Raise InputError, and delete the bytes received, unless their digest is the expected one.

    algorithm: a key of DIGESTS. expected: the digest or its first digits, lower-case hexadecimal. source: where it is
    stated. advice: what to do when the download fails again.
    """
    found = DIGESTS[algorithm](part.path)
    if not found.startswith(expected):
        name = part.folder.name.removesuffix(".download")
        reject(part, f"{name}: expected a file with the {algorithm} {expected} ({source}), found {found}.", advice)


def reject(part: PartialDownload, fault: str, advice: str = "") -> NoReturn:
    """Delete the bytes received, which `fault` shows to be wrong, and raise InputError. advice: ends the message."""
    received = part.received
    part.restart(Identity(None, None))
    raise InputError(
        f"{fault} The {size_text(received)} received have been deleted, since none of them can be trusted. Run again "
        f"to download them again. {advice}".rstrip()
    )
