"""What GDAL and tifffile write in all their ways, read here and by GDAL: equal at every pixel."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import tifffile
from PIL import Image as Pillow
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.shutil import copy
from rasterio.transform import from_origin

from mosaic.engine.tiff import Tiff, decode
from mosaic.errors import TiffUnsupportedError
from tests.engine.support import located, open_tiff, pixels

TYPES = "u1 i1 u2 i2 u4 i4 u8 i8 f4 f8 c8 c16".split()
COMPRESSIONS = "none lzw deflate packbits zstd lerc lerc_deflate lerc_zstd".split()
SHAPE = (75, 83)
"""A multiple of no block, in neither direction."""

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def _scene(dtype: str, count: int = 3, shape: tuple[int, int] = SHAPE) -> npt.NDArray[Any]:
    """(count, height, width): a slope with noise, and the type's extremes."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[: shape[0], : shape[1]]
    values = 20 + x / 4 + y / 8 + rng.normal(0, 3, (count, *shape))
    if dtype[0] == "c":
        return (values + 1j * values[::-1]).astype(dtype)
    if dtype[0] == "f":
        made = (values * 1e3).astype(dtype)
        made[:, :2, :3] = np.finfo(dtype).max, np.finfo(dtype).min, -0.0
        made[:, 5:9, 5:9] = np.nan
        return made
    made = values.astype(dtype)
    made[:, :2, :2] = np.iinfo(dtype).max, np.iinfo(dtype).min
    return made


def _write(path: Path, values: npt.NDArray[Any], **options: Any) -> bool:
    """Whether GDAL can write it."""
    count, height, width = values.shape
    try:
        with rasterio.open(
            path, "w", driver="GTiff", width=width, height=height, count=count,
            dtype=values.dtype, **options,
        ) as dataset:  # fmt: skip
            dataset.write(values)
    except (RasterioError, TypeError):
        return False
    return True


def _check(path: Path) -> Tiff:
    """Every level and mask against GDAL's."""
    tiff, data = open_tiff(path)
    for number, level in enumerate(tiff.levels):
        options = {"OVERVIEW_LEVEL": number - 1} if number else {}
        with rasterio.open(path, **options) as dataset:
            assert level.image.shape == dataset.shape
            theirs = dataset.read()
            mine = pixels(level.image, data, tiff.fill)
            assert mine.dtype == theirs.dtype
            np.testing.assert_array_equal(mine, theirs, err_msg=f"level {number}")
            if level.mask is not None:
                valid = dataset.dataset_mask() != 0
                assert 0 < valid.sum() < valid.size
                assert np.array_equal(pixels(level.mask, data)[0] != 0, valid)
            if number == 0:
                assert len(dataset.overviews(1)) == len(tiff.levels) - 1
    return tiff


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("compress", COMPRESSIONS)
def test_every_type_layout_and_predictor(tmp_path: Path, compress: str, dtype: str) -> None:
    values = _scene(dtype)
    predictors = [1, 2, 3] if compress in ("lzw", "deflate", "zstd") else [1]
    layouts = [
        {"tiled": True, "blockxsize": 32, "blockysize": 16},
        {"blockysize": 16},
    ]
    orders = ["LITTLE", "BIG"] if "lerc" not in compress else ["LITTLE"]
    done = 0
    for number, (predictor, layout, interleave, order) in enumerate(
        itertools.product(predictors, layouts, ("pixel", "band"), orders)
    ):
        path = tmp_path / f"{number}.tif"
        options = {"predictor": predictor} if predictor > 1 else {}
        if not _write(
            path, values, compress=compress, interleave=interleave, endianness=order,
            bigtiff="YES" if number % 2 else "NO", **layout, **options,
        ):  # fmt: skip
            continue
        done += 1
        if values.dtype.kind == "c" and predictor == 2:
            # of differences of complex numbers GDAL 3.10 itself makes other numbers
            with pytest.raises(TiffUnsupportedError, match="predictor 2"):
                open_tiff(path)
            continue
        tiff = _check(path)
        with rasterio.open(path) as dataset:
            assert np.array_equal(dataset.read(), values, equal_nan=values.dtype.kind in "fc")
        assert (tiff.image.order == ">") == (order == "BIG")
        assert tiff.big == bool(number % 2)
        assert tiff.image.predictor == predictor
        assert tiff.image.separate == (interleave == "band")
    # GDAL itself refuses LERC of 64 bit integers and complex numbers
    assert bool(done) == ("lerc" not in compress or dtype not in ("u8", "i8", "c8", "c16"))


