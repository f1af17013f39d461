"""gdal_translate of mixed encodings, in GDAL 3.10 and 3.13: one scale and offset holds for all."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import mosaic
from tests.interop.roots import Root
from tests.support.file_server import serving
from tests.support.mixed import MIXTURES, NEW, OLD, OVERVIEWS, STORED, Mixture, Pair, added, pair
from tests.support.scenes import read

pytestmark = pytest.mark.interop

OPEN = """
import sys
from osgeo import gdal
gdal.UseExceptions()
for text in sys.argv[1:]:
    assert gdal.Open(text).RasterCount == 1
"""

_BUILT: dict[tuple[str, str], Pair] = {}


def made(case: Mixture, resampling: str, folder: Path) -> Pair:
    """Built once for both GDALs."""
    key = (case.name, resampling)
    if key not in _BUILT:
        _BUILT[key] = pair(case, folder / "mixed", resampling)
    return _BUILT[key]


def translated(root: Root, source: Path | str, folder: Path, *options: object) -> np.ndarray:
    """The pixels that gdal_translate makes of a raster; it must not complain."""
    out = folder / f"{root.name}-radiometry.tif"
    out.unlink(missing_ok=True)
    command = ["gdal_translate", "-q", *map(str, options), str(source), str(out)]
    assert "rror" not in root.run(command, binds=[folder]).stderr
    pixels: np.ndarray = read(out)[0]
    return pixels


def window(case: Mixture, index: Path, root: Root, folder: Path) -> list[object]:
    """Options for what of a mosaic is read: across 180 degrees its western end."""
    if not case.name.startswith("across"):
        return []
    text = root.run(["gdalinfo", "-json", str(index)], binds=[folder]).stdout
    width, height = json.loads(text)["size"]
    return ["-srcwin", 0, 0, min(width, 700), height]


@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
@pytest.mark.parametrize("case", MIXTURES, ids=str)
def test_equals_scenes_stored_in_the_newest_encoding(
    gdal: Root, case: Mixture, resampling: str, folder: Path
) -> None:
    built = made(case, resampling, folder)
    where = window(case, built.mixed, gdal, folder)
    here = translated(gdal, built.mixed, folder, *where)
    assert here.dtype == np.uint16
    assert {0, 1001, 1900, 2000, 11000, 65535} <= set(np.unique(here).tolist())
    np.testing.assert_array_equal(here, translated(gdal, built.twin, folder, *where))


@pytest.mark.parametrize("case", MIXTURES[:3], ids=str)
def test_equals_gdalwarp_of_scenes_stored_so(gdal: Root, case: Mixture, folder: Path) -> None:
    """Without any index: numpy's files laid over each other by gdalwarp, the newest last."""
    built = made(case, "nearest", folder)
    here = translated(gdal, built.mixed, folder)
    text = gdal.run(["gdalinfo", "-json", str(built.mixed)], binds=[folder]).stdout
    corners = json.loads(text)["cornerCoordinates"]
    bounds = [*corners["lowerLeft"], *corners["upperRight"]]
    top_first = sorted(case.scenes, key=lambda scene: scene.id)
    top_first.sort(key=lambda scene: scene.datetime, reverse=True)
    files = [built.twin_scenes / scene.id / "B04.tif" for scene in reversed(top_first)]
    out = folder / f"{gdal.name}-warped.tif"
    command = ["gdalwarp", "-q", "-overwrite", "-et", 0, "-r", "near", "-t_srs", case.crs]
    command += ["-te", *bounds, "-ts", here.shape[1], here.shape[0], *files, out]
    gdal.run([str(word) for word in command], binds=[folder])
    exact = read(out)[0]
    assert np.count_nonzero(exact) > exact.size // 4
    # GTI warps with an error of an eighth of a pixel: at the edges of fields the neighbour shows
    assert (here == exact).mean() > 0.999


