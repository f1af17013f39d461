"""Every TIFF of the shared data: equal to GDAL at every pixel and level, or refused for a reason
that stands here.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from mosaic.engine.tiff import Image, Tiff, decode
from mosaic.errors import TiffError, TiffUnsupportedError
from tests.engine.support import located, open_tiff, pixels

REFUSED: dict[str, str] = {}
"""Files that aren't read, by name: the reason that must be told. None of the shared data so far."""
JPEG_YCBCR = {"goes.tif"}
"""Lossy, with coarser colour: rasterio's wheels bring IJG's libjpeg 9, which makes other pixels of
the same bytes than libjpeg-turbo. Checked against libjpeg-turbo in test_tiff_pixels."""
WHOLE = 3_000_000
"""Pixels up to which an image is compared as a whole, beyond that by blocks."""


def _files(shared: Path) -> list[Path]:
    found = [
        p
        for p in sorted(shared.rglob("*"))
        if p.suffix.lower() in (".tif", ".tiff", ".msk", ".ovr")
    ]
    assert len(found) > 200
    return found


def _open(path: Path, level: int = 0) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        options = {"OVERVIEW_LEVEL": level - 1} if level else {}
        return rasterio.open(path, driver="GTiff", **options)


@pytest.fixture(scope="module")
def opened(shared: Path) -> dict[Path, tuple[Tiff, bytes]]:
    """All files; those that are refused are compared with the list of them."""
    found, refused = {}, {}
    for path in _files(shared):
        try:
            found[path] = open_tiff(path)
        except TiffError as error:
            refused[path.name] = error.what
    assert refused == REFUSED
    return found


def test_headers_say_what_gdal_says(opened: dict[Path, tuple[Tiff, bytes]]) -> None:
    for path, (tiff, _) in opened.items():
        with _open(path) as dataset:
            assert tiff.shape == dataset.shape, path
            assert tiff.image.samples == dataset.count, path
            assert {tiff.dtype.name} == set(dataset.dtypes), path
            transform = tuple(dataset.transform)[:6]
            if tiff.geo.transform is None:
                assert dataset.transform.is_identity, path
            else:
                assert tiff.geo.transform == pytest.approx(transform, rel=1e-14, abs=1e-12), path
            assert tiff.geo.points == len(dataset.gcps[0]), path
            assert tiff.nodata == pytest.approx(dataset.nodata, nan_ok=True), path
            assert [band.scale for band in tiff.bands] == list(dataset.scales), path
            assert [band.offset for band in tiff.bands] == list(dataset.offsets), path
            texts = [text or "" for text in dataset.descriptions]
            assert [band.description for band in tiff.bands] == texts, path
            assert [band.unit for band in tiff.bands] == [u or "" for u in dataset.units], path
            alpha = [c == ColorInterp.alpha for c in dataset.colorinterp]
            assert tiff.alpha == (alpha.index(True) if any(alpha) else None), path
            inner = [] if path.with_name(f"{path.name}.ovr").exists() else dataset.overviews(1)
            assert len(tiff.levels) == 1 + len(inner), path
            assert not tiff.ignored, path


def test_places_are_where_proj_finds_them_by_gdals_crs(
    opened: dict[Path, tuple[Tiff, bytes]],
) -> None:
    known = 0
    for path, (tiff, _) in opened.items():
        with _open(path) as dataset:
            theirs = dataset.crs or dataset.gcps[1]
            if not theirs:
                assert tiff.geo.crs is None, path
                continue
            bounds = tuple(dataset.bounds)
        assert tiff.geo.crs is not None, path
        known += 1
        if tiff.geo.transform is None:
            continue
        lonlat = [
            pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(
                [bounds[0], bounds[2]], [bounds[1], bounds[3]]
            )
            for crs in (tiff.geo.crs, theirs.to_wkt())
        ]
        np.testing.assert_allclose(*lonlat, rtol=0, atol=1e-9, err_msg=str(path))
    assert known > 150


def _parts(image: Image, data: bytes, fill: Any) -> Iterator[tuple[Window, npt.NDArray[Any]]]:
    """The image as a whole, or some fifty blocks all over it, corners included."""
    height, width = image.shape
    if height * width <= WHOLE:
        yield Window(0, 0, width, height), pixels(image, data, fill)
        return
    assert not image.separate
    rows, columns = (np.unique(np.linspace(0, n - 1, 7).astype(int)) for n in image.grid)
    for row in rows:
        where = located(image, data, row, columns)
        for column, span in zip(columns, where.spans(), strict=True):
            assert span is not None
            block = decode(image, data[span.start : span.stop], row, column)
            y, x = row * image.block[0], column * image.block[1]
            yield Window(x, y, block.shape[1], block.shape[0]), np.moveaxis(block, 2, 0)


def test_pixels_of_all_levels_are_gdals(opened: dict[Path, tuple[Tiff, bytes]]) -> None:
    masks = 0
    for path, (tiff, data) in opened.items():
        if path.name in JPEG_YCBCR:
            continue
        for number, level in enumerate(tiff.levels):
            with _open(path, number) as dataset:
                assert level.image.shape == dataset.shape
                for window, mine in _parts(level.image, data, tiff.fill):
                    theirs = dataset.read(window=window)
                    np.testing.assert_array_equal(mine, theirs, err_msg=f"{path} level {number}")
                if level.mask is not None:
                    masks += 1
                    valid = pixels(level.mask, data)[0] != 0
                    assert np.array_equal(valid, dataset.dataset_mask() != 0), path
    assert masks


def test_masks_of_a_sidecar(shared: Path) -> None:
    folder = shared / "cogeotiff+rio-tiler/tests/fixtures/my-bucket/hro_sources/colorado"
    path = folder / "201404_13SED190110_201404_0x1500m_CL_1_extmask.tif"
    tiff, _ = open_tiff(path)
    sidecar, data = open_tiff(path.with_name(path.name + ".msk"))
    (level,) = tiff.masked_by(sidecar).levels
    assert level.mask is not None
    with rasterio.open(path) as dataset:
        theirs = dataset.dataset_mask() != 0
    assert 0 < theirs.sum() < theirs.size
    assert np.array_equal(pixels(level.mask, data)[0] != 0, theirs)
    with pytest.raises(TiffUnsupportedError, match="a mask of 3 samples"):
        tiff.masked_by(tiff)
    other, _ = open_tiff(shared / "rasterio+rasterio/tests/data/RGB.byte.tif")
    with pytest.raises(TiffError, match="not the raster's"):
        other.masked_by(sidecar)
