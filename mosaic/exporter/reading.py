"""One window of a cube, all bands at once."""

from __future__ import annotations

import ctypes

from mosaic import bridge
from mosaic.cube.cube import Cube
from mosaic.cube.keys import Key, Run
from mosaic.exporter.pixels import Array
from mosaic.exporter.windows import Window

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""glibc keeps what many threads gave back, a heap for each, and 100 MB more in the end."""


def read(cube: Cube, window: Window) -> list[Array]:
    """(height, width) numbers of each band.

    Not by way of a dataset, whose accessor would keep it, in a circle, until Python collects it.
    """
    rows, columns = Run(window.row, window.height), Run(window.column, window.width)
    found = bridge.run(cube.ask(set(cube.variables), Key((window.layer,), (rows,), (columns,))))
    if _trim is not None:
        _trim(0)
    return [found[name][0] for name in cube.variables]
