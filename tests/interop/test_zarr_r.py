"""`/zarr` in R: terra and stars, by a GDAL that knows today's Zarr, give what mosaic.open gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mosaic
from mosaic.gateway.app import Gateway
from mosaic.gateway.options import Options
from tests.interop.conftest import made_root
from tests.support.mosaics import write_case
from tests.support.scenes import seam_scenes

pytestmark = pytest.mark.interop

SCRIPT = Path(__file__).with_name("zarr.R")
MEAN = {"groupby": "all", "method": "mean"}


def test_terra_and_stars_read_what_open_gives(folder: Path) -> None:
    """Numbers, holes, place, CRS, layers and times, of scenes and of a mean."""
    root = made_root("forky", "r-zarr")
    home = folder / "r-zarr"
    items = write_case(home / "scenes", seam_scenes(256, 60.0, ("B04",), dates=2))
    mosaic.build(items, home / "mosaic", resampling="bilinear")
    choices: dict[str, dict[str, str]] = {"": {}, "/groupby=all&method=mean": MEAN}
    with Gateway({"mosaic": home / "mosaic"}, Options(port=0)) as gateway:
        base = f"/vsicurl/{gateway.url}/zarr/mosaic"
        stores = [f'ZARR:"{base}{choice}"' for choice in choices]
        command = ["Rscript", str(SCRIPT), "B04", str(home / "out"), *stores]
        said = iter(root.run(command, binds=[home, SCRIPT.parent]).stdout.splitlines())
    for number, arguments in enumerate(choices.values(), 1):
        want = mosaic.open(home / "mosaic", **arguments).load()
        rows, columns, count, code, *extent = map(float, next(said).split())
        west, south, east, north = want.odc.geobox.boundingbox
        assert (count, rows, columns) == want.B04.shape
        assert code == want.odc.geobox.crs.epsg
        assert extent == [west, east, south, north]
        assert next(said).split() == [str(one)[:19] for one in want.time.values]
        assert list(map(float, next(said).split())) == [code, west, south, east, north]
        nodata = want.B04.attrs.get("nodata")
        right = want.B04.where(lambda one, nodata=nodata: one != nodata).values.astype(float)
        assert 0.3 < np.isfinite(right).mean() < 1
        for name in ("terra", "stars"):
            got = np.fromfile(home / f"out{number}.{name}", "<f8").reshape(right.shape)
            np.testing.assert_array_equal(got, right)
