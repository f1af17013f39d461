"""What the map page tells of a mosaic: bands, days, CRSs, and ways to show them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_hex

from mosaic.catalog.opened import NEVER, Opened
from mosaic.catalog.source import label
from mosaic.cube.looks import bands_of
from mosaic.engine.reading import chosen
from mosaic.gateway.overlay import COLOURS, Overlay
from mosaic.gateway.served import Served
from mosaic.plot import COLORS

Json = dict[str, Any]
_DAY = 86_400_000
_MAPS = (
    "gray", "viridis", "magma", "inferno", "cividis", "turbo", "terrain", "RdYlGn", "RdBu",
    "BrBG", "Spectral", "YlGnBu",
)  # fmt: skip
_STOPS = 9


def legend(served: Served, overlay: Overlay, levels: tuple[int, int]) -> Json:
    """All that the page shows before anybody chooses; ``levels``: of its tiles."""
    opened, document = served.opened, served.document
    days, number = np.unique(opened.time[opened.time != NEVER] // _DAY, return_counts=True)
    texts = np.datetime_as_string(days.astype("datetime64[D]"))
    found = overlay.grids
    return {
        "name": served.name,
        "title": document.get("title") or served.name,
        "items": opened.count,
        "bbox": document["extent"]["spatial"]["bbox"][0],
        "start": _topmost(overlay),
        "levels": levels,
        "crs": label(opened.crs),
        "days": [[str(day), int(count)] for day, count in zip(texts, number, strict=True)],
        "source_crs": [
            {"name": label(name), "items": int(count), "colour": COLORS[place % COLOURS]}
            for place, (name, count) in enumerate(zip(found.crs, overlay.counts, strict=True))
        ],
        "colours": COLORS,
        "bands": [{"name": name, "dtype": dtype} for name, dtype in _bands(opened)],
        "rgb": _rgb(opened, document),
        "colormaps": {name: _stops(name) for name in _MAPS},
    }


def _topmost(overlay: Overlay) -> Sequence[float]:
    """Longitude and latitude of the middle of the item on top."""
    finder = overlay.finder
    if not len(finder.row):
        return 0.0, 0.0
    top = int(np.argmax(overlay.z[finder.row]))
    sides = (finder.west[top], finder.east[top]), (finder.south[top], finder.north[top])
    return [float(np.mean(pair, dtype=np.float64)) for pair in sides]


def _bands(opened: Opened) -> Iterator[tuple[str, str]]:
    """Name and data type of each band that can be shown alone."""
    for one in chosen(opened, None):
        name, asset, place = one
        band = opened.assets[asset].bands[place]
        if band.color != "Alpha":
            # another asset's band may be called the same
            alone = chosen(opened, [name]) == [one]
            yield name if alone else f"{asset}.{place + 1}", band.dtype


def _rgb(opened: Opened, document: Json) -> Sequence[str] | None:
    """Three bands that show true colours, or are stacked; None without such."""
    found = bands_of(opened, document) if opened.assets else ()
    return found if len(found) == 3 else None


def moment(milliseconds: int) -> str | None:
    """A time as people write it, in UTC; None for ``NEVER``."""
    if milliseconds == NEVER:
        return None
    return str(np.datetime_as_string(np.datetime64(milliseconds, "ms"), unit="s")) + "Z"


def _stops(name: str) -> list[str]:
    return [to_hex(mpl.colormaps[name](share)) for share in np.linspace(0, 1, _STOPS)]
