"""Every STAC document among the shared data builds to a sound mosaic that lost nothing, or is
refused for what is wrong with it. Documents are found by what they hold: none is left out.

No raster is opened and no network asked: ``dtype`` stands in where items tell none.
"""

from __future__ import annotations

import gzip
import re
import socket
from collections.abc import Iterable, Iterator
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import rasterio
import stac_geoparquet.arrow
from rasterio.errors import RasterioIOError

import mosaic
from mosaic.errors import HeaderError, InputError, Problem

Json = dict[str, Any]

NO_GRID = "there is no network here"
"""Of items that tell no grid the files would be opened."""
NO_PIXELS = "has no asset that holds pixels"
MOVED = "its proj:* fields"
V090 = "sparkgeo+stac-validator/tests/test_data/v090"
PC = "stac-utils+stac-geoparquet/cassette-bodies"

REFUSED = [
    # documents, the first pattern that fits counts; what is said of each of their items
    ("*/collectionless-item.json", NO_GRID),
    ("*/core-item.json", NO_GRID),
    ("*/simple-item.json", NO_GRID),
    ("*/proj-example.json", MOVED),
    ("*/bad_item_v090.json", "has no id"),
    (f"{V090}/extensions/label/*", "is no GeoJSON"),  # polygons of points, rings that are open
    (f"{V090}/extensions/pointcloud/*", "Time zone offset"),  # 2013-07-17T00:00:00-05:00Z
    (f"{V090}/extensions/sar/examples/envisat.json", NO_PIXELS),
    (f"{V090}/extensions/scientific/*", NO_PIXELS),
    (f"{V090}/extensions/single-file-stac/*", NO_PIXELS),
    (f"{V090}/extensions/version/*", NO_PIXELS),
    (f"{V090}/items/CBERS_4.json", "'EPSG:32763' is no CRS that PROJ knows"),
    (f"{V090}/items/datetimerange.json", NO_PIXELS),
    (f"{V090}/items/digitalglobe-sample.json", "its bbox [] isn't four or six finite numbers"),
    (f"{V090}/items/landsat8-sample.json", "is no valid STAC item"),  # eo:bands is [1.1]
    (f"{V090}/items/planet-sample.json", NO_PIXELS),
    (f"{V090}/*", NO_GRID),
    ("cogeotiff+rio-tiler-pds/*/usgs-landsat/*", NO_GRID),
    ("developmentseed+cogeo-mosaic/*", NO_GRID),
    ("opendatacube+odc-stac/*/only_crs_proj.json", NO_GRID),
    ("stac-extensions+eo/*", NO_GRID),
    ("stac-extensions+file/*", NO_GRID),
    ("stac-extensions+projection/*/item_custom_proj.json", "another planet's CRS?"),  # the Moon
    ("stac-extensions+raster/*/item-planet.json", NO_GRID),
    ("stac-utils+pystac-client/*/earth-search-s2-c1-fields-null-geometry-10.json", NO_PIXELS),
    ("stac-utils+pystac/*/test-item*.json", NO_PIXELS),
    ("stac-utils+pystac/*", NO_GRID),
    ("stac-utils+rustac/crates/core/data/invalid-item.json", "has no id"),
    ("stac-utils+rustac/crates/core/data/multi-polygons.json", ""),
    ("stac-utils+rustac/crates/core/data/items.ndjson", f"{NO_GRID}|{MOVED}"),
    ("stac-utils+rustac/crates/core/data/*", NO_GRID),
    (f"{PC}/pc-cil-gdpcir-cc-by.json", NO_PIXELS),
    (f"{PC}/pc-eclipse.json", NO_PIXELS),
    (f"{PC}/pc-era5-pds.json", NO_PIXELS),
    (f"{PC}/pc-fia.json", NO_PIXELS),
    (f"{PC}/pc-gbif.json", NO_PIXELS),
    (f"{PC}/pc-gnatsgo-tables.json", NO_PIXELS),
    (f"{PC}/pc-nasa-nex-gddp-cmip6.json", NO_GRID),
    (f"{PC}/pc-sentinel-1-grd.json", NO_GRID),
    ("stac-utils+stac-geoparquet/tests/data/us-census-pc.json", NO_PIXELS),
    ("stac-utils+stac-server/*/badGeometryItem.json", "is no GeoJSON"),
    ("stac-utils+stac-server/*", NO_GRID),
    ("stac-utils+stac-vrt/tests/response.json", NO_GRID),
    ("stac-utils+stactools/*/planet-disaster/*", NO_GRID),
    ("stac-utils+titiler-pgstac/*", NO_GRID),
    ("stactools-packages+landsat/tests/data-files/assets*", NO_GRID),
]

