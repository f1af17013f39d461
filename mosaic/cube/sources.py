"""What can be opened: for now a built mosaic's folder or URL."""

from __future__ import annotations

from typing import Any

from mosaic.catalog.folder import Folder
from mosaic.catalog.opened import Opened, open_mosaic
from mosaic.storage import Gate


def opened(source: Any, *, gate: Gate) -> Opened:
    """A source by columns. Raises CatalogError for one that can't be read."""
    return open_mosaic(Folder.at(source, gate))
