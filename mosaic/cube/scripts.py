"""``mosaic.read`` and ``mosaic.plan``: one window of any source, for scripts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from mosaic import bridge
from mosaic.catalog.opened import Opened
from mosaic.catalog.when import interval
from mosaic.cube.choice import Choice
from mosaic.cube.composed import Composed
from mosaic.cube.composer import Made
from mosaic.cube.composite import Asked, asked, composite
from mosaic.cube.keys import Run
from mosaic.cube.meant import found_in, ordered
from mosaic.cube.reduction import finished, returned
from mosaic.cube.sources import opened
from mosaic.cube.stack import deepest
from mosaic.cube.windows import Tile
from mosaic.engine.paint import joined
from mosaic.engine.pipeline import Tally, draw_all
from mosaic.engine.plan import Plan
from mosaic.engine.reading import band_names, chosen, requested, target_of
from mosaic.engine.resampling import method
from mosaic.engine.survey import survey
from mosaic.errors import Problem, UsageError
from mosaic.storage import Gate, chosen_gate

Bools = npt.NDArray[np.bool_]
MOST = 1 << 36
"""Pixels of a result, beyond which it can't be meant."""


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What was read. Unpacks to ``values, valid``."""

    values: npt.NDArray[Any]
    """(bands, height, width) numbers; nodata, or 0, where nothing is valid."""
    valid: Bools
    """(bands, height, width) which of them a scene gave."""
    covered: Bools
    """(bands, height, width) whether all that could show in a pixel was read; False only with
    ``errors="ignore"``, else a read-only view."""
    problems: tuple[Problem, ...]
    """What couldn't be read, with ``errors="ignore"``."""
    geobox: GeoBox
    """The grid of the pixels."""
    bands: tuple[str, ...]
    """Names of the bands."""
    tally: Tally
    """What the read did."""

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        yield self.values
        yield self.valid


def read(
    source: Any,
    *,
    datetime: Any,
    resampling: str | None,
    errors: str,
    raw: bool,
    gate: Gate | None,
    via: str | None,
    place: Mapping[str, Any],
    **composite: Any,
) -> Reading:
    """See :func:`mosaic.read`.

    ``place``: bbox, geobox, crs, resolution, bands, and where. ``composite``: method, over, best,
    mask, mask_dilate.
    """
    gate = chosen_gate(gate, via)
    how = asked(composite.pop("method"), "all", **composite)
    mosaic, target = _window(source, gate, resampling, errors, raw, datetime, place, how)
    made = _composed(mosaic, target, how, datetime, resampling, errors, raw, gate, place)
    if isinstance(made, Composed):
        return _reduced(made)
    mosaic = made
    wanted = chosen(mosaic, place["bands"])
    request, names, where = bridge.on_planner(
        lambda: requested(mosaic, target, wanted, datetime, resampling, raw)
    )
    outcome = bridge.run(draw_all(request, gate, ignore=errors == "ignore"))
    canvases = outcome.canvases
    covered: Bools = np.broadcast_to(np.True_, (len(where), *target.shape))
    if errors == "ignore":
        parts = [outcome.covered[layer] for layer, _ in where]
        covered = np.stack([part for part in parts if part is not None])
    return Reading(
        joined([canvas.values for canvas in canvases], where),
        joined([canvas.filled for canvas in canvases], where),
        covered,
        (*mosaic.problems, *outcome.problems),
        target,
        names,
        outcome.tally,
    )


