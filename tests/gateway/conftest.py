"""Gateways before servers that count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mosaic.gateway.app import Gateway
from mosaic.gateway.options import Options
from mosaic.settings import Limits, Retry
from tests.support.range_server import RangeServer
from tests.support.scenes import seam_scenes
from tests.support.upstream import publish

QUICK = Retry(base=0.01, longest=0.1, deadline=20, attempt=10, connect=5, stall=5)
Serve = Callable[..., Gateway]


@pytest.fixture(scope="session")
def upstream() -> Iterator[RangeServer]:
    """The server of the scenes; each test finds it well-behaved and its counters at zero."""
    with RangeServer({}) as running:
        yield running


@pytest.fixture
def server(upstream: RangeServer) -> Iterator[RangeServer]:
    upstream.reset()
    before = dict(upstream.objects)
    yield upstream
    upstream.behaviour = type(upstream.behaviour)()
    upstream.objects = before


@pytest.fixture(scope="session")
def remote(tmp_path_factory: pytest.TempPathFactory, upstream: RangeServer) -> Path:
    """A mosaic of eight scenes in two zones on ``upstream``, with a stack and slices."""
    home = tmp_path_factory.mktemp("remote")
    scenes = seam_scenes(256, 60.0, ("B04", "B03", "B02"), dates=2)
    return publish(home, scenes, upstream, stacks=[("B04", "B03", "B02")], slices="day")


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts gateways: on any port, with short pauses, unless told otherwise."""
    made: list[Gateway] = []

    def start(*folders: Path, retry: Retry = QUICK, **told: object) -> Gateway:
        options = Options(**{"port": 0, "grace": 2.0, **told})  # type: ignore[arg-type]
        limits = Limits(concurrency=4, start=4)
        named = {folder.name: folder for folder in folders}
        made.append(Gateway(named, options, limits=limits, retry=retry))
        return made[-1].start()

    yield start
    for one in made:
        one.close()
