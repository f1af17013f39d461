"""A mosaic whose scenes lie on a server that counts, and can misbehave."""

from __future__ import annotations

import http.client
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import orjson

import mosaic
from tests.support.range_server import RangeServer
from tests.support.scenes import Scene, write_scenes


def publish(home: Path, scenes: Sequence[Scene], server: RangeServer, **options: object) -> Path:
    """Scenes put on a server, and the mosaic of them in ``home/mosaic``; the files stay in
    ``home/scenes``."""
    items = write_scenes(home / "scenes", scenes)
    for path in (home / "scenes").rglob("*.tif"):
        server.objects[path.relative_to(home / "scenes").as_posix()] = path.read_bytes()
    document = orjson.loads(items.read_bytes())
    for item in document["features"]:
        for asset in item["assets"].values():
            asset["href"] = server.url(asset["href"].removeprefix("./"))
    mosaic.build(document["features"], home / "mosaic", **options)  # type: ignore[arg-type]
    return home / "mosaic"


def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer; the path is sent as it is written."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    connection.request(method, target, headers={k.replace("_", "-"): v for k, v in headers.items()})
    answer = connection.getresponse()
    told = {k.lower(): v for k, v in answer.getheaders()}
    try:
        return answer.status, told, answer.read()
    finally:
        connection.close()
