"""A series of cloudy scenes in two UTM zones, with Sentinel-2's scene classification.

The ground is that of :func:`tests.support.scenes.landscape`, a little brighter or darker from date
to date; clouds and their shadows are functions of place and date, so that scenes of a date agree.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson

from tests.support.scenes import Json, Scene, Truth, landscape, utm_scene, write_scene

BANDS = ("B02", "B03", "B04")
SHADOW, VEGETATION, CLOUD = 3, 4, 9


def _field(lon: np.ndarray, lat: np.ndarray, date: int) -> np.ndarray:
    """Smooth numbers about 0: clouds are where they are great."""
    x, y = (lon - 12.0) * 75.0, (lat - 47.5) * 111.0
    rng = np.random.default_rng([6, date])
    waves = [
        weight * np.sin((x * np.cos(turn) + y * np.sin(turn)) * 2 * np.pi / size + phase)
        for size, weight in ((26.0, 0.55), (15.0, 0.5), (8.0, 0.35), (4.4, 0.2), (2.3, 0.12))
        for turn, phase in rng.random((3, 2)) * 2 * np.pi
    ]
    found: np.ndarray = np.sum(waves, axis=0)
    return found


def classes(date: int) -> Truth:
    """The scene classification of a date: clouds over a third, and shadows north-west of them."""

    def truth(lon: np.ndarray, lat: np.ndarray, band: int) -> np.ndarray:
        cloud = _field(lon, lat, date) > 0.5
        shadow = _field(lon + 0.008, lat - 0.005, date) > 0.5
        return np.where(cloud, CLOUD, np.where(shadow, SHADOW, VEGETATION))

    return truth


def ground(date: int) -> Truth:
    """Numbers of a date: the landscape below clouds and shadows, which are wider than told."""

    def truth(lon: np.ndarray, lat: np.ndarray, band: int) -> np.ndarray:
        cloud = np.clip((_field(lon, lat, date) - 0.4) * 2.5, 0, 1)
        shade = np.clip((_field(lon + 0.008, lat - 0.005, date) - 0.4) * 2.5, 0, 0.7)
        clear = landscape(lon, lat, band) * (0.94 + 0.02 * (date * 7 % 6)) * (1 - shade)
        return np.clip(clear * (1 - cloud) + (5200 - 150 * band) * cloud, 1, 65535)

    return truth


def scenes(size: int, res: float, dates: int) -> list[list[Scene]]:
    """Scenes of each date, west and east of 12 E; they overlap, and lack a corner now and then."""
    found = []
    half = size * res / 2
    for date in range(dates):
        day = f"2025-{6 + date // 3:02d}-{2 + 9 * (date % 3):02d}"
        found.append(
            [
                utm_scene(
                    f"S2_{epsg % 100}_{date}", epsg, 12.0 + side * half * 0.75 / 75300.0, 47.5,
                    size, res, bands=BANDS, datetime=f"{day}T10:0{place}:00Z",
                    properties={"eo:cloud_cover": float((date * 37 + 11 * place) % 90)},
                    hole=(0.8, 0.95) if (date + place) % 3 == 2 else None,
                )
                for place, (epsg, side) in enumerate(((32632, -1), (32633, 1)))
            ]
        )  # fmt: skip
    return found


def write_series(folder: Path, size: int = 384, res: float = 60.0, dates: int = 6) -> Path:
    """Writes the scenes and ``items.json``, an ItemCollection; returns its path."""
    items: list[Json] = []
    for date, some in enumerate(scenes(size, res, dates)):
        for scene in some:
            item = write_scene(folder, scene, ground(date))
            coarse = scene.transform @ type(scene.transform).scale(2)
            told = replace(
                scene, bands=("SCL",), dtype="uint8", transform=coarse, shape=(size // 2, size // 2)
            )
            item["assets"] |= write_scene(folder, told, classes(date))["assets"]
            items.append(item)
    path = folder / "items.json"
    document = {"type": "FeatureCollection", "features": items}
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    return path
