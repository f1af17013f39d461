"""Which scenes lie on top, and how deep the others: against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from mosaic.cube import piles
from mosaic.cube.piles import DEEP, Pile, depths, thinned
from mosaic.grid import Grids

CRS = "EPSG:32632"
TARGET = GeoBox((64, 64), Affine(100, 0, 500_000, 0, -100, 5_200_000), CRS)


def pile(boxes: list[tuple[int, int, int, int]], z: list[int]) -> Pile:
    """Items at (left, top, width, height) in pixels of the target; equal ones share a grid."""
    distinct = sorted(set(boxes))
    shape = np.array([(high, wide) for _, _, wide, high in distinct], np.int64)
    place = [(100, 0, 500_000 + 100 * x, 0, -100, 5_200_000 - 100 * y) for x, y, *_ in distinct]
    grids = Grids((CRS,), np.zeros(len(distinct), np.int32), shape, np.array(place, float))
    count = np.arange(len(boxes))
    of = np.array([distinct.index(box) for box in boxes], np.int64)
    return Pile(count, of, 0 * count, np.array(z, np.int64), grids)


def by_hand(boxes: list[tuple[int, int, int, int]], z: list[int]) -> list[int]:
    """How many lie on each where fewest do."""
    found = []
    for n, (x, y, wide, high) in enumerate(boxes):
        above = np.zeros((64, 64), int)
        for m, (x2, y2, wide2, high2) in enumerate(boxes):
            above[y2 : y2 + high2, x2 : x2 + wide2] += z[m] > z[n]
        found.append(int(above[y : y + high, x : x + wide].min()))
    return found


@pytest.mark.parametrize("pairs", [1 << 22, 40_000])  # fewer: looked at more coarsely
def test_depths(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(piles, "_PAIRS", pairs)
    rng = np.random.default_rng(5)
    corners = rng.integers(0, 5, (40, 2)) * 8
    boxes = [(int(x), int(y), 24, 24) for x, y in corners]
    z = rng.permutation(40).tolist()
    np.testing.assert_array_equal(depths(pile(boxes, z), TARGET, 100), by_hand(boxes, z))
    assert min(by_hand(boxes, z)) == 0


def test_of_one_place_only_the_topmost_are_looked_at() -> None:
    one = pile([(0, 0, 30, 30)] * 6, [3, 1, 5, 0, 4, 2])
    assert depths(one, TARGET, 3).tolist() == [2, DEEP, 0, DEEP, 1, DEEP]


def test_what_lies_between_the_middles_is_deep() -> None:
    tiny = pile([(0, 0, 30, 30), (40, 40, 1, 1)], [0, 1])
    small = piles.coarse(TARGET, 16)
    assert depths(tiny, small, 9).tolist() == [0, DEEP]


def test_thinned_keeps_what_lies_on_top_everywhere() -> None:
    """Of 400 items at 4 places some 40 remain: the highest ten of each."""
    boxes = [(x, y, 8, 8) for x in (0, 40) for y in (0, 40)] * 100
    z = np.random.default_rng(1).permutation(400).tolist()
    many = pile(boxes, z)
    few = thinned(many, TARGET, 40)
    assert len(few.item) == 40
    for box in set(boxes):
        mine = sorted((z[n] for n in range(400) if boxes[n] == box), reverse=True)
        assert sorted((z[n] for n in few.item if boxes[n] == box), reverse=True) == mine[:10]
    assert thinned(many, TARGET, 400) is many
    shapes = few.grids.transform[few.grid]
    np.testing.assert_array_equal(shapes, many.grids.transform[many.grid[few.item]])
