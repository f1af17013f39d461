"""A range server on 127.0.0.1 that can misbehave, and counts what it was asked.

    python -m tests.support.range_server FOLDER [--port N] [--set latency=0.03 ...]

In a test: ``with RangeServer({"a.bin": data}, latency=0.01) as server: ... server.url("a.bin")``.
It runs on a thread and a loop of its own; ``server.behaviour`` may be changed while it runs.
``/_set?latency=0.03`` changes it over HTTP, ``/_counts`` tells the counters as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import mmap
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Behaviour:
    """How the server treats requests."""

    latency: float = 0.0
    """Seconds from a request to its answer."""
    most: int = 0
    """Requests in flight beyond which it refuses; 0 for no limit."""
    rps: float = 0.0
    """Requests a second beyond which it refuses, with a burst of a quarter; 0 for no limit."""
    retry_after: str = ""
    """Retry-After of a refusal, or empty."""
    refusal: int = 503
    """Status of a refusal."""
    flaky: float = 0.0
    """Share of requests answered 503 at random."""
    resets: float = 0.0
    """Share of requests whose connection is reset."""
    truncated: float = 0.0
    """Share of requests whose body ends early."""
    stalls: float = 0.0
    """Share of requests that hang after half of the body."""
    status: int = 0
    """Answer everything with this status."""
    lie: str = ""
    """shifted, longer, shorter, none, garbage, size: a false Content-Range."""
    endless: bool = False
    """The body never ends (no Content-Length)."""
    encoding: str = ""
    """A Content-Encoding to claim."""
    ranges: bool = True
    """False: ignore Range, answer 200."""
    announce: bool = True
    """False: no Content-Length on a 200."""
    redirect: str = ""
    """Redirect there (``{path}`` is put in), or to the same URL with ``self``."""
    token: Callable[[str], bool] | None = None
    """Whether a ``sig=`` or bearer token is good; others get ``denial``."""
    forbidden: str = ""
    """End of the paths that are answered with ``denial``, or empty."""
    denial: int = 403
    """Status of an answer to a request without a good token."""
    etag: str = "v1"
    """Version of every object; empty: none is told."""
    modified: str = ""
    """Last-Modified of every object, or empty."""
    deaf: float = 0.0
    """Seconds until it hears that a connection was closed, as a busy server does."""
    drip: float = 0.0
    """Seconds between single bytes of a body."""
    seed: int = 0
    """Seed of what is random."""


@dataclass
class Counts:
    """What was asked."""

    requests: int = 0
    refused: int = 0
    peak: int = 0
    in_flight: int = 0
    bytes: int = 0
    heads: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    log: list[tuple[float, str, str, int]] = field(default_factory=list)
    """(monotonic seconds, path, Range, status)."""
    headers: deque[dict[str, str]] = field(default_factory=lambda: deque(maxlen=256))
    targets: deque[str] = field(default_factory=lambda: deque(maxlen=256))


_SLICE = 1 << 20
"""Bytes that are given to a connection at once."""


class RangeServer:
    """The server, on a thread of its own."""

    def __init__(self, objects: Mapping[str, bytes], port: int = 0, **behaviour: Any) -> None:
        self.objects: dict[str, bytes] = dict(objects)
        self.behaviour = Behaviour(**behaviour)
        self.counts = Counts()
        self.chance = random.Random(self.behaviour.seed)
        self.loop = asyncio.new_event_loop()
        self._tokens, self._stamp = 0.0, time.monotonic()
        self._socket = socket.create_server(("127.0.0.1", port), backlog=1024)
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"

    def reset(self) -> Counts:
        """Zero the counters; the old ones."""
        old = self.counts
        self.counts = Counts(in_flight=old.in_flight, peak=old.in_flight)
        return old

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(
            self.loop.create_server(lambda: _Connection(self), sock=self._socket)
        )
        self.loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    def admit(self) -> bool:
        """Whether the limits let one more request in; call after counting it."""
        told = self.behaviour
        if told.most and self.counts.in_flight > told.most:
            return False
        if told.rps:
            now = time.monotonic()
            grown = self._tokens + (now - self._stamp) * told.rps
            self._tokens, self._stamp = min(max(1.0, told.rps / 4), grown), now
            if self._tokens < 1:
                return False
            self._tokens -= 1
        return True


class _Connection(asyncio.Protocol):
    def __init__(self, server: RangeServer) -> None:
        self.server = server
        self.transport: Any = None
        self.buffer = b""
        self.queue: deque[bytes] = deque()
        self.busy = False
        self.timers: list[asyncio.TimerHandle] = []
        self.paused = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        transport.set_write_buffer_limits(high=0)

    def connection_lost(self, error: Exception | None) -> None:
        for timer in self.timers:
            timer.cancel()
        self.queue.clear()
        self.transport = None
        if self.server.behaviour.deaf:
            self.server.loop.call_later(self.server.behaviour.deaf, self._done)
        else:
            self._done()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._flow()
        if self.flushing and not self.paused:
            self.flushing = False
            self._done()

    flushing = False
    rest = memoryview(b"")

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
            self.queue.append(head)
        self._next()

    def _next(self) -> None:
        if self.busy or not self.queue or self.transport is None:
            return
        lines = self.queue.popleft().decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ", 2)
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        path = unquote(urlsplit(target).path)
        if path.startswith("/_"):
            self._control(path, target)
            return
        server, counts = self.server, self.server.counts
        self.busy = True
        counts.in_flight += 1
        counts.requests += 1
        counts.heads += method == "HEAD"
        counts.headers.append(headers)
        counts.targets.append(target)
        counts.peak = max(counts.peak, counts.in_flight)
        if not server.admit():
            told = server.behaviour
            counts.refused += 1
            after = {"Retry-After": told.retry_after} if told.retry_after else {}
            self._send(told.refusal, after, b"", path, headers)
            return
        if server.behaviour.latency:
            self._later(server.behaviour.latency, self._answer, method, target, path, headers)
        else:
            self._answer(method, target, path, headers)

    def _answer(self, method: str, target: str, path: str, headers: dict[str, str]) -> None:
        server, told = self.server, self.server.behaviour
        roll = server.chance.random
        if told.status:
            self._send(told.status, {}, b"", path, headers)
            return
        if told.token is not None and not told.token(_token(target, headers)):
            self._send(told.denial, {}, b"", path, headers)
            return
        if told.forbidden and path.endswith(told.forbidden):
            self._send(told.denial, {}, b"", path, headers)
            return
        if told.redirect:
            to = target if told.redirect == "self" else told.redirect.replace("{path}", path)
            self._send(302, {"Location": to}, b"", path, headers)
            return
        if told.flaky and roll() < told.flaky:
            after = {"Retry-After": told.retry_after} if told.retry_after else {}
            self._send(503, after, b"", path, headers)
            return
        if told.resets and roll() < told.resets:
            self._log(path, headers, 0)
            self._reset()
            return
        self._object(method, path, headers)

    def _object(self, method: str, path: str, headers: dict[str, str]) -> None:
        server, told = self.server, self.server.behaviour
        data = server.objects.get(path.lstrip("/"))
        if data is None:
            self._send(404, {}, b"", path, headers)
            return
        extra = {"ETag": f'"{told.etag}"'} if told.etag else {}
        if told.modified:
            extra["Last-Modified"] = told.modified
        extra["Accept-Ranges"] = "bytes"
        if told.etag and headers.get("if-none-match") == extra["ETag"]:
            self._send(304, extra, b"", path, headers)
            return
        if told.encoding:
            extra["Content-Encoding"] = told.encoding
        status, body = 200, memoryview(data)
        if told.ranges and headers.get("range", "").startswith("bytes="):
            first, _, last = headers["range"][6:].partition("-")
            start = int(first) if first else max(0, len(data) - int(last))
            stop = min(len(data), int(last) + 1) if first and last else len(data)
            if start >= len(data) or start >= stop:
                extra["Content-Range"] = f"bytes */{len(data)}"
                self._send(416, extra, b"", path, headers)
                return
            status, body = 206, body[start:stop]
            extra["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
            body = _lied(told.lie, extra, start, stop, len(data), body)
        if told.endless:
            self._head(status, extra)
            self._log(path, headers, status)
            self._pour(bytes(body) or b"x")
            return
        roll = server.chance.random
        if told.truncated and roll() < told.truncated:
            self._cut(status, extra, body, path, headers, self._reset_soon)
        elif told.stalls and roll() < told.stalls:
            self._cut(status, extra, body, path, headers, lambda: None)
        elif told.drip:
            self._head(status, {**extra, "Content-Length": str(len(body))})
            self._log(path, headers, status)
            self._drip(bytes(body), 0)
        else:
            counted = told.announce or status == 206
            if method == "HEAD":
                self._log(path, headers, status)
                self._head(status, {**extra, "Content-Length": str(len(body))})
                self._done()
                return
            self._send(status, extra, body, path, headers, counted)

    def _cut(
        self,
        status: int,
        extra: dict[str, str],
        body: memoryview,
        path: str,
        headers: dict[str, str],
        then: Callable[[], None],
    ) -> None:
        self._log(path, headers, -status)
        self._head(status, {**extra, "Content-Length": str(len(body))})
        self.transport.write(body[: len(body) // 2])
        then()

    def _reset_soon(self) -> None:
        self.transport.close()

    def _reset(self) -> None:
        self.transport.abort()

    def _pour(self, piece: bytes) -> None:
        if self.transport is not None:
            if not self.paused:
                self.transport.write(piece * max(1, 65536 // len(piece)))
            self._later(0.001, self._pour, piece)

    def _drip(self, body: bytes, at: int) -> None:
        if self.transport is None:
            return
        if at < len(body):
            self.transport.write(body[at : at + 1])
            self._later(self.server.behaviour.drip, self._drip, body, at + 1)
        else:
            self._done()

    def _later(self, seconds: float, function: Callable[..., None], *given: Any) -> None:
        self.timers = [t for t in self.timers if not t.cancelled() and t.when() > _now()]
        self.timers.append(self.server.loop.call_later(seconds, self._if_open, function, *given))

    def _if_open(self, function: Callable[..., None], *given: Any) -> None:
        if self.transport is not None:
            function(*given)

    def _head(self, status: int, extra: Mapping[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} X", *(f"{k}: {v}" for k, v in extra.items()), "", ""]
        self.transport.write("\r\n".join(lines).encode("latin-1"))

    def _send(
        self,
        status: int,
        extra: Mapping[str, str],
        body: bytes | memoryview,
        path: str,
        headers: dict[str, str],
        counted: bool = True,
    ) -> None:
        length = {"Content-Length": str(len(body))} if counted else {"Connection": "close"}
        self._log(path, headers, status)
        self._head(status, {**extra, **length})
        if not counted:
            self.server.counts.bytes += len(body)
            self.transport.write(body)
            self.transport.close()
            return
        self.rest = memoryview(body)
        self._flow()
        if self.paused:
            self.flushing = True
        else:
            self._done()

    def _flow(self) -> None:
        """As much of the body as the connection takes: who hangs up isn't sent the rest."""
        while len(self.rest) and not self.paused and self._open():
            part, self.rest = self.rest[:_SLICE], self.rest[_SLICE:]
            # counted before it is sent: whoever has the answer finds it in the counters
            self.server.counts.bytes += len(part)
            self.transport.write(part)

    def _open(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def _log(self, path: str, headers: dict[str, str], status: int) -> None:
        counts = self.server.counts
        counts.statuses[status] = counts.statuses.get(status, 0) + 1
        counts.log.append((time.monotonic(), path, headers.get("range", ""), status))

    def _done(self) -> None:
        if self.busy:
            self.busy = False
            self.server.counts.in_flight -= 1
            self._next()

    def _control(self, path: str, target: str) -> None:
        given = parse_qs(urlsplit(target).query)
        if path == "/_set":
            kinds = {
                f.name: type(getattr(self.server.behaviour, f.name)) for f in fields(Behaviour)
            }
            for name, values in given.items():
                setattr(self.server.behaviour, name, kinds[name](values[0]))
        counts = self.server.reset() if path == "/_reset" else self.server.counts
        told = {k: getattr(counts, k) for k in ("requests", "refused", "peak", "bytes", "heads")}
        body = json.dumps(told).encode()
        self._head(200, {"Content-Length": str(len(body)), "Content-Type": "application/json"})
        self.transport.write(body)
        self._next()


def _now() -> float:
    return asyncio.get_running_loop().time()


def _token(target: str, headers: Mapping[str, str]) -> str:
    bearer = headers.get("authorization", "").removeprefix("Bearer ")
    return bearer or parse_qs(urlsplit(target).query).get("sig", [""])[0]


def _lied(
    lie: str, extra: dict[str, str], start: int, stop: int, size: int, body: memoryview
) -> memoryview:
    match lie:
        case "shifted":
            extra["Content-Range"] = f"bytes {start + 1}-{stop}/{size}"
        case "longer":
            extra["Content-Range"] = f"bytes {start}-{stop + 9}/{size + 100}"
        case "shorter":
            extra["Content-Range"] = f"bytes {start}-{stop - 2}/{size}"
            return body[:-1]
        case "none":
            del extra["Content-Range"]
        case "garbage":
            extra["Content-Range"] = "bytes zero-9/*"
        case "size":
            extra["Content-Range"] = f"bytes {start}-{stop - 1}/{stop - 2}"
        case "length":
            extra["Content-Range"] = f"bytes {start}-{stop - 2}/{stop - 1}"
    return body


def mapped(path: Path) -> Any:
    """A file's bytes, read when they are asked for."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    given = parser.parse_args()
    files = [path for path in given.folder.rglob("*") if path.is_file()]
    objects = {path.relative_to(given.folder).as_posix(): mapped(path) for path in files}
    server = RangeServer(objects, given.port)
    for text in given.set:
        name, _, value = text.partition("=")
        setattr(server.behaviour, name, type(getattr(server.behaviour, name))(value))
    print(server.port, flush=True)
    with server:
        threading.Event().wait()


if __name__ == "__main__":
    main()


def travelled(server: RangeServer) -> int:
    """Bytes of all ranges that were answered."""
    total = 0
    for _, path, span, status in server.counts.log:
        assert status == 206
        first, _, last = span.removeprefix("bytes=").partition("-")
        total += min(int(last) + 1, len(server.objects[path.lstrip("/")])) - int(first)
    return total
