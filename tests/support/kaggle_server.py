"""Kaggle on loopback: a server that speaks what the real client speaks, and misbehaves on request.

It is reached as an HTTP proxy: `environment()` gives the variables with which the unchanged client sends every request
here (`KAGGLE_API_ENVIRONMENT=LOCALHOST` makes its addresses plain HTTP), and https goes to a closed port, so that
nothing can leave the machine. Two hosts are served: the interface under `localhost`, and a storage of another name,
to which the interface redirects, as Kaggle does; credentials must not arrive there.
"""

import base64
import json
import os
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

COMPETITION = "made-up-tiles"
USER = "tester"
KEY = "0123456789abcdef0123456789abcdef"
TOKEN = "KGAT_fedcba9876543210fedcba9876543210"
SIGNATURE = "5167ed0ce"  # of the storage's addresses: whoever has it can fetch
SERVICE = "/api/v1/competitions.CompetitionApiService/"


@dataclass
class Faults:
    """What goes wrong. Lists are used up, one item per request; the last state is that nothing is wrong."""

    status: dict[str, list[tuple[int, dict[str, str], str]]] = field(
        default_factory=dict
    )  # by method: code, headers, text
    storage_status: list[int] = field(default_factory=list)  # 200: answer as usual
    cut_after: list[int] = field(default_factory=list)  # bytes after which the connection breaks off; -1: not
    stall_after: list[int] = field(default_factory=list)  # bytes after which nothing more comes; -1: not
    delay: float = 0.0  # seconds between two pieces of 16 kB
    content_length: bool = True
    validator: bool = True  # ETag and date
    ranges: bool = True
    page: bytes | None = None  # a web page in place of the archive
    archives: list[bytes] = field(default_factory=list)  # taken one by one, each before a request for an address
    upload: list[int] = field(default_factory=list)  # answers to PUT; 0: the connection breaks off
    no_reference: bool = False
    pending: int = 0  # how often a new submission is listed as pending before it has its score
    outcome: str = "complete"
    reason: str = ""


class KaggleServer(ThreadingHTTPServer):
    """Started by `with`; `requests` holds (method, path without query, Range header, Authorization header)."""

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
        """A client that goes away in the middle is part of the tests."""

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """The variables of a process that takes this server for Kaggle and knows nothing of the real user."""
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
        """The Range headers of the requests to the storage, in order."""
        return [range_ for method, path, range_, _ in self.requests if method == "GET" and path.startswith("/storage/")]

    def called(self, name: str) -> int:
        """How often a method of the interface was called."""
        return sum(path.endswith("/" + name) for _, path, _, _ in self.requests)


def _take(items: list, otherwise):
    return items.pop(0) if items else otherwise


class _Handler(BaseHTTPRequestHandler):
    server: KaggleServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        pass

    def do_POST(self) -> None:
        body = self._body()
        path = self._note()
        name = path.rsplit("/", 1)[-1]
        with self.server.lock:
            wrong = _take(self.server.faults.status.get(name, []), None)
        if wrong:
            code, headers, text = wrong
            self._json({"code": code, "message": text}, code, headers)
        elif name == "IntrospectToken":
            good = json.loads(body).get("token") == TOKEN
            self._json({"active": good, "username": USER if good else ""})
        elif self.headers.get("Authorization") not in _accepted():
            self._json({"code": 401, "message": "Unauthenticated"}, 401)
        elif path == SERVICE + name and hasattr(self, f"_{name}"):
            getattr(self, f"_{name}")(json.loads(body))
        else:
            self._json({"code": 404, "message": "Not found"}, 404)

    def do_GET(self) -> None:
        if not self._note().startswith("/storage/"):
            return self._json({"code": 404, "message": "Not found"}, 404)
        server, faults = self.server, self.server.faults
        with server.lock:
            status = _take(faults.storage_status, 200)
            cut, stall = _take(faults.cut_after, -1), _take(faults.stall_after, -1)
        if SIGNATURE not in self.path:
            status = 403
        if status != 200:
            return self._send(status, {"Content-Type": "application/xml"}, b"<Error>of the storage</Error>")
        content = server.archive if faults.page is None else faults.page
        headers = {"Content-Type": "application/zip" if faults.page is None else "text/html"}
        tag = f'"{hash(content) & 0xFFFFFFFF:08x}"'
        if faults.validator:
            headers |= {"ETag": tag, "Last-Modified": "Wed, 01 May 2019 00:00:00 GMT"}
        start, code = 0, 200
        asked = self.headers.get("Range")
        if faults.ranges:
            headers["Accept-Ranges"] = "bytes"
            if asked and self.headers.get("If-Range", tag) == tag:
                start, code = int(asked.removeprefix("bytes=").rstrip("-")), 206
                if start >= len(content):
                    return self._send(416, {"Content-Range": f"bytes */{len(content)}"}, b"")
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return self._send(code, headers, content[start:], cut, stall)

    def do_PUT(self) -> None:
        with self.server.lock:
            code = _take(self.server.faults.upload, 200)
        if code == 0:
            self.close_connection = True
            self.connection.close()
            return
        content = self._body()
        token = self._note().rsplit("/", 1)[-1]
        if code == 200:
            self.server.uploads[token] = content
        self._send(code, {}, b"")

    # The interface's methods, by their names.

    def _DownloadDataFiles(self, request: dict) -> None:
        if request.get("competitionName") != COMPETITION:
            return self._json({"code": 403, "message": "Permission 'competitions.get' was denied"}, 403)
        with self.server.lock:
            self.server.archive = _take(self.server.faults.archives, self.server.archive)
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
        newest_first = sorted(self.server.sent.values(), key=lambda one: -one["ref"])[(page - 1) * size : page * size]
        self._json({"submissions": [self._listed(one) for one in newest_first]})

    def _listed(self, one: dict) -> dict:
        shown = {key: one[key] for key in ("ref", "date", "description", "fileName")}
        if one["left"] > 0:
            one["left"] -= 1
            return shown | {"status": "PENDING"}
        if self.server.faults.outcome == "error":
            return shown | {"status": "ERROR", "errorDescription": self.server.faults.reason}
        return shown | {"status": "COMPLETE", "publicScore": "0.97531", "privateScore": "0.96420"}

    # What every answer needs.

    def _note(self) -> str:
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
    basic = base64.b64encode(f"{USER}:{KEY}".encode()).decode()
    return {f"Basic {basic}", f"Bearer {TOKEN}"}
