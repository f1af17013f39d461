"""Which pixels of some layers a mask shows, its margin beyond a window's edge included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from mosaic.bridge import planned, pooled
from mosaic.cube.choice import Choice
from mosaic.cube.composite import Composite
from mosaic.cube.keys import Run
from mosaic.cube.masks import Rule
from mosaic.cube.scenes import Scenes
from mosaic.cube.windows import layered, place_of
from mosaic.engine.known import all_of
from mosaic.engine.paint import Canvas
from mosaic.engine.pipeline import draw_all
from mosaic.errors import Problem

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What a mask shows of a window."""

    shows: Mapping[int, Bools]
    """(H, W) by layer; layers that are hidden as a whole aren't there."""
    covered: Any
    """(H, W) whether all of the mask was read; True: everywhere."""
    problems: tuple[Problem, ...]
    """What couldn't be."""


async def clear(
    choice: Choice,
    made: Composite,
    scenes: Scenes,
    layers: Sequence[int],
    row: Run,
    column: Run,
) -> Seen:
    """The pixels of a window that some layers show: where the mask has data, and none hides.

    What is hidden grows by as many pixels of the target; of a step's coarser pixels by so many
    that it is as wide, or wider.
    """
    margin = -(-made.dilate // min(row.step, column.step))
    target = choice.target
    if margin:
        down, across = margin * row.step, margin * column.step
        shape = target.shape[0] + 2 * down, target.shape[1] + 2 * across
        affine = target.affine @ type(target.affine).translation(-across, -down)
        target = GeoBox(shape, affine, target.crs)
        row = Run(row.start, row.count + 2 * margin, row.step)
        column = Run(column.start, column.count + 2 * margin, column.step)
    place = place_of(target, row, column)
    bands = [one.band for one in made.rules]
    request, where = await planned(lambda: layered(place, bands, scenes, layers))
    outcome = await draw_all(request, choice.gate, ignore=choice.ignore)
    inner = slice(margin, row.count - margin), slice(margin, column.count - margin)
    covered: Any = True
    for whole in outcome.covered:
        if whole is not None:
            covered &= ~grown(~whole, margin)[inner]
    shows = await all_of(
        [
            pooled(
                partial(
                    _shown,
                    made.rules,
                    [outcome.canvases[where[one.band.name][n][0]] for one in made.rules],
                    [where[one.band.name][n][1] for one in made.rules],
                    margin,
                    inner,
                )
            )
            for n in range(len(layers))
        ]
    )
    there = {layer: one for layer, one in zip(layers, shows, strict=True) if one.any()}
    return Seen(there, covered, tuple(outcome.problems))


def _shown(
    rules: Sequence[Rule],
    canvases: Sequence[Canvas],
    at: Sequence[int],
    margin: int,
    inner: tuple[slice, slice],
) -> Bools:
    """What all rules show of a layer."""
    shown: Bools | None = None
    for one, canvas, place in zip(rules, canvases, at, strict=True):
        there = canvas.filled[place]
        hidden = one.hides(canvas.values[place]) & there
        part = there[inner] & ~grown(hidden, margin)[inner]
        shown = part if shown is None else shown & part
    assert shown is not None
    return shown


def grown(mask: Bools, size: int) -> Bools:
    """(H, W) a mask and all pixels within so many pixels of it."""
    if not size or not mask.any():
        return mask
    from mosaic.engine import kernels_stack

    out = np.empty(mask.shape, bool)
    kernels_stack.called(kernels_stack.grown, np.ascontiguousarray(mask), size, out)
    return out