@pytest.mark.parametrize("bits", [1, 2, 4, 9, 12, 15])
@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_packed_bits(tmp_path: Path, bits: int, interleave: str) -> None:
    rng = np.random.default_rng(3)
    values = rng.integers(0, 1 << bits, (3, *SHAPE)).astype("u1" if bits < 9 else "u2")
    for number, (order, tiled, compress) in enumerate(
        itertools.product(("LITTLE", "BIG"), (False, True), ("none", "deflate"))
    ):
        path = tmp_path / f"{number}.tif"
        layout = {"tiled": True, "blockxsize": 32, "blockysize": 32} if tiled else {}
        assert _write(
            path, values, nbits=bits, interleave=interleave, endianness=order,
            compress=compress, **layout,
        )  # fmt: skip
        assert _check(path).image.bits == bits
        with rasterio.open(path) as dataset:
            assert np.array_equal(dataset.read(), values)


@pytest.mark.parametrize("predictor", [1, 3])
def test_half_floats(tmp_path: Path, predictor: int) -> None:
    values = np.random.default_rng(1).normal(0, 50, (2, *SHAPE)).astype("f2")
    for order in "<>":
        path = tmp_path / f"{order}.tif"
        options = {"compression": "deflate", "predictor": predictor} if predictor > 1 else {}
        tifffile.imwrite(
            path, np.moveaxis(values, 0, 2), byteorder=order, tile=(32, 32), planarconfig="contig",
            photometric="minisblack", **options,
        )  # fmt: skip
        tiff, data = open_tiff(path)
        assert tiff.dtype == np.float16
        assert np.array_equal(pixels(tiff.image, data), values)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "f4", "f8"])
def test_what_tifffile_writes(tmp_path: Path, dtype: str, big: bool, order: str) -> None:
    values = _scene(dtype)
    path = tmp_path / "a.tif"
    predictors = [None, 3 if dtype[0] == "f" else 2]
    for compression, predictor, planar, tile in itertools.product(
        (None, "zlib", "adobe_deflate", "lzw", "zstd", "packbits", "lerc"),
        predictors,
        ("contig", "separate"),
        (None, (32, 48)),
    ):
        if predictor and compression in (None, "packbits", "lerc"):
            continue
        if compression == "lerc" and order == ">":
            continue  # tifffile doesn't write it
        image = values if planar == "separate" else np.moveaxis(values, 0, 2)
        extra = {"tile": tile} if tile else {"rowsperstrip": 7}
        tifffile.imwrite(
            path, image, bigtiff=big, byteorder=order, compression=compression,
            predictor=predictor, planarconfig=planar, photometric="rgb", **extra,
        )  # fmt: skip
        tiff, data = open_tiff(path)
        assert tiff.big == big
        mine = pixels(tiff.image, data)
        np.testing.assert_array_equal(mine, values, err_msg=f"{compression} {predictor} {planar}")


@pytest.mark.parametrize("nan", ["none", "same", "different"])
@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize("compress", ["lerc", "lerc_deflate", "lerc_zstd"])
def test_lerc_of_holes(tmp_path: Path, compress: str, interleave: str, nan: str) -> None:
    values = np.abs(np.nan_to_num(_scene("f4", 4), nan=7.0, posinf=1.0)).clip(0, 1e4)
    if nan != "none":
        values[:, 10:40, 20:60] = np.nan
    if nan == "different":
        values[1, :40] = np.nan
        values[2] = np.nan
    for error in (0, 0.5):
        path = tmp_path / f"{error}.tif"
        assert _write(
            path, values, compress=compress, interleave=interleave, max_z_error=error,
            tiled=True, blockxsize=32, blockysize=32,
        )  # fmt: skip
        tiff = _check(path)
        mine = pixels(tiff.image, path.read_bytes())
        assert np.array_equal(np.isnan(mine), np.isnan(values))
        assert np.nanmax(np.abs(mine - values)) <= error


@pytest.mark.parametrize("alpha", ["opaque", "cut", "soft"])
@pytest.mark.parametrize("compress", ["lerc", "webp", "jpeg", "deflate"])
def test_alpha(tmp_path: Path, compress: str, alpha: str) -> None:
    values = _scene("u1", 4)
    values[3] = 255
    if alpha != "opaque":
        values[3, 20:50, 30:70] = 0
    if alpha == "soft":
        values[3, 50:60] = 120
    path = tmp_path / "a.tif"
    options = {"webp_lossless": "YES"} if compress == "webp" else {}
    assert _write(
        path, values, compress=compress, photometric="RGB", alpha="YES", tiled=True,
        blockxsize=32, blockysize=32, **options,
    )  # fmt: skip
    assert _check(path).alpha == 3


