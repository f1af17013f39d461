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
from mosaic.cube.sources import opened
from mosaic.engine.paint import joined
from mosaic.engine.pipeline import Tally, draw_all
from mosaic.engine.plan import Plan
from mosaic.engine.reading import band_names, chosen, requested, target_of
from mosaic.engine.resampling import method
from mosaic.engine.survey import survey
from mosaic.errors import Problem, UsageError
from mosaic.storage import Gate, default_gate

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
    **place: Any,
) -> Reading:
    """See :func:`mosaic.read`. ``place``: bbox, geobox, crs, resolution, bands, where."""
    gate = gate or default_gate()
    mosaic, target = _window(source, gate, resampling, errors, raw, datetime, place)
    wanted = chosen(mosaic, place["bands"])
    request, names, where = requested(mosaic, target, wanted, datetime, resampling, raw)
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


def plan(
    source: Any,
    *,
    datetime: Any,
    resampling: str | None,
    errors: str,
    raw: bool,
    gate: Gate | None,
    **place: Any,
) -> Plan:
    """See :func:`mosaic.plan`. ``place``: as in :func:`read`."""
    gate = gate or default_gate()
    mosaic, target = _window(source, gate, resampling, errors, raw, datetime, place)
    wanted = chosen(mosaic, place["bands"])
    request, *_ = requested(mosaic, target, wanted, datetime, resampling, raw, mixed=True)
    found = bridge.run(survey(request, gate, ignore=errors == "ignore"))
    return replace(found, problems=(*mosaic.problems, *found.problems))


def _window(
    source: Any,
    gate: Gate,
    resampling: str | None,
    errors: str,
    raw: bool,
    datetime: Any,
    place: Mapping[str, Any],
) -> tuple[Opened, GeoBox]:
    """A source opened for one read, and the grid that is asked for."""
    if resampling is not None:
        method(resampling)  # said before anything is opened
    bands = band_names(place["bands"])
    span = interval(datetime) if datetime is not None else None
    told = {**place, "bands": bands, "span": span}
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
