"""A mosaic's cube as a Zarr store: its arrays and what is told of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from affine import Affine
from odc.geo.geobox import GeoBox

from mosaic.cube.axes import coordinates
from mosaic.cube.cube import Cube
from mosaic.cube.geozarr import conventions, placed
from mosaic.cube.levels import microseconds
from mosaic.cube.opening import open_cube
from mosaic.errors import UsageError
from mosaic.gateway.nodes import LEVELS, TYPES, Json, Node, group, layout, told
from mosaic.gateway.served import Served
from mosaic.gateway.wanted import Wanted
from mosaic.grid import canonical, is_geographic
from mosaic.storage import Gate
from mosaic.version import __version__

_SMALL = 512
"""Pixels of a side, below which a grid has no coarser one."""
_COARSER = 6
"""Coarser grids at most: above, a chunk needs too many scenes."""
_LONG = 1 << 18
"""Numbers of a coordinate's chunk."""
_SIDE = 1 << 24
"""Pixels of a side at most: each has a coordinate."""
_TIME = {
    "standard_name": "time",
    "axis": "T",
    "units": "microseconds since 1970-01-01",
    "calendar": "proleptic_gregorian",
}
_NEVER = np.iinfo(np.int64).min
_SCALAR = "spatial_ref"

Place = tuple[int, str]
"""A level, 0 the finest, and the name of an array in it."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A store, as one build of a mosaic gives it."""

    build: str
    """Tells this build from another."""
    grids: tuple[GeoBox, ...]
    """From fine to coarse."""
    times: npt.NDArray[np.int64]
    """(T,) layers of time, in microseconds."""
    nodes: Mapping[Place, Node]
    """Arrays."""
    places: Mapping[str, Place]
    """Arrays by their paths; the finest have two."""
    documents: Mapping[str, bytes]
    """What the ``zarr.json`` of each path holds."""
    cubes: dict[int, Cube] = field(repr=False)
    """What reads a level, for those that were read."""


def build_of(served: Served) -> str:
    """What tells a build of a mosaic from another, and from what another version makes of it."""
    return hashlib.sha1(repr((served.stamp, __version__)).encode()).hexdigest()[:16]


def opened(served: Served, gate: Gate, wanted: Wanted) -> View:
    """A mosaic as it is wanted; from a thread that may wait.

    Raises what :func:`mosaic.open` raises, and :class:`~mosaic.errors.UsageError` for names and
    types that no array can have.
    """
    made: Any = open_cube(served.opened, gate=gate, **wanted.arguments())
    cube: Cube = made.encoding["mosaic"]
    bad = [name for name in cube.variables if not _is_name(name)]
    if bad:
        raise UsageError(f"no array can be named {', '.join(bad)} here: leave it out, by bands=")
    types = {one.dtype.name for one in cube.variables.values()}
    if not types <= TYPES:
        raise UsageError(f"Zarr has no {', '.join(sorted(types - TYPES))}: take dtype=float64")
    grids = pyramid(cube.choice.target)
    times = microseconds(cube.scenes().groups.time)
    nodes: dict[Place, Node] = {}
    for level, grid in enumerate(grids):
        for node in (*_axes(grid, times), *_bands(made, cube, grid, len(times), wanted.side)):
            nodes[level, node.name] = node
    places = {name: (level, name) for level, name in nodes if level == 0}
    places |= {f"{LEVELS}/{level}/{name}": (level, name) for level, name in nodes}
    build = build_of(served)
    title = str(served.document.get("title") or served.name)
    root = {"Conventions": "CF-1.11", "title": title, "mosaic:build": build}
    documents = _documents(nodes, places, grids, root)
    return View(build, grids, times, nodes, places, documents, {0: cube})


