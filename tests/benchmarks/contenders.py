"""The readers that ``make bench`` compares: each opens a source and reads windows of it.

Each runs in a process of its own, and some in an environment of their own: what one needs is
imported by it alone. STAC items are parsed before the clock runs, wherever a reader takes parsed
ones; opening counts. Items are given from the topmost down.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.cases import Window

Read = Callable[[Window], Callable[[], np.ndarray]]
"""Loads a window. What it returns makes one array of it, off the clock: (days, bands, height,
width) numbers; 0 where nothing is."""

GDAL = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MULTIPLEX": "YES",
}
"""How GDAL's manual has it for COGs behind HTTP; all that read by GDAL are run so."""


@dataclass(frozen=True)
class Source:
    """Scenes to read."""

    items: str
    """ItemCollection, from the topmost down, with URLs."""
    mosaic: str
    """The mosaic that was built of it."""
    url: str
    """Where its files are served."""

    def features(self, days: Sequence[str]) -> list[dict[str, Any]]:
        """Items of some days."""
        found: list[dict[str, Any]] = json.loads(Path(self.items).read_bytes())["features"]
        return [one for one in found if one["properties"]["datetime"][:10] in days]


def lazy(source: Source, window: Window, gate: Any = None, **more: Any) -> Any:
    """A window of a built mosaic, not read yet."""
    import mosaic as ours

    return ours.open(
        source.mosaic,
        geobox=_box(window),
        bands=window.bands,
        datetime=f"{min(window.days)}/{max(window.days)}",
        gate=gate,
        **{"groupby": "solar_day", **more},
    )


def mosaic(source: Source) -> Read:
    """This package, from a built mosaic."""

    def read(window: Window) -> Callable[[], np.ndarray]:
        found = lazy(source, window).load()
        return lambda: np.stack([found[band].values for band in window.bands], axis=1)

    return read


def mosaic_median(source: Source) -> Read:
    """This package's median of the days."""

    def read(window: Window) -> Callable[[], np.ndarray]:
        found = lazy(source, window, method="median", groupby="all").load()
        return lambda: np.nan_to_num(np.stack([found[one].values for one in window.bands], axis=1))

    return read


def _box(window: Window) -> Any:
    """A window as odc's grid."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    affine = Affine(window.res, 0, window.left, 0, -window.res, window.top)
    return GeoBox((window.height, window.width), affine, "EPSG:3035")


def _parsed(source: Source) -> dict[str, Any]:
    """All items, as pystac has them, by id."""
    import pystac

    features = json.loads(Path(source.items).read_bytes())["features"]
    return {feature["id"]: pystac.Item.from_dict(feature) for feature in features}


def _odc(
    pool: int | None, own: bool = False, chunks: dict[str, int] | None = None
) -> Callable[[Source], Read]:
    """odc-stac; ``own``: by this package's driver."""

    def make(source: Source) -> Read:
        import odc.stac

        driver = None
        if own:
            import mosaic as ours

            driver = ours.odc_driver()
        odc.stac.configure_rio(cloud_defaults=True, **GDAL)
        known = _parsed(source)

        def read(window: Window) -> Callable[[], np.ndarray]:
            items = [known[one["id"]] for one in source.features(window.days)]
            found = odc.stac.load(
                items, bands=window.bands, geobox=_box(window), groupby="solar_day", pool=pool,
                preserve_original_order=True, resampling="nearest", driver=driver, chunks=chunks,
            ).load(scheduler="threads", num_workers=8)  # fmt: skip

            def pixels() -> np.ndarray:
                days = found.sortby("time")
                return np.stack([days[band].values for band in window.bands], axis=1)

            return pixels

        return read

    return make


def _odc_median(pool: int | None, chunks: dict[str, int] | None) -> Callable[[Source], Read]:
    """odc-stac's stack of days, at once or by dask, and xarray's median of it."""

    def make(source: Source) -> Read:
        import dask
        import odc.stac

        odc.stac.configure_rio(cloud_defaults=True, **GDAL)
        known = _parsed(source)

        def read(window: Window) -> Callable[[], np.ndarray]:
            items = [known[one["id"]] for one in source.features(window.days)]
            stack = odc.stac.load(
                items, bands=window.bands, geobox=_box(window), groupby="solar_day", pool=pool,
                preserve_original_order=True, resampling="nearest", chunks=chunks,
            )  # fmt: skip
            if chunks is not None:
                stack = stack.chunk(time=-1)
            with dask.config.set(scheduler="threads", num_workers=8):
                found = stack.where(stack != 0).median("time").compute()
            return lambda: np.nan_to_num(np.stack([found[one].values for one in window.bands]))[
                None
            ]

        return read

    return make


