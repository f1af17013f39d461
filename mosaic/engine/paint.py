"""Blocks to a window of source pixels, and that onto a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mosaic.catalog.radiometry import Recoding
from mosaic.catalog.source import span
from mosaic.engine.blocks import Draw, Unit
from mosaic.engine.cover import Bools
from mosaic.engine.raster import Raster
from mosaic.engine.resampling import Method, Scale
from mosaic.engine.scene import Layer, Scene
from mosaic.engine.stock import Bytes, shaped
from mosaic.engine.warp import fill

Array = npt.NDArray[Any]

_HALF = 0.25  # a node lies at the middle of a pixel or at its edge, but for rounding
_NO_MASK = np.zeros((0, 0), bool)


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A part of one band of a file."""

    values: Array
    """(h, w) pixels as the layer has them."""
    valid: Bools
    """(h, w) which of them are valid besides those of the nodata value; (0, 0) if all are."""
    nodata: float | None
    """Value of those that aren't, or None."""
    row: int
    """Row in the file of the first."""
    column: int
    """Column."""


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """What a layer's scenes are drawn on."""

    values: Array
    """(bands, H, W) numbers."""
    filled: Bools
    """(bands, H, W) whether a scene has given a pixel its number."""

    def clear(self, layer: Layer) -> None:
        """Make all pixels such that nothing was drawn on: nodata, or 0 without such.

        Its memory is had from the system here, and at once: threads that draw on tiles side by
        side would each clear the same large pages.
        """
        for band, plane in zip(layer.declared, self.values, strict=True):
            plane[:] = band.nodata or 0
        self.filled[:] = False

    @classmethod
    def blanks(cls, layers: Sequence[Layer], shape: tuple[int, int]) -> list[Canvas]:
        """One canvas a layer, not cleared yet.

        Layers of one type lie in one array, one after the other: see :func:`joined`.
        """
        count = sum(len(layer.bands) for layer in layers)
        filled = np.empty((count, *shape), bool)
        whole: dict[np.dtype[Any], Array] = {}
        found: list[Canvas] = []
        start = 0
        for layer in layers:
            stop = start + len(layer.bands)
            if layer.dtype not in whole:
                whole[layer.dtype] = np.empty((count, *shape), layer.dtype)
            found.append(cls(whole[layer.dtype][start:stop], filled[start:stop]))
            start = stop
        return found


def joined(parts: Sequence[Array], planes: Sequence[tuple[int, int]]) -> Array:
    """(n, H, W) planes of arrays that :meth:`Canvas.blanks` made, by part and place in it.

    Without a copy where they are asked for in their own order.
    """
    own = [(part, place) for part, one in enumerate(parts) for place in range(len(one))]
    base = parts[0].base
    if list(planes) == own and base is not None and len(base) == len(own):
        return base
    return np.stack([parts[part][place] for part, place in planes])


def window(
    file: Raster,
    scene: Scene,
    layer: Layer,
    draw: Draw,
    unit: Unit,
    blocks: Mapping[int, Array | None],
    place: int,
    room: Bytes,
) -> Window:
    """The part of one band that a unit needs, as the layer has its numbers.

    ``blocks``: decoded, by row of the draw's table; None where one couldn't be read: nothing is
    valid there. ``place``: of the band in the layer. ``room``: :func:`needed` bytes or more, which
    the window may lie in.
    """
    band = layer.bands[place]
    image = file.levels[draw.level].image
    r0, c0, r1, c1 = unit.window
    values = shaped(room, (r1 - r0, c1 - c0), layer.dtype)
    if not _covered(unit, blocks, draw, image.block):
        values[:] = 0
    valid: Bools | None = None
    if file.alpha not in (None, band) or file.levels[draw.level].mask is not None:
        valid = np.ones(values.shape, bool)
    for row in unit.blocks.tolist():
        at_row, at_column, plane = draw.table.place[row].tolist()
        is_mask = bool(draw.table.mask[row])
        shape = file.levels[draw.level].mask.block if is_mask else image.block  # type: ignore[union-attr]
        top, left = at_row * shape[0] - r0, at_column * shape[1] - c0
        block = blocks[row]
        if block is None:
            if valid is None:
                valid = np.ones(values.shape, bool)
            rows, columns = shape
            valid[max(top, 0) : max(top + rows, 0), max(left, 0) : max(left + columns, 0)] = False
            continue
        there, here = _overlap(block.shape[:2], values.shape, top, left)
        if is_mask:
            assert valid is not None
            valid[here] &= block[there][..., 0] != 0
            continue
        if not image.separate:
            values[here] = block[there][..., band]
        elif plane == band:
            values[here] = block[there][..., 0]
        if valid is not None and file.alpha not in (None, band):
            if not image.separate:
                valid[here] &= block[there][..., file.alpha] != 0
            elif plane == file.alpha:
                valid[here] &= block[there][..., 0] != 0
    own = file.nodata_of(band)
    nodata = own if own is not None else scene.variant.bands[band].nodata
    how = scene.variant.recodings[band] if scene.variant.recodings else None
    if how is not None:
        values, valid, nodata = recoded(values, valid, how, nodata)
    return Window(values, _NO_MASK if valid is None else valid, nodata, r0, c0)


