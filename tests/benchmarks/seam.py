"""Scenes on both sides of a zone boundary, for timing reads:  python -m tests.benchmarks.seam OUT

Overlapping UTM tiles in two zones, several bands as COGs of their own, several dates, and their
STAC items. The ground is a smooth field of EPSG:3035 coordinates, the same in both zones; noise of
its own in each tile sets how well it packs, and tells which tile a pixel was taken from. The first
date is complete; later ones lack what lies beyond a slanted edge, as at the end of a swath.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyproj
from affine import Affine
from rasterio.io import MemoryFile
from rasterio.shutil import copy

Floats = npt.NDArray[np.float64]
CRS = "EPSG:3035"
_STEP = 8
"""Pixels between the nodes of the field."""


@dataclass(frozen=True)
class Corpus:
    """What is made."""

    size: int = 4096
    """Pixels along the side of a tile."""
    block: int = 512
    """Pixels along the side of a COG's block."""
    bands: tuple[str, ...] = ("B02", "B03", "B04", "B08")
    """Assets of an item."""
    dates: int = 3
    """Days on which each tile was taken."""
    rows: int = 3
    """Tiles from north to south in each zone."""
    zones: tuple[int, int] = (32632, 32633)
    """CRS west and east of the boundary."""
    lat: float = 47.5
    """Latitude of the middle."""
    res: float = 10.0
    """Metres to a pixel."""
    noise: float = 25.0
    """Standard deviation, DN: 25 makes deflate halve the bytes."""

    @property
    def middle(self) -> tuple[float, float]:
        """EPSG:3035 coordinates of the middle of the boundary."""
        x, y = _to(4326, 3035).transform(self.lon, self.lat)
        return float(x), float(y)

    @property
    def lon(self) -> float:
        """Longitude of the boundary."""
        return 6.0 * (self.zones[0] % 100) - 180.0

    def days(self) -> list[str]:
        """Dates, as mosaic.read takes them."""
        first = np.datetime64("2025-06-01")
        return [str(first + 5 * date) for date in range(self.dates)]

    def tiles(self) -> list[Tile]:
        """Every tile on every date."""
        side = self.size * self.res
        step = side * 0.9
        found = []
        for date in range(self.dates):
            for place, zone in enumerate(self.zones):
                x, y = _to(4326, zone).transform(self.lon, self.lat)
                for row in range(self.rows):
                    left = x - side * (0.12 if place else 0.88)
                    top = y + (self.rows / 2 - row) * step
                    snap = 6 * self.res
                    corner = round(left / snap) * snap, round(top / snap) * snap
                    found.append(Tile(zone, corner, place * self.rows + row, date))
        return found


WARM = Corpus(size=512, dates=1, rows=1, zones=(32629, 32630), lat=44.0)
"""A small one elsewhere, on which processes are warmed."""
TINY = Corpus(size=512, block=128, bands=("B02", "B03", "B04"), dates=1)
"""The same as the large one in small, for tests."""


@dataclass(frozen=True)
class Tile:
    """One scene."""

    zone: int
    """EPSG code."""
    corner: tuple[float, float]
    """Left and top, in that CRS."""
    number: int
    """Which of the tiles of its date."""
    date: int
    """Which of the dates."""

    @property
    def name(self) -> str:
        """Id of its item."""
        return f"T{self.zone % 100}R{self.number}_{self.date}"


def _to(source: int, target: int) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(source, target, always_xy=True)


def ground(x: Floats, y: Floats, band: int) -> Floats:
    """DN at EPSG:3035 coordinates: hills of 60 km down to 500 m."""
    k = 1 + 0.15 * band
    wave = 900.0 + 400 * band
    wave = (
        wave + 350 * np.sin(x / 9000 * k) * np.cos(y / 7000 * k) + 250 * np.sin(x / 2100 + y / 3300)
    )
    wave = (
        wave
        + 150 * np.sin(x / 610 * k) * np.sin(y / 540)
        + 60 * np.sin(x / 97) * np.cos(y / 83 * k)
    )
    found: Floats = np.maximum(wave, 60)
    return found


