"""What was asked of storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mosaic.storage import Stats


def stats() -> Stats:
    """What this process asked of storage so far, per origin; reads well in a notebook."""
    from mosaic.storage import stats as told

    return told()
