"""Real items opened as they are: the mosaic that a build of them is, without its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pystac
import pytest

import mosaic
from mosaic.catalog.source import Band
from mosaic.cube.sources import opened
from mosaic.storage import Gate

SETS = (
    "stac-utils+pystac-client/cassette-bodies/earth-search-mixed-collections-10.json",
    "stac-utils+pystac-client/cassette-bodies/pc-landsat-c2-l2-10-three-zones.json",
    # its true-colour images tell no data type, and are left out
    "stac-utils+rustac/crates/server/data/sentinel-2/item-collection.json",
    "stac-utils+stac-geoparquet/tests/data/landsat-c2-l2-pc.json",
    "stac-utils+stac-geoparquet/tests/data/sentinel-1-rtc-pc.json",
)


def known(hrefs: Any, *rest: Any) -> Any:
    """No network here: whoever asks for a header learns that it can't be read."""
    from mosaic.errors import HeaderError, Problem

    for href in hrefs:
        yield href, HeaderError(Problem("unreadable", "there is no network here", href=href))


@pytest.mark.parametrize("name", SETS)
def test_items_are_the_mosaic_of_them(
    name: str, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mosaic.catalog.remote.read_governed", known)
    path = shared / name
    report = mosaic.build(path, tmp_path / "m", skip_bad=True)
    there = opened(tmp_path / "m")
    given = orjson.loads(path.read_bytes())
    given = given["features"] if isinstance(given, dict) else given
    for source in (path, [pystac.Item.from_dict(item) for item in given]):
        here = opened(source, gate=Gate(), errors="ignore")
        assert set(here.problems) == set(report.left_out)
        assert (here.crs, here.grid) == (there.crs, there.grid)
        order = [here.id.to_pylist().index(one) for one in there.id.to_pylist()]
        np.testing.assert_array_equal(here.z[order], there.z)
        np.testing.assert_array_equal(here.time[order], there.time)
        assert set(here.assets) == set(there.assets)
        for key, want in there.assets.items():
            got = here.assets[key]
            assert [declared(band) for band in got.bands] == list(map(declared, want.bands))
            assert scenes(here, got) == scenes(there, want)


def declared(band: Band) -> tuple[Any, ...]:
    """What users are told of a band."""
    return band.dtype, band.name, band.nodata, band.scale, band.offset, band.unit


def scenes(own: mosaic.catalog.opened.Opened, asset: Any) -> dict[str, Any]:  # type: ignore[name-defined]
    """By item: where its file lies, its grid, its bands, and how numbers change."""
    rows = np.arange(len(asset.item))
    ids = own.id.take(asset.item).to_pylist()
    return {
        one: (
            href,
            asset.grids.name(row),
            asset.grids.shape[row].tolist(),
            asset.grids.transform[row].tolist(),
            asset.variants[asset.variant[row]],
        )
        for one, row, href in zip(ids, rows.tolist(), own.hrefs(asset, rows), strict=True)
    }
