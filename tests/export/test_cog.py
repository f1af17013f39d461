"""COGs: pixels as GDAL reads them through the index, and what the file says of itself."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import Result
from rasterio.enums import ColorInterp
from rio_cogeo.cogeo import cog_validate

import mosaic
from mosaic.errors import ExportExistsError, UsageError
from tests.cube.conftest import Made, made
from tests.export.conftest import left_behind
from tests.support.scenes import seam_scenes, utm_scene


def indexed(folder: Path, *bands: str) -> np.ndarray:
    """(bands, H, W) as GDAL reads the mosaic's own indexes."""
    found = []
    for band in bands:
        with rasterio.open(folder / f"{band}.gti.gpkg") as index:
            found.append(index.read(1))
    return np.stack(found)


@pytest.mark.usefixtures("small_windows")
def test_pixels_are_those_of_the_index(native: Made, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    report = mosaic.export(native.path, out, blocksize=128)
    want = indexed(native.path, *report.bands)
    assert report.windows > 6
    assert set(report.bands) == {"B02", "B03"}
    with rasterio.open(out) as file, rasterio.open(native.path / "B02.gti.gpkg") as index:
        np.testing.assert_array_equal(file.read(), want)
        assert file.crs == index.crs
        assert file.transform == index.transform
        assert file.nodatavals == (index.nodata,) * 2
        assert file.descriptions == report.bands
        assert file.block_shapes == [(128, 128)] * 2
        assert file.overviews(1)[:2] == [2, 4]
        assert file.profile["compress"] == "deflate"
        assert file.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "2"
    assert cog_validate(out, strict=True) == (True, [], [])
    assert left_behind(tmp_path) == []
    assert report.bytes == out.stat().st_size
    assert report.shape == (1, *want.shape[1:])


@pytest.mark.usefixtures("small_windows")
def test_windows_show_no_seam_in_a_warped_composite(seamed: Made, tmp_path: Path) -> None:
    """As ``mosaic.read`` has it at once; of a grid of its own, floating point with NaN."""
    chosen = {"bbox": (11.9, 47.4, 12.1, 47.6), "crs": "EPSG:4326", "resolution": 0.0006}
    chosen |= {"method": "mean", "resampling": "bilinear"}
    mosaic.export(seamed.path, tmp_path / "out.tif", blocksize=128, compress="zstd", **chosen)
    want, valid = mosaic.read(seamed.path, **chosen)
    with rasterio.open(tmp_path / "out.tif") as file:
        np.testing.assert_array_equal(file.read(), want)
        assert math.isnan(file.nodata)
        np.testing.assert_array_equal(file.read_masks(1) > 0, valid[0])
        assert file.crs.to_epsg() == 4326
        assert file.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "3"
        assert file.tags(ns="IMAGE_STRUCTURE")["COMPRESSION"] == "ZSTD"
    assert cog_validate(tmp_path / "out.tif", strict=True)[0]


def test_scale_offset_unit_and_colours_are_told(tmp_path: Path) -> None:
    scene = utm_scene("s", 32632, 9.0, 47.5, 160, 60.0, bands=("red", "green", "blue"))
    home = made(tmp_path, [scene])
    document = json.loads(home.items.read_text())
    for item in document["features"]:
        for name, asset in item["assets"].items():
            asset["bands"] = [
                {"name": name, "eo:common_name": name, "data_type": "uint16", "nodata": 0}
            ]
            asset["bands"][0] |= {"raster:scale": 0.0001, "raster:offset": -0.1, "unit": "1"}
    home.items.write_text(json.dumps(document))
    mosaic.export(home.items, tmp_path / "out.tif", bands=["red", "green", "blue"])
    mosaic.export(home.items, tmp_path / "raw.tif", bands=["red", "green", "blue"], raw=True)
    with rasterio.open(tmp_path / "out.tif") as file, rasterio.open(tmp_path / "raw.tif") as raw:
        assert file.scales == (0.0001,) * 3
        assert file.offsets == (-0.1,) * 3
        assert raw.scales == (1.0,) * 3
        np.testing.assert_array_equal(file.read(), raw.read())
        assert file.descriptions == ("red", "green", "blue")
        assert file.count == 3
        assert ColorInterp.alpha not in file.colorinterp
    assert cog_validate(tmp_path / "out.tif", strict=True)[0]


def test_overviews_are_made_as_asked(native: Made, tmp_path: Path) -> None:
    found = {}
    for how in ("nearest", "average"):
        mosaic.export(
            native.path,
            tmp_path / "out.tif",
            blocksize=128,
            overview_resampling=how,
            overwrite=True,
        )
        with rasterio.open(tmp_path / "out.tif", overview_level=0) as file:
            found[how] = file.read(1)
        assert cog_validate(tmp_path / "out.tif", strict=True)[0]
    whole = indexed(native.path, "B02")[0]
    assert np.isin(found["nearest"], whole).all()
    assert (found["nearest"] != found["average"]).mean() > 0.2


def test_the_command(
    native: Made, tmp_path: Path, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("--bands", "B02", "--res", "120", "--resampling", "average", "--compress", "none")
    result = cli("export", native.path, "out.tif", *words)
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("out.tif: COG, 1 x ")
    want, _ = mosaic.read(native.path, bands=["B02"], resolution=120, resampling="average")
    with rasterio.open("out.tif") as file:
        np.testing.assert_array_equal(file.read(), want)
        assert "compress" not in file.profile
    again = cli("export", native.path, "out.tif", *words)
    assert again.exit_code == 1
    assert again.stderr == f"mosaic: {tmp_path}/out.tif is there already: --overwrite replaces it\n"
    told = cli("export", native.path, "out.tif", *words, "--overwrite", "--json")
    assert json.loads(told.stdout)["shape"] == [1, *want.shape[1:]]
    masked = cli("export", native.path, "m.tif", "--mask", "B03=1,2", "--bands", "B02", "-q")
    assert (masked.exit_code, masked.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("out.png",), "out.png: name it .tif for a COG, or .zarr for a Zarr store"),
        (("s3://bucket/out.tif",), "s3://bucket/out.tif: an export is written to this machine"),
        (("no/out.tif",), "/no is no folder: make it first"),
        (("out.tif", "--compress", "jpeg"), "--compress jpeg: .tif takes deflate, zstd, lzw, none"),
        (("out.tif", "--compress", "lzw", "--level", "3"), "--level: lzw has none"),
        (("out.tif", "--level", "99"), "--level 99: deflate has 1 to 12"),
        (("out.tif", "--blocksize", "500"), "--blocksize 500: a power of two from 128 to 4096"),
        (("out.tif", "--overview-resampling", "best"), "--overview-resampling best: one of"),
        (("out.zarr", "--overview-resampling", "average"), "a Zarr store has no overviews"),
        (("out.tif", "--groupby", "solar_day"), "a GeoTIFF holds one layer of time, not 3"),
        (("out.tif", "--datetime", "1999"), "no item lies in this grid and time"),
        (("out.tif", "--datetime", "soon"), "soon"),
        (("out.tif", "--method", "best"), "method='best'"),
        (("out.tif", "--mask", "B02"), "--mask B02: BAND=VALUE,VALUE, such as SCL=3,8,9"),
        (("out.tif", "--mask", "B02=clouds"), "clouds"),
        (("out.tif", "--res", "1", "--res", "2", "--res", "3"), "--res: once, or twice"),
        (("out.tif", "--resampling", "a", "--resampling", "b"), "--resampling: one method"),
        (
            ("out.tif", *"--resampling cubic --resampling mode --resampling B02=nearest".split()),
            "--resampling: one method",
        ),
        (("out.tif", "--dtype", "float16"), "a GeoTIFF can't hold float16"),
        (("out.tif", "--dtype", "text"), "is no type of numpy's"),
        (("out.tif", "--bands", "B99"), "B99"),
    ],
)
def test_what_cant_be_meant_is_said(
    words: tuple[str, ...],
    said: str,
    native: Made,
    tmp_path: Path,
    cli: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli("export", native.path, *words)
    assert result.exit_code == 1
    assert said in result.stderr
    assert result.stderr.startswith("mosaic: ")
    assert list(tmp_path.iterdir()) == []


def test_bands_that_one_file_cant_hold(series: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"bands differ in data type \(.*SCL is uint8"):
        mosaic.export(series, tmp_path / "out.tif")
    report = mosaic.export(series, tmp_path / "out.tif", dtype="uint16")
    assert "SCL" in report.bands


def test_what_is_there_is_replaced_only_if_asked(native: Made, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    out.write_bytes(b"mine")
    with pytest.raises(ExportExistsError, match="--overwrite replaces it") as caught:
        mosaic.export(native.path, out)
    assert isinstance(caught.value, FileExistsError)
    assert out.read_bytes() == b"mine"
    mosaic.export(native.path, out, overwrite=True)
    assert rasterio.open(out).count == 2
    folder = tmp_path / "folder.tif"
    folder.mkdir()
    with pytest.raises(ExportExistsError, match="is no file"):
        mosaic.export(native.path, folder, overwrite=True)
    (tmp_path / "link.tif").symlink_to(out)
    with pytest.raises(ExportExistsError, match="is a link"):
        mosaic.export(native.path, tmp_path / "link.tif", overwrite=True)


def test_a_crs_that_no_geotiff_can_tell(native: Made, tmp_path: Path) -> None:
    """GDAL would put it into a file beside, which a rename leaves behind."""
    crs = (
        "+proj=ob_tran +o_proj=longlat +o_lat_p=39.25 +o_lon_p=0 +lon_0=18 +R=6371229 "
        "+units=m +no_defs +type=crs"
    )
    with pytest.raises(UsageError, match="a GeoTIFF can't tell the CRS"):
        mosaic.export(native.path, tmp_path / "out.tif", crs=crs, resolution=0.01)
    assert list(tmp_path.iterdir()) == []


def test_many_small_mosaics_of_one_layout(tmp_path: Path) -> None:
    """A window in which nothing lies has no file, and reads as nodata."""
    scenes = list(seam_scenes(64, 60.0, ("B04",), dates=1))
    home = made(tmp_path, [scenes[0], scenes[-1]], dst_crs="EPSG:3035")
    mosaic.export(home.path, tmp_path / "out.tif", blocksize=128)
    want, valid = mosaic.read(home.path)
    with rasterio.open(tmp_path / "out.tif") as file:
        np.testing.assert_array_equal(file.read(), want)
        np.testing.assert_array_equal(file.read_masks(1) > 0, valid[0])
