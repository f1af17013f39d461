"""Which hrefs a gateway serves: as hashes, so that millions of them fit."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache

_SIZE = 8
_MET = 1024
"""Members that are remembered as they were asked for: most requests ask for the same again."""


class Members:
    """A set of hrefs that can be asked, not listed.

    Eight bytes each: the key of the hash is drawn anew for each set, so that nobody can look for
    an href that is taken for another.
    """

    def __init__(self, hrefs: Iterable[str]) -> None:
        self._key = secrets.token_bytes(16)
        hashes = b"".join(map(self._hash, hrefs))
        self._met: LRUCache[str, None] = LRUCache(_MET)
        self._sorted: npt.NDArray[np.uint64] = np.unique(np.frombuffer(hashes, np.uint64))

    def __len__(self) -> int:
        return len(self._sorted)

    def __contains__(self, href: str) -> bool:
        if href in self._met:
            return True
        (wanted,) = np.frombuffer(self._hash(href), np.uint64)
        place = int(np.searchsorted(self._sorted, wanted))
        found = place < len(self._sorted) and bool(self._sorted[place] == wanted)
        if found:
            self._met[href] = None
        return found

    def _hash(self, href: str) -> bytes:
        text = href.encode("utf-8", "surrogatepass")
        return blake2b(text, digest_size=_SIZE, key=self._key).digest()
