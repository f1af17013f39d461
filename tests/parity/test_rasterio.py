"""rasterio reads every generated index right: nothing missing, nothing shifted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from tests.support.mosaics import (
    CASES,
    Built,
    Case,
    build,
    check_every_pixel,
    check_overview,
    write_case,
)
from tests.support.scenes import seam_scenes


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mosaics")


def made(case: Case, resampling: str, folder: Path) -> Built:
    items = write_case(folder / case.name, case.scenes)
    out = folder / f"{case}-{resampling}"
    return build(case, items, out, resampling)


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_pixel(case: Case, resampling: str, folder: Path) -> None:
    built = made(case, resampling, folder)
    with rasterio.open(built.index) as dataset:
        check_every_pixel(built, lambda window: dataset.read(1, window=Window(*window)))


@pytest.fixture(scope="module")
def large(folder: Path) -> Built:
    """Scenes of 2048 pixels, so that a thirty-second of the mosaic still has pixels to check."""
    scenes = tuple(seam_scenes(2048, 20.0, ("B04",), dates=1))
    return made(Case("large", scenes, "EPSG:3035"), "bilinear", folder)


@pytest.mark.parametrize("factor", [2, 4, 8, 16, 32])
def test_overviews_do_not_shift(factor: int, large: Built) -> None:
    height, width = large.shape
    with rasterio.open(large.index) as dataset:
        assert factor in dataset.overviews(1)
        assert height % dataset.overviews(1)[-1] == width % dataset.overviews(1)[-1] == 0
        values = dataset.read(1, out_shape=(height // factor, width // factor))
    check_overview(large, factor, values)


def test_rioxarray_reads_the_same(folder: Path) -> None:
    rioxarray = pytest.importorskip("rioxarray")
    built = made(CASES[0], "bilinear", folder / "rioxarray")
    with rasterio.open(built.index) as dataset:
        values = dataset.read(1)
    with rioxarray.open_rasterio(built.index, masked=True) as array:
        assert array.rio.crs == built.crs
        assert array.rio.transform() == built.transform
        assert array.long_name == "B04"
        found = array[0].fillna(0).astype("uint16").to_numpy()
    np.testing.assert_array_equal(found, values)
    assert np.count_nonzero(values) > 0
