"""What `make demo` runs: scenes in two UTM zones, their mosaic, and a picture across the seam.

And a series of cloudy scenes, for composites.

python -m catalogs.demo [FOLDER]
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pyproj
import rasterio
import shapely
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from rasterio.windows import from_bounds

import mosaic
from tests.support.scenes import landscape, seam_scenes, write_scenes
from tests.support.series import write_series

COLORS = {"EPSG:32632": "#0072b2", "EPSG:32633": "#d55e00"}
HALO = withStroke(linewidth=2, foreground="#00000040")
SEAM = 12.0
"""Longitude at which the two zones meet."""


def main(folder: Path) -> None:
    """Makes everything below a folder and says what it does."""
    started = time.monotonic()
    print("Making 8 scenes in two UTM zones, two dates, three bands ...", flush=True)
    items = write_scenes(folder / "scenes", seam_scenes(640, 40.0), landscape)
    words = ["build", items, "-o", folder / "mosaic", "--stack", "B04,B03,B02", "--slices", "day"]
    run("mosaic", *words, "--resampling", "bilinear", "--overwrite")
    picture(folder / "mosaic", folder / "seam.png")
    write_series(folder / "series", 256, 60.0)
    print(
        f"\n{folder / 'seam.png'} shows it ({time.monotonic() - started:.0f} s). "
        "With GDAL 3.9 or newer, a part of it as a GeoTIFF:\n"
        "  gdal_translate -projwin_srs EPSG:4326 -projwin 11.9 47.6 12.1 47.4 "
        f"{folder / 'mosaic' / 'B04.gti.gpkg'} seam.tif"
    )


def run(command: str, *words: str | Path) -> None:
    """Runs a command of this Python's environment, and shows it."""
    line = [command, *map(str, words)]
    print(f"\n$ {shlex.join(line)}", flush=True)
    subprocess.run([str(Path(sys.executable).with_name(command)), *line[1:]], check=True)


def across(folder: Path, reach: float) -> tuple[float, float, float, float]:
    """Bounds, in the mosaic's CRS, of a square around the place where the scenes meet."""
    crs = mosaic.info(folder)["crs"]
    x, y = pyproj.Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform(SEAM, 47.5)
    return x - reach, y - reach, x + reach, y + reach


def picture(folder: Path, path: Path) -> None:
    """Footprints by CRS on the left; on the right what the index reads across the seam."""
    found = mosaic.info(folder)
    with rasterio.open(folder / "B04_B03_B02.vrt") as dataset:
        bounds = across(folder, 20_000)
        pixels = dataset.read(window=from_bounds(*bounds, dataset.transform), masked=True)
    print(f"read {pixels.shape} across the seam, {pixels.mask.mean():.1%} of it empty")

    figure = Figure(figsize=(13, 6.8), dpi=100, layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    left, right = figure.subplots(1, 2)
    for crs, shape in footprints(folder, found["crs"]):
        x, y = np.array(shape.exterior.coords).T / 1000
        left.fill(x, y, facecolor=COLORS[crs], alpha=0.22, edgecolor=COLORS[crs])
    left.set_title(f"{found['items']} scenes in two CRSs …", loc="left", weight="bold")
    x0, y0, x1, y1 = (value / 1000 for value in bounds)
    left.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, linewidth=1.2))
    left.text(x0 + 0.5, y0 + 0.5, "shown at the right", va="bottom")

    right.imshow(stretched(pixels), extent=(x0, x1, y0, y1), interpolation="none")
    title = f"… read as one image in {found['crs']}, no seam"
    right.set_title(title, loc="left", weight="bold")
    x, y = np.array(seam(found["crs"])).T / 1000
    for axes, color in ((left, "black"), (right, "white")):
        limits = axes.get_xlim(), axes.get_ylim()
        axes.plot(x, y, color=color, linewidth=0.9, linestyle=(0, (6, 5)), path_effects=[HALO])
        axes.set(xlim=limits[0], ylim=limits[1], aspect="equal", xlabel="easting (km)")
        axes.ticklabel_format(useOffset=False, style="plain")
        axes.spines[["top", "right"]].set_visible(False)
    left.set_ylabel("northing (km)")
    for side, crs in ((-1, "EPSG:32632"), (1, "EPSG:32633")):
        place = (x[25] + side * 12, y0 + 30)
        left.text(*place, crs, color=COLORS[crs], ha="center", weight="bold", size=12)
    box = {"facecolor": "black", "alpha": 0.55, "linewidth": 0}
    for side, name in ((-1, "zone 32"), (1, "zone 33")):
        place = (x[25] + side * 0.6, y0 + 0.6)
        align = "right" if side < 0 else "left"
        right.text(*place, name, color="white", ha=align, va="bottom", bbox=box)
    figure.savefig(path)


def footprints(folder: Path, crs: str) -> list[tuple[str, shapely.Geometry]]:
    """CRS and outline, in the mosaic's CRS, of each item in items.parquet."""
    table = pq.read_table(folder / "items.parquet", columns=["geometry", "proj:code"])
    to = pyproj.Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform
    shapes = shapely.from_wkb(table["geometry"].to_numpy())
    moved = shapely.transform(shapes, to, interleaved=False)
    return list(zip(table["proj:code"].to_pylist(), moved, strict=True))


def seam(crs: str) -> list[tuple[float, float]]:
    """The meridian between the zones."""
    to = pyproj.Transformer.from_crs("OGC:CRS84", crs, always_xy=True)
    return [to.transform(SEAM, lat) for lat in np.linspace(46, 49, 50)]


def stretched(pixels: np.ma.MaskedArray) -> np.ndarray:
    """(h, w, 4) reflectance as an image, transparent where there is nothing."""
    color = np.clip(pixels.filled(0) / 2000.0, 0, 1) ** 0.6
    return np.dstack([*color, ~pixels.mask.any(axis=0)]).astype(float)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
