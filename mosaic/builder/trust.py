"""Items are trusted, but not blindly: do their own statements agree with each other?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mosaic.catalog.headers import Header
from mosaic.catalog.source import Source, has_code, label
from mosaic.catalog.table import Table
from mosaic.errors import Problem
from mosaic.grid import Floats

OUTSIDE = 0.2
"""Share of an item's bbox that may lie outside its ``proj:*`` outline (rounding, slack)."""


def outside(stated: Floats, outline: Floats) -> Floats:
    """(n,) share of a stated box that lies outside an outline's box; NaN where unknown.

    Boxes are (n, 4) west, south, east, north in degrees, east < west across 180. A stated box
    that spans the whole globe in longitude is judged by latitude alone: it is what software
    without an antimeridian writes.
    """
    west = outline[:, 0]
    width = np.mod(outline[:, 2] - west, 360.0)
    width[(width == 0) & (outline[:, 2] != west)] = 360.0
    s_width = np.mod(stated[:, 2] - stated[:, 0], 360.0)
    s_width[(s_width == 0) & (stated[:, 2] != stated[:, 0])] = 360.0
    # the stated box starts this far east of the outline, in -180..180 about its middle
    middle = stated[:, 0] + s_width / 2 - (west + width / 2)
    start = (middle + 180.0) % 360.0 - 180.0 + (width - s_width) / 2
    slack_x, slack_y = 0.02 * width + 1e-4, 0.02 * (outline[:, 3] - outline[:, 1]) + 1e-4
    across = np.minimum(start + s_width, width + slack_x) - np.maximum(start, -slack_x)
    share_x = np.clip(across / np.maximum(s_width, 1e-9), 0.0, 1.0)
    share_x[s_width >= 350.0] = 1.0
    low = np.maximum(stated[:, 1], outline[:, 1] - slack_y)
    high = np.minimum(stated[:, 3], outline[:, 3] + slack_y)
    height = stated[:, 3] - stated[:, 1]
    share_y = np.clip((high - low) / np.maximum(height, 1e-9), 0.0, 1.0)
    result: Floats = 1.0 - share_x * share_y
    return result


def contradictions(table: Table) -> dict[int, Problem]:
    """Items whose bbox or geometry and ``proj:*`` outline exclude each other, by row."""
    found: dict[int, Problem] = {}
    for name, assets in table.assets.items():
        outline = table.lonlat[assets.grid]
        for field, stated in (("bbox", table.bbox), ("geometry", table.extent)):
            share = outside(stated[assets.item], outline)
            with np.errstate(invalid="ignore"):
                wrong = np.flatnonzero(share > OUTSIDE)
            for row in wrong.tolist():
                item = int(assets.item[row])
                if item not in found:
                    found[item] = _contradiction(table, name, item, row, field, stated, outline)
    return found


def _contradiction(
    table: Table,
    name: str,
    item: int,
    row: int,
    field: str,
    stated: Floats,
    outline: Floats,
) -> Problem:
    assets = table.assets[name]
    code = table.grids.name(int(assets.grid[row]))
    code = code if has_code(code) else "proj:wkt2"
    return Problem(
        "contradiction",
        f"its proj:* fields ({code}) put it at {_box(outline[row])}, its {field} at "
        f"{_box(stated[item])}",
        "mend the item, or build with --verify, which believes the files",
        table.id[item],
        name,
        assets.href[row],
    )


def _box(box: npt.NDArray[np.float64]) -> str:
    return "[" + ", ".join(f"{value:.4g}" for value in box) + "]"


def disagreements(source: Source, header: Header) -> list[Problem]:
    """What an item says of an asset that its file contradicts."""
    found: list[tuple[str, str]] = []
    if source.crs and source.crs != header.crs:
        found.append(("crs", f"proj:code says {label(source.crs)}, the file {label(header.crs)}"))
    if source.shape and source.shape != header.shape:
        found.append(
            ("shape", f"proj:shape says {list(source.shape)}, the file {list(header.shape)}")
        )
    if source.transform and source.crs == header.crs:
        shift = _shift(source.transform, header)
        if shift > 0.5:
            found.append(("transform", f"proj:transform is {shift:.3g} pixels off the file's"))
    if source.bands is not None:
        said = [band.dtype for band in source.bands]
        is_ = [band.dtype for band in header.bands]
        if len(said) != len(is_):
            found.append(("bands", f"the item says {len(said)} bands, the file has {len(is_)}"))
        elif said != is_:
            found.append(("dtype", f"the item says {_words(said)}, the file {_words(is_)}"))
        elif not all(a.same_nodata(b) for a, b in zip(source.bands, header.bands, strict=True)):
            said_nodata, nodata = source.bands[0].nodata, header.bands[0].nodata
            found.append(("nodata", f"the item says nodata {said_nodata}, the file {nodata}"))
    return [Problem(kind, what, "", source.item, source.asset, source.href) for kind, what in found]


def _shift(transform: tuple[float, ...], header: Header) -> float:
    """Largest distance, in pixels of the file, between the corners of two grids of one shape."""
    height, width = header.shape
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], float)
    one, other = (np.array(t).reshape(2, 3) for t in (transform, header.transform))
    off = corners @ (one - other).T
    size = abs(other[0, 0] * other[1, 1] - other[0, 1] * other[1, 0]) ** 0.5
    return float(np.hypot(off[:, 0], off[:, 1]).max() / size)


def _words(values: list[str]) -> str:
    return values[0] if len(set(values)) == 1 else ", ".join(values)