@pytest.mark.parametrize("lossless", ["YES", "NO"])
@pytest.mark.parametrize("count", [3, 4])
def test_webp(tmp_path: Path, count: int, lossless: str) -> None:
    for tiled in (True, False):
        path = tmp_path / f"{tiled}.tif"
        layout = {"tiled": True, "blockxsize": 32, "blockysize": 32} if tiled else {}
        assert _write(path, _scene("u1", count), compress="webp", webp_lossless=lossless, **layout)
        _check(path)


@pytest.mark.parametrize(
    ("count", "options"),
    [
        (1, {}),
        (3, {}),
        (3, {"interleave": "band"}),
        (2, {}),
        (3, {"photometric": "RGB"}),
        (4, {"photometric": "RGB", "alpha": "YES"}),
        (5, {"interleave": "band"}),
        (1, {"jpegtablesmode": 0}),
    ],
)
def test_jpeg_without_coarser_colour(tmp_path: Path, count: int, options: dict[str, Any]) -> None:
    for tiled in (True, False):
        path = tmp_path / f"{tiled}.tif"
        layout = (
            {"tiled": True, "blockxsize": 32, "blockysize": 32} if tiled else {"blockysize": 16}
        )
        assert _write(
            path, _scene("u1", count), compress="jpeg", jpeg_quality=85, **layout, **options
        )
        _check(path)


def test_jpeg_of_ycbcr_is_what_libjpeg_turbo_makes_of_it(tmp_path: Path, shared: Path) -> None:
    """rasterio's wheels bring IJG's libjpeg 9, which makes other colours of the same bytes;
    distributions' GDALs, like Pillow, have libjpeg-turbo.
    """
    path = tmp_path / "a.tif"
    assert _write(
        path, _scene("u1", 3, (200, 170)), compress="jpeg", photometric="YCBCR", tiled=True,
        blockxsize=64, blockysize=64,
    )  # fmt: skip
    for name in (path, shared / "rasterio+rasterio/tests/data/goes.tif"):
        tiff, data = open_tiff(name)
        blocks = 0
        for level in tiff.levels:
            image = level.image
            rows, columns = image.grid
            for row, column in np.ndindex(rows, columns):
                (span,) = located(image, data, row, column).spans()
                assert span is not None
                raw = data[span.start : span.stop]
                whole = image.jpeg_tables[:-2] + raw[2:]
                theirs = np.asarray(Pillow.open(io.BytesIO(whole)).convert("RGB"))
                height, width = image.size_of(row, column)
                mine = decode(image, raw, row, column)
                assert np.array_equal(mine, theirs[:height, :width])
                blocks += 1
        assert blocks > 4
        with rasterio.open(name) as dataset:
            off = np.abs(pixels(tiff.image, data).astype(int) - dataset.read())
        assert off.mean() < 0.6


@pytest.mark.parametrize("compress", ["deflate", "jpeg", "lerc", "none"])
def test_a_cog_with_a_mask(tmp_path: Path, compress: str) -> None:
    source, path = tmp_path / "s.tif", tmp_path / "a.tif"
    values = _scene("u1", 1, (600, 700))
    mask = np.full((600, 700), 255, "u1")
    mask[100:300, 200:650] = 0
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            source, "w", driver="GTiff", width=700, height=600, count=1, dtype="uint8",
            crs="EPSG:32632", transform=from_origin(500000, 5000000, 10, 10),
        ) as dataset,
    ):  # fmt: skip
        dataset.write(values)
        dataset.write_mask(mask)
    copy(source, path, driver="COG", compress=compress, blocksize=128)
    tiff = _check(path)
    assert len(tiff.levels) == 4
    assert all(level.mask is not None and level.mask.bits == 1 for level in tiff.levels)
    assert not tiff.ignored
    assert tiff.geo.crs == "EPSG:32632"