def test_one_ground_has_one_value(gdal: Root, folder: Path) -> None:
    built = made(MIXTURES[0], "nearest", folder)
    home = built.mixed.parent
    old, new = (
        translated(gdal, home / f"B04_{year}.gti", folder, "-unscale", "-ot", "Float64")
        for year in (2021, 2024)
    )
    stored = {
        year: translated(gdal, built.raw.parent / f"B04_{year}.gti", folder)
        for year in (2021, 2024)
    }
    both = (stored[2021] != 0) & (stored[2024] != 0)
    assert both.sum() > 10_000
    np.testing.assert_array_equal(old[both], new[both])
    # reflectance as ESA defines it, from the files' own numbers; the end of UInt16 is saturated
    clear = both & (stored[2021] < 65535)
    np.testing.assert_allclose(old[clear], stored[2021][clear] / 10000, atol=1e-9)
    np.testing.assert_allclose(new[clear], (stored[2024][clear] - 1000.0) / 10000, atol=1e-9)


def test_raw_is_what_the_files_hold(gdal: Root, folder: Path) -> None:
    built = made(MIXTURES[0], "nearest", folder)
    text = gdal.run(["gdalinfo", "-json", str(built.raw)], binds=[folder]).stdout
    band = json.loads(text)["bands"][0]
    assert (band.get("scale", 1), band.get("offset", 0), band["noDataValue"]) == (1, 0, 0)
    raw = translated(gdal, built.raw.parent / "B04_2021.gti", folder)
    assert set(np.unique(raw)) == set(STORED)
    shown = translated(gdal, built.mixed.parent / "B04_2021.gti", folder)
    np.testing.assert_array_equal(shown, added(raw))


@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
def test_overviews_too(gdal: Root, resampling: str, folder: Path) -> None:
    built = made(OVERVIEWS, resampling, folder)
    quarter = ("-outsize", "25%", "25%", "-r", resampling)
    here = translated(gdal, built.mixed, folder, *quarter)
    assert np.count_nonzero(here) > here.size // 4
    np.testing.assert_array_equal(here, translated(gdal, built.twin, folder, *quarter))


@pytest.mark.parametrize("case", [MIXTURES[0], MIXTURES[3], MIXTURES[5]], ids=str)
def test_opening_reads_no_tile(gdal: Root, case: Mixture, folder: Path) -> None:
    """Remote tiles are VRT texts in the index: nothing is asked for before pixels are read, and
    then no more than for the same tiles as they are.
    """
    built = made(case, "nearest", folder)
    where = window(case, built.mixed, gdal, folder)
    asked = {}
    with serving(built.scenes) as server:
        document = json.loads((built.scenes / "items.json").read_text())
        for item in document["features"]:
            for asset in item["assets"].values():
                asset["href"] = f"{server.url}/{asset['href'].removeprefix('./')}"
        remote = folder / f"remote-{gdal.name}-{case}.json"
        remote.write_text(json.dumps(document))
        for raw in (False, True):
            out = folder / f"remote-{gdal.name}-{case}-{raw}"
            report = mosaic.build(remote, out, dst_crs=case.crs, raw=raw)
            assert report.encodings[0].changed == (0 if raw else _old(case))
            server.log.clear()
            gdal.run(["gdalinfo", str(out / "B04.gti.gpkg")], binds=[folder])
            assert server.log == []
            texts = _changed(out / "B04.gti.gpkg")
            assert len(texts) >= report.encodings[0].changed
            assert all(
                text.count("ScaleOffset") == text.count("SourceProperties") * 2 for text in texts
            )
            gdal.run(["python3", "-c", OPEN, *texts])
            assert server.log == []
            here = translated(gdal, out / "B04.gti.gpkg", folder, *where)
            assert {method for method, _ in server.log} == {"GET"}
            assert {path.rpartition(".")[2] for _, path in server.log} == {"tif"}
            asked[raw] = len(server.log)
            local = built.raw if raw else built.mixed
            np.testing.assert_array_equal(here, translated(gdal, local, folder, *where))
    assert asked[False] <= asked[True]


def _changed(index: Path) -> list[str]:
    """The VRT texts of an index's tiles whose numbers change."""
    with closing(sqlite3.connect(index)) as database:
        texts = [row[0] for row in database.execute("SELECT location FROM tiles")]
    return [text for text in texts if "ScaleOffset" in text]


def _old(case: Mixture) -> int:
    assert {scene.datetime for scene in case.scenes} == {OLD, NEW}
    return sum(scene.datetime == OLD for scene in case.scenes)
