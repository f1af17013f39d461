"""What was made of an object's bytes lately: a parsed header, an opened catalog."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Any

from cachetools import LRUCache


class Recent:
    """As many as one may keep, by a key that tells the version; for all threads."""

    def __init__(self, most: int) -> None:
        self._lock = threading.Lock()
        self._kept: LRUCache[Hashable, Any] = LRUCache(most)

    def get(self, key: Hashable) -> Any:
        """What was kept, or None."""
        with self._lock:
            return self._kept.get(key)

    def keep(self, key: Hashable, value: Any) -> None:
        """Keep it in place of what was used longest ago."""
        with self._lock:
            self._kept[key] = value
