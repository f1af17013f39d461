"""Real STAC API servers on loopback (`rustac serve`), and a proxy in front of them that fails."""

from __future__ import annotations

import http.client
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import orjson

Json = dict[str, Any]


@dataclass
class Answer:
    """What a fault gives instead of the server's answer."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    """Whether the connection breaks in the middle of the body."""


@dataclass
class Asked:
    """One request that came to the proxy."""

    method: str
    path: str
    body: Json
    at: float


Fault = Callable[[int, Asked, Callable[[], Answer]], Answer | None]
"""(number of the request, the request, the server's own answer) to another answer, or None."""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class Api:
    """A server behind its proxy."""

    url: str
    asked: list[Asked] = field(default_factory=list)
    fault: Fault = lambda number, asked, real: None

    @property
    def searches(self) -> list[Asked]:
        """What was asked of ``/search``."""
        return [one for one in self.asked if one.path.startswith("/search")]


@contextmanager
def rustac(folder: Path, collections: Iterable[Json], items: Iterable[Json]) -> Iterator[Api]:
    """``rustac serve`` with these items, behind a proxy that is well until it gets a fault."""
    binary = shutil.which("rustac", path=str(Path(sys.executable).parent)) or "rustac"
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    features = list(items)
    known = {one["id"]: one for one in collections}
    for name in {one["collection"] for one in features} - known.keys():
        known[name] = collection(name)  # the server's own take minutes for many items
    for document in known.values():
        path = folder / f"collection-{document['id']}.json"
        path.write_bytes(orjson.dumps(document))
        names.append(str(path))
    whole = {"type": "FeatureCollection", "features": features}
    (folder / "items.json").write_bytes(orjson.dumps(whole))
    del features, whole  # they may be many
    back, front = free_port(), free_port()
    url = f"http://127.0.0.1:{front}"
    log = (folder / "log").open("wb")
    command = [binary, "serve", "-a", url, "-b", f"127.0.0.1:{back}"]
    process = subprocess.Popen(
        [*command, "--use-duckdb", "false", *names, str(folder / "items.json")],
        stdout=log,
        stderr=log,
    )
    try:
        wait_for(f"http://127.0.0.1:{back}/", process, folder / "log")
        with proxy(front, f"127.0.0.1:{back}") as api:
            yield api
    finally:
        process.terminate()
        process.wait(10)
        log.close()


def collection(name: str) -> Json:
    """The least that a collection is."""
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": name,
        "title": f"{name} for tests",
        "description": "Made up",
        "license": "CC-BY-4.0",
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [[None, None]]},
        },
        "links": [],
    }


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until a server answers; one that ends before shows its log."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            with urlopen(url, timeout=5) as answer:
                answer.read()
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"{url} doesn't come up: {log.read_text()}")


@contextmanager
def proxy(port: int, behind: str | None, host: str = "") -> Iterator[Api]:
    """An HTTP server that passes on what it is asked, but for its faults.

    ``behind``: host and port; None: there are only faults. ``host``: what servers that make their
    links of it are told as theirs.
    """
    api = Api(f"http://127.0.0.1:{port}")
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = self.rfile.read(length)
            asked = Asked(
                self.command, self.path, orjson.loads(body) if body else {}, time.monotonic()
            )
            with lock:
                number = len(api.asked)
                api.asked.append(asked)

            def real() -> Answer:
                assert behind
                connection = http.client.HTTPConnection(behind, timeout=60)
                headers = {"Content-Type": "application/json"} if body else {}
                headers |= {"Host": host} if host else {}
                connection.request(self.command, self.path, body or None, headers)
                answer = connection.getresponse()
                kind = answer.getheader("content-type") or "application/json"
                return Answer(answer.status, answer.read(), {"Content-Type": kind})

            answer = api.fault(number, asked, real) or real()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            half = len(answer.body) // 2 if answer.cut else len(answer.body)
            self.wfile.write(answer.body[:half])
            if answer.cut:
                self.close_connection = True

        do_GET = do_POST = _serve  # noqa: N815 - the library's names

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()


def answer(document: Any, status: int = 200) -> Answer:
    """A JSON answer."""
    return Answer(status, orjson.dumps(document), {"Content-Type": "application/json"})


CONFORMS = [
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/item-search#filter",
    "https://api.stacspec.org/v1.0.0/item-search#query",
    "https://api.stacspec.org/v1.0.0/item-search#sort",
]


def landing(url: str, method: str = "POST") -> Json:
    """The root of an API that can all that `mosaic search` can ask."""
    return {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": "faulty",
        "description": "An API for tests",
        "conformsTo": CONFORMS,
        "links": [
            {"rel": "self", "href": url},
            {"rel": "root", "href": url},
            {"rel": "data", "href": f"{url}/collections"},
            {"rel": "search", "href": f"{url}/search", "method": method},
        ],
    }
