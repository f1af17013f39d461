"""A picture of a mosaic."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mosaic.cube.preview import Preview
    from mosaic.storage import Gate


def preview(
    source: Any,
    out: str | os.PathLike[str] | None = None,
    *,
    size: int = 1200,
    bbox: Sequence[float] | None = None,
    bands: Sequence[str] | str | None = None,
    datetime: Any = None,
    gate: Gate | None = None,
    via: str | None = None,
) -> Preview:
    """A picture of a mosaic, in its CRS: its pixels over footprints coloured by CRS.

    ``source``, ``bbox``, ``datetime``, ``gate`` and ``via`` are those of :func:`read`. ``out``: the
    PNG to write, if any; the result has ``figure`` and ``save(path)``. ``size``: pixels of its
    longer side. ``bands``: one, or three as red, green and blue, stretched together; by default
    those that items tell to be so, else a stack of three, else the first band.

    However large the mosaic, 384 files and 64 MB are read at most: overviews of the scenes that lie
    on top, then of what lies below; ``drawn`` of the result's ``items`` have their pixels in
    it, the others are outlines. A mosaic's coarse image of the whole (``overview`` of
    :func:`build`) is read instead where it is fine enough. Raises what :func:`read` raises, and
    :class:`~mosaic.errors.CatalogError` where the picture can't be written.
    """
    from mosaic.cube.preview import preview as previewed
    from mosaic.cube.preview import target_file

    path = target_file(out) if out is not None else None
    found = previewed(
        source, size=size, bbox=bbox, bands=bands, datetime=datetime, gate=gate, via=via
    )
    if path is not None:
        found.save(path)
    return found
