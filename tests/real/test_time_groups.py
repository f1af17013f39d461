"""Solar days of real items are odc-stac's; periods are pandas'."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import odc.stac
import orjson
import pandas as pd
import pystac
import pytest
from odc.geo.geobox import GeoBox

import mosaic
from mosaic.cube.groups import PERIODS, grouped
from mosaic.cube.sources import opened
from mosaic.storage import Gate

CLIENT = "stac-utils+pystac-client/cassette-bodies"
SETS: tuple[tuple[str, str], ...] = (
    (f"{CLIENT}/pc-landsat-8-c2-l2-netherlands-250.json.gz", "SR_B4"),
    (f"{CLIENT}/pc-sentinel-2-l2a-33-three-zones.json.gz", "B04"),
    (f"{CLIENT}/pc-naip-250-four-zones.json.gz", "image"),
    (f"{CLIENT}/pc-landsat-c2-l2-10-three-zones.json", "red"),
    ("stac-utils+rustac/crates/server/data/sentinel-2/item-collection.json", "red"),
    ("stac-utils+stac-geoparquet/tests/data/sentinel-2-l2a-pc.json", "B04"),
)


def known(hrefs: Any, *rest: Any) -> Any:
    """No network here: whoever asks for a header learns that it can't be read."""
    from mosaic.errors import HeaderError, Problem

    for href in hrefs:
        yield href, HeaderError(Problem("unreadable", "there is no network here", href=href))


def told(path: Path, band: str) -> list[dict[str, Any]]:
    """Items with one asset, whose data type stands in for headers that nobody reads here."""
    data = path.read_bytes()
    document = orjson.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    found: list[dict[str, Any]] = document["features"] if isinstance(document, dict) else document
    for one in found:
        one["assets"] = {name: one["assets"][name] for name in (band,) if name in one["assets"]}
        for asset in one["assets"].values():
            asset.setdefault("raster:bands", [{"data_type": "uint16"}])
            asset.pop("eo:bands", None)
    return list({one["id"]: one for one in found}.values())


@pytest.mark.parametrize(("name", "band"), SETS)
def test_solar_days_are_odc_stacs(
    name: str, band: str, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mosaic.catalog.remote.read_governed", known)
    items = told(shared / name, band)
    source = opened(items, bands=[band], gate=Gate(), errors="ignore")
    ids = set(source.id.to_pylist())
    assert len(ids) >= min(len(items), 2)
    theirs = [pystac.Item.from_dict(one) for one in items if one["id"] in ids]
    west, south, east, north = source.grid.geographic_extent.boundingbox.bbox
    box = GeoBox.from_bbox(
        (west - 0.5, south - 0.5, east + 0.5, north + 0.5), "EPSG:4326", resolution=0.1
    )
    ours = mosaic.open(source, bands=[band], geobox=box, groupby="solar_day", gate=Gate())
    want = odc.stac.load(theirs, bands=[band], geobox=box, groupby="solar_day", chunks={})
    np.testing.assert_array_equal(ours.time.values, want.time.values)
    # and so are the items of each: a day's lie between its time and the next one's
    of = ours.encoding["mosaic"].scenes().groups.of
    times = [pd.Timestamp(one.datetime).tz_convert(None) for one in theirs]
    day = {one: of[place] for place, one in enumerate(source.id.to_pylist())}
    place = np.searchsorted(want.time.values, np.array(times, "datetime64[ns]"), "right") - 1
    np.testing.assert_array_equal([day[one.id] for one in theirs], place)


@pytest.mark.parametrize("by", PERIODS)
def test_periods_are_pandas(by: str, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mosaic.catalog.remote.read_governed", known)
    source = opened(
        told(shared / SETS[0][0], "SR_B4"), bands=["SR_B4"], gate=Gate(), errors="ignore"
    )
    every = np.arange(source.count)
    groups = grouped(source, every, by, 0.0)
    times = pd.to_datetime(source.time, unit="ms")
    rule = {"day": "D", "week": "W-SUN", "month": "M", "season": "Q-NOV", "year": "Y"}[by]
    want = times.to_period(rule).start_time
    np.testing.assert_array_equal(groups.time[groups.of], want.values.astype("datetime64[us]"))
    assert len(groups) == len(set(want)) > 1