def _composed(
    mosaic: Opened,
    target: GeoBox,
    how: Asked,
    datetime: Any,
    resampling: str | None,
    errors: str,
    raw: bool,
    gate: Gate,
    place: Mapping[str, Any],
) -> Composed | Opened:
    """The reader of a composite; or the mosaic in its drawing order, where that is enough."""
    made, shown, order = composite(how, mosaic, place["bands"], resampling, None)
    last = how.how.name == "last"
    if made is None:
        if order is not None:
            mosaic = bridge.on_planner(lambda: ordered(mosaic, order))
        return replace(mosaic, z=-mosaic.z) if last else mosaic
    span = interval(datetime) if datetime is not None else None
    ignore = errors == "ignore"
    choice = Choice(mosaic, "", target, shown, span, "all", order, last, made, ignore, raw, gate)
    found = bridge.on_planner(lambda: found_in(choice, mosaic))
    layers = deepest(Composed(choice, found).composer().stack)
    bands = tuple(returned(one, made.how, None, masked=False, layers=layers) for one in shown)
    kinds = {one.dtype for one in bands}
    if len(kinds) > 1:
        told = ", ".join(f"{one.name} is {one.dtype}" for one in bands)
        raise UsageError(f"bands differ in data type ({told}): read them apart, with bands=")
    return Composed(replace(choice, variables=bands), found)


def _reduced(cube: Composed) -> Reading:
    """A composite of the whole target."""
    bands, target = list(cube.choice.variables), cube.choice.target
    shape = len(bands), *target.shape
    values, valid = np.zeros(shape, bands[0].dtype), np.zeros(shape, bool)
    covered: Bools = np.broadcast_to(np.True_, shape)
    if cube.choice.ignore:
        covered = np.zeros(shape, bool)
    names = [one.name for one in bands]
    rows, columns = (Run(0, size) for size in target.shape)
    composer = cube.composer()
    how = composer.made.how

    def put(name: str, tile: Tile, made: Made) -> None:
        place = names.index(name)
        here = place, *tile.inside(rows, columns)
        values[here] = finished(made.values, made.some, bands[place], how)
        valid[here] = made.some
        if made.covered is not None:
            covered[here] = made.covered

    problems = bridge.run(composer.window(names, 0, rows, columns, put))
    told = (*cube.problems, *problems)
    return Reading(values, valid, covered, told, target, tuple(names), Tally())


def plan(
    source: Any,
    *,
    datetime: Any,
    resampling: str | None,
    errors: str,
    raw: bool,
    gate: Gate | None,
    via: str | None,
    place: Mapping[str, Any],
    **composite: Any,
) -> Plan:
    """See :func:`mosaic.plan`. Arguments are those of :func:`read`."""
    gate = chosen_gate(gate, via)
    how = asked(composite.pop("method"), "all", **composite)
    mosaic, target = _window(source, gate, resampling, errors, raw, datetime, place, how)
    made = _composed(mosaic, target, how, datetime, resampling, errors, raw, gate, place)
    if isinstance(made, Composed):
        names = [one.name for one in made.choice.variables]
        rows, columns = (Run(0, size) for size in target.shape)
        cube = made
        request, _ = bridge.on_planner(lambda: cube.request(names, [0], rows, columns))
        problems = made.problems
    else:
        wanted = chosen(made, place["bands"])
        request, *_ = bridge.on_planner(
            lambda: requested(made, target, wanted, datetime, resampling, raw, mixed=True)
        )
        problems = made.problems
    found = bridge.run(survey(request, gate, ignore=errors == "ignore"))
    return replace(found, problems=(*problems, *found.problems))


def _window(
    source: Any,
    gate: Gate,
    resampling: str | None,
    errors: str,
    raw: bool,
    datetime: Any,
    place: Mapping[str, Any],
    how: Asked,
) -> tuple[Opened, GeoBox]:
    """A source opened for one read, and the grid that is asked for."""
    if resampling is not None:
        method(resampling)  # said before anything is opened
    span = interval(datetime) if datetime is not None else None
    told = {**place, "bands": band_names(place["bands"]), "also": how.names, "span": span}
    mosaic = opened(source, gate=gate, raw=raw, errors=errors, **told)
    grid = {name: place[name] for name in ("bbox", "geobox", "crs", "resolution")}
    return mosaic, _checked(bridge.on_planner(lambda: target_of(mosaic, **grid)))


def _checked(grid: GeoBox) -> GeoBox:
    if grid.shape[0] * grid.shape[1] > MOST:
        raise UsageError(
            f"{grid.shape[1]} x {grid.shape[0]} pixels are too many for one read; "
            "give a smaller bbox or a coarser resolution"
        )
    return grid
