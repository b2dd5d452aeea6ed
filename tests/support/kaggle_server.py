"""Kaggle on loopback: a server with the part of Kaggle's API that the real client uses; it misbehaves on request.

The client reaches it as an HTTP proxy. `environment()` returns variables with which the unchanged client sends every
request here: `KAGGLE_API_ENVIRONMENT=LOCALHOST` makes it use plain HTTP, and https goes to a closed port, so no request
can leave the machine. The server plays two hosts: the API under `localhost`, and a storage of another name to which the
API redirects, as Kaggle does. The storage must not receive credentials.
"""

import base64
import json
import os
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

COMPETITION = "synthetic-tiles"
USER = "tester"
KEY = "0123456789abcdef0123456789abcdef"
TOKEN = "KGAT_fedcba9876543210fedcba9876543210"
SIGNATURE = "5167ed0ce"  # part of the storage's addresses; it grants access
SERVICE = "/api/v1/competitions.CompetitionApiService/"


@dataclass
class Faults:
    """The faults of the server. Each request consumes one item of a list; with empty lists there is no fault."""

    # Responses by method of the API: HTTP status, headers, message; None: no fault.
    status: dict[str, list[tuple[int, dict[str, str], str] | None]] = field(default_factory=dict)
    storage_status: list[int] = field(default_factory=list)  # HTTP status of the storage; 200: no fault
    cut_after: list[int] = field(default_factory=list)  # bytes after which the connection breaks; -1: never
    stall_after: list[int] = field(default_factory=list)  # bytes after which the server falls silent; -1: never
    delay: float = 0.0  # seconds between two chunks of 16 kB
    content_length: bool = True  # whether the storage states the size
    validator: bool = True  # whether it sends an ETag and a date
    ranges: bool = True  # whether it supports Range
    page: bytes | None = None  # a web page instead of the archive
    archives: list[bytes] = field(default_factory=list)  # the archive changes to the next of these per request
    upload: list[int] = field(default_factory=list)  # HTTP status of uploads; 0: the connection breaks
    no_reference: bool = False  # whether submissions fail without an HTTP error
    pending: int = 0  # how often a new submission is listed as pending before it is scored
    unlisted: int = 0  # requests for the list in which the submissions are missing
    outcome: str = "complete"  # status of a scored submission: complete or error
    reason: str = ""  # error of a submission that cannot be scored


