"""Whose turn it is: a tile's portions are drawn one scene after the other, so that nothing depends
on which data came first."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from mosaic.engine.blocks import tiles_of
from mosaic.engine.cover import Bools, Cells


class Turns:
    """Whose turn it is in a tile: scenes are drawn from the topmost down."""

    def __init__(self, cells: Cells, scenes: Sequence[int], parts: Sequence[Bools]) -> None:
        self._after: dict[tuple[int, int], asyncio.Event | None] = {}
        self._mine: dict[tuple[int, int], asyncio.Event] = {}
        self.tiles: dict[int, list[int]] = {}
        last: dict[int, asyncio.Event] = {}
        for scene in scenes:
            tiles = np.unique(tiles_of(cells, np.flatnonzero(parts[scene]))).tolist()
            self.tiles[scene] = tiles
            for tile in tiles:
                self._after[scene, tile] = last.get(tile)
                self._mine[scene, tile] = last[tile] = asyncio.Event()

    async def mine(self, scene: int, tile: int) -> None:
        """Wait until all scenes above are drawn in a tile."""
        before = self._after[scene, tile]
        if before is not None:
            await before.wait()

    def over(self, scene: int, tile: int) -> None:
        """A scene has drawn all it has in a tile."""
        self._mine[scene, tile].set()
