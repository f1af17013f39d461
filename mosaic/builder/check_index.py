"""Does a tile index keep the rules by which GDAL reads it right? Judging alone, no reading.

The rules and what was measured are in ARCHITECTURE.md: GDAL is patient with most breaches and
answers with holes, so they are looked for here.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
import shapely

from mosaic.builder.check_extent import LEAST, MOST, SLACK, margins, same_crs, uncovered
from mosaic.builder.check_items import Places
from mosaic.builder.check_read import Declared, Rows
from mosaic.builder.check_vrt import Small
from mosaic.catalog.href import SECRET_PARAMETERS
from mosaic.catalog.source import GDAL_TYPES
from mosaic.errors import Problem, redact
from mosaic.grid import Bounds

AGAIN = "build the mosaic again"


@dataclass(frozen=True, slots=True)
class Mark:
    """A mosaic's grid as its collection tells it (``mosaic:grid``)."""

    crs: str
    """Canonical name of the CRS."""
    shape: tuple[int, int]
    """Height and width in pixels."""
    transform: tuple[float, ...]
    """Affine a, b, c, d, e, f."""

    @property
    def res(self) -> tuple[float, float]:
        """Pixel width and height."""
        return (self.transform[0], -self.transform[4])

    @property
    def bounds(self) -> Bounds:
        """Left, bottom, right, top."""
        a, _, c, _, e, f = self.transform
        return (c, f + e * self.shape[0], c + a * self.shape[1], f)


def grid_problems(
    name: str,
    crs: str,
    transform: tuple[float, ...] | None,
    shape: tuple[int, int] | None,
    mark: Mark,
) -> list[Problem]:
    """Where the grid that a GTI XML or a VRT declares isn't the mosaic's."""
    wrong = []
    if not crs:
        wrong.append("declares no SRS")
    elif not same_crs(crs, mark.crs, mark.bounds):
        wrong.append(f"declares the SRS {crs[:40]}, collection.json {mark.crs[:40]}")
    if transform is None:
        wrong.append("declares no GeoTransform")
    elif not np.allclose(transform, mark.transform, rtol=1e-12, atol=1e-9 * mark.res[0]):
        said = f"{list(transform)}, collection.json {list(mark.transform)}"
        wrong.append(f"declares the transform {said}")
    if shape is None:
        wrong.append("declares no XSize and YSize")
    elif shape != mark.shape:
        size, other = (f"{one[1]} x {one[0]}" for one in (shape, mark.shape))
        wrong.append(f"declares {size} pixels, collection.json {other}")
    return [Problem("grid", f"{name} {what}", AGAIN) for what in wrong]


def declaration_problems(name: str, found: Declared, rows: Rows, mark: Mark) -> list[Problem]:
    """What an index should declare and doesn't, or declares wrongly."""
    problems = grid_problems(name, found.crs, found.transform, found.shape, mark)
    if not same_crs(rows.crs, mark.crs, mark.bounds):
        what = f"{name}: its footprints are in {rows.crs[:40] or 'no CRS'}, not in {mark.crs[:40]}"
        problems.append(Problem("index-crs", what, f"{AGAIN}: GDAL would read it empty"))
    wrong = []
    types = set(GDAL_TYPES.values())
    if not found.band_count or len(found.dtypes) != found.band_count:
        wrong.append(
            ("bands", f"declares {found.band_count or 'no'} bands, describes {len(found.dtypes)}")
        )
    elif not all(kind in types for kind in found.dtypes):
        wrong.append(("bands", "declares no data type: GDAL would take Byte"))
    if found.sort_field not in rows.columns:
        wrong.append(("sort-field", f"sorts by {found.sort_field or 'nothing'}, no column of it"))
    if found.location_field not in rows.columns:
        wrong.append(("location-field", f"has no column {found.location_field}"))
    factor = max(found.factors, default=1)
    if found.shape and (found.shape[0] % factor or found.shape[1] % factor):
        size = f"{found.shape[1]} x {found.shape[0]}"
        wrong.append(("factor", f"is {size} pixels, no multiple of its overview factor {factor}"))
    if rows.found_by_place is not None and rows.found_by_place != len(rows):
        wrong.append(
            ("rows", f"has {len(rows)} rows, {rows.found_by_place} of them in its spatial index")
        )
    return problems + [Problem(kind, f"{name} {what}", AGAIN) for kind, what in wrong]


