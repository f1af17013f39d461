"""``mosaic.read`` and ``mosaic.plan``: one window of any source, for scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from odc.geo.geobox import GeoBox

from mosaic.cube.sources import opened
from mosaic.engine import reading
from mosaic.engine.plan import Plan
from mosaic.engine.reading import Reading, band_names
from mosaic.engine.resampling import method
from mosaic.storage import Gate, default_gate


def read(
    source: Any,
    *,
    bbox: Sequence[float] | None = None,
    geobox: GeoBox | None = None,
    crs: Any = None,
    resolution: float | Sequence[float] | None = None,
    bands: Sequence[str] | str | None = None,
    datetime: Any = None,
    resampling: str | None = None,
    errors: str = "raise",
    raw: bool = False,
    gate: Gate | None = None,
) -> Reading:
    """See :func:`mosaic.read`."""
    if resampling is not None:
        method(resampling)
    gate = gate or default_gate()
    wanted = band_names(bands)
    place: dict[str, Any] = {
        "bbox": bbox,
        "geobox": geobox,
        "crs": crs,
        "resolution": resolution,
        "bands": wanted,
    }
    found = opened(source, gate=gate, raw=raw, errors=errors, **place)
    return reading.read(
        found, datetime=datetime, resampling=resampling, errors=errors, raw=raw, gate=gate, **place
    )


def plan(
    source: Any,
    *,
    bbox: Sequence[float] | None = None,
    geobox: GeoBox | None = None,
    crs: Any = None,
    resolution: float | Sequence[float] | None = None,
    bands: Sequence[str] | str | None = None,
    datetime: Any = None,
    resampling: str | None = None,
    errors: str = "raise",
    raw: bool = False,
    gate: Gate | None = None,
) -> Plan:
    """See :func:`mosaic.plan`."""
    if resampling is not None:
        method(resampling)
    gate = gate or default_gate()
    wanted = band_names(bands)
    place: dict[str, Any] = {
        "bbox": bbox,
        "geobox": geobox,
        "crs": crs,
        "resolution": resolution,
        "bands": wanted,
    }
    found = opened(source, gate=gate, raw=raw, errors=errors, **place)
    return reading.plan(
        found, datetime=datetime, resampling=resampling, errors=errors, gate=gate, **place
    )
