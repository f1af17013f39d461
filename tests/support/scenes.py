"""Synthetic scenes with a known truth, and STAC items for them.

The truth is a function of longitude and latitude, so that scenes of different CRSs continue each
other and every pixel of a mosaic can be compared with what it should hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyproj
import rasterio
from affine import Affine
from rasterio.io import MemoryFile
from rasterio.shutil import copy

Json = dict[str, Any]
Truth = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def sphere(lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kilometres from the centre of a sphere: smooth across 180 degrees and the poles."""
    lam, phi = np.radians(lon), np.radians(lat)
    radius = 6371.0 * np.cos(phi)
    return radius * np.cos(lam), radius * np.sin(lam), 6371.0 * np.sin(phi)


_WAVES = np.array([[1.0, 0.31, 0.1], [-0.4, 0.9, 0.7]]) * (2 * np.pi / np.array([[120.0], [150.0]]))
"""Two waves through space, radians a kilometre."""


def ramp(lon: np.ndarray, lat: np.ndarray, band: int) -> np.ndarray:
    """DN that change by up to a thousand a kilometre everywhere on Earth."""
    xyz = np.stack(sphere(lon, lat))
    one, other = np.tensordot(_WAVES, xyz, 1)
    return 32000 + 14000 * (np.sin(one + band) + np.sin(other))


def slope(lon: np.ndarray, lat: np.ndarray, band: int) -> np.ndarray:
    """DN a kilometre along the ground by which :func:`ramp` changes."""
    xyz = np.stack(sphere(lon, lat))
    one, other = np.tensordot(_WAVES, xyz, 1)
    gradient = 14000 * (
        np.multiply.outer(_WAVES[0], np.cos(one + band))
        + np.multiply.outer(_WAVES[1], np.cos(other))
    )
    up = xyz / 6371.0
    flat = gradient - up * (gradient * up).sum(0)
    return np.sqrt((flat**2).sum(0))


_LATTICE = np.random.default_rng(12).random(1 << 16, np.float32)
"""Random numbers on a lattice of 256 x 256, which repeats."""