PARTLY = {
    # document: what of it is left out, and what is said
    "stac-utils+stac-geoparquet/tests/data/io-lulc-pc.json": (2, MOVED),
    # the true-colour image of six tells no data type
    "stac-utils+rustac/crates/server/data/sentinel-2/item-collection.json": (4, "most items have"),
}
INVALID = "view:sun_azimuth: -"
"""Landsat MSS items count angles to the west, below the least that their extension allows."""
WRONG = [
    f"*/mss/{name}_stac.json"
    for name in (
        "LM01_L1GS_005037_19720823_20200909_02_T2",
        "LM02_L1GS_001004_19750411_20200908_02_T2",
        "LM03_L1GS_001001_19780510_20200907_02_T2",
        "LM05_L1GS_001001_19850524_20210918_02_T2",
    )
]


@pytest.fixture
def nothing_opens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: Any, **options: Any) -> Any:
        raise RasterioIOError(NO_GRID)

    def reach(*args: Any, **options: Any) -> Any:
        raise AssertionError("a test tried to reach the network")

    def refuse_all(hrefs: Iterable[str], *args: Any) -> Iterator[tuple[str, HeaderError]]:
        for href in hrefs:
            what = f"can't be read ({NO_GRID})"
            yield href, HeaderError(Problem("unreadable", what, "mend or leave out", href=href))

    monkeypatch.setattr(rasterio, "open", refuse)
    monkeypatch.setattr("mosaic.catalog.remote.read_governed", refuse_all)
    monkeypatch.setattr(socket.socket, "connect", reach)
    monkeypatch.setattr(socket, "getaddrinfo", reach)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def items_of(document: Any) -> Iterator[Json]:
    if isinstance(document, list):
        for part in document:
            yield from items_of(part)
    elif isinstance(document, dict) and isinstance(document.get("features"), list):
        yield from items_of(document["features"])
    elif isinstance(document, dict) and document.get("type") == "Feature":
        yield from [document] * ("assets" in document or "stac_version" in document)


def read_items(path: Path) -> list[Json]:
    """STAC items that a file holds, whatever it is called."""
    if path.suffix == ".parquet":
        return read_table(pq.read_table(path))
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if text.lstrip()[:1] not in (b"{", b"["):
        return []
    try:
        return list(items_of(orjson.loads(text)))
    except orjson.JSONDecodeError:
        try:
            return [item for line in text.splitlines() for item in items_of(orjson.loads(line))]
        except orjson.JSONDecodeError:
            return []


def read_table(table: pa.Table) -> list[Json]:
    """Items of stac-geoparquet, also of that which came before version 1, with a list as bbox."""
    if "assets" not in table.column_names:
        return []
    place = table.column_names.index("bbox")
    boxes = table["bbox"].combine_chunks()
    if pa.types.is_list(boxes.type):
        sides = [pc.list_element(boxes, side) for side in range(4)]
        box = pa.StructArray.from_arrays(sides, ["xmin", "ymin", "xmax", "ymax"])
        table = table.set_column(place, "bbox", box)
    return list(stac_geoparquet.arrow.stac_table_to_items(table))


def documents(shared: Path) -> Iterator[tuple[str, list[Json]]]:
    """Names of all documents that hold STAC items, and the items."""
    rasters = (".tif", ".tiff", ".jp2", ".png", ".xml", ".md", ".nc", ".vrt")
    for path in sorted(shared.rglob("*")):
        if path.is_file() and path.suffix not in rasters:
            found = read_items(path)
            if found:
                yield path.relative_to(shared).as_posix(), found


def test_every_document(shared: Path, tmp_path: Path, nothing_opens: None) -> None:
    faults: list[str] = []
    built = refused = 0
    for name, given in documents(shared):
        words = next((words for pattern, words in REFUSED if fnmatch(name, pattern)), "")
        if words:
            refused += 1
            found = faults_of_refusal(shared / name, tmp_path / "none", words)
        else:
            built += 1
            found = faults_of_build(shared, name, tmp_path / "m", given)
        faults += [f"{name}: {fault}" for fault in found]
    assert not faults, "\n".join(faults)
    assert (built, refused) == (81, 97)


