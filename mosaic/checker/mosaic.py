"""What a check has read of a mosaic so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mosaic.checker.index import Mark
from mosaic.checker.items import Items, Places
from mosaic.checker.read import Declared

Json = dict[str, Any]


@dataclass(slots=True)
class Mosaic:
    """What was read of a mosaic so far."""

    folder: Path
    """Where it lies."""
    document: Json
    """Its collection."""
    mark: Mark
    """Its grid."""
    items: Items | None = None
    """Its items, or None when they can't be read."""
    places: dict[str, Places] = field(default_factory=dict)
    """Where the pixels of each asset lie."""
    indexes: dict[str, Declared] = field(default_factory=dict)
    """What the sound indexes declare, by asset."""
    files: dict[str, Declared] = field(default_factory=dict)
    """The same by file name."""
    replaced: dict[str, set[int]] = field(default_factory=dict)
    """By asset, items for whose file a VRT stands in."""
    known: dict[int, Json] = field(default_factory=dict)
    """Items that were read whole, by row."""
