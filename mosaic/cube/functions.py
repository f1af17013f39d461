"""Composites by a user's function: the layers of a block as a dataset, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from mosaic.cube.axes import coordinates
from mosaic.cube.choice import Choice
from mosaic.cube.composite import Composite
from mosaic.cube.stack import Stack
from mosaic.cube.variables import Variable
from mosaic.cube.windows import Tile, place_of
from mosaic.errors import CompositeError

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]


class Block:
    """The layers of a block, until a function sees them."""

    def __init__(self, bands: Sequence[Variable]) -> None:
        self.bands = tuple(bands)
        self.stacks: dict[str, Array] = {}
        self.layers: list[list[int]] = []

    def feed(
        self,
        stacks: Mapping[str, tuple[Array, Bools]],
        planes: Sequence[int],
        layers: Sequence[Sequence[int]],
    ) -> None:
        """All observations: (layers, H, W) numbers and which count, planes and layers of each."""
        self.layers = [list(some) for some in layers]
        for one in self.bands:
            values, valid = stacks[one.name]
            own = one.declared.dtype
            small = own in ("int8", "uint8", "int16", "uint16", "float16", "float32")
            kept = values[list(planes)].astype(np.float32 if small else np.float64)
            kept[~valid[list(planes)]] = np.nan
            self.stacks[one.name] = kept

    def wanting(self) -> Bools | None:
        """(H, W) pixels that further layers may change; None: all."""
        return None


def applied(
    choice: Choice,
    made: Composite,
    stack: Stack,
    block: Block,
    items: Sequence[Sequence[Mapping[str, Any]]],
    tile: Tile,
) -> dict[str, tuple[Array, Bools]]:
    """What the function makes of a block: by band (H, W) numbers, and which are any.

    ``items``: of each observation, from the topmost down.
    Raises CompositeError naming items and window.
    """
    assert made.how.function is not None
    empty = np.zeros(tile.shape, np.float32), np.zeros(tile.shape, bool)
    if not block.layers:
        return {one.name: empty for one in block.bands}
    box = place_of(choice.target, tile.row, tile.column).box
    coords: dict[Any, Any] = {**coordinates(box)}
    coords["time"] = ("time", stack.time[[stack.observation[some[0]] for some in block.layers]])
    given = xr.Dataset(
        {name: (("time", "y", "x"), values) for name, values in block.stacks.items()},
        coords,
        {"items": items},
    )
    ids = [str(one["id"]) for some in items for one in some]
    where = f"rows {tile.row.start} to {tile.row.start + tile.row.count * tile.row.step - 1}, "
    where += f"columns {tile.column.start} to "
    where += f"{tile.column.start + tile.column.count * tile.column.step - 1}"
    try:
        back = made.how.function(given)
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise CompositeError(made.how.name, what, ids, where) from error
    return {one.name: _of(back, one.name, tile.shape, ids, where) for one in block.bands}


def _of(
    back: Any, name: str, shape: tuple[int, int], ids: Sequence[str], where: str
) -> tuple[Array, Bools]:
    """One band of what came back."""
    told = ""
    if not isinstance(back, xr.Dataset):
        told = f"it gave {type(back).__name__}, not a Dataset"
    elif name not in back:
        told = f"it gave no {name}"
    else:
        found = back[name]
        if set(found.dims) != {"y", "x"} or (found.sizes["y"], found.sizes["x"]) != shape:
            told = f"{name} came back as {dict(found.sizes)}, not as y, x of {shape}"
        elif found.dtype.kind not in "iufb":
            told = f"{name} came back as {found.dtype}"
        else:
            values = np.asarray(found.transpose("y", "x").values)
            some = ~np.isnan(values) if values.dtype.kind == "f" else np.ones(shape, bool)
            return values, some
    raise CompositeError("function", told, ids, where)
