"""A file server on loopback that misbehaves on request: HTTP with Range, as Zenodo has, but without ETag and date."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import BinaryIO, Self


class FileServer(ThreadingHTTPServer):
    """The server runs within `with`. files: content by name. requests: (name, Range header) in order.

    Each request consumes one item of the lists of faults, `status` and `cut_after`; with empty lists there is no fault.
    """

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.requests: list[tuple[str, str | None]] = []
        self.status: list[tuple[int, dict[str, str]]] = []  # HTTP status and headers instead of the file
        self.cut_after: list[int] = []  # bytes after which the connection breaks; -1: never
        # Writes what is sent instead of a response; its second argument is the Range header.
        self.answer: Callable[[BinaryIO, str | None], None] | None = None
        self.ranges = True  # whether Range is supported
        self.content_length = True  # whether the size is stated

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/files"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address) -> None:
        """Print nothing: tests end clients in the middle of a transfer."""


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        server, requested = self.server, self.headers.get("Range")
        name = self.path.removeprefix("/files/")
        server.requests.append((name, requested))
        if server.answer:
            return server.answer(self.wfile, requested)
        if server.status:
            return self._send(*server.status.pop(0), b"error")
        content = server.files.get(name)
        if content is None:
            return self._send(404, {}, b"not found")
        if not (requested and server.ranges):
            return self._send(200, {}, content)
        start = int(requested.removeprefix("bytes=").rstrip("-"))
        headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        return self._send(206, headers, content[start:])

    def _send(self, code: int, headers: dict[str, str], body: bytes) -> None:
        cut = self.server.cut_after.pop(0) if self.server.cut_after and code < 300 else -1
        self.send_response(code)
        if self.server.content_length:
            headers = headers | {"Content-Length": str(len(body))}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body if cut < 0 else body[:cut])
