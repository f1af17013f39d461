"""R's terra and stars read the values that the gdal_translate of the same root gives."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyproj
import pytest
from affine import Affine

import mosaic
from tests.interop.roots import Root
from tests.support.mosaics import write_case
from tests.support.scenes import read, seam_scenes

pytestmark = pytest.mark.interop

SCRIPT = Path(__file__).with_name("read.R")
STACK = ("B04", "B03", "B02")
FILES = ("B04.gti.gpkg", "B04_2025-06-06.gti", "B04_B03_B02.vrt")
SCALE, OFFSET = 1e-4, -0.1


@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "scaled"])
def test_terra_and_stars_read_what_gdal_translate_gives(
    desktop: Root, folder: Path, scaled: bool
) -> None:
    """The whole, and a window across the seam, of the index, a slice and the stack."""
    out = folder / ("r-scaled" if scaled else "r-plain")
    home = out / "mosaic"
    items = write_case(home / "scenes", seam_scenes(256, 60.0, STACK, dates=2))
    document = json.loads(items.read_text())
    for item in document["features"] if scaled else ():
        for asset in item["assets"].values():
            asset["raster:bands"][0] |= {"scale": SCALE, "offset": OFFSET}
    items.write_text(json.dumps(document))
    mosaic.build(items, home, resampling="bilinear", slices="day", stacks=[STACK])
    grid = mosaic.info(home)
    (height, width), (west, south, east, north) = grid["shape"], grid["bounds"]
    x, y = pyproj.Transformer.from_crs(4326, grid["crs"], always_xy=True).transform(12.0, 47.5)
    column, row = (round(value) for value in ~Affine(60, 0, west, 0, -60, north) @ (x, y))
    windows = ((0, 0, width, height), (column - 60, row - 50, 121, 101))
    jobs = [(home / file, *window) for file in FILES for window in windows]
    lines = [("file", "column", "row", "width", "height", "out")]
    lines += [(*job, out / str(number)) for number, job in enumerate(jobs)]
    (out / "jobs.tsv").write_text("".join("\t".join(map(str, line)) + "\n" for line in lines))
    command = ["Rscript", str(SCRIPT), str(out / "jobs.tsv")]
    told = desktop.run(command, binds=[out, SCRIPT.parent]).stdout.splitlines()
    for number, (job, said) in enumerate(zip(jobs, told, strict=True)):
        file, *window = job
        words = ["gdal_translate", "-q", "-srcwin", *window, file, out / "t.tif"]
        desktop.run([str(word) for word in words], binds=[out])
        stored = read(out / "t.tif").astype(float)
        rows, columns, layers, code, tiles, *extent = said.split()
        assert (int(rows), int(columns), int(layers)) == (height, width, len(stored))
        assert f"EPSG:{code}" == grid["crs"]
        assert [float(value) for value in extent] == [west, east, south, north]
        assert int(tiles) == (8 if file.suffix == ".gpkg" else 0)
        stored[stored == 0] = np.nan
        assert np.isfinite(stored).mean() > 0.5
        right = stored * SCALE + OFFSET if scaled else stored
        found = {
            name: np.fromfile(out / f"{number}.{name}", "<f8").reshape(stored.shape)
            for name in ("stored", "terra", "stars")
        }
        np.testing.assert_array_equal(found["stored"], stored)
        # decimals: their last digits may differ
        np.testing.assert_allclose(found["terra"], right, rtol=1e-12)
        np.testing.assert_allclose(found["stars"], right, rtol=1e-12)


def test_the_readme_runs(desktop: Root, folder: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```r\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    items = write_case(folder / "r-readme/scenes", seam_scenes(64, 60.0, STACK, dates=1))
    mosaic.build(items, folder / "r-readme/demo/mosaic", stacks=[STACK])
    command = ["Rscript", "-e", block + "cat(dim(r), dim(s), nrow(footprints))"]
    said = desktop.run(command, binds=[folder], cwd=folder / "r-readme").stdout
    height, width = mosaic.info(folder / "r-readme/demo/mosaic")["shape"]
    assert said.split()[-7:] == [str(n) for n in (height, width, 1, width, height, 3, 4)]