def faults_of_refusal(path: Path, out: Path, words: str) -> Iterator[str]:
    out.mkdir(exist_ok=True)
    try:
        mosaic.build(path, out / "m", dtype="uint16")
    except InputError as error:
        for problem in error.problems:
            if not any(part in str(problem) for part in words.split("|")):
                yield f"is refused for another reason: {problem}"
    else:
        yield "is built"
    if any(out.iterdir()):
        yield "leaves something behind"


def faults_of_build(shared: Path, name: str, out: Path, given: list[Json]) -> Iterator[str]:
    count, words = PARTLY.get(name, (0, ""))
    try:
        report = mosaic.build(
            shared / name, out, dtype="uint16", skip_bad=bool(count), overwrite=True, item_files=40
        )
    except InputError as error:
        yield f"is refused: {error.problems[0]}"
        return
    if len(report.left_out) != count or not all(words in str(p) for p in report.left_out):
        yield f"leaves out {[str(problem) for problem in report.left_out]}"
    checked = mosaic.check(out, schemas=shared, offline=True, sample=5)
    for found in checked.findings:
        if found.level == "error" and found.check != "local files":  # never were there
            known = any(fnmatch(name, pattern) for pattern in WRONG)
            if not known or not all(INVALID in problem.what for problem in found.problems):
                yield f"{found.check}: {found.problems[0]}"
    by_id = {str(item["id"]): item for item in reversed(given)}
    table = pq.read_table(out / "items.parquet").slice(0, 40)
    for item in stac_geoparquet.arrow.stac_table_to_items(table):
        for place in sorted(lost(by_id[item["id"]], item)):
            yield f"{item['id']} lost {place} in items.parquet"
    for path in (out / "items").glob("*.json"):
        item = orjson.loads(path.read_bytes())
        for place in sorted(lost(by_id[item["id"]], item)):
            yield f"{item['id']} lost {place} as JSON"


# ---- what of an item isn't in another

RENAMED = {
    **{
        f"eo:bands/{f}": f"eo:{f}"
        for f in ("common_name", "center_wavelength", "full_width_half_max", "solar_illumination")
    },
    **{
        f"raster:bands/{f}": f"raster:{f}"
        for f in (
            "sampling",
            "bits_per_sample",
            "spatial_resolution",
            "scale",
            "offset",
            "histogram",
        )
    },
}
"""Fields of eo 1 and raster 1 in STAC 1.1; the others keep their names."""
TIMES = [
    f"properties/{name}"
    for name in ("datetime", "start_datetime", "end_datetime", "created", "updated")
]


def lost(given: Json, written: Json) -> set[str]:
    """Fields of an item that another lacks, or has otherwise.

    A table of items has no place for fields beside their properties: there they are among them.
    """
    if str(given.get("stac_version", "0")).startswith("0."):
        return set()  # pystac migrates them
    there = dict(leaves(written))
    return {
        place
        for place, value in leaves(given)
        if not place.startswith(("links/", "stac_version", "stac_extensions/", "collection"))
        and not place.endswith("proj:epsg")
        and value is not None
        and not same(value, there.get(placed(place), there.get(f"properties/{place}")), place)
    }


def placed(place: str) -> str:
    found = re.fullmatch(r"(assets/.+?)/((?:eo|raster):bands)/(\d+)/([^/]+)(.*)", place)
    if not found:
        return place
    name = RENAMED.get(f"{found[2]}/{found[4]}", found[4])
    return f"{found[1]}/bands/{found[3]}/{name}{found[5]}"


def same(value: Any, other: Any, place: str) -> bool:
    if place.endswith("/href") and "://" not in value:
        return str(other).endswith(value.replace("../", "").removeprefix("./"))
    if isinstance(value, str) and isinstance(other, str) and place in TIMES:
        return datetime.fromisoformat(value) == datetime.fromisoformat(other)
    return bool(value == other)


def leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, one in inner:
            yield from leaves(one, f"{place}/{key}" if place else str(key))
    else:
        yield place, value
