"""Windows of a composite: layers drawn by the engine, block by block, and reduced to one.

Blocks are so small that a block's layers fit into memory; each is thrown away as soon as it is
one layer. Layers that come and go (a mean's) are drawn in batches, and no further batch is drawn
once nothing can change any more (a first's). What hides pixels is read first: layers that are
hidden as a whole aren't read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mosaic.bridge import planned, pooled
from mosaic.cube.choice import Choice
from mosaic.cube.composite import Composite, layer_bytes
from mosaic.cube.functions import Block, applied
from mosaic.cube.hidden import clear
from mosaic.cube.keys import Run
from mosaic.cube.reducers import Reducer, reducer
from mosaic.cube.scenes import Scenes
from mosaic.cube.stack import Stack, stacked
from mosaic.cube.values import planes
from mosaic.cube.variables import Variable
from mosaic.cube.windows import Tile, Where, layered, place_of
from mosaic.engine.known import all_of
from mosaic.engine.pipeline import Outcome, draw_all
from mosaic.engine.scene import Request
from mosaic.errors import Problem

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]

ROOM = 32 << 20
"""Bytes of a block's layers, and of the files' blocks that they are drawn from."""
AT_ONCE = 2
"""Blocks that are under way at a time: one is fetched while another one is reduced."""
_BATCH = 4
"""Layers that are drawn at once where the next ones may not be needed."""
_LEAST = 128
"""Side of the smallest blocks."""
_ROWS = 64
"""Rows that a thread reduces at a time, so that they stay in its cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """One band of a window of a composite."""

    values: Array
    """(H, W) numbers, as the reduction makes them."""
    some: Bools
    """(H, W) which of them are any."""
    covered: Bools | None
    """(H, W) whether all that could count was read; None: everywhere."""


Put = Callable[[str, Tile, Made], None]
"""What takes a band of a block."""


