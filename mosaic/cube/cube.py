"""A dataset's reader: keys to arrays, through the engine.

Everything runs on the background loop. Bands that are asked for at one time with one key are one
request: they share lattices, headers and the order of their blocks.
"""

from __future__ import annotations

import asyncio
import math
import threading
import weakref
from collections import OrderedDict
from collections.abc import Collection, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from mosaic import bridge
from mosaic.bridge import planned, pooled
from mosaic.cube.choice import Choice
from mosaic.cube.keys import POINTS, Key, Run, clusters, places, portions
from mosaic.cube.meant import found_again
from mosaic.cube.scenes import Scenes
from mosaic.cube.values import cast, picked, planes
from mosaic.cube.variables import COVERED
from mosaic.cube.windows import Where, layered, place_of
from mosaic.cube.workers import packed
from mosaic.engine.known import all_of
from mosaic.engine.pipeline import Outcome, draw_all
from mosaic.engine.scene import Request
from mosaic.errors import Problem

Array = npt.NDArray[Any]
Found = dict[str, Array]

PORTION = 128 << 20
"""Bytes of a result that are drawn at once; larger ones are cut."""
_WINDOWS = 8
"""Windows of one key that are read at a time, at most."""
_KEPT = 32 << 20
"""Bytes of coverage, a bit a pixel, that are kept until somebody asks for it."""


@dataclass(slots=True, eq=False)
class _Batch:
    """Bands that are asked for with one key."""

    names: set[str] = field(default_factory=set)
    task: asyncio.Task[Found] | None = None
    waiting: int = 0
    taken: bool = False
    """Whether somebody has the arrays: they are his to write to, others get copies."""


