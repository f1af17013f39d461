"""Scenes of two Sentinel-2 encodings, and the same scenes as if all had been stored in the newer.

The twins are made by numpy, apart from the package and from GDAL: what a mosaic of the mixture
shows must equal, number by number, what a mosaic of the twins shows, which harmonises nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import rasterio
from affine import Affine
from rasterio.shutil import copy

import mosaic
from tests.support.mosaics import NORTH
from tests.support.scenes import Scene, Truth, seam_scenes, utm_scene, write_scene

Json = dict[str, Any]

OLD, NEW = "2021-06-01T10:00:00Z", "2024-06-01T10:00:00Z"
STORED = np.array([0, 1, 900, 1000, 10000, 64535, 65535], np.uint16)
"""What old scenes hold: no data, the least, what a subtraction loses, the edge, saturated."""


def old(lon: np.ndarray, lat: np.ndarray, band: int) -> np.ndarray:
    """Fields of about a kilometre with each of ``STORED``."""
    return STORED[(np.floor(lon * 75) + 3 * np.floor(lat * 111)).astype(int) % len(STORED)]


def new(lon: np.ndarray, lat: np.ndarray, band: int) -> np.ndarray:
    """The same ground since baseline 04.00: 1000 more, but for no data; 65535 is the end."""
    return added(old(lon, lat, band))


def added(values: np.ndarray) -> np.ndarray:
    """Numbers of the old encoding in the new one."""
    return np.where(values == 0, 0, np.minimum(values.astype(np.int64) + 1000, 65535))


def unsaturated(truth: Truth) -> Truth:
    """The same without numbers that are clipped, so that averages are shifted as well."""
    most = {old: 64535, new: 65535}[truth]
    return lambda lon, lat, band: np.where(
        truth(lon, lat, band) > most - 1, 0, truth(lon, lat, band)
    )


BASELINE: Json = {"s2:processing_baseline": "02.12", "platform": "Sentinel-2A"}
SINCE: Json = {"s2:processing_baseline": "05.11", "platform": "Sentinel-2A"}


def by_baseline(item: Json, is_new: bool) -> None:
    """As Planetary Computer's: no scale, no offset."""
    item["properties"] |= SINCE if is_new else BASELINE


def declared(item: Json, is_new: bool) -> None:
    """As Earth Search's Collection 1, or any catalog that says all."""
    for asset in item["assets"].values():
        asset["raster:bands"][0] |= {"scale": 1e-4, "offset": -0.1 if is_new else 0}


def removed(item: Json, is_new: bool) -> None:
    """As Earth Search's ``sentinel-2-l2a``: what is encoded like an old one declares an offset."""
    declared(item, True)
    item["properties"] |= SINCE
    if not is_new:
        item["properties"]["earthsearch:boa_offset_applied"] = True


def _dated(scenes: Sequence[Scene]) -> tuple[Scene, ...]:
    """Every second one old."""
    return tuple(
        replace(scene, datetime=(OLD, NEW)[number % 2]) for number, scene in enumerate(scenes)
    )


def _seam(size: int) -> tuple[Scene, ...]:
    """Two dates over each other in two zones; through a gap in the newer the older shows."""
    scenes = seam_scenes(size, 60.0, ("B04",), dates=2)
    return tuple(replace(s, datetime=NEW if s.hole else OLD) for s in scenes)


def _rotated() -> tuple[Scene, ...]:
    scenes = [utm_scene(f"r{n}", 32632, 9.0 + 0.1 * n, 47.5, 192, 60.0) for n in range(3)]
    turned = [replace(s, transform=s.transform @ Affine.rotation(11)) for s in scenes]
    return _dated(turned)


@dataclass(frozen=True)
class Mixture:
    """A mosaic to build twice."""

    name: str
    """Its name."""
    scenes: tuple[Scene, ...]
    """Old ones are dated ``OLD``."""
    crs: str
    """CRS of the mosaic."""
    tell: Callable[[Json, bool], None]
    """What the items say of their encoding."""
    changes: Callable[[Truth], Truth] = lambda truth: truth
    """Of what the scenes hold."""
    jp2: bool = False
    """Whether the files are JPEG 2000, which declares no nodata."""
    inside: bool = False
    """Whether the scenes lie in the mosaic's folder."""

    def __str__(self) -> str:
        return self.name