def pyramid(grid: GeoBox) -> tuple[GeoBox, ...]:
    """A grid and coarser ones, each of pixels twice as large, from the same corner on.

    Raises UsageError for one with too many pixels.
    """
    if max(grid.shape) > _SIDE:
        raise UsageError(f"more than {_SIDE} pixels a side; give a smaller bbox=")
    found = [grid]
    while max(found[-1].shape) > _SMALL and len(found) <= _COARSER:
        factor = 2 ** len(found)
        height, width = (-(-int(size) // factor) for size in grid.shape)
        found.append(GeoBox((height, width), grid.affine @ Affine.scale(factor), grid.crs))
    return tuple(found)


def _is_name(name: str) -> bool:
    plain = name not in ("", ".", "..", "c", "zarr.json", LEVELS) and not name.startswith("__")
    return plain and not set(name) & set("/=?#\\") and name.isprintable()


def _axes(grid: GeoBox, times: npt.NDArray[np.int64]) -> list[Node]:
    """Coordinates of a level."""
    axis = (min(len(times), _LONG),)
    # 0 is a time, and so is no fill value
    found = [Node("time", ("time",), times.shape, axis, np.dtype(np.int64), int(_NEVER), _TIME)]
    degrees = is_geographic(canonical(str(grid.crs)))
    names = {"x": "longitude", "y": "latitude"} if degrees else {}
    attrs = _attributes(grid)
    for name, size in zip("yx", grid.shape, strict=True):
        standard = names.get(name, f"projection_{name}_coordinate")
        more = attrs[name] | {"standard_name": standard, "axis": name.upper()}
        shape, chunk = (int(size),), (min(int(size), _LONG),)
        found.append(Node(name, (name,), shape, chunk, np.dtype(np.float64), float("nan"), more))
    found.append(Node(_SCALAR, (), (), (), np.dtype(np.int32), 0, attrs[_SCALAR]))
    return found


def _attributes(grid: GeoBox) -> dict[str, Json]:
    """What is told of a grid's coordinates: the same for its first pixels."""
    some = coordinates(GeoBox((2, 2), grid.affine, grid.crs))
    return {name: told(one.attrs, one.dtype) for name, one in some.items()}


def _bands(made: Any, cube: Cube, grid: GeoBox, times: int, side: int) -> list[Node]:
    """Variables of a level."""
    height, width = (int(size) for size in grid.shape)
    found = []
    for name, one in cube.variables.items():
        variable = made.variables[name]
        fill: float | int = 0 if one.fill is None else one.fill
        fill = int(fill) if one.dtype.kind in "iu" else float(fill)
        chunk = (1, min(side, height), min(side, width))
        attrs = told(variable.attrs, one.dtype) | {"grid_mapping": _SCALAR}
        shape = (times, height, width)
        found.append(Node(name, ("time", "y", "x"), shape, chunk, one.dtype, fill, attrs))
    return found


def _placed(grid: GeoBox) -> Json:
    return placed(canonical(str(grid.crs)), grid.shape, tuple(grid.affine))


def _documents(
    nodes: Mapping[Place, Node],
    places: Mapping[str, Place],
    grids: tuple[GeoBox, ...],
    root: Json,
) -> dict[str, bytes]:
    """Every ``zarr.json``; those of groups tell of all below them."""
    arrays = {place: node.document() for place, node in nodes.items()}
    below: dict[str, Json] = {path: arrays[place] for path, place in places.items()}
    many = conventions("multiscales", "spatial", "proj")
    below[LEVELS] = group(
        {
            "zarr_conventions": many,
            "multiscales": layout(grids, ""),
            **_placed(grids[0]),
        }
    )
    for level, grid in enumerate(grids):
        own = {"zarr_conventions": conventions("spatial", "proj"), **_placed(grid)}
        below[f"{LEVELS}/{level}"] = group({"coordinates": _SCALAR, **own})
    whole = group(
        {
            **root,
            "coordinates": _SCALAR,
            "zarr_conventions": many,
            "multiscales": layout(grids, f"{LEVELS}/"),
            **_placed(grids[0]),
        },
        dict(sorted(below.items())),
    )
    found = {path: orjson.dumps(document) for path, document in below.items()}
    for path, document in below.items():
        if document["node_type"] == "group":
            inside = f"{path}/"
            inner = {
                name.removeprefix(inside): one
                for name, one in sorted(below.items())
                if name.startswith(inside)
            }
            found[path] = orjson.dumps(group(document["attributes"], inner))
    return found | {"": orjson.dumps(whole)}