_BARE = re.compile(r"(?:^|>)\s*(https?|s3|gs|az|abfss?|oss)://", re.IGNORECASE)
_USER = re.compile(r"://[^/@\s<>]*:[^/@\s<>]*@")
_SECRET = re.compile(
    r"[?&;](?:" + "|".join(map(re.escape, sorted(SECRET_PARAMETERS))) + r"|x-(?:amz|goog|ms)-\w+)=",
    re.IGNORECASE,
)


def holds_secret(text: str) -> bool:
    """Whether a URL in a text carries a password, or what signs or authorises a request."""
    plain = unquote(unquote(text.replace("&amp;", "&").replace("&amp;", "&")))
    return bool(_USER.search(plain) or _SECRET.search(plain))


def location_problems(name: str, asset: str, rows: Rows) -> list[Problem]:
    """Locations that GDAL reads badly, or that hold a secret."""
    problems = []
    for text, item in zip(rows.location, rows.item, strict=True):
        if not text:
            problems.append(Problem("location", f"{name}: has no location", AGAIN, item, asset))
            continue
        if "://" not in text and "%3A" not in text and "?" not in text and "GTI:" not in text:
            continue
        bare = _BARE.search(text)
        if bare or "GTI:" in text or "/vsicurl/http" in text:
            form = bare[1] + "://" if bare else "GTI:" if "GTI:" in text else "/vsicurl/"
            what = f"{name}: its location is a bare {form}, which GDAL reads badly or not"
            problems.append(Problem("location", what, AGAIN, item, asset))
        if holds_secret(text):
            what = f"{name}: its location holds a password, token or signature"
            advice = f"{AGAIN}, and have the secret withdrawn"
            problems.append(Problem("secret", what, advice, item, asset))
    return problems


@dataclass(frozen=True, slots=True)
class Joined:
    """Rows of an index and the places that they show."""

    place: npt.NDArray[np.int64]
    """(rows,) row of the place, -1 where none fits."""
    problems: list[Problem]
    """Rows without an item, items without a row."""


def joined(
    name: str,
    asset: str,
    rows: Rows,
    ids: Sequence[str],
    places: Places,
    seen: npt.NDArray[np.bool_],
) -> Joined:
    """Rows to the items that they show.

    ``ids``: of all items. ``seen``: (places,) whether a place lies well within the mosaic, so
    that it must have a row.
    """
    by_id: dict[str, list[int]] = defaultdict(list)
    for position, item in enumerate(places.item.tolist()):
        by_id[ids[item]].append(position)
    known = set(ids)
    taken: dict[tuple[str, int], int] = {}
    place = np.full(len(rows), -1, np.int64)
    problems = []
    for row, (item, text) in enumerate(zip(rows.item, rows.location, strict=True)):
        mine = by_id.get(item)
        if mine is None:
            what = "which has no such asset" if item in known else "which isn't in items.parquet"
            problems.append(
                Problem("rows", f"{name} has a row for this item, {what}", AGAIN, item, asset)
            )
        elif len(mine) == 1:
            place[row] = mine[0]
        else:  # ids are unique in a collection only: file and z tell which of them it is
            which = (item, int(rows.z[row]))
            if which not in taken:
                fits = [one for one in mine if _names(text, places.href[one])] or mine
                free = [one for one in fits if one not in taken.values()]
                taken[which] = (free or fits)[0]
            place[row] = taken[which]
    shown = np.zeros(len(places.href), bool)
    shown[place[place >= 0]] = True
    problems += [
        Problem(
            "rows",
            f"{name} has no row for it",
            AGAIN,
            ids[places.item[lost]],
            asset,
            places.href[lost],
        )
        for lost in np.flatnonzero(seen & ~shown).tolist()
    ]
    return Joined(place, problems)


def _names(text: str, href: str) -> bool:
    """Whether a location, or a VRT's text, names a file."""
    end = href.rpartition("://")[2]
    return end in unquote(text) or Path(href).name in text


def place_problems(
    name: str,
    asset: str,
    rows: Rows,
    place: npt.NDArray[np.int64],
    places: Places,
    small: dict[int, Small],
    folder: Path,
) -> list[Problem]:
    """Rows whose location isn't the file of their item."""
    problems = []
    for row in np.flatnonzero(place >= 0).tolist():
        if row in small:
            continue
        href, text = places.href[place[row]], rows.location[row]
        if not _same_file(text, href, folder):
            what = f"{name}: its location is {_shown(text)!r}, another file than the item's"
            problems.append(Problem("location", what, AGAIN, rows.item[row], asset, href))
    return problems


