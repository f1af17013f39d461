"""Files that GDAL reads for the engine are shown as rasterio itself reads them."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyproj
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.shutil import copy
from rasterio.warp import transform_bounds

import mosaic
from mosaic.engine import gdal_process
from mosaic.engine.gdal_process import PROGRAM, GdalProcess
from mosaic.errors import ReadError, UsageError
from mosaic.settings import Limits, Retry
from mosaic.storage import Gate
from tests.engine.test_read_storage import planned
from tests.support.exact import shown
from tests.support.range_server import RangeServer

SHAPE = (500, 700)
PLACE = Affine(10, 0, 500_000, 0, -10, 5_300_000)
CAP = 5
KINDS = ("jp2", "nc", "classic.nc", "zarr", "vrt", "sub.vrt", "png", "fax.tif", "h5")
"""Of these only GDAL knows what they hold."""


def gate(**more: Any) -> Gate:
    retry = Retry(base=0.01, attempts=2, deadline=more.pop("deadline", 60.0))
    return Gate(limits=Limits(concurrency=CAP, start=CAP), retry=retry, **more)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same scene in many formats, with a hole where the format can tell of one."""
    home = tmp_path_factory.mktemp("foreign")
    rng = np.random.default_rng(3)
    rows, columns = np.indices(SHAPE)
    # smooth, so that no codec makes megabytes of it, and no two pixels near each other are equal
    first = (1000 + 3 * rows + 17 * columns + rng.integers(0, 3, SHAPE)).astype("uint16")
    bands = np.stack([first, first[::-1], first[:, ::-1]])
    hole = np.zeros(SHAPE, bool)
    hole[100:180, 50:300] = True
    profile: dict[str, Any] = {
        "width": SHAPE[1], "height": SHAPE[0], "dtype": "uint16",
        "crs": "EPSG:32632", "transform": PLACE,
    }  # fmt: skip

    def write(name: str, values: np.ndarray, **more: Any) -> None:
        told = {**profile, "count": len(values), "dtype": values.dtype, **more}
        with rasterio.open(home / name, "w", **told) as out:
            out.write(values)

    tiled = {"tiled": True, "blockxsize": 128, "blockysize": 128}
    write("three.tif", bands, driver="GTiff", **tiled)
    write("one.tif", np.where(hole, 0, bands[:1]), driver="GTiff", nodata=0, **tiled)
    jpeg = {"QUALITY": 100, "REVERSIBLE": "YES", "BLOCKXSIZE": 256, "BLOCKYSIZE": 256}
    write("a.jp2", bands, driver="JP2OpenJPEG", RESOLUTIONS=4, **jpeg)
    bits = (first[None] // 64 % 2).astype("uint8")
    write("a.fax.tif", bits, driver="GTiff", compress="CCITTFAX4", nbits=1)
    copy(home / "one.tif", home / "a.nc", driver="netCDF", FORMAT="NC4", COMPRESS="DEFLATE")
    copy(home / "one.tif", home / "a.classic.nc", driver="netCDF")
    copy(home / "three.tif", home / "many.nc", driver="netCDF", FORMAT="NC4")
    copy(home / "one.tif", home / "a.zarr", driver="Zarr", BLOCKSIZE="128,128")
    copy(home / "three.tif", home / "a.png", driver="PNG", WORLDFILE="NO")
    (home / "a.png.aux.xml").unlink(missing_ok=True)
    (home / "a.h5").write_bytes((home / "a.nc").read_bytes())
    source = '<SourceFilename relativeToVRT="1">three.tif</SourceFilename>'
    (home / "a.vrt").write_text(vrt([(source, 1), (source, 3)]))
    inner = '<SourceFilename relativeToVRT="1">NETCDF:"many.nc":Band2</SourceFilename>'
    (home / "a.sub.vrt").write_text(vrt([(inner, 1)]))
    return home


def vrt(sources: list[tuple[str, int]], more: str = "", band: str = "") -> str:
    """A VRT on the scenes' grid of bands of other files."""
    width, height = SHAPE[::-1]
    rect = f'xOff="0" yOff="0" xSize="{width}" ySize="{height}"'
    bands = "".join(
        f'<VRTRasterBand dataType="UInt16" band="{at}" {band}><SimpleSource>{source}'
        f"<SourceBand>{number}</SourceBand><SrcRect {rect}/><DstRect {rect}/></SimpleSource>"
        f"{more}</VRTRasterBand>"
        for at, (source, number) in enumerate(sources, 1)
    )
    return (
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>EPSG:32632</SRS>'
        f"<GeoTransform>500000,10,0,5300000,0,-10</GeoTransform>{bands}</VRTDataset>"
    )


def item(href: str, dtype: str = "uint16", count: int = 1, name: str = "one") -> dict[str, Any]:
    """A STAC item that tells all of a file."""
    west, north = PLACE.c, PLACE.f
    east, south = PLACE @ SHAPE[::-1]
    w, s, e, n = transform_bounds("EPSG:32632", "EPSG:4326", west, south, east, north, 21)
    ring = [[w, s], [e, s], [e, n], [w, n], [w, s]]
    return {
        "type": "Feature", "stac_version": "1.1.0", "id": name, "stac_extensions": [],
        "geometry": {"type": "Polygon", "coordinates": [ring]}, "bbox": [w, s, e, n],
        "properties": {"datetime": "2025-06-01T10:00:00Z"}, "links": [],
        "assets": {"data": {
            "href": href, "proj:code": "EPSG:32632", "proj:shape": list(SHAPE),
            "proj:transform": list(PLACE)[:6], "bands": [{"data_type": dtype}] * count,
        }},
    }  # fmt: skip


def built(out: Path, *items: dict[str, Any], **more: Any) -> Path:
    """A mosaic of items, for which no file was opened."""
    given = out.with_suffix(".json")
    given.write_bytes(orjson.dumps({"type": "FeatureCollection", "features": items}))
    mosaic.build(given, out, bands=["data"], dst_crs="EPSG:32632", **more)
    return out


def of_kind(files: Path, kind: str, base: str = "") -> dict[str, Any]:
    """The item of one format; ``base``: a URL instead of the folder."""
    counts = {"jp2": 3, "png": 3, "vrt": 2}
    dtype = "uint8" if kind == "fax.tif" else "uint16"
    return item(f"{base.rstrip('/') or files}/a.{kind}", dtype, counts.get(kind, 1))


def told(files: Path, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and validity as rasterio reads the file itself."""
    name = "a.nc" if kind == "h5" else f"a.{kind}"
    with rasterio.open(files / name) as dataset:
        return dataset.read(), dataset.read_masks() > 0


def whole() -> GeoBox:
    return GeoBox(SHAPE, PLACE, "EPSG:32632")


@pytest.fixture(scope="module")
def server(files: Path) -> Iterator[RangeServer]:
    names = [p for p in files.rglob("*") if p.is_file()]
    given = {p.relative_to(files).as_posix(): p.read_bytes() for p in names}
    with RangeServer(given, latency=0.005) as running:
        yield running


@pytest.mark.parametrize("kind", KINDS)
def test_local_files_are_shown_as_rasterio_reads_them(
    kind: str, files: Path, tmp_path: Path
) -> None:
    out = built(tmp_path / "m", of_kind(files, kind))
    pixels, masks = told(files, kind)
    got = mosaic.read(out, geobox=whole(), gate=gate())
    np.testing.assert_array_equal(got.values, np.where(masks, pixels, 0))
    np.testing.assert_array_equal(got.valid, masks)
    assert masks.any()
    assert got.tally.blocks > 1


@pytest.mark.parametrize("kind", KINDS)
def test_remote_files_are_read_through_the_gate(
    kind: str, files: Path, server: RangeServer, tmp_path: Path
) -> None:
    out = built(tmp_path / "m", of_kind(files, kind, server.url("")))
    pixels, masks = told(files, kind)
    server.reset()
    got = mosaic.read(out, geobox=whole(), gate=gate())
    np.testing.assert_array_equal(got.values, np.where(masks, pixels, 0))
    np.testing.assert_array_equal(got.valid, masks)
    counts = server.counts
    assert counts.heads == 0
    assert counts.peak <= CAP
    asked = [(path, status) for _, path, _, status in counts.log]
    if kind == "zarr":  # a store has no list of its chunks: metadata may be missing
        assert all(status == 206 or "/.z" in path for path, status in asked)
    else:
        assert {status for _, status in asked} == {206}
        names = {f"/a.{kind}", *{"vrt": ["/three.tif"], "sub.vrt": ["/many.nc"]}.get(kind, [])}
        assert {path for path, _ in asked} == names  # nothing is looked for beside them
        spans = [span for _, _, span, _ in counts.log]
        assert len(set(zip((path for path, _ in asked), spans, strict=True))) == len(spans)


@pytest.mark.parametrize("far", [False, True])
def test_an_array_in_a_zarr_store(
    far: bool, files: Path, server: RangeServer, tmp_path: Path
) -> None:
    [name] = [
        one.parent.name
        for one in (files / "a.zarr").glob("*/.zarray")
        if len(orjson.loads(one.read_bytes())["shape"]) == 2
    ]
    base = server.url("a.zarr") if far else f"{files}/a.zarr"
    out = built(tmp_path / "m", item(f"{base}/{name}"))
    pixels, masks = told(files, "zarr")
    got = mosaic.read(out, geobox=whole(), gate=gate())
    np.testing.assert_array_equal(got.values, np.where(masks, pixels, 0))
    assert got.valid.sum() == masks.sum()


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
def test_another_grid_by_proj_at_every_pixel(method: str, files: Path, tmp_path: Path) -> None:
    out = built(tmp_path / "m", of_kind(files, "nc"))
    to = pyproj.Transformer.from_crs(32632, 3035, always_xy=True)
    x, y = to.transform(*(PLACE @ (350, 250)))
    place = Affine(12, 0, round(x) - 3000, 0, -12, round(y) + 2400)
    box = GeoBox((400, 500), place, "EPSG:3035")
    got = mosaic.read(out, geobox=box, resampling=method, gate=gate())
    want = shown([files / "one.tif"], "EPSG:3035", place, (400, 500), method)
    assert want.valid.mean() > 0.3
    same = (got.valid[0] == want.valid) & (~want.valid | (got.values[0] == want.values))
    assert same.mean() > 0.999


@pytest.mark.parametrize("level", [0, 1])
def test_overviews_are_those_of_the_file(
    level: int, files: Path, server: RangeServer, tmp_path: Path
) -> None:
    """A JPEG 2000's own resolutions: a coarse read fetches no fine pixels."""
    out = built(tmp_path / "m", of_kind(files, "jp2", server.url("")))
    with rasterio.open(files / "a.jp2", overview_level=level) as dataset:
        pixels = dataset.read()
    factor = 2 << level
    box = GeoBox(pixels.shape[1:], PLACE @ Affine.scale(factor), "EPSG:32632")
    got = mosaic.read(out, geobox=box, gate=gate())
    np.testing.assert_array_equal(got.values, pixels)


def test_scenes_of_gdals_and_of_our_own_lie_on_each_other(files: Path, tmp_path: Path) -> None:
    """A hole in a NetCDF on top shows the GeoTIFF below, in a second wave."""
    above, below = of_kind(files, "nc"), item(f"{files}/three.tif", count=3, name="two")
    below["assets"]["data"]["bands"] = [{"data_type": "uint16"}]
    with rasterio.open(files / "three.tif") as dataset:
        under = dataset.read(1)
    pixels, masks = told(files, "nc")
    out = built(tmp_path / "m", above, below, sort="+id")
    got = mosaic.read(out, geobox=whole(), gate=gate())
    np.testing.assert_array_equal(got.values[0], np.where(masks[0], pixels[0], under))
    assert got.valid.all()
    assert got.tally.waves == 2


def test_a_mask_and_an_alpha_band(files: Path, tmp_path: Path) -> None:
    source = f"<SourceFilename>{files}/three.tif</SourceFilename>"
    inner = f"<SimpleSource><SourceFilename>{files}/one.tif</SourceFilename>"
    mask = (
        f'<MaskBand><VRTRasterBand dataType="Byte">{inner}<SourceBand>mask,1</SourceBand>'
        "</SimpleSource></VRTRasterBand></MaskBand></VRTDataset>"
    )
    text = vrt([(source, 1), (source, 2)])
    (tmp_path / "masked.vrt").write_text(text.replace("</VRTDataset>", mask))
    colour = "</SimpleSource><ColorInterp>Alpha</ColorInterp>"
    first, _, last = vrt(
        [(source, 1), (f"<SourceFilename>{files}/one.tif</SourceFilename>", 1)]
    ).rpartition("</SimpleSource>")
    (tmp_path / "alpha.vrt").write_text(first + colour + last)
    with rasterio.open(files / "one.tif") as dataset:
        gone = dataset.read(1) == 0
    for name in ("masked", "alpha"):
        out = built(tmp_path / name, item(f"{tmp_path}/{name}.vrt", count=2))
        got = mosaic.read(out, geobox=whole(), gate=gate())
        np.testing.assert_array_equal(got.valid[0], ~gone)
        with rasterio.open(tmp_path / f"{name}.vrt") as dataset:
            np.testing.assert_array_equal(got.values[0][~gone], dataset.read(1)[~gone])


def test_rows_that_may_be_upside_down_are_refused(files: Path, tmp_path: Path) -> None:
    """GDAL guesses the order of rows in a NetCDF without coordinates."""
    with rasterio.open(files / "three.tif") as dataset:
        pixels = dataset.read(1)
    plain = {"driver": "GTiff", "width": 700, "height": 500, "count": 1, "dtype": "uint16"}
    with rasterio.open(tmp_path / "plain.tif", "w", **plain) as out:
        out.write(pixels, 1)
    copy(tmp_path / "plain.tif", tmp_path / "a.nc", driver="netCDF", FORMAT="NC4")
    made = built(tmp_path / "m", item(f"{tmp_path}/a.nc"))
    assert "which of its rows is the first" in refused(made)


def test_files_in_archives_and_what_only_gdal_reaches(files: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.write(files / "one.tif", "one.tif")
    out = built(tmp_path / "m", item(f"/vsizip/{tmp_path}/a.zip/one.tif"))
    got = mosaic.read(out, geobox=whole(), gate=gate())
    np.testing.assert_array_equal(got.values, told(files, "nc")[0])
    away = built(tmp_path / "n", item("/vsioss/bucket/one.tif"))
    assert "past mosaic's limits" in refused(away)


def test_a_plan_says_what_it_cannot_foretell(files: Path, tmp_path: Path) -> None:
    out = built(
        tmp_path / "m", of_kind(files, "jp2"), item(f"{files}/three.tif", count=3, name="t")
    )
    plan = planned(out, gate(), geobox=whole())
    # the JPEG 2000 has no holes: what lies below it is never read
    assert plan.most.files == plan.most.foreign == 1
    assert not plan.exact
    assert "by GDAL" in str(plan)


# VRTs that would lead GDAL astray


def refused(out: Path, own: Gate | None = None) -> str:
    with pytest.raises(ReadError) as caught:
        mosaic.read(out, geobox=whole(), gate=own or gate())
    message = str(caught.value)
    assert "item one" in message
    assert "asset data" in message
    assert "/http/" not in message  # the loopback, whose key is a secret
    return message


HOSTILE = {
    "a file of this machine": ("<SourceFilename>/etc/hostname</SourceFilename>", "", ""),
    "by a scheme": ("<SourceFilename>file:///etc/hostname</SourceFilename>", "", ""),
    "a vsi name": ("<SourceFilename>/vsioss/bucket/a.tif</SourceFilename>", "", ""),
    "an archive": ("<SourceFilename>/vsizip//tmp/a.zip/a.tif</SourceFilename>", "", ""),
    "a program": ("<SourceFilename>/vsistdin/</SourceFilename>", "", ""),
    "a database": ("<SourceFilename>PG:host=db</SourceFilename>", "", ""),
    "a subdataset": ('<SourceFilename>NETCDF:"/etc/hostname":b</SourceFilename>', "", ""),
    "a letter's case": ("<sourcefilename>/etc/hostname</sourcefilename>", "", ""),
    "joined": ('<SourceFilename relativeToVRT="1">file:/etc/hostname</SourceFilename>', "", ""),
    "a driver": ('<SourceFilename relativeToVRT="1">WMS:a</SourceFilename>', "", ""),
    "a host joined": ('<SourceFilename relativeToVRT="1">//h/a.tif</SourceFilename>', "", ""),
    "an attribute": ("", '<A SourceFilename="/etc/hostname"/>', ""),
    "a kind told twice": (
        '<SourceFilename relativeToVRT="1">three.tif</SourceFilename>',
        "<subClass>VRTRawRasterBand</subClass>",
        "",
    ),
    "another VRT": ('<SourceFilename relativeToVRT="1">b.vrt</SourceFilename>', "", ""),
    "python": (
        '<SourceFilename relativeToVRT="1">three.tif</SourceFilename>',
        "<PixelFunctionLanguage>Python</PixelFunctionLanguage><PixelFunctionType>f</PixelFunctionType>"
        "<PixelFunctionCode><![CDATA[def f(*a): pass]]></PixelFunctionCode>",
        'subClass="VRTDerivedRasterBand"',
    ),
    "raw bytes": (
        '<SourceFilename relativeToVRT="1">three.tif</SourceFilename>',
        "",
        'subClass="VRTRawRasterBand"',
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_remote_vrt_reads_nothing_that_is_not_storage(
    case: str, files: Path, tmp_path: Path
) -> None:
    source, more, band = HOSTILE[case]
    given = {"bad.vrt": vrt([(source, 1)], more, band).encode()}
    given["three.tif"] = (files / "three.tif").read_bytes()
    with RangeServer(given) as server:
        out = built(tmp_path / "m", item(server.url("bad.vrt")))
        server.reset()
        message = refused(out)
        assert "a VRT" in message
        assert "no XML" not in message
        assert {path for _, path, _, _ in server.counts.log} == {"/bad.vrt"}


def test_a_vrt_that_names_another_host_is_governed(files: Path, tmp_path: Path) -> None:
    pixels = (files / "three.tif").read_bytes()
    with RangeServer({"b/three.tif": pixels}) as other:
        names = [f"/vsicurl/{other.url('b/three.tif')}", other.url("b/three.tif")]
        text = vrt([(f"<SourceFilename>{name}</SourceFilename>", 2) for name in names])
        with RangeServer({"a.vrt": text.encode()}) as server:
            own = gate()
            out = built(tmp_path / "m", item(server.url("a.vrt"), count=2))
            other.reset()
            got = mosaic.read(out, geobox=whole(), gate=own)
            with rasterio.open(files / "three.tif") as dataset:
                np.testing.assert_array_equal(got.values, dataset.read([2, 2]))
            assert other.counts.peak <= CAP
            assert other.counts.heads == 0
            # all that it was asked was counted, so it came through the gate
            asked = {row.origin: row.requests for row in own.stats().origins}
            assert other.counts.requests == asked[other.url("").rstrip("/")]


def test_a_source_that_turns_out_to_be_a_vrt_leads_nowhere(tmp_path: Path) -> None:
    """Named like a GeoTIFF, but it names a host that mosaic never heard of."""
    with RangeServer({"a.tif": b"II*\0"}) as victim:
        inner = vrt([(f"<SourceFilename>/vsicurl/{victim.url('a.tif')}</SourceFilename>", 1)])
        outer = vrt([('<SourceFilename relativeToVRT="1">b.tif</SourceFilename>', 1)])
        with RangeServer({"a.vrt": outer.encode(), "b.tif": inner.encode()}) as server:
            out = built(tmp_path / "m", item(server.url("a.vrt")))
            victim.reset()
            assert "may name other files" in refused(out)
        assert victim.counts.requests == 0


@pytest.mark.parametrize("text", [
    "<GDAL_WMS><Service/></GDAL_WMS>", '{"type": "FeatureCollection"}', "<!DOCTYPE html><html>",
])  # fmt: skip
def test_other_texts_are_not_given_to_gdal(text: str, tmp_path: Path) -> None:
    with RangeServer({"a.jp2": text.encode()}) as server:
        out = built(tmp_path / "m", item(server.url("a.jp2")))
        assert "may name other files" in refused(out)


# storage, files and processes that fail


@pytest.mark.parametrize(("kind", "cut"), [("jp2", 3000), ("zarr", 0), ("vrt", 0), ("nc", 9000)])
def test_what_storage_refuses_is_told(kind: str, cut: int, files: Path, tmp_path: Path) -> None:
    """Also where GDAL itself would show nodata for a chunk that can't be had."""
    names = [p for p in files.rglob("*") if p.is_file()]
    given = {p.relative_to(files).as_posix(): p.read_bytes() for p in names}
    with RangeServer(given) as server:
        out = built(tmp_path / "m", of_kind(files, kind, server.url("")))
        server.behaviour.status = 403
        message = refused(out)
        assert "403" in message
        assert "AccessError" in type(message).__name__ or "sign" in message or "403" in message
    broken = {name: data for name, data in given.items() if name != f"a.{kind}"}
    if kind == "zarr":
        chunk = next(name for name in given if name.endswith("/1.1"))
        broken = {**given, chunk: given[chunk][:20]}
    elif kind == "vrt":
        broken = {name: data for name, data in given.items() if name != "three.tif"}
    else:
        data = given[f"a.{kind}"]
        broken[f"a.{kind}"] = data[:cut] + bytes(len(data) - cut)
    with RangeServer(broken) as server:
        out = built(tmp_path / "n", of_kind(files, kind, server.url("")))
        refused(out)


@pytest.mark.parametrize("through", ["", "vrt"])
def test_a_chunk_that_cannot_be_had_is_no_empty_chunk(
    through: str, files: Path, tmp_path: Path
) -> None:
    """GDAL takes both for fill values; only a chunk that isn't there is one."""
    names = [p for p in files.rglob("*") if p.is_file()]
    given = {p.relative_to(files).as_posix(): p.read_bytes() for p in names}
    [chunk] = [name for name in given if name.endswith("/2.1")]
    array = chunk.split("/")[1]
    source = f'<SourceFilename relativeToVRT="1">ZARR:"a.zarr":/{array}</SourceFilename>'
    given["z.vrt"] = vrt([(source, 1)]).encode()
    with RangeServer(given) as server:
        out = built(tmp_path / "m", item(server.url("z.vrt" if through else "a.zarr")))
        whole_ = mosaic.read(out, geobox=whole(), gate=gate())
        np.testing.assert_array_equal(whole_.values, told(files, "zarr")[0])
        server.behaviour.forbidden = chunk
        message = refused(out)
        assert "403" in message
        assert chunk in message
        server.behaviour.forbidden = ""
        del server.objects[chunk]
        got = mosaic.read(out, geobox=whole(), gate=gate())
        hole = np.s_[0, 256:384, 128:256]
        assert (got.values[hole] == 0).all()
        np.testing.assert_array_equal(got.values[0, :256], whole_.values[0, :256])


KILLER = """
import os, time
import mosaic.engine.gdal_worker as worker
opened = worker._opened
def killing(name, level):
    if "b.jp2" in name.name:
        {what}
    return opened(name, level)
worker._opened = killing
worker.work()
"""


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[GdalProcess]]:
    shared: list[GdalProcess] = []
    monkeypatch.setattr(gdal_process, "_shared", shared)
    yield shared
    for one in shared:
        one.close()


@pytest.mark.parametrize(
    ("what", "deadline", "word"),
    [("os._exit(3)", 60.0, "process ended"), ("time.sleep(600)", 1.5, "1.5 seconds")],
)
def test_a_file_that_breaks_gdal(
    what: str, deadline: float, word: str, files: Path, tmp_path: Path, program: list[GdalProcess]
) -> None:
    """It is named; the others are read all the same."""
    program.append(GdalProcess(KILLER.format(what=what)))
    bad = tmp_path / "b.jp2"
    bad.write_bytes((files / "a.jp2").read_bytes())
    good = {**of_kind(files, "jp2"), "id": "two"}
    out = built(tmp_path / "m", item(str(bad), count=3), good, sort="+id")
    message = refused(out, gate(deadline=deadline))
    assert word in message
    assert "b.jp2" in message
    got = mosaic.read(out, geobox=whole(), gate=gate(deadline=deadline), errors="ignore")
    np.testing.assert_array_equal(got.values, told(files, "jp2")[0])
    assert [problem.item for problem in got.problems] == ["one"]


def test_a_process_that_is_killed_is_started_anew(
    files: Path, tmp_path: Path, program: list[GdalProcess]
) -> None:
    program.append(GdalProcess(PROGRAM))
    out = built(tmp_path / "m", of_kind(files, "jp2"))
    for _ in range(6):
        got = mosaic.read(out, geobox=whole(), gate=gate())
        np.testing.assert_array_equal(got.values, told(files, "jp2")[0])
        running = program[0]._running
        assert running is not None
        running.process.kill()


# numbers that can't be shown, or nearly


def test_complex_numbers_are_refused_when_they_are_asked_for(tmp_path: Path) -> None:
    values = np.ones((1, *SHAPE), "complex64")
    told = {"crs": "EPSG:32632", "transform": PLACE, "driver": "GTiff", "count": 1}
    with rasterio.open(
        tmp_path / "a.tif", "w", width=SHAPE[1], height=SHAPE[0], dtype="complex64", **told
    ) as out:
        out.write(values)
    mosaic.build(tmp_path / "a.tif", tmp_path / "m")
    with pytest.raises(UsageError, match=r"cfloat32.*complex numbers"):
        mosaic.read(tmp_path / "m", gate=gate())


def test_half_floats_are_read_as_floats(tmp_path: Path) -> None:
    values = np.linspace(-9, 9, SHAPE[0] * SHAPE[1], dtype="float16").reshape(1, *SHAPE)
    told = {"crs": "EPSG:32632", "transform": PLACE, "driver": "GTiff", "count": 1, "nbits": 16}
    with rasterio.open(
        tmp_path / "a.tif", "w", width=SHAPE[1], height=SHAPE[0], dtype="float32", **told
    ) as out:
        out.write(values.astype("float32"))
    mosaic.build(tmp_path / "a.tif", tmp_path / "m")
    said = built(tmp_path / "said", item(f"{tmp_path}/a.tif", "float16"))
    for folder in (tmp_path / "m", said):
        got = mosaic.read(folder, geobox=whole(), gate=gate())
        assert got.values.dtype == np.float32
        np.testing.assert_array_equal(got.values, values.astype("float32"))
