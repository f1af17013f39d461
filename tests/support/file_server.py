"""A small HTTP server of files with ranges and a log of requests, on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class Served:
    """A running server."""

    url: str
    """Base URL without a slash at the end."""
    log: list[tuple[str, str]] = field(default_factory=list)
    """(method, path) of every request."""


@contextmanager
def serving(root: Path) -> Iterator[Served]:
    """Serves the files below ``root`` until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            self._answer()

        def do_HEAD(self) -> None:
            self._answer()

        def _answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            served.log.append((self.command, path))
            file = (root / path.lstrip("/")).resolve()
            if not file.is_relative_to(root.resolve()) or not file.is_file():
                self._send(404, b"")
                return
            data = file.read_bytes()
            asked = self.headers.get("Range", "")
            if asked.startswith("bytes=") and "," not in asked:
                first, _, last = asked[6:].partition("-")
                start = int(first) if first else max(0, len(data) - int(last))
                end = min(len(data), int(last) + 1 if first and last else len(data))
                if start >= len(data):
                    self._send(416, b"", f"bytes */{len(data)}")
                else:
                    self._send(206, data[start:end], f"bytes {start}-{end - 1}/{len(data)}")
            else:
                self._send(200, data)

        def _send(self, status: int, body: bytes, content_range: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Accept-Ranges", "bytes")
            if content_range:
                self.send_header("Content-Range", content_range)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    served = Served(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
