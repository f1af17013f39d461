"""What the tests of signing share: a secret that must never show, and services with tokens."""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = "TopSecret0123456789"
BODY = bytes(range(256)) * 100


def in_an_hour() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))


class Service:
    """A token service on a real port: answers by path, remembers what it was sent."""

    def __init__(self, answers: dict[str, Callable[[], object]]) -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.bodies: list[str] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                service.asked.append((self.command, self.path, dict(self.headers.items())))
                length = int(self.headers.get("Content-Length") or 0)
                service.bodies.append(self.rfile.read(length).decode())
                answer = answers.get(self.path) or answers.get(self.path.partition("?")[0])
                told = answer() if answer else {}
                body = told.encode() if isinstance(told, str) else json.dumps(told).encode()
                self.send_response(200 if answer else 404)
                self.send_header("Metadata-Flavor", "Google")  # as Google's metadata server does
                kind = "text/plain" if isinstance(told, str) else "application/json"
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = _answer  # noqa: N815 - names that http.server looks for

            def log_message(self, *given: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
