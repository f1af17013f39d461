"""Real GDALs through `mosaic serve`, with no variable set, from a server that is hard to read."""

from __future__ import annotations

import json
import re
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pyproj
import pytest
import rasterio
from odc.geo.geobox import GeoBox

import mosaic
from mosaic.gateway.app import Gateway
from mosaic.gateway.options import Options
from mosaic.settings import CacheSettings, Limits, Retry
from mosaic.storage import Gate, Token
from tests.interop.roots import CommandFailed, Root
from tests.support.range_server import RangeServer
from tests.support.scenes import read, seam_scenes, write_scenes
from tests.support.upstream import ask, publish

pytestmark = pytest.mark.interop

STACK = ("B04", "B03", "B02")
FILES = ("B04.gti.gpkg", "B04_B03_B02.vrt", "B04_2025-06-06.gti")
JOB = Path(__file__).with_name("qgis_job.py")
SCRIPT = Path(__file__).with_name("read.R")
PATIENT = Retry(base=0.02, longest=0.5, deadline=60)
LIFE = 2.0
"""Seconds for which a signature holds."""


def good(token: str) -> bool:
    """Whether a token was given out lately."""
    return token.startswith("t") and time.time() - float(token[1:] or 0) < LIFE


async def signature(href: str) -> Token:
    """A token that holds for two seconds."""
    now = time.time()
    return Token(expires=now + LIFE, query=f"sig=t{now}")


@pytest.fixture(scope="module")
def place(folder: Path) -> Path:
    """Where this module's mosaics lie."""
    # made anew for each root: pytest runs the set once for all roots, and so this module twice
    return Path(tempfile.mkdtemp(prefix="gateway", dir=folder))


@pytest.fixture(scope="module")
def upstream(place: Path) -> Iterator[RangeServer]:
    """Refuses above 4 in flight, and a fifth of all; wants a signature that expires soon."""
    with RangeServer({}) as server:
        scenes = seam_scenes(1024, 20.0, STACK, dates=2)
        publish(place, scenes, server, stacks=[STACK], slices="day", resampling="bilinear")
        mosaic.build(
            place / "scenes/items.json",
            place / "own",
            stacks=[STACK],
            slices="day",
            resampling="bilinear",
        )
        server.behaviour.most = 4
        server.behaviour.flaky = 0.2
        server.behaviour.latency = 0.005
        server.behaviour.token = good
        yield server


@pytest.fixture
def gateway(place: Path, upstream: RangeServer) -> Iterator[Gateway]:
    upstream.reset()
    with Gateway(
        {"mosaic": place / "mosaic"},
        Options(port=0),
        limits=Limits(concurrency=4, start=4),
        cache=CacheSettings(),
        retry=PATIENT,
        sign=signature,
    ) as running:
        yield running


def translate(root: Root, source: str, out: Path, *options: str) -> np.ndarray:
    """The pixels that gdal_translate makes; it must neither fail nor complain."""
    root.run(["gdal_translate", "-q", *options, source, str(out)], binds=[out.parent])
    values: np.ndarray = read(out)
    return values


@pytest.mark.parametrize("file", FILES)
def test_pixels_are_those_of_a_healthy_server(
    gdal: Root, gateway: Gateway, upstream: RangeServer, place: Path, file: str
) -> None:
    want = translate(gdal, str(place / "own" / file), place / f"{gdal.name}-own.tif")
    out = place / f"{gdal.name}-via.tif"
    source = f"/vsicurl/{gateway.url}/catalogs/mosaic/{file}"
    got = translate(gdal, source, out)
    np.testing.assert_array_equal(got, want)
    assert np.count_nonzero(got) > got.size / 2
    assert upstream.counts.peak <= 4
    assert {path.rpartition(".")[2] for _, path, _, _ in upstream.counts.log} == {"tif"}
    asked = upstream.counts.requests
    assert asked == sum(r.requests for r in gateway.gate.stats().origins if "127" in r.origin)
    np.testing.assert_array_equal(translate(gdal, source, out), want)
    assert upstream.counts.requests == asked  # the second read of a window asks nobody


def test_a_bare_url_opens(gdal: Root, gateway: Gateway, place: Path) -> None:
    if gdal.name == "forky":
        said = gdal.run(["gdalinfo", f"{gateway.url}/catalogs/mosaic/{FILES[0]}"], check=False)
        if "built against curl" in said.stderr:
            pytest.skip("this GDAL takes its curl's version for an error of the download")
    for file in FILES[:2]:
        want = translate(gdal, str(place / "own" / file), place / f"{gdal.name}-own.tif")
        out = place / f"{gdal.name}-bare.tif"
        got = translate(gdal, f"{gateway.url}/catalogs/mosaic/{file}", out)
        np.testing.assert_array_equal(got, want)


