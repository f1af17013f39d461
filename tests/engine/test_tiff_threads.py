"""Blocks are decoded beside other threads: the codecs let go of the GIL."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from mosaic.engine.tiff import decode
from tests.engine.support import located, open_tiff, pixels

SIDE = 2048
KINDS: dict[str, dict[str, Any]] = {
    "deflate": {"compress": "deflate", "predictor": 2, "zlevel": 1},
    "zstd": {"compress": "zstd", "predictor": 2, "zstd_level": 1},
    "lzw": {"compress": "lzw"},
    "packbits": {"compress": "packbits"},
    "jpeg": {"compress": "jpeg"},
    "lerc": {"compress": "lerc"},
    "webp": {"compress": "webp", "count": 3, "webp_level": 50},
}


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("name", KINDS)
def test_other_threads_run_while_a_block_is_decoded(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.tif"
    options = {"count": 1, **KINDS[name]}
    rng = np.random.default_rng(0)
    values = rng.integers(0, 40, (options["count"], SIDE, SIDE)).astype("u1")
    with rasterio.open(
        path, "w", driver="GTiff", width=SIDE, height=SIDE, dtype="uint8", tiled=True,
        blockxsize=SIDE, blockysize=SIDE, num_threads=2, **options,
    ) as dataset:  # fmt: skip
        dataset.write(values)
    tiff, data = open_tiff(path)
    (span,) = located(tiff.image, data, 0, 0).spans()
    assert span is not None
    block = data[span.start : span.stop]
    assert _freedom(lambda: decode(tiff.image, block, 0, 0), enough=0.6) > 0.6


def test_a_call_that_keeps_the_gil_is_noticed() -> None:
    assert _freedom(lambda: sum(range(10_000_000)), tries=1) < 0.4


def _freedom(call: Callable[[], object], tries: int = 20, enough: float = 1.0) -> float:
    """Share of a call's time outside of the longest stretch in which no other thread ran."""
    ticks: list[float] = []
    done = threading.Event()

    def tick() -> None:
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0)

    other = threading.Thread(target=tick)
    other.start()
    best = 0.0
    try:
        for _ in range(tries):  # other processes may have the processor: once is enough
            start = time.perf_counter()
            call()
            stop = time.perf_counter()
            during = np.array([start, *(t for t in ticks if start < t < stop), stop])
            best = max(best, float(1.0 - np.diff(during).max() / (stop - start)))
            if best > enough:
                break
    finally:
        done.set()
        other.join()
    return best


def test_many_threads_decode_one_file(shared: Path) -> None:
    path = shared / "cogeotiff+rio-tiler/tests/fixtures/mosaic_cog1.tif"
    tiff, data = open_tiff(path)
    expected = pixels(tiff.image, data)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: pixels(tiff.image, data), range(16)):
            assert np.array_equal(found, expected)


def test_headers_travel_to_other_processes(shared: Path) -> None:
    path = shared / "cogeotiff+rio-tiler/tests/fixtures/mosaic_cog1.tif"
    tiff, data = open_tiff(path)
    again = pickle.loads(pickle.dumps(tiff))
    assert again.geo == tiff.geo
    assert np.array_equal(pixels(again.image, data), pixels(tiff.image, data))
    # a header keeps its tables, not the bytes that it came from
    assert len(pickle.dumps(tiff)) < 20_000
