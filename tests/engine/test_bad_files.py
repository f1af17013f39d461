"""Files that turned bad after they were indexed, read through the public door."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

import mosaic
from mosaic.errors import MosaicError, ReadError, SourceMismatchError
from mosaic.storage import Gate
from tests.engine.test_tiff_hostile import HOSTILE
from tests.support.scenes import Scene, write_scenes

PLACE = Affine(10, 0, 500_000, 0, -10, 5_000_640)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mosaic of one scene of 64 x 64 bytes, by its item: the file is never opened."""
    home = tmp_path_factory.mktemp("bad")
    scene = Scene("x", "EPSG:32632", PLACE, (64, 64), dtype="uint8", nodata=None)
    mosaic.build(write_scenes(home / "s", [scene]), home / "m")
    return home


def outcome(folder: Path) -> Any:
    """What a read gives or raises."""
    try:
        return mosaic.read(folder, gate=Gate())
    except MosaicError as error:
        return error


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_named_or_read_as_gdal_reads_it(folder: Path, name: str) -> None:
    path = folder / "s/x/B04.tif"
    path.write_bytes(HOSTILE[name][0])
    began = time.monotonic()
    got = outcome(folder / "m")
    if isinstance(got, MosaicError):
        assert isinstance(got, ReadError | SourceMismatchError)
        assert "item x asset B04" in str(got)
        assert "x/B04.tif" in str(got)
        ignored = mosaic.read(folder / "m", errors="ignore", gate=Gate())
        assert [(p.item, p.asset) for p in ignored.problems] == [("x", "B04")]
        assert not ignored.valid.any()
        assert not ignored.covered.all()
    else:
        assert got.valid.any(), "a hole without a word"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with rasterio.open(path) as dataset:
                np.testing.assert_array_equal(got.values[got.valid], dataset.read(1).ravel())
    assert time.monotonic() - began < 60  # GDAL's process may have to start, twice


@pytest.mark.parametrize("code", ["EPSG:32633", "EPSG:3857", "EPSG:4326"])
def test_a_file_of_another_crs(folder: Path, code: str) -> None:
    path = folder / "s/x/B04.tif"
    place = PLACE if code != "EPSG:4326" else Affine(0.1, 0, 9, 0, -0.1, 45)
    profile = {"driver": "GTiff", "width": 64, "height": 64, "count": 1, "dtype": "uint8"}
    path.unlink()
    with rasterio.open(path, "w", crs=code, transform=place, **profile) as out:
        out.write(np.ones((1, 64, 64), "uint8"))
    with pytest.raises(SourceMismatchError, match=r"item x asset B04 .*pixels from where"):
        mosaic.read(folder / "m", gate=Gate())