def test_one_budget_for_gdal_and_python(
    gdal: Root, gateway: Gateway, upstream: RangeServer, place: Path
) -> None:
    """Three gdal_translates and two Pythons at once: never more than 4 requests upstream."""
    want = translate(gdal, str(place / "own" / FILES[0]), place / f"{gdal.name}-own.tif")
    pixels = mosaic.read(place / "own", bands=list(STACK)).values
    source = f"/vsicurl/{gateway.url}/catalogs/mosaic"

    def by_gdal(number: int) -> np.ndarray:
        file = f"{STACK[number]}.gti.gpkg"
        return translate(gdal, f"{source}/{file}", place / f"{gdal.name}-{number}.tif")

    def by_python(number: int) -> np.ndarray:
        gate = Gate(via=gateway.url)
        values = mosaic.read(place / "mosaic", bands=list(STACK), gate=gate).values
        gate.close()
        return values

    with ThreadPoolExecutor(5) as pool:
        theirs = [pool.submit(by_gdal, number) for number in range(3)]
        ours = [pool.submit(by_python, number) for number in range(2)]
        np.testing.assert_array_equal(theirs[0].result(), want)
        for one in ours:
            np.testing.assert_array_equal(one.result(), pixels)
        for one in theirs:
            one.result()
    assert upstream.counts.peak <= 4
    assert upstream.counts.refused == 0
    assert upstream.counts.statuses[503] > 0


@pytest.mark.parametrize("status", [404, 403, 500, 503])
def test_what_fails_fails(gdal: Root, place: Path, upstream: RangeServer, status: int) -> None:
    """gdal_translate ends with an error: no image with holes, in GDAL 3.10 neither."""
    calm = upstream.behaviour
    upstream.behaviour = type(calm)(forbidden="S2_32_0_1/B04.tif", denial=status)
    try:
        with Gateway(
            {"mosaic": place / "mosaic"},
            Options(port=0),
            cache=CacheSettings(),
            retry=Retry(attempts=2, base=0.01, longest=0.1),
        ) as running:
            source = f"/vsicurl/{running.url}/catalogs/mosaic/B04.gti.gpkg"
            out = place / f"{gdal.name}-failed.tif"
            with pytest.raises(CommandFailed, match="HTTP"):
                translate(gdal, source, out)
            upstream.behaviour = type(calm)()
            want = translate(gdal, str(place / "own" / FILES[0]), place / f"{gdal.name}-own.tif")
            np.testing.assert_array_equal(translate(gdal, source, out), want)
    finally:
        upstream.behaviour = calm


@pytest.mark.parametrize("masks", [False, True])
def test_scenes_without_nodata(gdal: Root, place: Path, masks: bool) -> None:
    """As files on this machine, masks inside files too, and by no more requests; what fails, fails.

    Whichever of the scenes it is, in full and zoomed out: in GDAL 3.10 too, to which a tile that
    won't open is an image of zeros.
    """
    home = Path(tempfile.mkdtemp(prefix="plain", dir=place))
    made = [replace(one, nodata=None, hole=None) for one in seam_scenes(512, 40.0, ("B04",), 1)]
    with RangeServer({}) as server:
        items = write_scenes(home / "scenes", made)
        if masks:
            for path in (home / "scenes").rglob("*.tif"):
                _mask(path)
        mosaic.build(items, home / "own", resampling="bilinear")
        document = orjson.loads(items.read_bytes())
        for item in document["features"]:
            path = Path(item["id"]) / "B04.tif"
            server.objects[str(path)] = (home / "scenes" / path).read_bytes()
            item["assets"]["B04"]["href"] = server.url(str(path))
        mosaic.build(document["features"], home / "mosaic", resampling="bilinear")
        out = home / f"{gdal.name}.tif"
        quick = Retry(attempts=2, base=0.01, longest=0.05)
        for options in ([], ["-outsize", "25%", "25%"]):
            own = str(home / "own" / FILES[0])
            want = translate(gdal, own, home / f"{gdal.name}-own.tif", *options)
            assert 0.4 * want.size < np.count_nonzero(want) < (0.9 if masks else 1) * want.size
            asked = []
            for plain in (False, True):
                with Gateway({"m": home / "mosaic"}, Options(port=0), retry=quick) as running:
                    source = f"/vsicurl/{running.url}/catalogs/m/B04.gti.gpkg"
                    source = _without_grids(running, home / "plain.gti.gpkg") if plain else source
                    np.testing.assert_array_equal(translate(gdal, source, out, *options), want)
                    said = ask(f"{running.url}/metrics")[2].decode()
                    counts = re.findall(r'answers_total\{route="raw",status="\d+"\} (\d+)', said)
                    asked.append(sum(map(int, counts)))
            assert 0 < asked[0] <= asked[1]
            for scene in made:
                server.behaviour.forbidden = f"{scene.id}/B04.tif"
                with Gateway({"m": home / "mosaic"}, Options(port=0), retry=quick) as running:
                    source = f"/vsicurl/{running.url}/catalogs/m/B04.gti.gpkg"
                    with pytest.raises(CommandFailed, match="HTTP"):
                        translate(gdal, source, out, *options)
                server.behaviour.forbidden = ""


