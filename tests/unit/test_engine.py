"""What decides how a read goes, without a file: overviews, cells, waves, memory."""

from __future__ import annotations

import asyncio
import random

import numpy as np
import pytest

from mosaic.engine.blocks import level
from mosaic.engine.budget import Budget
from mosaic.engine.cost import Cost, least_seconds
from mosaic.engine.cover import Cells, cover, wave
from mosaic.engine.lattice import Grid, lattice
from mosaic.settings import Limits
from mosaic.storage import Quota

LEVELS = [(1000, 1000), (500, 500), (250, 250), (125, 125)]


@pytest.mark.parametrize(
    ("scale", "found"),
    [
        ((1.0, 1.0), 0),
        ((0.3, 9.0), 0),
        ((1.09, 1.09), 0),
        ((1.8, 1.8), 0),
        ((2.0, 2.0), 1),
        ((2.05, 7.0), 1),
        ((3.9, 3.8), 1),
        ((4.0, 4.0), 2),
        ((7.0, 3.0), 1),
        ((8.0, 8.0), 3),
        ((100.0, 100.0), 3),
        ((float("nan"), 2.0), 0),
    ],
)
def test_the_overview_isnt_coarser_than_the_target(scale: tuple[float, float], found: int) -> None:
    assert level(LEVELS, scale) == found
    assert level(LEVELS[:1], scale) == 0


def test_cells_hide_what_lies_below_them() -> None:
    """Two scenes on one grid: the upper fills the left half of a window that begins off a cell."""
    target = Grid("EPSG:32632", (1000, 1000), (10.0, 0.0, 0.0, 0.0, -10.0, 0.0))
    upper = Grid("EPSG:32632", (1000, 500), target.transform)
    window = (100, 60, 600, 700)
    cells = Cells(window)
    assert cells.area.sum() == 600 * 700
    one, two = (cover(cells, lattice(target, grid, window), grid.shape) for grid in (upper, target))
    assert two.full.all()
    rows, columns = cells.shape
    full = one.full.reshape(rows, columns)
    # columns 60 to 500 are filled: the cells that end at 128, 256 and 384, not that at 512
    assert full[:, :3].all()
    assert not full[:, 3:].any()
    everything = np.ones(rows * columns, bool)
    nothing = np.zeros(rows * columns, bool)
    first = wave([one, two], everything, [nothing, nothing])
    assert (first[1] == ~one.full).all()
    # a hole in one hidden cell
    hole = nothing.copy()
    hole[columns + 1] = True
    again = wave([one, two], hole, [first[0], first[1]])
    assert not again[0].any()
    assert np.flatnonzero(again[1]).tolist() == [columns + 1]
    pixels = np.zeros((600, 700), bool)
    pixels[128 - 100, 128 - 60] = True
    assert np.flatnonzero(cells.holding(pixels)).tolist() == [columns + 1]


@pytest.mark.parametrize("seed", range(5))
def test_memory_is_given_in_order_and_nobody_waits_for_ever(seed: int) -> None:
    """Each portion needs two blocks that come apart; many are larger than all there is."""
    chance = random.Random(seed)
    budget = Budget(100)
    drawn: list[int] = []

    async def block(number: int, size: int, arrived: asyncio.Event) -> None:
        await asyncio.sleep(chance.random() / 100)
        await budget.enter((number,), size)
        await asyncio.sleep(chance.random() / 500)
        arrived.set()
        budget.rest()

    async def portion(number: int, before: asyncio.Event | None, done: asyncio.Event) -> None:
        sizes = [chance.choice([5, 30, 70, 150]) for _ in range(2)]
        events = [asyncio.Event(), asyncio.Event()]
        pairs = zip(sizes, events, strict=True)
        work = [asyncio.ensure_future(block(number, s, e)) for s, e in pairs]
        for event in (*events, *([before] if before else [])):
            await event.wait()
        drawn.append(number)
        for size in sizes:
            budget.free(size)
        await asyncio.gather(*work)
        done.set()

    async def all_of_them() -> None:
        events = [asyncio.Event() for _ in range(40)]
        portions = [portion(n, events[n - 1] if n else None, events[n]) for n in range(len(events))]
        chance.shuffle(portions)
        await asyncio.wait_for(asyncio.gather(*portions), 20)

    asyncio.run(all_of_them())
    assert drawn == list(range(40))


def test_quotas() -> None:
    cost = Cost(files=3, requests=30, bytes=6_000_000, used=1, blocks=40)
    slow = Quota("https://a", Limits(requests_per_minute=60))
    thin = Quota("https://b", Limits(bytes_per_second=50_000))
    assert least_seconds([(slow, cost), (thin, cost)]) == 120
    assert least_seconds([(Quota("https://a", Limits()), cost)]) == 0
    assert least_seconds([(Quota("file:", None), cost)]) == 0
    # 30 requests, 4 at once, 100 ms each; and a header before its block, however few
    far = Quota("https://c", Limits(concurrency=4), quickest=0.1)
    assert least_seconds([(far, cost)]) == pytest.approx(0.8)
    assert least_seconds([(far, Cost(1, 2, 10, 1, 1))]) == pytest.approx(0.2)
    assert least_seconds([(far, Cost(1, 1, 10, 1))]) == pytest.approx(0.1)
