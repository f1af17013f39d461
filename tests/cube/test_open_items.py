"""``mosaic.open`` of items that nobody built: the mosaic's numbers, and they travel."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pystac
import pytest
import xarray as xr

import mosaic
from mosaic.errors import InputError, UsageError
from mosaic.storage import Gate
from tests.cube.conftest import Made, made
from tests.support.scenes import utm_scene


def items(made: Made) -> dict[str, Any]:
    """An ItemCollection as an API gives it: hrefs are absolute."""
    found: dict[str, Any] = orjson.loads(made.items.read_bytes())
    for item in found["features"]:
        for asset in item["assets"].values():
            asset["href"] = str(made.items.parent / asset["href"])
    return found


def given(made: Made, kind: str) -> Any:
    match kind:
        case "path":
            return made.items
        case "ItemCollection":
            return pystac.ItemCollection.from_dict(items(made))
        case "Items":
            return list(pystac.ItemCollection.from_dict(items(made)))
        case "parquet":
            return made.path / "items.parquet"
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", ["path", "ItemCollection", "Items", "parquet"])
def test_items_are_what_their_mosaic_is(native: Made, kind: str) -> None:
    mine = mosaic.open(given(native, kind), groupby="solar_day")
    built = mosaic.open(native.path, groupby="solar_day")
    xr.testing.assert_identical(mine.load(), built.load())
    assert mine.odc.geobox == built.odc.geobox


def test_another_grid_bands_and_time(seamed: Made) -> None:
    how: dict[str, Any] = {
        "bbox": (11.95, 47.45, 12.05, 47.55),
        "crs": "EPSG:3857",
        "resolution": 90,
        "bands": "B04",
        "resampling": "bilinear",
    }
    mine, built = mosaic.open(items(seamed), **how), mosaic.open(seamed.path, **how)
    assert set(mine.data_vars) == {"B04"}
    xr.testing.assert_identical(mine.load(), built.load())
    like = mosaic.open(items(seamed), like=built, bands="B04", resampling="bilinear")
    xr.testing.assert_equal(like.load(), built.load())


def test_items_travel_to_another_process(native: Made, tmp_path: Path) -> None:
    ds = mosaic.open(items(native), bands=["B02"], groupby="all", chunks={"x": 128, "y": 128})
    (tmp_path / "ds.pickle").write_bytes(pickle.dumps(ds))
    code = (
        "import pickle, sys, numpy as np;"
        "ds = pickle.load(open(sys.argv[1], 'rb'));"
        "np.save(sys.argv[2], ds.B02.values)"
    )
    out = tmp_path / "there.npy"
    subprocess.run([sys.executable, "-c", code, tmp_path / "ds.pickle", out], check=True)
    import numpy as np

    np.testing.assert_array_equal(np.load(out), ds.B02.values)


def test_a_bad_item_is_an_error_or_in_the_report(native: Made) -> None:
    spoilt = items(native)
    spoilt["features"][1]["assets"]["B02"]["href"] = ""
    spoilt["features"][1]["assets"].pop("B03")
    spoilt["features"][2] = {"type": "Feature", "id": "nothing"}
    with pytest.raises(InputError, match="nothing"):
        mosaic.open(spoilt)
    ds = mosaic.open(spoilt, errors="ignore")
    assert any(problem.item == "nothing" for problem in ds.mosaic.report())


def test_a_source_that_is_none() -> None:
    with pytest.raises(UsageError, match="no source"):
        mosaic.open(42)


def test_items_that_share_an_id_are_told(tmp_path: Path) -> None:
    one = made(tmp_path, [utm_scene(n, 32632, 9, 47, 64, 60.0) for n in "ab"])
    twice = items(one)["features"]
    twice[1]["id"] = twice[0]["id"]
    with pytest.warns(UserWarning, match="1 items were given twice, the first is kept: a"):
        mosaic.open(twice, gate=Gate())
