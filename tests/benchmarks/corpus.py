"""STAC items as Earth Search writes them (STAC 1.0, three bands, full metadata), by the million.

Every item has a pixel grid of its own, which is the hard case: archives repeat theirs.

    python -m tests.benchmarks.corpus 100000 items.ndjson
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyproj
import shapely
import shapely.geometry

SIDE = 109_800
BANDS = {"blue": ("B02", 0.49), "green": ("B03", 0.56), "red": ("B04", 0.665)}
_BATCH = 20_000


def items(count: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Items in the 120 UTM zones between 72 degrees south and north."""
    rng = np.random.default_rng(seed)
    for start in range(0, count, _BATCH):
        size = min(_BATCH, count - start)
        zone = rng.integers(1, 61, size)
        south = rng.random(size) < 0.3
        left = 300_000 + 10 * rng.integers(0, 30_000, size)
        top = 10 * rng.integers(20_000, 780_000, size)
        top[south] = 10_000_000 - top[south]
        clouds, day = rng.random(size) * 100, rng.integers(0, 3650, size)
        epsg = np.where(south, 32700, 32600) + zone
        lon, lat = np.empty((2, size, 5))
        x = left[:, None] + np.array([0, SIDE, SIDE, 0, 0])
        y = top[:, None] - np.array([0, 0, SIDE, SIDE, 0])
        for code in np.unique(epsg):
            mine = epsg == code
            to = pyproj.Transformer.from_crs(int(code), "OGC:CRS84", always_xy=True)
            lon[mine], lat[mine] = to.transform(x[mine], y[mine])
        for row in range(size):
            yield _item(
                start + row,
                int(epsg[row]),
                (int(left[row]), int(top[row])),
                np.column_stack([lon[row], lat[row]]),
                float(clouds[row]),
                np.datetime64("2016-01-01") + day[row],
            )


def _item(
    number: int,
    epsg: int,
    corner: tuple[int, int],
    ring: np.ndarray[Any, Any],
    clouds: float,
    day: np.datetime64,
) -> dict[str, Any]:
    name = f"S2A_{epsg % 100:02d}T{number:07d}_{day}_L2A".replace("-", "")
    base = (
        f"https://scenes.example.org/sentinel-2-l2a/{epsg % 100}/{day.astype(object).year}/{name}"
    )
    if np.ptp(ring[:, 0]) > 180:  # across 180 degrees: two parts, west > east
        ring = np.column_stack([np.mod(ring[:, 0], 360.0), ring[:, 1]])
        west, east = ring[:, 0].min(), ring[:, 0].max() - 360.0
        halves = [
            shapely.transform(
                shapely.clip_by_rect(shapely.Polygon(ring), *box), lambda c, t=t: c - t
            )
            for box, t in (((0, -90, 180, 90), (0, 0)), ((180, -90, 360, 90), (360, 0)))
        ]
        geometry = shapely.geometry.mapping(shapely.multipolygons(halves))
    else:
        west, east = ring[:, 0].min(), ring[:, 0].max()
        geometry = {"type": "Polygon", "coordinates": [ring.round(7).tolist()]}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": "sentinel-2-l2a",
        "geometry": geometry,
        "bbox": [float(v) for v in (west, ring[:, 1].min(), east, ring[:, 1].max())],
        "properties": {
            "datetime": f"{day}T10:{number % 60:02d}:21.024Z",
            "created": f"{day}T18:04:11.123Z",
            "updated": f"{day}T18:04:11.123Z",
            "platform": "sentinel-2a",
            "constellation": "sentinel-2",
            "instruments": ["msi"],
            "gsd": 10,
            "eo:cloud_cover": round(clouds, 6),
            "proj:epsg": epsg,
            "grid:code": f"MGRS-{epsg % 100:02d}TDE",
            "mgrs:utm_zone": epsg % 100,
            "mgrs:latitude_band": "T",
            "mgrs:grid_square": "DE",
            "view:sun_azimuth": 147.022486789901,
            "view:sun_elevation": 58.6500999367225,
            "s2:processing_baseline": "05.10",
            "s2:datatake_id": "GS2A_20240422T173911_046141_N05.10",
            "s2:product_type": "S2MSI2A",
            "s2:nodata_pixel_percentage": 73.465753,
            "s2:water_percentage": 0.333431,
            "s2:snow_ice_percentage": 0,
            "s2:vegetation_percentage": 1.514433,
            "earthsearch:boa_offset_applied": True,
        },
        "links": [
            {"rel": "self", "href": f"{base}.json", "type": "application/geo+json"},
            {"rel": "collection", "href": "https://scenes.example.org/sentinel-2-l2a"},
            {"rel": "via", "href": f"s3://archive/tiles/{name}/metadata.xml"},
        ],
        "assets": {
            key: {
                "href": f"{base}/{band}.tif",
                "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                "title": f"{key.capitalize()} - 10m",
                "roles": ["data", "reflectance"],
                "gsd": 10,
                "proj:shape": [SIDE // 10, SIDE // 10],
                "proj:transform": [10, 0, corner[0], 0, -10, corner[1]],
                "eo:bands": [{"name": band, "common_name": key, "center_wavelength": wave}],
                "raster:bands": [
                    {
                        "nodata": 0,
                        "data_type": "uint16",
                        "spatial_resolution": 10,
                        "scale": 0.0001,
                        "offset": 0,
                    }
                ],
                "file:size": 123_456_789,
                "file:checksum": "1220" + "ab" * 32,
            }
            for key, (band, wave) in BANDS.items()
        },
        "stac_extensions": [
            "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
            "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
        ],
    }


def write(path: Path, count: int, seed: int = 0) -> None:
    """Items as newline-delimited JSON."""
    with path.open("wb") as out:
        for item in items(count, seed):
            out.write(orjson.dumps(item, option=orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    write(Path(sys.argv[2]), int(sys.argv[1]))
