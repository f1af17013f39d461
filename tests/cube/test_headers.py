"""Headers of items that tell too little are read through the gate that the user gave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mosaic
from mosaic.settings import CacheSettings, Limits
from mosaic.storage import Gate, default_gate
from tests.support.range_server import RangeServer
from tests.support.scenes import Scene, item_of, utm_scene, write_scene

BOX = (8.95, 47.45, 9.2, 47.55)
MOST = 2


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [utm_scene(f"n{k}", 32632, 9.0 + 0.02 * k, 47.5, 128, 60.0) for k in range(9)]


@pytest.fixture
def server(scenes: list[Scene], tmp_path: Path) -> Iterator[RangeServer]:
    for scene in scenes:
        write_scene(tmp_path, scene)
    files = {str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.rglob("*.tif")}
    with RangeServer(files) as running:
        running.behaviour.latency = 0.02
        yield running


def given(server: RangeServer, scenes: list[Scene], kind: str) -> Any:
    """Nine scenes as items without ``proj:*``, or as a list of items and a file's name."""
    items = [item_of(scene, full=False) for scene in scenes]
    for item in items:
        for asset in item["assets"].values():
            asset["href"] = server.url(asset["href"].removeprefix("./"))
    return items if kind == "items" else server.url(f"{scenes[0].id}/B04.tif")


def asked_of_default(server: RangeServer) -> int:
    host = server.url("").split("//")[1].rstrip("/")
    return sum(row.requests for row in default_gate().stats().origins if host in row.origin)


@pytest.mark.parametrize("kind", ["items", "a raster's URL"])
@pytest.mark.parametrize("verb", ["open", "read", "plan"])
def test_the_gate_that_was_given_reads_them(
    server: RangeServer, scenes: list[Scene], verb: str, kind: str
) -> None:
    gate = Gate(limits=Limits(concurrency=MOST, start=MOST))
    source = given(server, scenes, kind)
    how: dict[str, Any] = {"bbox": BOX, "gate": gate}
    {"open": mosaic.open, "read": mosaic.read, "plan": mosaic.plan}[verb](source, **how)
    count = 9 if kind == "items" else 1
    assert len({path for _, path, _, _ in server.counts.log}) == count
    assert 0 < server.counts.peak <= MOST  # 32 are opened at once
    assert sum(row.requests for row in gate.stats().origins) == server.counts.requests
    assert asked_of_default(server) == 0
    gate.close()


def test_what_is_at_hand_is_not_asked_for_again(server: RangeServer, scenes: list[Scene]) -> None:
    gate = Gate(limits=Limits(concurrency=MOST, start=MOST))
    source = given(server, scenes, "items")
    first = mosaic.read(source, bbox=BOX, gate=gate)
    before = server.counts.requests
    again = mosaic.read(source, bbox=BOX, gate=gate)
    assert server.counts.requests == before
    np.testing.assert_array_equal(again.values, first.values)
    assert first.valid.any()
    gate.close()


def test_settings_of_the_gate_hold_for_headers(server: RangeServer, scenes: list[Scene]) -> None:
    """The gate's other settings, too: here a cache that keeps nothing."""
    gate = Gate(cache=CacheSettings(memory=0))
    source = given(server, scenes, "items")
    mosaic.open(source, gate=gate)
    before = server.counts.requests
    mosaic.open(source, gate=gate)
    assert server.counts.requests >= before + len(scenes)
    gate.close()