def _shown(text: str) -> str:
    """A location as it may be shown: without what may be secret."""
    if text.startswith("/vsi") and "url=" in text:
        text = unquote(text.partition("url=")[2])
    return redact(text.partition("<")[0])[:120]


def _same_file(text: str, href: str, folder: Path) -> bool:
    if text.startswith("/vsicurl?"):
        return unquote(text.partition("url=")[2]) == href
    if "://" in href:
        return unquote(text).endswith(unquote(href.partition("://")[2].partition("/")[2]))
    return text == href or f"{folder}/{text}" == href


def footprint_problems(
    name: str,
    asset: str,
    rows: Rows,
    place: npt.NDArray[np.int64],
    places: Places,
    small: dict[int, Small],
    mark: Mark,
    memo: dict[tuple[Any, ...], tuple[float, float, bool]],
) -> list[Problem]:
    """Footprints that don't exceed their scene by one to two pixels.

    ``memo``: what was measured before of equal footprints of equal grids; it grows.
    """
    broken = [row for row, shape in enumerate(rows.geometry) if shape is None or shape.is_empty]
    problems = [
        Problem("footprint", f"{name}: has no footprint", AGAIN, rows.item[row], asset)
        for row in broken
    ]
    usable = place >= 0
    usable[broken] = False
    warped = np.zeros(len(rows), bool)
    warped[list(small)] = [one.warped for one in small.values()]
    plain = np.flatnonzero(usable & ~warped)
    key = _keys(plain, rows, place, places)
    fresh = {k: row for row, k in zip(plain.tolist(), key, strict=True) if k not in memo}
    todo = np.array(list(fresh.values()), np.int64)
    found = margins(places, place[todo], rows.geometry[todo], mark.crs, mark.res)
    measured = zip(found.least.tolist(), found.most.tolist(), found.crosses.tolist(), strict=True)
    memo.update(zip(fresh, measured, strict=True))
    for row, k in zip(plain.tolist(), key, strict=True):
        problems += _judged(name, asset, rows.item[row], *memo[k])
    cut = np.flatnonzero(usable & warped)
    for one in np.unique(place[cut]).tolist():
        mine = cut[place[cut] == one]
        problems += _pieces(name, asset, rows, mine, one, places, small, mark)
    return problems


def _keys(
    which: npt.NDArray[np.int64], rows: Rows, place: npt.NDArray[np.int64], places: Places
) -> list[tuple[Any, ...]]:
    return [
        (
            places.crs[place[row]],
            places.shape[place[row]].tobytes(),
            places.transform[place[row]].tobytes(),
            rows.wkb[row],
        )
        for row in which.tolist()
    ]


def _judged(
    name: str, asset: str, item: str, least: float, most: float, crosses: bool
) -> list[Problem]:
    if crosses:
        what = f"{name}: its footprint goes across 180 degrees, or round the world"
        return [Problem("across-180", what, AGAIN, item, asset)]
    if not least >= LEAST - 1e-3:
        what = (
            f"{name}: its footprint lies elsewhere than its scene"
            if least < -50
            else f"{name}: its footprint exceeds its scene by {least:.2f} pixels, not by 1 to 2: "
            "GDAL would drop pixels"
        )
        return [Problem("footprint", what, AGAIN, item, asset)]
    if most > MOST + SLACK:
        what = (
            f"{name}: its footprint exceeds its scene by {most:.2f} pixels, not by 1 to 2: GDAL "
            "would hide others behind it"
        )
        return [Problem("footprint", what, AGAIN, item, asset)]
    return []


def _pieces(
    name: str,
    asset: str,
    rows: Rows,
    mine: npt.NDArray[np.int64],
    place: int,
    places: Places,
    small: dict[int, Small],
    mark: Mark,
) -> list[Problem]:
    """A scene that is shown in pieces: do they hold all of it, and each no more than its VRT?"""
    item = rows.item[int(mine[0])]
    least = uncovered(places, place, rows.geometry[mine], mark.crs, mark.res, mark.bounds)
    problems = []
    if least < LEAST - 1e-3:
        problems += _judged(name, asset, item, least, 0.0, False)
    res = np.array([*mark.res, *mark.res])
    for row in mine.tolist():
        box, own = np.array(shapely.bounds(rows.geometry[row])), np.array(small[row].bounds)
        beyond = (np.array([1, 1, -1, -1]) * (own - box) / res).max()
        # two pixels, the sharp corner of a sliver, and the pixel by which a VRT may fall short
        if beyond > 4.5:
            problems += _judged(name, asset, item, 1.7, float(beyond), False)
    return problems