def stackstac(source: Source) -> Read:
    """stackstac, by dask with eight threads."""
    import dask
    import stackstac as theirs

    def read(window: Window) -> Callable[[], np.ndarray]:
        found = []
        for day in window.days:
            stack = theirs.stack(
                source.features([day]), assets=list(window.bands), epsg=3035,
                resolution=window.res, bounds=window.bounds, snap_bounds=False,
                dtype="uint16", fill_value=np.uint16(0), rescale=False, sortby_date=False,
                gdal_env=theirs.DEFAULT_GDAL_ENV.updated(always=GDAL),
            )  # fmt: skip
            found.append(theirs.mosaic(stack, dim="time", reverse=True, nodata=0).data)
        with dask.config.set(scheduler="threads", num_workers=8):
            loaded = dask.compute(*found)
        return lambda: np.stack(loaded)

    return read


def rio_tiler(source: Source) -> Read:
    """rio-tiler's mosaic of STAC readers, with its own threads."""
    from rio_tiler.io import STACReader
    from rio_tiler.mosaic import mosaic_reader

    os.environ.update(GDAL)
    known = _parsed(source)

    def part(item: Any, window: Window) -> Any:
        with STACReader(None, item=item) as reader:
            return reader.part(
                window.bounds, assets=list(window.bands), dst_crs="EPSG:3035",
                bounds_crs="EPSG:3035", width=window.width, height=window.height,
            )  # fmt: skip

    def read(window: Window) -> Callable[[], np.ndarray]:
        found = []
        for day in window.days:
            items = [known[one["id"]] for one in source.features([day])]
            image, _ = mosaic_reader(items, part, window)
            found.append(image.array)
        return lambda: np.stack([days.filled(0) for days in found])

    return read


def gti(source: Source) -> Read:
    """The mosaic's own tile indexes through rasterio, which is GDAL."""
    import rasterio
    from rasterio.windows import from_bounds

    def one(index: Any, window: Window, out: np.ndarray) -> None:
        # whole pixels of the window that lie in the index: it is read shrunk, by its overviews
        west, south, east, north = index.bounds
        left, right = (
            round(np.clip(edge, 0, window.width))
            for edge in ((west - window.left) / window.res, (east - window.left) / window.res)
        )
        top, bottom = (
            round(np.clip(edge, 0, window.height))
            for edge in ((window.top - north) / window.res, (window.top - south) / window.res)
        )
        bounds = (
            window.left + left * window.res,
            window.top - bottom * window.res,
            window.left + right * window.res,
            window.top - top * window.res,
        )
        place = from_bounds(*bounds, index.transform).round_offsets().round_lengths()
        shape = bottom - top, right - left
        out[top:bottom, left:right] = index.read(1, window=place, out_shape=shape)

    def read(window: Window) -> Callable[[], np.ndarray]:
        out = np.zeros(window.shape, np.uint16)
        with rasterio.Env(**GDAL):
            for n, day in enumerate(window.days):
                for m, band in enumerate(window.bands):
                    with rasterio.open(f"{source.mosaic}/{band}_{day}.gti") as index:
                        one(index, window, out[n, m])
        return lambda: out

    return read


def gdalwarp(source: Source) -> Read:
    """gdalwarp -multi, one band after the other: whole processes of a real GDAL."""
    import rasterio

    from tests.interop import roots

    root = roots.get("trixie")
    folder = Path(tempfile.mkdtemp())

    def read(window: Window) -> Callable[[], np.ndarray]:
        out = np.zeros(window.shape, np.uint16)
        for n, day in enumerate(window.days):
            for m, band in enumerate(window.bands):
                # the last is on top
                given = [
                    f"/vsicurl/{one['assets'][band]['href']}" for one in source.features([day])
                ][::-1]
                target = folder / "out.tif"
                arguments = [
                    "gdalwarp", "-q", "-overwrite", "-multi", "-wo", "NUM_THREADS=2",
                    "-t_srs", "EPSG:3035", "-r", "near",
                    "-te", *(str(value) for value in window.bounds),
                    "-ts", str(window.width), str(window.height),
                    *given, str(target),
                ]  # fmt: skip
                command = root.command(arguments, binds=[folder], env=GDAL)
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                with rasterio.open(target) as dataset:
                    out[n, m] = dataset.read(1)
        return lambda: out

    return read