def needed(layer: Layer, unit: Unit) -> int:
    """Bytes of one band's window."""
    r0, c0, r1, c1 = unit.window
    return (r1 - r0) * (c1 - c0) * layer.dtype.itemsize


def _covered(
    unit: Unit, blocks: Mapping[int, Array | None], draw: Draw, block: tuple[int, int]
) -> bool:
    """Whether a unit's blocks are all there, and all of its window lies in them."""
    r0, c0, r1, c1 = unit.window
    count = (-(-r1 // block[0]) - r0 // block[0]) * (-(-c1 // block[1]) - c0 // block[1])
    own = [row for row in unit.blocks.tolist() if not draw.table.mask[row]]
    if any(blocks[row] is None for row in own):
        return False
    return len({tuple(place) for place in draw.table.place[own, :2].tolist()}) == count


def _overlap(
    block: Sequence[int], whole: Sequence[int], top: int, left: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The part of a block that lies in a window, in each of both."""
    there, here = [], []
    for size, length, start in zip(block, whole, (top, left), strict=True):
        low, high = max(start, 0), min(start + size, length)
        high = max(low, high)
        there.append(slice(low - start, high - start))
        here.append(slice(low, high))
    return (there[0], there[1]), (here[0], here[1])


def recoded(
    values: Array, valid: Bools | None, how: Recoding, nodata: float | None
) -> tuple[Array, Bools | None, float | None]:
    """Numbers brought to another encoding, as the index's VRTs bring them."""
    nodata = nodata if how.nodata_in is None else how.nodata_in
    if not how.changes:
        return values, valid, nodata
    if nodata is not None:
        missing = np.isnan(values) if nodata != nodata else values == nodata
        if missing.any():
            valid = ~missing if valid is None else valid & ~missing
    ends = span(values.dtype.name)
    if ends is None:
        changed = values * values.dtype.type(how.ratio) + values.dtype.type(how.shift)
    else:
        wide = values.astype(np.int64) + int(how.shift)
        changed = np.clip(wide, *ends).astype(values.dtype)
    return changed, valid, None


def copied(canvas: Canvas, place: int, draw: Draw, unit: Unit, found: Window) -> None:
    """Pixels of a file on the target's own grid, as they are."""
    out, filled = canvas.values[place], canvas.filled[place]
    valid = validity(found)
    lattice = draw.lattice
    for piece, rect in zip(unit.pieces.tolist(), lattice.target[unit.pieces].tolist(), strict=True):
        # its first node is the centre, or the corner, of its first pixel
        node = np.array([lattice.row[piece, 0, 0], lattice.column[piece, 0, 0]])
        at = np.floor(node + _HALF).astype(int) - lattice.origin[piece] - (found.row, found.column)
        shift: tuple[int, int] = (int(at[0]), int(at[1]))
        top, left = max(rect[0], -shift[0]), max(rect[1], -shift[1])
        bottom = min(rect[2], found.values.shape[0] - shift[0])
        right = min(rect[3], found.values.shape[1] - shift[1])
        if bottom <= top or right <= left:
            continue
        here = np.s_[top:bottom, left:right]
        there = np.s_[top + shift[0] : bottom + shift[0], left + shift[1] : right + shift[1]]
        new = ~filled[here] if valid is None else valid[there] & ~filled[here]
        np.copyto(out[here], found.values[there], where=new)
        filled[here] |= new


def warped(
    canvas: Canvas,
    place: int,
    draw: Draw,
    unit: Unit,
    found: Window,
    how: Method,
    scale: Scale,
) -> None:
    """Pixels of a file on another grid."""
    fill(
        canvas.values[place],
        canvas.filled[place],
        found.values,
        (found.row, found.column),
        draw.lattice.take(unit.pieces),
        how,
        scale=scale,
        reached=draw.reach[unit.pieces],
        valid=found.valid if found.valid.size else None,
        nodata=found.nodata,
    )


def validity(found: Window) -> Bools | None:
    """(h, w) which pixels are valid; None where all are."""
    valid = found.valid if found.valid.size else None
    if found.nodata is None:
        return valid
    nodata = found.nodata
    there = ~np.isnan(found.values) if nodata != nodata else found.values != nodata
    both: Bools = there if valid is None else there & valid
    return both
