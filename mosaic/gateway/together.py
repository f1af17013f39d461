"""Tiles that are asked for at one moment are read as one: maps ask for a screen of them at once.

A read of nine takes little more than a read of one, and asks storage once for what they share.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import Any

from odc.geo.geobox import GeoBox

from mosaic.cube.scripts import Reading
from mosaic.gateway.kept import Kept
from mosaic.gateway.pyramid import Block, blocks

_MOMENT = 0.003
"""Seconds in which others may join."""
_LONGER = 0.02
"""Seconds in which they may besides, while others are read: two reads at once take no less."""
_SIDE = 1024
"""Pixels of a side that are read at once, at most."""
_KEPT = 64 << 20
"""Bytes of numbers that are kept to be shown in other colours."""

Read = Callable[[GeoBox], Awaitable[Reading]]
"""What reads a grid: the same for all that are read together."""


@dataclass(slots=True, eq=False)
class _Moment:
    """Tiles of one level and one way to read them, asked for at one moment."""

    asked: list[tuple[int, int]] = field(default_factory=list)
    """Column and row of each."""


class Together:
    """Numbers of tiles, read with those of others. On the loop."""

    def __init__(self) -> None:
        self._kept: Kept[Reading] = Kept(_KEPT, _size)
        self._moments: dict[Hashable, _Moment] = {}
        # nothing is kept by these: all that wait for one thing share it, and it ends with them
        self._joined: Kept[dict[tuple[int, int], Block]] = Kept(0)
        self._reads: Kept[Reading] = Kept(0)
        self._under_way: dict[Hashable, set[asyncio.Task[Any]]] = {}

    async def numbers(
        self, how: Hashable, place: tuple[int, int, int], grid: GeoBox, read: Read
    ) -> Reading:
        """Those of the tile z, x, y on its ``grid``. ``how`` tells ways of reading apart.

        Raises what ``read`` raises.
        """
        key = how, place, grid.shape.x
        return await self._kept.get(key, lambda: self._read(how, place, grid, read))

    async def _read(
        self, how: Hashable, place: tuple[int, int, int], grid: GeoBox, read: Read
    ) -> Reading:
        (z, x, y), side = place, grid.shape.x
        key = how, z, side
        moment = self._moments.setdefault(key, _Moment())
        moment.asked.append((x, y))
        joined = await self._joined.get(moment, lambda: self._over(key, moment, side))
        block = joined[x, y]
        got = await self._reads.get(
            (moment, block), lambda: self._read_block(key, read(block.grid(z, side)))
        )
        return _part(got, block.place(x, y, side), grid)

    async def _read_block(self, key: Hashable, work: Awaitable[Reading]) -> Reading:
        me = asyncio.current_task()
        assert me is not None
        under_way = self._under_way.setdefault(key, set())
        under_way.add(me)
        try:
            return await work
        finally:
            under_way.discard(me)
            if not under_way:
                self._under_way.pop(key, None)

    async def _over(
        self, key: Hashable, moment: _Moment, side: int
    ) -> dict[tuple[int, int], Block]:
        """The moment passes: who comes later waits for another."""
        try:
            await asyncio.sleep(_MOMENT)
            under_way = self._under_way.get(key)
            if under_way:
                await asyncio.wait(under_way, timeout=_LONGER)
        finally:
            if self._moments.get(key) is moment:
                del self._moments[key]
        return blocks(moment.asked, _SIDE // side)


def _part(got: Reading, here: tuple[slice, slice], grid: GeoBox) -> Reading:
    """The pixels of one tile, of those of more: as copies, so that the others needn't be kept."""
    values, valid, covered = (one[:, *here].copy() for one in (got.values, got.valid, got.covered))
    return replace(got, values=values, valid=valid, covered=covered, geobox=grid)


def _size(got: Reading) -> int:
    return int(got.values.nbytes + got.valid.nbytes + got.covered.nbytes)
