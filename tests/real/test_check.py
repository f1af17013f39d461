"""Mosaics of real scenes and items pass their check, extensions' schemas at hand, no network."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

import mosaic
from tests.real.test_items import BUILT, GEOPARQUET
from tests.real.test_real_scenes import SCENES, Scene

RTC = f"{GEOPARQUET}/tests/data/sentinel-1-rtc-pc.json"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: Any, **options: Any) -> Any:
        raise AssertionError("a test tried to reach the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def schemas(shared: Path) -> Path:
    """All schemas among the shared data."""
    return shared


def wrong(report: Any) -> dict[str, list[str]]:
    """What is wrong, by check; files that were never there aside."""
    return {
        found.check: [str(problem) for problem in found.problems]
        for found in report.findings
        if found.level == "error" and found.check != "local files"
    }


@pytest.mark.parametrize(
    ("document", "options", "items", "crs"), BUILT, ids=[case[0].split("/")[-1] for case in BUILT]
)
def test_items(
    document: str,
    options: dict[str, Any],
    items: int,
    crs: dict[str, int],
    shared: Path,
    schemas: Path,
    tmp_path: Path,
) -> None:
    built = mosaic.build(shared / document, tmp_path / "m", **options)
    report = mosaic.check(tmp_path / "m", schemas=schemas, offline=True, sample=20)
    assert wrong(report) == {}
    found = {one.check: one for one in report.findings}
    assert found["STAC items"].count == min(items, 20)
    assert found["items.parquet"].count == items
    for name, tiles in built.indexes:
        assert found[name].count == tiles


@pytest.mark.parametrize("scene", SCENES, ids=str)
def test_rasters(scene: Scene, shared: Path, schemas: Path, tmp_path: Path) -> None:
    files = [shared / name for name in scene.files]
    mosaic.build(files, tmp_path / "m", dst_crs=scene.crs, **scene.options)
    report = mosaic.check(tmp_path / "m", schemas=schemas, all=True)
    assert wrong(report) == {}
    found = {one.check: one for one in report.findings}
    assert found["local files"].level == "ok"
    assert found["headers"].count == len(files)


def test_a_real_item_that_is_not_valid_is_named(
    shared: Path, schemas: Path, tmp_path: Path
) -> None:
    """Planetary Computer's Sentinel-1 in a band that radar hasn't."""
    document = (shared / RTC).read_text()
    path = tmp_path / "items.json"
    changed = document.replace('"sar:frequency_band": "C"', '"sar:frequency_band": "green"', 1)
    path.write_text(changed)
    mosaic.build(path, tmp_path / "m", dtype="float32")
    report = mosaic.check(tmp_path / "m", schemas=schemas, offline=True)
    (problem,) = wrong(report)["STAC items"]
    assert "sar:frequency_band: 'green' is not one of" in problem
    assert "(sar v1.0.0)" in problem