MIXTURES = (
    Mixture("own-zone", _seam(192), "EPSG:32632", declared),
    Mixture("other-crs", _seam(192), "EPSG:3035", by_baseline),
    Mixture("removed", _seam(192), "EPSG:32633", removed),
    Mixture("across-180", _dated(NORTH), "EPSG:4326", by_baseline),
    Mixture("across-180-inside", _dated(NORTH), "EPSG:3857", declared, inside=True),
    Mixture("rotated", _rotated(), "EPSG:32632", declared),
    Mixture("rotated-inside", _rotated(), "EPSG:32632", by_baseline, inside=True),
    Mixture("jp2", _seam(192), "EPSG:32632", by_baseline, jp2=True),
    Mixture("inside", _seam(192), "EPSG:32632", declared, inside=True),
)

OVERVIEWS = Mixture("overviews", _seam(512), "EPSG:32632", declared, unsaturated)


@dataclass(frozen=True)
class Pair:
    """A mosaic of the mixture, of the twins, and of the mixture with ``raw``."""

    mixed: Path
    """Index of the mixture."""
    twin: Path
    """Index of the twins."""
    raw: Path
    """Index of the mixture as it is stored."""
    report: mosaic.builder.report.Report  # type: ignore[name-defined]
    """Of the mixture's build."""
    scenes: Path
    """Folder with the mixture's files."""
    twin_scenes: Path
    """Folder with the twins'."""

    @property
    def indexes(self) -> dict[str, Path]:
        """The three by name."""
        return {"mixed": self.mixed, "twin": self.twin, "raw": self.raw}


def pair(case: Mixture, folder: Path, resampling: str) -> Pair:
    """Writes and builds both."""
    home = folder / f"{case.name}-{resampling}"
    found = {}
    for kind in ("mixed", "twin"):
        out = home / kind
        scenes = out / "scenes" if case.inside else home / f"{kind}-scenes"
        items = []
        for scene in case.scenes:
            is_new = scene.datetime == NEW
            truth = case.changes(new if is_new or kind == "twin" else old)
            item = write_scene(scenes, scene, truth, block=128)
            case.tell(item, is_new or kind == "twin")
            if kind == "twin":
                item["properties"].pop("earthsearch:boa_offset_applied", None)
            if case.jp2:
                _to_jp2(scenes, item, kind == "twin")
            items.append(item)
        path = scenes / "items.json"
        path.write_bytes(orjson.dumps({"type": "FeatureCollection", "features": items}))
        options: Json = {"dst_crs": case.crs, "resampling": resampling, "overwrite": True}
        options["slices"] = "year"
        found[kind] = mosaic.build(path, out, **options)
        if kind == "mixed":
            mosaic.build(path, home / "raw", raw=True, **options)
    return Pair(
        home / "mixed/B04.gti.gpkg",
        home / "twin/B04.gti.gpkg",
        home / "raw/B04.gti.gpkg",
        found["mixed"],
        *(
            home / kind / "scenes" if case.inside else home / f"{kind}-scenes"
            for kind in ("mixed", "twin")
        ),
    )


def _to_jp2(folder: Path, item: Json, tells_nodata: bool) -> None:
    """Files of an item as lossless JPEG 2000, which declares no nodata."""
    for asset in item["assets"].values():
        path = folder / asset["href"]
        target = path.with_suffix(".jp2")
        copy(path, target, driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES", YCBCR420="NO")
        with rasterio.open(path) as one, rasterio.open(target) as other:
            np.testing.assert_array_equal(one.read(), other.read())
        path.unlink()
        target.with_suffix(".jp2.aux.xml").unlink(missing_ok=True)
        asset["href"] = asset["href"].replace(".tif", ".jp2")
        asset["type"] = "image/jp2"
        if not tells_nodata:
            del asset["raster:bands"][0]["nodata"]
