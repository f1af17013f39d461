"""A dataset's layers and bands on another grid: the levels of a pyramid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from mosaic import bridge
from mosaic.cube.composed import cube_of
from mosaic.cube.cube import Cube
from mosaic.cube.keys import Key, Run
from mosaic.cube.meant import found_in
from mosaic.cube.windows import place_of


def regridded(cube: Cube, target: GeoBox) -> Cube:
    """The same layers of time and bands on another grid of the same place.

    From any thread but the loop's. Raises what :func:`mosaic.open` raises.
    """
    scenes = cube.scenes()
    choice = replace(cube.choice, target=target, groupby=scenes.groups)
    return cube_of(choice, bridge.on_planner(lambda: found_in(choice, scenes.mosaic)))


def window(time: int, rows: slice, columns: slice) -> Key:
    """The key of one window of one layer."""
    row, column = (Run(one.start, one.stop - one.start) for one in (rows, columns))
    return Key((time,), (row,), (column,))


def layers(cube: Cube, name: str, rows: slice, columns: slice) -> frozenset[int]:
    """Layers of time of which a scene may show in a window; on the planner's thread."""
    key = window(0, rows, columns)
    box = place_of(cube.choice.target, key.rows[0], key.columns[0]).box
    found = cube.scenes().there([cube.variables[name].asset], box)
    return frozenset(np.flatnonzero(found).tolist())


def microseconds(times: npt.NDArray[np.datetime64]) -> npt.NDArray[np.int64]:
    """Times as whole numbers since 1970; those that are unknown as the least one."""
    return times.astype("datetime64[us]").astype(np.int64)