def lazycogs(source: Source) -> Read:
    """lazycogs, from its own geoparquet."""
    import asyncio

    import lazycogs as theirs
    import rustac
    from obstore.store import HTTPStore

    table = str(Path(tempfile.mkdtemp()) / "items.parquet")
    collection = json.loads(Path(source.items).read_bytes())

    async def write() -> None:
        await rustac.write(table, collection)

    asyncio.run(write())
    client = rustac.DuckdbClient(
        extensions=["spatial"], install_extensions=False, extension_directory=_extensions()
    )
    store = HTTPStore(source.url, client_options={"allow_http": True})

    def read(window: Window) -> Callable[[], np.ndarray]:
        found = theirs.open(
            table, bbox=window.bounds, crs="EPSG:3035", resolution=window.res,
            datetime=f"{window.days[0]}T00:00:00Z/{window.days[-1]}T23:59:59Z",
            bands=list(window.bands), sortby=["-datetime"], store=store,
            duckdb_client=client,
            path_from_href=lambda href: href.removeprefix(f"{source.url}/"),
        )  # fmt: skip
        values = found.load()
        return lambda: values.transpose("time", "band", "y", "x").sortby("time").values

    return read


def _extensions() -> str:
    """DuckDB's extensions as their wheels have them, where DuckDB looks for them."""
    import duckdb_extension_icu
    import duckdb_extension_parquet
    import duckdb_extension_spatial

    folder = Path(tempfile.mkdtemp())
    for wheel in (duckdb_extension_icu, duckdb_extension_parquet, duckdb_extension_spatial):
        (found,) = Path(wheel.__file__).parent.rglob("*.duckdb_extension")
        place = folder / found.parent.name / "linux_amd64"
        place.mkdir(parents=True, exist_ok=True)
        (place / found.name).symlink_to(found)
    return str(folder)


@dataclass(frozen=True)
class Contender:
    """One of those that are compared."""

    name: str
    """How tables call it."""
    make: Callable[[Source], Read]
    """Opens nothing yet: imports, and parsed items."""
    home: str
    """Its environment: own, peers or lazycogs."""
    equal: float
    """Share of pixels that must equal PROJ's, for its time to count."""
    warm: bool = True
    """Whether its process can be warmed: not where it starts processes of its own."""


CONTENDERS = {
    one.name: one
    for one in (
        Contender("mosaic", mosaic, "own", 0.9999),
        Contender("odc-stac pool=8", _odc(8), "peers", 0.93),
        Contender("odc-stac serial", _odc(None), "peers", 0.93),
        Contender("stackstac", stackstac, "peers", 0.93),
        Contender("gdalwarp -multi", gdalwarp, "own", 0.93, warm=False),
        Contender("rio-tiler", rio_tiler, "peers", 0.93),
        Contender("GTI, rasterio", gti, "own", 0.93),
        Contender("lazycogs", lazycogs, "lazycogs", 0.999),
    )
}
_CHUNKS = {"x": 2048, "y": 2048}
DRIVERS = {
    one.name: one
    for one in (
        Contender("mosaic's driver", _odc(None, own=True), "own", 0.9999),
        Contender("mosaic's, pool=8", _odc(8, own=True), "own", 0.9999),
        Contender("mosaic's, dask", _odc(None, own=True, chunks=_CHUNKS), "own", 0.9999),
        Contender("odc-stac's", _odc(None), "own", 0.93),
        Contender("odc-stac's, pool=8", _odc(8), "own", 0.93),
        Contender("odc-stac's, dask", _odc(None, chunks=_CHUNKS), "own", 0.93),
    )
}
"""odc.stac.load by either driver: those of ``make bench-odc``."""
COMPOSITES = {
    one.name: one
    for one in (
        Contender("mosaic median", mosaic_median, "own", 0.9999),
        Contender("odc-stac pool=8, xarray", _odc_median(8, None), "peers", 0.7),
        Contender("odc-stac dask, xarray", _odc_median(None, {"y": 1024, "x": 1024}), "peers", 0.7),
    )
}
"""Those of ``make bench-composite``."""
