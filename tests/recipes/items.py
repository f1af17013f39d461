"""An item for every recipe: recorded ones, and for four collections items written by hand.

Written by hand from the providers' documentation, none having been recorded: Sentinel-2 at CDSE
(documentation.dataspace.copernicus.eu), Sentinel-1 RTC and WorldCover (the collections' item_assets
at Planetary Computer), HLS v2.0 (LP DAAC's user guide).
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import orjson
from pyproj import Transformer

Json = dict[str, Any]

CLIENT = "stac-utils+pystac-client/cassette-bodies"
GEOPARQUET = "stac-utils+stac-geoparquet/cassette-bodies"
RECORDED = {
    "sentinel-2-l2a-earth-search": f"{CLIENT}/earth-search-landsat-and-s2-2.json",
    "sentinel-2-l2a-planetary-computer": f"{CLIENT}/pc-sentinel-2-l2a-33-three-zones.json.gz",
    "landsat-c2-l2-earth-search": f"{CLIENT}/earth-search-landsat-and-s2-2.json",
    "landsat-c2-l2-planetary-computer": f"{CLIENT}/pc-landsat-c2-l2-10-three-zones.json",
    "naip-planetary-computer": f"{CLIENT}/pc-naip-250-four-zones.json.gz",
    "cop-dem-glo-30-planetary-computer": f"{GEOPARQUET}/pc-cop-dem-glo-30.json",
    "modis-13q1-planetary-computer": f"{GEOPARQUET}/pc-modis-13Q1-061.json",
    "modis-09a1-planetary-computer": "stactools-packages+modis/examples/modis-061/modis-09A1-061/"
    "MOD09A1.A2022033.h19v10.061/MOD09A1.A2022033.h19v10.061.json",
}


def recorded(shared: Path, name: str, collections: tuple[str, ...]) -> list[Json]:
    """Recorded items of a recipe's collections, with hrefs that don't depend on a folder."""
    path = shared / RECORDED[name]
    text = path.read_bytes()
    document = orjson.loads(gzip.decompress(text) if path.suffix == ".gz" else text)
    found = [
        one
        for one in document.get("features", [document])
        if one.get("collection") in collections and one["assets"]
    ]
    for one in found:
        for asset in one["assets"].values():
            if "://" not in asset["href"]:
                asset["href"] = f"https://example.org/{Path(asset['href']).name}"
    return found


def _item(name: str, collection: str, epsg: int, origin: tuple[float, float], **more: Any) -> Json:
    west, north = origin
    east, south = west + more.get("side", 109_800), north - more.get("side", 109_800)
    to = Transformer.from_crs(epsg, 4326, always_xy=True)
    corners = [(west, north), (east, north), (east, south), (west, south), (west, north)]
    ring = [list(to.transform(x, y)) for x, y in corners]
    lon, lat = zip(*ring, strict=True)
    return {
        "type": "Feature",
        "stac_version": more.get("version", "1.0.0"),
        "stac_extensions": [],
        "id": name,
        "collection": collection,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [min(lon), min(lat), max(lon), max(lat)],
        "properties": {"datetime": "2025-06-01T10:00:00Z", **more.get("properties", {})},
        "links": [],
        "assets": {},
    }


def _cdse() -> list[Json]:
    item = _item(
        "S2B_MSIL2A_20250601T101559_N0511_R065_T32TQT_20250601T124915",
        "sentinel-2-l2a",
        32632,
        (699960.0, 5300040.0),
        version="1.1.0",
        properties={"platform": "sentinel-2b", "processing:version": "05.11",
                    "proj:code": "EPSG:32632"},
    )  # fmt: skip
    bands = {"B01": 60, "B02": 10, "B03": 10, "B04": 10, "B05": 20, "B06": 20, "B07": 20,
             "B08": 10, "B8A": 20, "B09": 60, "B11": 20, "B12": 20, "SCL": 20}  # fmt: skip
    for band, res in bands.items():
        size = 109_800 // res
        told = (
            {"data_type": "uint8"}
            if band == "SCL"
            else {"data_type": "uint16", "raster:scale": 0.0001, "raster:offset": -0.1}
        )
        item["assets"][f"{band}_{res}m"] = {
            "href": f"s3://eodata/Sentinel-2/MSI/L2A/2025/06/01/{item['id']}.SAFE/"
            f"GRANULE/IMG_DATA/R{res}m/T32TQT_20250601T101559_{band}_{res}m.jp2",
            "type": "image/jp2",
            "roles": ["data"],
            "nodata": 0,
            **told,
            "bands": [{"name": band}],
            "proj:shape": [size, size],
            "proj:transform": [res, 0, 699960.0, 0, -res, 5300040.0],
        }
    return [item]


def _hls() -> list[Json]:
    """The same tile from both collections: a band has two keys."""
    keys = {
        "HLSL30_2.0": ["B02", "B03", "B04", "B05", "B06", "B07", "Fmask"],
        "HLSS30_2.0": ["B02", "B03", "B04", "B05", "B08", "B8A", "B11", "B12", "Fmask"],
    }
    found = []
    for collection, names in keys.items():
        short = collection[3:6]
        item = _item(
            f"HLS.{short}.T32TQT.2025152T100000.v2.0", collection, 32632, (699960.0, 5300040.0),
            properties={"proj:epsg": 32632, "proj:shape": [3660, 3660],
                        "proj:transform": [30, 0, 699960.0, 0, -30, 5300040.0]},
        )  # fmt: skip
        item["assets"] = {
            name: {
                "href": "https://data.lpdaac.earthdatacloud.nasa.gov/lp-prod-protected/"
                f"HLS{short}.020/{item['id']}/{item['id']}.{name}.tif",
                "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                "roles": ["data"],
            }
            for name in names
        }
        found.append(item)
    return found


def _rtc() -> list[Json]:
    item = _item(
        "S1A_IW_GRDH_1SDV_20250601T052611_20250601T052636_059444_0760F5_rtc",
        "sentinel-1-rtc",
        32632,
        (500_000.0, 5_400_000.0),
        side=200_000,
        properties={"platform": "SENTINEL-1A", "proj:epsg": 32632, "proj:shape": [20000, 20000],
                    "proj:transform": [10, 0, 500_000.0, 0, -10, 5_400_000.0]},
    )  # fmt: skip
    item["assets"] = {
        name: {
            "href": "https://sentinel1euwestrtc.blob.core.windows.net/sentinel1-grd-rtc/GRD/2025/"
            f"6/1/IW/DV/{item['id']}/measurement/iw-{name}.rtc.tiff",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["data"],
            "raster:bands": [{"nodata": -32768, "data_type": "float32", "spatial_resolution": 10}],
        }
        for name in ("vv", "vh")
    }
    return [item]


def _worldcover() -> list[Json]:
    item = _item(
        "ESA_WorldCover_10m_2020_v100_N00E006", "esa-worldcover", 4326, (6.0, 3.0), side=3.0,
        properties={"datetime": None, "start_datetime": "2020-01-01T00:00:00Z",
                    "end_datetime": "2020-12-31T23:59:59Z", "proj:epsg": 4326},
    )  # fmt: skip
    item["assets"]["map"] = {
        "href": "https://ai4edataeuwest.blob.core.windows.net/esa-worldcover/v100/2020/map/"
        "ESA_WorldCover_10m_2020_v100_N00E006_Map.tif",
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "roles": ["data"],
        "proj:shape": [36000, 36000],
        "proj:transform": [3 / 36000, 0, 6.0, 0, -3 / 36000, 3.0],
    }
    return [item]


WRITTEN = {
    "sentinel-2-l2a-cdse": _cdse,
    "hls-2-lpcloud": _hls,
    "sentinel-1-rtc-planetary-computer": _rtc,
    "worldcover-planetary-computer": _worldcover,
}


def items_of(shared: Path, name: str, collections: tuple[str, ...]) -> list[Json]:
    """Items for a recipe."""
    return WRITTEN[name]() if name in WRITTEN else recorded(shared, name, collections)
