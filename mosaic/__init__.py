"""Virtual mosaics: scenes in many CRSs, one index that GDAL, QGIS, R and Python read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mosaic.storage import Gate as Gate
    from mosaic.storage import Stats

__version__ = "0.1.0"


def stats() -> Stats:
    """What this process asked of storage so far, per origin; reads well in a notebook."""
    from mosaic.storage import stats as told

    return told()


def __getattr__(name: str) -> Any:
    if name == "Gate":  # imported when first used, so that `import mosaic` stays light
        from mosaic.storage import Gate

        return Gate
    raise AttributeError(f"module 'mosaic' has no attribute {name!r}")