class KaggleServer(ThreadingHTTPServer):
    """The server runs within `with`. requests: (method, path without query, Range header, Authorization header)."""

    daemon_threads = True

    def __init__(self, archive: bytes = b"") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.archive = archive
        self.faults = Faults()
        self.requests: list[tuple[str, str, str | None, str | None]] = []
        self.sent: dict[int, dict] = {}  # submissions by reference
        self.uploads: dict[str, bytes] = {}
        self.stopping = threading.Event()
        self.lock = threading.Lock()

    def __enter__(self) -> "KaggleServer":
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.stopping.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address) -> None:
        """Print nothing: tests end clients in the middle of a transfer."""

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """Environment of a process that sends its requests to Kaggle here, without credentials of the real user."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
            "http_proxy": f"http://127.0.0.1:{self.server_port}",
            "https_proxy": "http://127.0.0.1:9",
            "no_proxy": "",
            **more,
        }

    def fetched(self) -> list[str | None]:
        """Range headers of the requests to the storage, in order."""
        return [
            requested
            for method, path, requested, _ in self.requests
            if method == "GET" and path.startswith("/storage/")
        ]

    def called(self, name: str) -> int:
        """Number of calls of a method of the API."""
        return sum(path.endswith("/" + name) for _, path, _, _ in self.requests)


def _next(items: list, default):
    """Remove and return the first item; `default` where there is none."""
    return items.pop(0) if items else default


class _Handler(BaseHTTPRequestHandler):
    server: KaggleServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        pass

    def do_POST(self) -> None:
        body = self._body()
        path = self._record()
        name = path.rsplit("/", 1)[-1]
        with self.server.lock:
            fault = _next(self.server.faults.status.get(name, []), None)
        if fault:
            code, headers, text = fault
            self._json({"code": code, "message": text}, code, headers)
        elif name == "IntrospectToken":
            active = json.loads(body).get("token") == TOKEN
            self._json({"active": active, "username": USER if active else ""})
        elif self.headers.get("Authorization") not in _accepted():
            self._json({"code": 401, "message": "Unauthenticated"}, 401)
        elif path == SERVICE + name and hasattr(self, f"_{name}"):
            getattr(self, f"_{name}")(json.loads(body))
        else:
            self._json({"code": 404, "message": "Not found"}, 404)

    def do_GET(self) -> None:
        if not self._record().startswith("/storage/"):
            return self._json({"code": 404, "message": "Not found"}, 404)
        server, faults = self.server, self.server.faults
        with server.lock:
            status = _next(faults.storage_status, 200)
            cut, stall = _next(faults.cut_after, -1), _next(faults.stall_after, -1)
        if SIGNATURE not in self.path:
            status = 403
        if status != 200:
            return self._send(status, {"Content-Type": "application/xml"}, b"<Error>storage</Error>")
        content = server.archive if faults.page is None else faults.page
        headers = {"Content-Type": "application/zip" if faults.page is None else "text/html"}
        tag = f'"{hash(content) & 0xFFFFFFFF:08x}"'
        if faults.validator:
            headers |= {"ETag": tag, "Last-Modified": "Wed, 01 May 2019 00:00:00 GMT"}
        start, code = 0, 200
        requested = self.headers.get("Range")
        if faults.ranges:
            headers["Accept-Ranges"] = "bytes"
            if requested and self.headers.get("If-Range", tag) == tag:
                start, code = int(requested.removeprefix("bytes=").rstrip("-")), 206
                if start >= len(content):
                    return self._send(416, {"Content-Range": f"bytes */{len(content)}"}, b"")
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return self._send(code, headers, content[start:], cut, stall)

    def do_PUT(self) -> None:
        with self.server.lock:
            code = _next(self.server.faults.upload, 200)
        if code == 0:
            self.close_connection = True
            self.connection.close()
            return
        content = self._body()
        token = self._record().rsplit("/", 1)[-1]
        if code == 200:
            self.server.uploads[token] = content
        self._send(code, {}, b"")

    # Methods of the API, by name.

    def _DownloadDataFiles(self, request: dict) -> None:
        if request.get("competitionName") != COMPETITION:
            return self._json({"code": 403, "message": "Permission 'competitions.get' was denied"}, 403)
        with self.server.lock:
            self.server.archive = _next(self.server.faults.archives, self.server.archive)
        return self._send(302, {"Location": f"http://storage.invalid/storage/{COMPETITION}.zip?Sig={SIGNATURE}"}, b"")

    def _StartSubmissionUpload(self, request: dict) -> None:
        token = f"blob-{len(self.server.uploads)}"
        self._json({"token": token, "createUrl": f"http://storage.invalid/upload/{token}?Sig={SIGNATURE}"})

    def _CreateSubmission(self, request: dict) -> None:
        if self.server.faults.no_reference:
            return self._json({"message": "Could not submit to competition"})
        reference = 1000 + len(self.server.sent)
        self.server.sent[reference] = {
            "ref": reference,
            "date": f"2026-11-20T12:00:{len(self.server.sent):02d}.000Z",
            "description": request.get("submissionDescription", ""),
            "fileName": "submission.csv",
            "content": self.server.uploads[request["blobFileTokens"]],
            "left": self.server.faults.pending,
        }
        return self._json({"message": "Successfully submitted", "ref": reference})

    def _ListSubmissions(self, request: dict) -> None:
        size, page = request.get("pageSize", 20), request.get("page", 1)
        newest_first = sorted(self.server.sent.values(), key=lambda submission: -submission["ref"])
        listed = newest_first[(page - 1) * size : page * size]
        if self.server.faults.unlisted > 0:
            self.server.faults.unlisted -= 1
            listed = []
        self._json({"submissions": [self._listed(submission) for submission in listed]})

    def _listed(self, submission: dict) -> dict:
        fields = {key: submission[key] for key in ("ref", "date", "description", "fileName")}
        if submission["left"] > 0:
            submission["left"] -= 1
            return fields | {"status": "PENDING"}
        if self.server.faults.outcome == "error":
            return fields | {"status": "ERROR", "errorDescription": self.server.faults.reason}
        return fields | {"status": "COMPLETE", "publicScore": "0.97531", "privateScore": "0.96420"}

    # Requests and responses.

    def _record(self) -> str:
        """Append the request to `requests`; returns its path."""
        path = urlsplit(self.path).path
        entry = (self.command, path, self.headers.get("Range"), self.headers.get("Authorization"))
        self.server.requests.append(entry)
        return path

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _json(self, value: dict, code: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(code, {"Content-Type": "application/json"} | (headers or {}), json.dumps(value).encode())

    def _send(self, code: int, headers: dict[str, str], body: bytes, cut: int = -1, stall: int = -1) -> None:
        self.send_response(code)
        faults = self.server.faults
        if faults.content_length or code not in (200, 206):
            headers = headers | {"Content-Length": str(len(body))}
        for name, value in (headers | {"Connection": "close"}).items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        end = min([len(body)] + [limit for limit in (cut, stall) if limit >= 0])
        for start in range(0, end, 16384):
            self.wfile.write(body[start : min(start + 16384, end)])
            if faults.delay and self.command == "GET":
                self.server.stopping.wait(faults.delay)
        self.wfile.flush()
        if stall >= 0:
            self.server.stopping.wait(60)


def _accepted() -> set[str]:
    """Authorization headers with valid credentials."""
    basic = base64.b64encode(f"{USER}:{KEY}".encode()).decode()
    return {f"Basic {basic}", f"Bearer {TOKEN}"}