def _without_grids(gateway: Gateway, path: Path) -> str:
    """A copy of a served index whose locations tell no grid: those of any other HTTP server."""
    path.write_bytes(ask(f"{gateway.url}/catalogs/m/B04.gti.gpkg")[2])
    with sqlite3.connect(path) as database:
        kept = database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in kept:
            database.execute(f'DROP TRIGGER "{name}"')
        rows = database.execute("SELECT fid, location FROM tiles").fetchall()
        cut = [(where.partition("%3Fgrid")[0], fid) for fid, where in rows]
        assert all(new != old for (new, _), (_, old) in zip(cut, rows, strict=True))
        database.executemany("UPDATE tiles SET location = ? WHERE fid = ?", cut)
    database.close()
    return str(path)


def _mask(path: Path) -> None:
    """A third of the scene is no data, as a mask inside the file tells."""
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file,
    ):
        valid = np.full(file.shape, 255, np.uint8)
        valid[:, : file.width // 3] = 0
        file.write_mask(valid)


def test_qgis_and_r_beside_python(
    desktop: Root, gateway: Gateway, upstream: RangeServer, place: Path
) -> None:
    """QGIS's and terra's own numbers through the gateway, all at once with Python's."""
    grid = mosaic.info(place / "own")
    (height, width), (west, south, east, north) = grid["shape"], grid["bounds"]
    homes = {"own": str(place / "own"), "via": f"/vsicurl/{gateway.url}/catalogs/mosaic"}
    size = [width // 4, height // 4]

    def by_qgis(home: str) -> np.ndarray:
        job = {"layer": f"{homes[home]}/{FILES[1]}", "out": str(place / f"qgis-{home}"), "crs": ""}
        job |= {"stretch": [0, 65535], "extent": [west, south, east, north], "size": size}
        (place / f"{home}.json").write_text(json.dumps([job]))
        desktop.run(
            ["python3", str(JOB), str(place / f"{home}.json")],
            binds=[place, JOB.parent],
            env={"QT_QPA_PLATFORM": "offscreen", "XDG_RUNTIME_DIR": "/tmp"},
        )
        raw: np.ndarray = np.load(f"{job['out']}.npz")["raw"]
        return raw

    def by_r(home: str) -> np.ndarray:
        lines = [("file", "column", "row", "width", "height", "out")]
        lines += [(f"{homes[home]}/{FILES[0]}", 0, 0, width, height, place / f"r-{home}")]
        table = "".join("\t".join(map(str, line)) + "\n" for line in lines)
        (place / f"{home}.tsv").write_text(table)
        desktop.run(["Rscript", str(SCRIPT), str(place / f"{home}.tsv")], binds=[place, JOB.parent])
        return np.fromfile(place / f"r-{home}.terra")

    wanted = by_qgis("own"), by_r("own")
    assert all((np.isfinite(one) & (one != 0)).mean() > 0.5 for one in wanted)
    with ThreadPoolExecutor(3) as pool:
        theirs = pool.submit(by_qgis, "via"), pool.submit(by_r, "via")
        gate = Gate(via=gateway.url)
        ours = pool.submit(lambda: mosaic.read(place / "mosaic", gate=gate).values)
        for one, want in zip(theirs, wanted, strict=True):
            np.testing.assert_array_equal(one.result(), want)
        np.testing.assert_array_equal(ours.result(), mosaic.read(place / "own").values)
    gate.close()
    assert upstream.counts.peak <= 4
    assert upstream.counts.refused == 0


def test_wmts_of_a_mosaic(gdal: Root, gateway: Gateway, place: Path) -> None:
    """GDAL's WMTS driver lays the tiles where the engine's own read of that grid has them."""
    query = "bands=B04%2CB03%2CB02&rescale=0%2C65535"  # a comma would be GDAL's own
    source = f"WMTS:{gateway.url}/tiles/mosaic/WMTSCapabilities.xml?{query}"
    out = place / f"{gdal.name}-wmts.tif"
    x, y = pyproj.Transformer.from_crs(4326, 3857, always_xy=True).transform(12.0, 47.5)
    half = 4000.0
    window = [str(edge) for edge in (x - half, y + half, x + half, y - half)]
    got = translate(gdal, source, out, "-projwin", *window)
    with rasterio.open(out) as dataset:
        grid = GeoBox(dataset.shape, dataset.transform, "EPSG:3857")
        assert dataset.crs.to_epsg() == 3857
    want = mosaic.read(place / "own", geobox=grid, bands=list(STACK), resampling="bilinear")
    assert want.valid.all()
    np.testing.assert_array_equal(got[:3], np.rint(want.values / 65535 * 255))
    assert (got[3] == 255).all()


@pytest.mark.parametrize("size", ["25%", "12.5%"])
@pytest.mark.parametrize("method", ["nearest", "average"])
def test_zoomed_out(gdal: Root, gateway: Gateway, place: Path, size: str, method: str) -> None:
    options = ("-r", method, "-outsize", size, size)
    want = translate(gdal, str(place / "own" / FILES[0]), place / f"{gdal.name}-own.tif", *options)
    source = f"/vsicurl/{gateway.url}/catalogs/mosaic/{FILES[0]}"
    got = translate(gdal, source, place / f"{gdal.name}-out.tif", *options)
    np.testing.assert_array_equal(got, want)