def vrt_faults(
    one: Small,
    index: Declared,
    mark: Mark,
    scene: tuple[str, tuple[int, int], tuple[float, ...]],
) -> list[str]:
    """What is wrong with a VRT that stands for a tile; ``scene``: its CRS, shape and affine."""
    faults = []
    if index.dtypes and one.dtypes[: len(index.dtypes)] != index.dtypes:
        faults.append(
            f"its VRT has bands of {', '.join(one.dtypes)}, the index {', '.join(index.dtypes)}"
        )
    if not all(source.told for source in one.sources):
        faults.append("its VRT tells no size and type of its source: GDAL opens it at once")
    crs, shape, transform = scene
    if one.warped:
        if not same_crs(one.crs, mark.crs, mark.bounds):
            faults.append(f"its VRT is in {one.crs[:40]}, the mosaic in {mark.crs[:40]}")
        off = (np.array(one.transform) - np.array(mark.transform)) / (mark.res[0] + mark.res[1])
        shift = np.array([off[2] / mark.res[0], off[5] / mark.res[1]])
        shift *= mark.res[0] + mark.res[1]
        same = np.allclose(off[[0, 1, 3, 4]], 0, atol=1e-9)
        if not same or np.abs(shift - np.round(shift)).max() > 1e-3:
            faults.append("its VRT doesn't lie on the mosaic's pixels")
    else:
        if not same_crs(one.crs, crs, one.bounds):
            faults.append(f"its VRT is in {one.crs[:40]}, the item in {crs[:40]}")
        size = abs(transform[0]) + abs(transform[1])
        if one.shape != shape or not np.allclose(one.transform, transform, atol=1e-6 * size):
            faults.append("its VRT has another grid than the item")
    return faults


def order_problems(
    name: str,
    asset: str,
    rows: Rows,
    place: npt.NDArray[np.int64],
    places: Places,
    values: list[Any] | None,
    ascending: bool,
    order: dict[int, int],
) -> list[Problem]:
    """Drawing orders that differ: between pieces, between indexes, from what sorts the items.

    ``values``: what sorts the items, by item, or None when it isn't known. ``order``: item to
    z of the indexes before this one; it grows.
    """
    problems = []
    known = np.flatnonzero(place >= 0)
    item = places.item[place[known]]
    for row, one in zip(known.tolist(), item.tolist(), strict=True):
        z = int(rows.z[row])
        if order.setdefault(one, z) != z:
            what = f"{name}: its z is {z}, elsewhere {order[one]}: pieces and bands would mix"
            problems.append(Problem("z", what, AGAIN, rows.item[row], asset))
    if values is None or problems:
        return problems
    ranked = sorted(
        {(int(rows.z[row]), one) for row, one in zip(known, item.tolist(), strict=True)}
    )
    if len({z for z, _ in ranked}) < len(ranked):
        what = f"{name}: items share a z: which of them lies on top is left to chance"
        return [Problem("z", what, AGAIN, asset=asset)]
    # from below to the top: first those without a value, then towards what lies on top
    comparable = _comparable([values[one] for _, one in ranked])
    for (low, _), (high, above), a, b in zip(
        ranked, ranked[1:], comparable, comparable[1:], strict=False
    ):
        wrong = b is None and a is not None
        if a is not None and b is not None:
            wrong = b > a if ascending else b < a
        if wrong:
            what = f"{name}: lies above (z {high}) what should lie on it (z {low})"
            problems.append(Problem("z", what, AGAIN, rows.item[_row(known, item, above)], asset))
    return problems


def _row(known: npt.NDArray[np.int64], item: npt.NDArray[np.int64], one: int) -> int:
    return int(known[np.flatnonzero(item == one)[0]])


def _comparable(values: list[Any]) -> list[Any]:
    """Values that can be compared: numbers where all are, else texts."""
    numbers: list[Any] = []
    for value in values:
        try:
            numbers.append(None if value is None else float(value))
        except (TypeError, ValueError):
            return [None if value is None else str(value) for value in values]
    return numbers
