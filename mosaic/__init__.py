"""Virtual mosaics: scenes in many CRSs, one index that GDAL, QGIS, R and Python read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mosaic.api.build import build, update
from mosaic.api.export import export
from mosaic.api.folder import check, doors, env, info, relocate
from mosaic.api.items import finder, query
from mosaic.api.open import odc_driver, open, open_tree  # noqa: A004 - the verb
from mosaic.api.preview import preview
from mosaic.api.read import plan, read
from mosaic.api.search import search
from mosaic.api.storage import stats
from mosaic.version import __version__

__all__ = [
    "Gate",
    "__version__",
    "build",
    "check",
    "doors",
    "env",
    "export",
    "finder",
    "info",
    "odc_driver",
    "open",
    "open_tree",
    "plan",
    "preview",
    "query",
    "read",
    "relocate",
    "search",
    "stats",
    "update",
]

if TYPE_CHECKING:
    from mosaic.storage import Gate as Gate

for _name in set(__all__) - {"Gate", "__version__"}:
    globals()[_name].__module__ = __name__  # where users find them, and help() and pickle too


def __getattr__(name: str) -> Any:
    if name == "Gate":  # imported when first used, so that `import mosaic` stays light
        from mosaic.storage import Gate

        return Gate
    raise AttributeError(f"module 'mosaic' has no attribute {name!r}")
