"""Rows of an index beside the items that they show: each its own, in the right order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt

from mosaic.checker.index import AGAIN
from mosaic.checker.items import Places
from mosaic.checker.read import Rows
from mosaic.checker.vrt import Small
from mosaic.errors import Problem, redact


@dataclass(frozen=True, slots=True)
class Joined:
    """Rows of an index and the places that they show."""

    place: npt.NDArray[np.int64]
    """(rows,) row of the place, -1 where none fits."""
    problems: list[Problem]
    """Rows without an item."""
    lost: npt.NDArray[np.int64]
    """Places without a row, which should have one."""


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
    return Joined(place, problems, np.flatnonzero(seen & ~shown))


def lost_problems(
    name: str, asset: str, ids: Sequence[str], places: Places, lost: Iterable[int]
) -> list[Problem]:
    """Items without a row."""
    return [
        Problem("rows", f"{name} has no row for it", AGAIN, ids[item], asset, places.href[row])
        for row, item in ((row, places.item[row]) for row in lost)
    ]


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