class Composer:
    """What a composite's windows are made by."""

    def __init__(self, choice: Choice, made: Composite, found: Scenes) -> None:
        self.choice = choice
        self.made = made
        self.stack: Stack = stacked(found, choice.target, made)
        self.bands = {one.name: one for one in made.bands}
        self._turns = asyncio.Semaphore(AT_ONCE)

    def request(
        self, names: Sequence[str], groups: Sequence[int], row: Run, column: Run
    ) -> tuple[Request, Where]:
        """All that a window may ask for, as one request."""
        place = place_of(self.choice.target, row, column)
        read = [*self._read(names), *(one.band for one in self.made.rules)]
        assets = list(dict.fromkeys(one.asset for one in read))
        layers = [layer for group in groups for layer in self.stack.of(group, assets, place.box)]
        return layered(place, read, self.stack.scenes, layers)

    def _read(self, names: Sequence[str]) -> list[Variable]:
        """The bands that are read for some, but for what hides pixels."""
        together = self.made.how.together
        found = [one for one in self.made.bands if together or one.name in names]
        return found if self.made.quality is None else [*found, self.made.quality]

    async def window(
        self, names: Sequence[str], group: int, row: Run, column: Run, put: Put
    ) -> list[Problem]:
        """Some bands of a window of one layer of time; and what couldn't be read.

        ``put``: takes them block by block, in the pool.
        """
        sets = [self._read(names)]
        if not self.made.together:
            assets = dict.fromkeys(one.asset for one in sets[0])
            sets = [[one for one in sets[0] if one.asset == asset] for asset in assets]
        problems: dict[Problem, None] = {}

        async def make(bands: list[Variable], tile: Tile) -> None:
            async with self._turns:
                made = await self._tile(bands, tile, problems)
                for name in names:
                    if name in made:
                        await pooled(partial(put, name, tile, made.pop(name)))

        work = []
        for bands in sets:
            tiles = await planned(partial(self._tiles, bands, group, row, column))
            work += [make(bands, tile) for tile in tiles]
        await all_of(work)
        return list(problems)

    def _tiles(self, bands: Sequence[Variable], group: int, row: Run, column: Run) -> list[Tile]:
        """A window cut into blocks whose layers fit; cuts lie at multiples of :data:`_LEAST`."""
        assets = list(dict.fromkeys(one.asset for one in bands))
        box = place_of(self.choice.target, row, column).box
        layers = self.stack.of(group, assets, box)
        # sums that wait for the next batch take as much as two layers or three
        depth = len(layers) if self.made.how.whole else min(len(layers), _BATCH) + 3
        size = max(depth, 1) * max(layer_bytes(bands), 3)
        high, wide = row.count, column.count
        if high * wide * size <= ROOM or max(high, wide) <= _LEAST:
            return [Tile(row, column, tuple(layers))]
        halves = list(_halved(row if high >= wide else column))
        return [
            tile
            for half in halves
            for tile in self._tiles(
                bands, group, *((half, column) if high >= wide else (row, half))
            )
        ]

    async def _tile(
        self, bands: Sequence[Variable], tile: Tile, problems: dict[Problem, None]
    ) -> dict[str, Made]:
        """Bands of a block."""
        made, ignore = self.made, self.choice.ignore
        covered = {one.name: np.ones(tile.shape, bool) for one in bands} if ignore else {}
        to: Reducer | Block
        if made.how.name == "function":
            to = Block([one for one in bands if one is not made.quality])
        else:
            to = reducer(made, [one for one in bands if one is not made.quality], tile.shape)
        wanting: Bools | None = None
        for batch in self._batches(tile, bands):
            layers = [layer for some in batch for layer in some]
            if not layers:
                continue
            shows: Mapping[int, Bools] = {}
            if made.rules:
                seen = await clear(
                    self.choice, made, self.stack.scenes, layers, tile.row, tile.column
                )
                problems |= dict.fromkeys(seen.problems)
                for whole in covered.values():
                    whole &= seen.covered
                shows = seen.shows
                layers = [one for one in layers if one in shows]
                if wanting is not None:  # what others have shown needn't be read
                    layers = [one for one in layers if (shows[one] & wanting).any()]
            if not layers:
                continue
            await self._draw(bands, tile, layers, batch, shows, to, covered, problems)
            wanting = await pooled(to.wanting)
            if wanting is not None and not wanting.any():
                break
        if made.together and covered:  # what isn't known of one isn't of any
            every: Bools = np.logical_and.reduce(list(covered.values()))
            covered = dict.fromkeys(covered, every)
        if isinstance(to, Block):
            items = await planned(partial(self._items, to))
            result = await pooled(partial(applied, self.choice, made, self.stack, to, items, tile))
        else:
            result = await pooled(to.result)
        return {name: Made(*both, covered.get(name)) for name, both in result.items()}

    def _items(self, block: Block) -> list[list[dict[str, Any]]]:
        """Items of each observation of a block."""
        assets = list(dict.fromkeys(one.asset for one in block.bands))
        return [self.stack.items(layers, assets) for layers in block.layers]

    def _batches(self, tile: Tile, bands: Sequence[Variable]) -> Iterator[list[list[int]]]:
        """Observations, by layers, that are drawn at once."""
        made = self.made
        seen = self.stack.observations(tile.layers, made.ranked or made.quality is not None)
        if made.how.whole:
            yield seen
            return
        most = _BATCH
        if not made.how.drawn or made.quality is not None:  # all are needed
            most = max(most, ROOM // (tile.shape[0] * tile.shape[1] * layer_bytes(bands)))
        batch: list[list[int]] = []
        for some in seen:
            if batch and sum(map(len, batch)) + len(some) > most:
                yield batch
                batch = []
            batch.append(some)
        if batch:
            yield batch

    async def _draw(
        self,
        bands: Sequence[Variable],
        tile: Tile,
        layers: Sequence[int],
        batch: Sequence[Sequence[int]],
        shows: Mapping[int, Bools],
        to: Reducer | Block,
        covered: Mapping[str, Bools],
        problems: dict[Problem, None],
    ) -> None:
        """Some layers of a block, fed to what makes them one."""
        place = place_of(self.choice.target, tile.row, tile.column)
        request, where = await planned(lambda: layered(place, bands, self.stack.scenes, layers))
        ignore = self.choice.ignore
        outcome = await draw_all(request, self.choice.gate, ignore=ignore, room=ROOM)
        problems |= dict.fromkeys(outcome.problems)
        for name, whole in covered.items():
            parts = [outcome.covered[layer] for layer, _ in where[name]]
            whole &= np.logical_and.reduce([part for part in parts if part is not None])
        at = {layer: number for number, layer in enumerate(layers)}
        seen = [[at[layer] for layer in some if layer in at] for some in batch]
        seen = [some for some in seen if some]
        stacks = _stacks(outcome, where)
        hides = [shows.get(layer) for layer in layers]
        chosen = [some[0] for some in seen]
        if isinstance(to, Block):
            await pooled(partial(_fused, stacks, hides, seen))
            to.feed(stacks, chosen, [[layers[n] for n in some] for some in seen])
            return

        def work(rows: slice) -> None:
            part = {n: (v[:, rows], ok[:, rows]) for n, (v, ok) in stacks.items()}
            _fused(part, [one if one is None else one[rows] for one in hides], seen)
            to.feed(part, chosen, rows)

        height = tile.shape[0]
        strips = [slice(r, min(r + _ROWS, height)) for r in range(0, height, _ROWS)]
        await all_of([pooled(partial(work, rows)) for rows in strips])


def _halved(run: Run) -> Iterator[Run]:
    half = max(_LEAST, -(-run.count // 2 // _LEAST) * _LEAST)
    yield run.part(0, half)
    yield run.part(half, run.count)


def _stacks(outcome: Outcome, where: Where) -> dict[str, tuple[Array, Bools]]:
    """By band: (layers, H, W) numbers and which are any, without a copy where they adjoin."""
    values, filled = ([getattr(c, n) for c in outcome.canvases] for n in ("values", "filled"))
    return {name: (planes(values, at), planes(filled, at)) for name, at in where.items()}


def _fused(
    stacks: Mapping[str, tuple[Array, Bools]],
    hides: Sequence[Bools | None],
    seen: Sequence[Sequence[int]],
) -> None:
    """Hide what is hidden, and put each observation's layers on each other, in place."""
    for values, valid in stacks.values():
        for plane, shown in enumerate(hides):
            if shown is not None:
                valid[plane] &= shown
        if values.dtype.kind == "f":
            valid &= ~np.isnan(values)
        for top, *below in seen:
            for plane in below:
                new = valid[plane] & ~valid[top]
                np.copyto(values[top], values[plane], where=new)
                valid[top] |= new
