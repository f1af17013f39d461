"""Mosaics that lazy datasets are opened from; never written to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import mosaic
from tests.engine import conftest as _profile  # noqa: F401 - how properties are tested
from tests.support.scenes import Scene, lattice_scenes, seam_scenes, write_scenes


@dataclass(frozen=True)
class Made:
    """A mosaic and what it was made of."""

    path: Path
    """Its folder."""
    scenes: tuple[Scene, ...]
    """Its scenes."""
    items: Path
    """Their items; the files lie beside."""

    def files(self, band: str, wanted: Callable[[Scene], bool] = lambda _: True) -> list[Path]:
        """Files from the top down: the newest first, ties by id."""
        order = sorted(self.scenes, key=lambda scene: scene.id)
        order = sorted(order, key=lambda scene: scene.datetime, reverse=True)
        folder = self.items.parent
        return [folder / scene.id / f"{band}.tif" for scene in order if wanted(scene)]


def made(home: Path, scenes: list[Scene], **options: object) -> Made:
    """Writes scenes and builds their mosaic."""
    items = write_scenes(home / "scenes", scenes)
    mosaic.build(items, home / "mosaic", **options)  # type: ignore[arg-type]
    return Made(home / "mosaic", tuple(scenes), items)


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """One zone, the mosaic's own pixels, five instants on three days, gaps, partial overlaps."""
    scenes = [
        replace(
            scene,
            datetime=f"2025-06-0{1 + number // 2}T10:00:0{number}.{number}23456Z",
            properties={"tile": f"T{number % 2}", "eo:cloud_cover": 10.0 - number},
        )
        for number, scene in enumerate(lattice_scenes(256))
    ]
    return made(tmp_path_factory.mktemp("native"), scenes)


@pytest.fixture(scope="session")
def seamed(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Two zones, two dates, in EPSG:3035."""
    scenes = seam_scenes(256, 60.0, ("B04",), dates=2)
    return made(tmp_path_factory.mktemp("seamed"), list(scenes), dst_crs="EPSG:3035")