def _lattice(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.take(_LATTICE, (x & 255) << 8 | y & 255)


def _noise(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smooth noise of 0 to 1, and its slope towards the north-west."""
    i, j = np.floor(x), np.floor(y)
    u, v = x - i, y - j
    i, j = i.astype(np.int32), j.astype(np.int32)
    a = _lattice(i, j)
    east, north = _lattice(i + 1, j) - a, _lattice(i, j + 1) - a
    both = _lattice(i + 1, j + 1) - a - east - north
    s, t = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    slope = 6 * v * (1 - v) * (north + both * s) - 6 * u * (1 - u) * (east + both * t)
    return a + east * s + north * t + both * s * t, slope


def landscape(lon: np.ndarray, lat: np.ndarray, band: int) -> np.ndarray:
    """Reflectance-like DN (blue, green, red, near infrared) of a made-up alpine country."""
    x, y = (lon - 12.0) * 75.0, (lat - 47.5) * 111.0  # kilometres from the middle
    x, y = x + 0.9 * np.sin(y / 2.9), y + 0.9 * np.sin(x / 3.7)
    x, y = x.astype(np.float32), y.astype(np.float32)
    height, slope = np.zeros_like(x), np.zeros_like(x)
    for size in (13.0, 6.1, 2.9, 1.37, 0.61, 0.29):
        value, north_west = _noise(x / size + 40, y / size + 77)
        height += value * size / 24.27
        slope += north_west
    trees = _noise(x / 1.7 + 9, y / 1.7)[0] + 0.5 * _noise(x / 0.4, y / 0.4 + 5)[0]
    # fields lie on a lattice that is turned by 20 degrees
    p, q = 1.5 * (0.94 * x + 0.34 * y), 2.2 * (0.94 * y - 0.34 * x)
    crop = _lattice(np.floor(p).astype(np.int32), np.floor(q).astype(np.int32))
    field = (
        430 + 260 * crop,
        620 + 380 * crop,
        480 + 900 * crop**2,
        3400 - 1200 * crop,
    )
    lake, farmed = height < 0.37, (height < 0.53) & (trees < 0.78)
    value = np.select(
        [lake, farmed, height < 0.66, height < 0.74, height < 0.80],
        [
            np.float32((380, 330, 160, 60)[band % 4]),
            field[band % 4],
            np.float32((230, 390, 240, 2600)[band % 4]),  # forest
            np.float32((420, 680, 560, 2400)[band % 4]),  # alps
            np.float32((900, 950, 1000, 1400)[band % 4]),  # rock
        ],
        np.float32((3300, 3250, 3200, 2900)[band % 4]),  # snow
    )
    light = np.clip(1 - 0.32 * slope, 0.35, 1.8)
    light = np.where(lake, 1, np.where(farmed, 0.75 + 0.25 * light, light))
    return value * light


@dataclass(frozen=True)
class Scene:
    """One scene: an upright grid in a CRS, and where it has no data."""

    id: str
    """Id of the item and name of the folder."""
    crs: str
    """CRS."""
    transform: Affine
    """Pixel (column, row) to CRS coordinates."""
    shape: tuple[int, int]
    """Height and width in pixels."""
    datetime: str = "2025-06-01T10:00:00Z"
    """RFC 3339."""
    bands: tuple[str, ...] = ("B04",)
    """One file a band."""
    hole: tuple[float, float] | None = None
    """Fractions of the width between which there is no data, or None."""
    nodata: float | None = 0
    """Declared nodata value, or None."""
    dtype: str = "uint16"
    """Data type."""
    properties: Json = field(default_factory=dict)
    """More properties of the item."""

    def lonlat(self) -> tuple[np.ndarray, np.ndarray]:
        """(h, w) longitude and latitude of pixel centres."""
        height, width = self.shape
        column, row = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        x, y = _apply(self.transform, column, row)
        to = pyproj.Transformer.from_crs(self.crs, "OGC:CRS84", always_xy=True)
        lon, lat = to.transform(x.ravel(), y.ravel())
        return np.reshape(lon, x.shape), np.reshape(lat, x.shape)

    def pixels(self, band: int, truth: Truth) -> np.ndarray:
        """(h, w) what the scene holds of a band."""
        values = np.rint(truth(*self.lonlat(), band)).astype(self.dtype)
        if self.hole:
            start, end = (int(part * self.shape[1]) for part in self.hole)
            values[:, start:end] = self.nodata or 0
        return values


def _apply(transform: Affine, column: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, ...]:
    a, b, c, d, e, f = tuple(transform)[:6]
    return a * column + b * row + c, d * column + e * row + f


def utm_scene(
    name: str, epsg: int, lon: float, lat: float, size: int, res: float, **kw: Any
) -> Scene:
    """A square scene in a UTM zone around a place, on whole multiples of its pixel."""
    to = pyproj.Transformer.from_crs("OGC:CRS84", epsg, always_xy=True)
    x, y = to.transform(lon, lat)
    left, top = (round((v - s * size * res / 2) / res) * res for v, s in ((x, 1), (y, -1)))
    return Scene(name, f"EPSG:{epsg}", Affine(res, 0, left, 0, -res, top), (size, size), **kw)


def write_scene(folder: Path, scene: Scene, truth: Truth = ramp, block: int = 256) -> Json:
    """Writes a scene's COGs below ``folder`` and returns its STAC 1.0 item, hrefs relative."""
    height, width = scene.shape
    profile = {
        "driver": "GTiff",
        "width": width,
        "height": height,
        "count": 1,
        "dtype": scene.dtype,
        "crs": scene.crs,
        "transform": scene.transform,
        "nodata": scene.nodata,
    }
    (folder / scene.id).mkdir(parents=True, exist_ok=True)
    for number, band in enumerate(scene.bands):
        with MemoryFile() as memory:
            with memory.open(**profile) as dataset:
                dataset.write(scene.pixels(number, truth), 1)
            with memory.open() as dataset:
                copy(
                    dataset,
                    folder / scene.id / f"{band}.tif",
                    driver="COG",
                    COMPRESS="DEFLATE",
                    PREDICTOR="2" if scene.dtype.startswith("uint") else "YES",
                    BLOCKSIZE=str(block),
                    OVERVIEW_RESAMPLING="AVERAGE",
                )
    return item_of(scene)


def item_of(scene: Scene, full: bool = True) -> Json:
    """A scene's STAC 1.0 item; without ``full`` it tells nothing of grids and bands."""
    height, width = scene.shape
    u = np.linspace(0, 1, 9)
    column = np.concatenate([u, np.ones(8), u[-2::-1], np.zeros(8)]) * width
    row = np.concatenate([np.zeros(9), u[1:], np.ones(8), u[-2::-1]]) * height
    x, y = _apply(scene.transform, column, row)
    to = pyproj.Transformer.from_crs(scene.crs, "OGC:CRS84", always_xy=True)
    lon, lat = (np.asarray(axis) for axis in to.transform(x, y))
    turn = np.unwrap(lon, period=360)
    round_pole = abs(turn[-1] - turn[0]) > 300
    crossing = np.ptp(lon) > 180
    west = float(lon[lon > 0].min() if crossing else lon.min())
    east = float(lon[lon < 0].max() if crossing else lon.max())
    bbox = [west, float(lat.min()), east, float(lat.max())]
    if round_pole:
        north = lat.mean() > 0
        bbox = [-180.0, bbox[1] if north else -90.0, 180.0, 90.0 if north else bbox[3]]
    ring = [[float(a), float(b)] for a, b in zip(lon, lat, strict=True)]
    ring[-1] = ring[0]
    grid: Json = {
        "proj:shape": [height, width],
        "proj:transform": [*tuple(scene.transform)[:6], 0, 0, 1],
    }
    bands: Json = {"data_type": scene.dtype}
    if scene.nodata is not None:
        bands["nodata"] = scene.nodata
    extension = "https://stac-extensions.github.io"
    item: Json = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": scene.id,
        "collection": "scenes",
        "geometry": None if crossing else {"type": "Polygon", "coordinates": [ring]},
        "bbox": bbox,
        "properties": {"datetime": scene.datetime, **scene.properties},
        "links": [],
        "assets": {
            band: {
                "href": f"./{scene.id}/{band}.tif",
                "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                "roles": ["data"],
            }
            for band in scene.bands
        },
    }
    if full:
        item["stac_extensions"] = [
            f"{extension}/projection/v1.1.0/schema.json",
            f"{extension}/raster/v1.1.0/schema.json",
            f"{extension}/eo/v1.1.0/schema.json",
        ]
        item["properties"]["proj:epsg"] = int(scene.crs.removeprefix("EPSG:"))
        for band, asset in item["assets"].items():
            asset |= grid | {"raster:bands": [dict(bands)], "eo:bands": [{"name": band}]}
    return item


def write_scenes(folder: Path, scenes: Sequence[Scene], truth: Truth = ramp) -> Path:
    """Writes scenes and ``items.json``, an ItemCollection; returns its path."""
    items = [write_scene(folder, scene, truth) for scene in scenes]
    path = folder / "items.json"
    document = {"type": "FeatureCollection", "features": items}
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    return path


def seam_scenes(
    size: int = 256,
    res: float = 60.0,
    bands: tuple[str, ...] = ("B02", "B03", "B04"),
    dates: int = 2,
) -> list[Scene]:
    """Scenes on both sides of 12 E, two rows, overlapping; later dates have a gap."""
    half = size * res / 2
    scenes = []
    for number in range(dates):
        for epsg, side in ((32632, -1), (32633, 1)):
            for row in range(2):
                lon = 12.0 + side * (half * 0.85) / 75300.0
                lat = 47.5 + (0.5 - row) * half * 1.8 / 111200.0
                scenes.append(
                    utm_scene(
                        f"S2_{epsg % 100}_{row}_{number}",
                        epsg,
                        lon,
                        lat,
                        size,
                        res,
                        bands=bands,
                        datetime=f"2025-06-{1 + 5 * number:02d}T10:00:0{row}Z",
                        hole=(0.25, 0.45) if number else None,
                        properties={"eo:cloud_cover": float(10 * number + row)},
                    )
                )
    return scenes


def read(path: Path | str, **kw: Any) -> np.ndarray:
    """(bands, h, w) all pixels of a raster."""
    with rasterio.open(path) as dataset:
        values: np.ndarray = dataset.read(**kw)
        return values


def lattice_scenes(size: int) -> list[Scene]:
    """Five scenes of one zone on one lattice of 60 m, a day each: partial overlaps, gaps."""
    scenes = []
    for number in range(5):
        scene = utm_scene(
            f"n{number}",
            32632,
            9.0 + 0.09 * number,
            47.5 + 0.03 * (number % 2),
            size,
            60.0,
            bands=("B02", "B03"),
            datetime=f"2025-06-0{1 + number}T10:00:00Z",
            hole=(0.3, 0.5) if number % 2 else None,
        )
        a = scene.transform
        place = Affine(60, 0, round(a.c / 60) * 60, 0, -60, round(a.f / 60) * 60)
        scenes.append(replace(scene, transform=place))
    return scenes