def test_overviews_and_masks_that_were_added_later(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        assert _write(path, _scene("u2", 1, (300, 310)), tiled=True, blockxsize=64, blockysize=64)
        with rasterio.open(path, "r+") as dataset:
            mask = np.full((300, 310), 255, "u1")
            mask[:90, :80] = 0
            dataset.write_mask(mask)
            dataset.build_overviews([2, 4, 3], Resampling.nearest)
    tiff = _check_sorted(path)
    assert [level.image.shape for level in tiff.levels] == [
        (300, 310), (150, 155), (100, 104), (75, 78)
    ]  # fmt: skip
    assert all(level.mask is not None for level in tiff.levels)


def _check_sorted(path: Path) -> Tiff:
    """Levels against those of GDAL, which may be in another order."""
    tiff, data = open_tiff(path)
    with rasterio.open(path) as dataset:
        count = len(dataset.overviews(1))
    theirs = {}
    for number in range(count + 1):
        with rasterio.open(path, **({"OVERVIEW_LEVEL": number - 1} if number else {})) as dataset:
            theirs[dataset.shape] = dataset.read(), dataset.dataset_mask() != 0
    assert {level.image.shape for level in tiff.levels} == set(theirs)
    for level in tiff.levels:
        values, valid = theirs[level.image.shape]
        assert np.array_equal(pixels(level.image, data, tiff.fill), values)
        assert level.mask is not None
        assert np.array_equal(pixels(level.mask, data)[0] != 0, valid)
    return tiff


@pytest.mark.parametrize("nodata", [None, 9, 7000])
def test_blocks_that_were_never_written(tmp_path: Path, nodata: float | None) -> None:
    path = tmp_path / "a.tif"
    for interleave in ("pixel", "band"):
        with rasterio.open(
            path, "w", driver="GTiff", width=200, height=190, count=2, dtype="uint16", tiled=True,
            blockxsize=64, blockysize=64, sparse_ok=True, nodata=nodata, interleave=interleave,
        ) as dataset:  # fmt: skip
            window = rasterio.windows.Window(64, 64, 64, 64)
            dataset.write(_scene("u2", 2, (64, 64)), window=window)
        tiff = _check(path)
        where = located(tiff.image, path.read_bytes(), np.arange(3)[:, None], np.arange(4))
        assert (where.length > 0).sum() == 1
        assert where.length[1, 1] > 0
        assert int(tiff.fill) == (nodata or 0)


def test_a_palette(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    table = {value: (value, 255 - value, 7, 255) for value in range(256)}
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=20,
        height=20,
        count=1,
        dtype="uint8",
        photometric="PALETTE",
    ) as dataset:
        dataset.write(_scene("u1", 1, (20, 20)))
        dataset.write_colormap(1, table)
    tiff = _check(path)
    assert tiff.palette is not None
    assert tiff.palette.shape == (256, 3)
    assert (tiff.palette // 257).tolist() == [list(table[value][:3]) for value in range(256)]


@pytest.mark.parametrize(
    ("dtype", "options", "why"),
    [
        ("uint8", {"compress": "lzma"}, "compression LZMA"),
        ("uint8", {"compress": "ccittfax4", "nbits": 1}, "compression CCITT fax 4"),
        ("complex_int16", {}, "samples of 32 bits, complex int"),
        ("uint16", {"compress": "jpeg", "nbits": 12}, "JPEG of samples of 12 bits"),
        ("uint32", {"nbits": 20}, "samples of 20 bits, unsigned"),
        ("uint8", {"photometric": "CMYK", "compress": "jpeg", "count": 4}, "CMYK"),
        ("uint8", {"photometric": "CMYK", "compress": "lzw", "count": 4}, "CMYK"),
    ],
)
def test_what_only_gdal_reads_is_refused(
    tmp_path: Path, dtype: str, options: dict[str, Any], why: str
) -> None:
    path = tmp_path / "a.tif"
    profile = {"count": 1, **options}
    try:
        with rasterio.open(
            path, "w", driver="GTiff", width=64, height=64, dtype=dtype, **profile
        ) as dataset:
            dataset.write(
                np.ones((profile["count"], 64, 64), "c8" if "complex" in dtype else dtype)
            )
    except RasterioError:
        pytest.skip("this GDAL doesn't write it")
    with pytest.raises(TiffUnsupportedError) as caught:
        open_tiff(path)
    assert why in str(caught.value)
    assert "a.tif" in str(caught.value)
    assert "through GDAL" in str(caught.value)


def test_colours_that_gdal_converts_are_refused(tmp_path: Path) -> None:
    values = np.moveaxis(_scene("u1"), 0, 2)
    for photometric, why in (("ycbcr", "YCbCr without JPEG"), ("cielab", "CIELab")):
        path = tmp_path / f"{photometric}.tif"
        tifffile.imwrite(path, values, photometric=photometric, planarconfig="contig")
        with pytest.raises(TiffUnsupportedError, match=why):
            open_tiff(path)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_one_long_strip_is_read_in_pieces(tmp_path: Path, order: str, planar: str) -> None:
    path = tmp_path / "a.tif"
    values = np.random.default_rng(0).integers(0, 9999, (3, 1300, 700)).astype("u2")
    image = values if planar == "separate" else np.moveaxis(values, 0, 2)
    tifffile.imwrite(
        path, image, byteorder=order, planarconfig=planar, photometric="rgb", rowsperstrip=1300
    )
    tiff = _check(path)
    assert tiff.image.block_bytes <= 1 << 20
    where = located(tiff.image, path.read_bytes(), 0, 0)
    assert int(where.length) == tiff.image.block_bytes
    assert np.array_equal(pixels(tiff.image, path.read_bytes()), values)