class Cube:
    """What a dataset's arrays read from. Travels to other processes as its choice."""

    def __init__(self, choice: Choice, found: Scenes | None = None) -> None:
        self.choice = choice
        self.variables = {one.name: one for one in choice.variables}
        self._scenes = found
        self._batches: dict[Key, _Batch] = {}
        self._coverage: OrderedDict[tuple[str, Key], Array] = OrderedDict()
        self._early: dict[tuple[str, Key], Array] = {}
        self._problems: dict[Problem, None] = {}
        self._lock = threading.Lock()
        bridge.settle(self)

    def __reduce__(self) -> tuple[object, ...]:
        from mosaic.cube.accessor import arrived  # there, so that datasets bring their .mosaic

        with self._lock:
            return packed(arrived, self.choice, tuple(self._problems))

    def __copy__(self) -> Cube:
        return self

    def __deepcopy__(self, memo: object) -> Cube:
        return self

    def __repr__(self) -> str:
        return f"Cube({self.choice.named!r:.80}, {len(self.variables)} bands)"

    def __dask_tokenize__(self) -> str:
        return self.choice.token

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What couldn't be opened, or read in this process, with ``errors="ignore"``."""
        with self._lock:
            return *self.scenes().mosaic.problems, *self._problems

    def note(self, problems: Collection[Problem]) -> None:
        """Remember what couldn't be read."""
        if problems:
            with self._lock:
                self._problems |= dict.fromkeys(problems)

    def after_fork(self) -> None:
        """A child begins without what its parent was doing."""
        self._lock = threading.Lock()
        self._batches = {}
        if self._scenes is not None:
            self._scenes.lock = threading.Lock()

    def close(self) -> None:
        """Nothing is held open."""

    def scenes(self) -> Scenes:
        """The scenes, found again in another process than that which opened them."""
        if self._scenes is None:
            self._scenes = found_again(self.choice)
        return self._scenes

    def read(self, name: str, key: Key, also: Collection[str] = (), owner: Any = None) -> Array:
        """(times, y, x) of one band, or of its coverage; from any thread but the loop's.

        ``also``: what will be asked for next; it is read too, and kept as long as ``owner`` lives.
        """
        early = self._early.pop((name, key), None)
        if early is not None:
            return early
        found = bridge.run(self.ask({name, *also}, key))
        if owner is not None and also:
            rest = {(other, key): found[other] for other in also}
            self._early.update(rest)
            weakref.finalize(owner, _dropped, self._early, tuple(rest)).atexit = False
        return found[name]

    async def ask(self, names: Collection[str], key: Key) -> Found:
        """Bands and coverages, on the loop; with what others ask for at the same time."""
        if len(names) == 1:
            (name,) = names
            kept = self._covered(name, key)
            if kept is not None:
                return {name: kept}
        batch = self._batches.get(key)
        if batch is None:
            batch = self._batches[key] = _Batch()
            batch.task = asyncio.ensure_future(self._serve(key, batch))
        batch.names |= set(names)
        batch.waiting += 1
        assert batch.task is not None
        try:
            found = await asyncio.shield(batch.task)
            if batch.taken:
                return {name: found[name].copy() for name in names}
            batch.taken = True
            return found
        except asyncio.CancelledError:
            if batch.waiting == 1:  # nobody else waits for it
                batch.task.cancel()
                self._begun(key, batch)
            raise
        finally:
            batch.waiting -= 1

    async def _serve(self, key: Key, batch: _Batch) -> Found:
        await asyncio.sleep(0)  # whoever asks at the same time has joined by then
        self._begun(key, batch)
        return await self._read(batch.names, key)

    def _begun(self, key: Key, batch: _Batch) -> None:
        """Nobody can join any more."""
        if self._batches.get(key) is batch:
            del self._batches[key]

    def _band(self, name: str) -> str:
        """The band that a variable is, or is the coverage of."""
        return name if name in self.variables else name.removesuffix(COVERED)

    def _covered(self, name: str, key: Key) -> Array | None:
        """The coverage of what was read before, once."""
        with self._lock:
            bits = self._coverage.pop((name, key), None)
        if bits is None:
            return None
        size = int(np.prod(key.shape))
        return np.unpackbits(bits, count=size).view(bool).reshape(key.shape)

    def _keep(self, name: str, key: Key, covered: Array) -> None:
        with self._lock:
            self._coverage[name, key] = np.packbits(covered)
            while sum(bits.nbytes for bits in self._coverage.values()) > _KEPT:
                self._coverage.popitem(last=False)

    async def _read(self, names: Collection[str], key: Key) -> Found:
        """Bands and coverages, of all runs of a key."""
        bands = sorted({self._band(name) for name in names})
        if key.whole:
            found = await self._window(bands, key.times, key.rows[0], key.columns[0])
        else:
            found = self._blank(bands, key.shape)

            async def read(row: Run, r: slice, column: Run, c: slice) -> None:
                part = await self._window(bands, key.times, row, column)
                for name, values in part.items():
                    found[name][:, r, c] = picked(values, row, column)

            sides = [
                max((run.count for run in runs), default=1) for runs in (key.rows, key.columns)
            ]
            most = len(key.times) * self._size(bands) * math.prod(sides)
            work = product(places(key.rows), places(key.columns))
            await some_of((read(*one, *other) for one, other in work), most)
        for name in list(found):
            if name not in names:
                values = found.pop(name)
                if name not in self.variables:
                    self._keep(name, key, values)
        return found

    async def points(self, name: str, times: Array, rows: Array, columns: Array) -> Array:
        """Single pixels: (n,) layers of time, rows and columns to (n,) numbers."""
        band = self._band(name)
        out = self._blank([band], (len(rows),))[name]

        async def read(some: Array) -> None:
            when, at = np.unique(times[some], return_inverse=True)
            r, c = rows[some], columns[some]
            row = Run(int(r.min()), int(np.ptp(r)) + 1)
            column = Run(int(c.min()), int(np.ptp(c)) + 1)
            found = await self._window([band], tuple(when.tolist()), row, column)
            out[some] = found[name][at.reshape(-1), r - row.start, c - column.start]

        most = len(np.unique(times)) * self._size([band]) * POINTS**2
        await some_of((read(some) for some in clusters(rows, columns)), most)
        return out

    async def _window(
        self, bands: Sequence[str], times: tuple[int, ...], row: Run, column: Run
    ) -> Found:
        """Whole windows, drawn a portion at a time."""
        shape = len(times), row.count, column.count
        parts = list(portions(*shape, self._size(bands), PORTION))
        if len(parts) == 1:
            return await self._draw(bands, times, row, column)
        found = self._blank(bands, shape)
        for t, r, c in parts:
            some = row.part(r.start, r.stop), column.part(c.start, c.stop)
            part = await self._draw(bands, times[t], *some)
            for name, values in part.items():
                found[name][t, r, c] = values
        return found

    def _size(self, bands: Sequence[str]) -> int:
        """Bytes of a pixel of some bands."""
        return sum(max(self.variables[name].dtype.itemsize, 1) for name in bands)

    def _blank(self, bands: Sequence[str], shape: tuple[int, ...]) -> Found:
        found: Found = {name: np.zeros(shape, self.variables[name].dtype) for name in bands}
        if self.choice.ignore:
            found |= {name + COVERED: np.zeros(shape, bool) for name in bands}
        return found

    async def _draw(
        self, bands: Sequence[str], times: tuple[int, ...], row: Run, column: Run
    ) -> Found:
        """One request."""
        if not times or not row.count or not column.count:
            return self._blank(bands, (len(times), row.count, column.count))
        # it may wait for the gate, which needs the pool: so not there
        request, where = await planned(lambda: self.request(bands, times, row, column))
        outcome = await draw_all(request, self.choice.gate, ignore=self.choice.ignore)
        self.note(outcome.problems)
        return await pooled(lambda: self._found(outcome, where))

    def request(
        self, bands: Sequence[str], times: Sequence[int], row: Run, column: Run
    ) -> tuple[Request, Where]:
        """The request of a window, and layer and place of each band at each time."""
        place = place_of(self.choice.target, row, column)
        some = [self.variables[name] for name in bands]
        return layered(place, some, self.scenes(), times)

    def _found(self, outcome: Outcome, where: Where) -> Found:
        """Arrays of canvases."""
        found: Found = {}
        for name, at in where.items():
            one = self.variables[name]
            values = planes([canvas.values for canvas in outcome.canvases], at)
            if one.declared.nodata is None and one.fill is not None:
                filled = planes([canvas.filled for canvas in outcome.canvases], at)
                values = cast(values, one.dtype)
                values[~filled] = one.fill
            found[name] = cast(values, one.dtype)
            if self.choice.ignore:
                parts = [outcome.covered[layer] for layer, _ in at]
                found[name + COVERED] = np.stack([part for part in parts if part is not None])
        return found


async def some_of(work: Iterable[Coroutine[Any, Any, None]], size: int) -> None:
    """All of them, as many at a time as :data:`PORTION` has room for; an error ends the others.

    ``size``: bytes of the largest.
    """
    rest = iter(work)

    async def one_by_one() -> None:
        for one in rest:
            await one

    count = max(1, min(_WINDOWS, PORTION // max(size, 1)))
    await all_of([one_by_one() for _ in range(count)])


def _dropped(early: dict[tuple[str, Key], Array], places: Collection[tuple[str, Key]]) -> None:
    """What nobody asked for in the end."""
    for place in places:
        early.pop(place, None)
