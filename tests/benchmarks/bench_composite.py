"""A median of twelve dates over the seam, beside odc-stac and xarray:  make bench-composite

Each contender is a cold process, warmed on other data; rounds are interleaved. The numbers are
compared with PROJ's nearest pixels and numpy's median of them before a time counts.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.benchmarks import homes
from tests.benchmarks.bench_read import Bench, served
from tests.benchmarks.cases import Case
from tests.benchmarks.contenders import COMPOSITES, Contender
from tests.benchmarks.result import Result
from tests.benchmarks.seam import Corpus
from tests.benchmarks.truth import shown

SERIES = Corpus(size=2048, bands=("B02", "B03", "B04"), dates=12, rows=2)
"""Twelve dates; the window is as large as one of their tiles."""


def median(stack: np.ndarray) -> np.ndarray:
    """(days, bands, H, W) with 0 for nothing to (1, bands, H, W) medians; 0 where nothing is."""
    values = np.where(stack == 0, np.uint16(65535), stack)
    values.sort(axis=0)
    count = (stack > 0).sum(0)
    low, high = (np.maximum(part, 0) for part in ((count - 1) // 2, count // 2))
    high = np.minimum(high, len(values) - 1)
    both = [np.take_along_axis(values, one[None], 0)[0].astype(np.float32) for one in (low, high)]
    found: np.ndarray = np.where(count > 0, (both[0] + both[1]) / 2, 0)
    return found[None]


def truth(bench: Bench, case: Case) -> np.ndarray:
    """What the median is; worked out once for a corpus."""
    path = bench.work / "truth_median.npy"
    if not path.is_file():
        window = case.window
        days = [
            shown(bench.work / "seam", bench.corpus, replace(window, days=(day,)))[0]
            for day in window.days
        ]
        np.save(path, median(np.stack(days)))
    found: np.ndarray = np.load(path)
    return found


def case_of(bench: Bench, size: int) -> Case:
    """The window: on both sides of the seam, all dates."""
    seam = next(one.window for one in bench.cases if one.name == "seam")
    return Case("median", replace(seam, width=size, height=size, days=tuple(bench.corpus.days())))


def once(bench: Bench, case: Case, one: Contender, result: Result, want: np.ndarray) -> float:
    """One read more; the share of pixels that are equal, or -1 where they were looked at before."""
    with tempfile.TemporaryDirectory() as folder:
        path = None if result.took else Path(folder) / "pixels.npy"
        result.took.append(bench.run(one, case, path))
        return -1.0 if path is None else float((np.load(path) == want).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=homes.CACHE / "series", help="scenes")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with served(given.work, SERIES) as bench:
        case = case_of(bench, SERIES.size)
        want = truth(bench, case)
        found = {name: Result() for name in COMPOSITES}
        equal: dict[str, float] = {}
        for _ in range(given.rounds):
            for name, one in COMPOSITES.items():
                share = once(bench, case, one, found[name], want)
                equal.setdefault(name, share)
                took = found[name].took[-1]
                print(f"{name:24} {took.wall:6.2f} s, {took.memory:5.0f} MB", file=sys.stderr)
    ours = found["mosaic median"]
    print("| median of 12 dates | wall s (CPU s) | MB of memory | requests, MB | equal to PROJ's |")
    print("| --- | --- | --- | --- | --- |")
    for name, result in found.items():
        wall, memory = result.median("wall"), result.median("memory")
        beside = f", {wall / ours.median('wall'):.1f}x" if result is not ours else ""
        more = f", {memory / ours.median('memory'):.1f}x" if result is not ours else ""
        traffic = f"{result.median('requests'):.0f}, {result.median('bytes') / 1e6:.0f}"
        print(
            f"| {name} | {wall:.2f} ({result.median('cpu'):.2f}){beside} | {memory:.0f}{more} "
            f"| {traffic} | {equal[name]:.2%} |"
        )


if __name__ == "__main__":
    main()
