"""``make bench`` in small, so that it can't rot: a corpus made, served, built, read and judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks import bench_composite
from tests.benchmarks.bench_read import compared, right, served
from tests.benchmarks.contenders import COMPOSITES, CONTENDERS
from tests.benchmarks.result import Result
from tests.benchmarks.seam import TINY
from tests.benchmarks.told import figure, table
from tests.benchmarks.truth import Verdict, judged

OWN = [CONTENDERS["mosaic"], CONTENDERS["GTI, rasterio"]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Result]:
    folder = tmp_path_factory.mktemp("bench")
    with served(folder, TINY, latency=0.0, jobs=1) as bench:
        cases = {case.name: case for case in bench.cases}
        first = compared(bench, [cases["seam"]], OWN, rounds=1)
        return {**first, **compared(bench, [cases["second"]], OWN[:1], rounds=1)}


def test_pixels_are_right_and_blocks_are_asked_for_once(
    found: dict[tuple[str, str], Result],
) -> None:
    for (case, name), result in found.items():
        assert not result.failure, (case, name, result.failure)
    assert found["seam", "GTI, rasterio"].took[0].requests > 0
    ours = found["seam", "mosaic"]
    assert ours.verdict is not None
    assert ours.verdict.equal >= 0.9999
    assert ours.took[0].heads == 0
    # its first read has left it the headers, and some blocks
    assert found["second", "mosaic"].took[0].requests < ours.took[0].requests


def test_who_is_not_right_does_not_count(found: dict[tuple[str, str], Result]) -> None:
    truth = np.arange(1, 10001, dtype=np.uint16).reshape(1, 1, 100, 100) * 3
    assert judged(truth, truth) == Verdict(1.0, 1.0)
    shifted = np.roll(truth, 1, axis=2)
    assert not right(OWN[1], _Seam, judged(shifted, truth))
    assert not right(OWN[1], _Seam, judged(truth[..., :50], truth))
    holes = truth.copy()
    holes[..., :10] = 0
    assert not right(OWN[1], _Seam, judged(holes, truth))


class _Seam:
    name = "seam"


def test_the_table_and_the_figure(found: dict[tuple[str, str], Result], tmp_path: Path) -> None:
    found = {**found, ("seam", "absent"): Result(failure="no such thing")}
    text = table(found, ["seam"], ["mosaic", "GTI, rasterio", "absent"])
    assert "| absent | absent: no such thing |" in text
    assert text.count("x |") == 1
    figure(found, ["seam"], ["mosaic", "GTI, rasterio", "absent"], tmp_path / "bench.png")
    assert (tmp_path / "bench.png").read_bytes()[:4] == b"\x89PNG"


def test_a_median_in_small(tmp_path: Path) -> None:
    """The correctness half of ``make bench-composite``: PROJ's pixels, and numpy's median."""
    with served(tmp_path, replace(TINY, dates=4), latency=0.0, jobs=1) as bench:
        case = bench_composite.case_of(bench, TINY.size)
        want = bench_composite.truth(bench, case)
        days = np.unique(want % 1)
        assert 0.5 in days  # of an even number
        result = Result()
        one = COMPOSITES["mosaic median"]
        assert bench_composite.once(bench, case, one, result, want) > 0.9999
        assert (want > 0).mean() > 0.99
        assert result.took[0].heads == 0