def _between(count: int) -> npt.NDArray[np.float32]:
    """(count, nodes) weights of nodes that lie ``_STEP`` pixels apart, at pixels."""
    at = np.arange(count) / _STEP
    low = np.floor(at).astype(int)
    weights = np.zeros((count, count // _STEP + 2), np.float32)
    rows = np.arange(count)
    weights[rows, low] = 1 - (at - low)
    weights[rows, low + 1] = at - low
    return weights


def pixels(corpus: Corpus, tile: Tile, band: int) -> npt.NDArray[np.uint16]:
    """(size, size) numbers of a tile; 0 where it has no data."""
    weights = _between(corpus.size)
    at = (np.arange(weights.shape[1]) * _STEP + 0.5) * corpus.res
    nodes = np.meshgrid(tile.corner[0] + at, tile.corner[1] - at)
    x, y = _to(tile.zone, 3035).transform(*nodes)
    field = weights @ ground(x, y, band).astype(np.float32) @ weights.T
    noise = np.random.default_rng([tile.number, band, tile.date]).standard_normal(
        field.shape, np.float32
    )
    values = np.clip(np.rint(field * (1 + 0.08 * tile.date) + noise * corpus.noise), 1, 65535)
    made = values.astype(np.uint16)
    if tile.date:
        side = 1 if tile.date % 2 else -1
        cx, cy = corpus.middle
        off = side * ((x - cx) + 0.25 * (y - cy)) - 0.45 * corpus.size * corpus.res
        beyond = weights @ off.astype(np.float32) @ weights.T
        made[beyond > 0] = 0
    return made


def _write(work: tuple[Path, Corpus, Tile, int]) -> None:
    folder, corpus, tile, band = work
    path = folder / tile.name / f"{corpus.bands[band]}.tif"
    path.parent.mkdir(parents=True, exist_ok=True)
    place = Affine(corpus.res, 0, tile.corner[0], 0, -corpus.res, tile.corner[1])
    about: dict[str, Any] = {
        "driver": "GTiff", "width": corpus.size, "height": corpus.size, "count": 1,
        "dtype": "uint16", "crs": f"EPSG:{tile.zone}", "transform": place, "nodata": 0,
    }  # fmt: skip
    with MemoryFile() as memory:
        with memory.open(**about) as plain:
            plain.write(pixels(corpus, tile, band), 1)
        with memory.open() as plain:
            copy(
                plain, path, driver="COG", COMPRESS="DEFLATE", PREDICTOR="2", LEVEL="6",
                BLOCKSIZE=str(corpus.block), OVERVIEW_RESAMPLING="AVERAGE", NUM_THREADS="1",
            )  # fmt: skip


def item(corpus: Corpus, tile: Tile) -> dict[str, Any]:
    """A tile's STAC item; hrefs are relative to the corpus."""
    side = corpus.size * corpus.res
    left, top = tile.corner
    edge = np.linspace(0, 1, 9)
    x = left + side * np.concatenate([edge, 1 + 0 * edge, 1 - edge, 0 * edge])
    y = top - side * np.concatenate([0 * edge, edge, 1 + 0 * edge, 1 - edge])
    lon, lat = _to(tile.zone, 4326).transform(x, y)
    ring = [[float(a), float(b)] for a, b in zip(lon, lat, strict=True)]
    place = [corpus.res, 0, left, 0, -corpus.res, top, 0, 0, 1]
    shape = [corpus.size, corpus.size]
    kind = "image/tiff; application=geotiff; profile=cloud-optimized"
    base = "https://stac-extensions.github.io"
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [
            f"{base}/projection/v2.0.0/schema.json",
            f"{base}/raster/v1.1.0/schema.json",
            f"{base}/eo/v1.1.0/schema.json",
        ],
        "id": tile.name,
        "collection": "seam",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [float(min(lon)), float(min(lat)), float(max(lon)), float(max(lat))],
        "properties": {
            # the later of a day lies on top
            "datetime": f"{corpus.days()[tile.date]}T10:00:{tile.number:02d}Z",
            "proj:code": f"EPSG:{tile.zone}",
            "proj:epsg": tile.zone,
            "proj:shape": shape,
            "proj:transform": place,
        },
        "links": [],
        "assets": {
            band: {
                "href": f"{tile.name}/{band}.tif",
                "type": kind,
                "roles": ["data"],
                "proj:shape": shape,
                "proj:transform": place,
                "raster:bands": [
                    {"data_type": "uint16", "nodata": 0, "spatial_resolution": corpus.res}
                ],
                "eo:bands": [{"name": band}],
            }
            for band in corpus.bands
        },
    }


def drawn(corpus: Corpus, day: str | None = None) -> Iterator[dict[str, Any]]:
    """Items from the topmost down, of one day or of all."""
    found = [item(corpus, tile) for tile in corpus.tiles()]
    found.sort(key=lambda one: str(one["properties"]["datetime"]), reverse=True)
    for one in found:
        if day is None or one["properties"]["datetime"].startswith(day):
            yield one


def make(folder: Path, corpus: Corpus, jobs: int = 2) -> Path:
    """The corpus in a folder, unless it is there already."""
    about = orjson.dumps(asdict(corpus))
    stamp = folder / "corpus.json"
    if stamp.is_file() and stamp.read_bytes() == about:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    work = [
        (folder, corpus, tile, band) for tile in corpus.tiles() for band in range(len(corpus.bands))
    ]
    if jobs > 1:
        with ProcessPoolExecutor(jobs) as pool:
            list(pool.map(_write, work))
    else:
        for one in work:
            _write(one)
    stamp.write_bytes(about)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    corpus = Corpus()
    make(given.out / "seam", corpus)
    make(given.out / "warm", WARM)
    size = sum(path.stat().st_size for path in (given.out / "seam").rglob("*.tif"))
    raw = len(corpus.tiles()) * len(corpus.bands) * corpus.size**2 * 2 * 4 / 3
    print(f"{len(corpus.tiles())} items, {size / 1e9:.2f} GB, packed {raw / size:.2f} times")


if __name__ == "__main__":
    main()
