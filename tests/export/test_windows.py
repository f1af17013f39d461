"""What is planned of an export: windows, and what tells two exports apart."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mosaic
from mosaic.errors import UsageError
from mosaic.exporter.journal import differences
from mosaic.exporter.pixels import crc_of, is_empty
from mosaic.exporter.windows import LARGEST, ROOM, Windows, side_of
from tests.cube.conftest import Made

SIZES = st.integers(1, 70)


@given(layers=st.integers(1, 3), height=SIZES, width=SIZES, side=st.integers(1, 40))
def test_windows_hold_every_pixel_once(layers: int, height: int, width: int, side: int) -> None:
    counts = np.zeros((layers, height, width), int)
    windows = Windows((layers, height, width), side)
    for number, window in enumerate(windows):
        assert window.number == number
        counts[window.place] += 1
        assert window.row % side == window.column % side == 0
    assert (counts == 1).all()
    assert len(list(windows)) == len(windows)


@given(
    pixel=st.integers(1, 400),
    power=st.integers(7, 12),
    side=st.integers(1, 300_000),
    few=st.sampled_from([0, 1024]),
)
def test_windows_have_room(pixel: int, power: int, side: int, few: int) -> None:
    block = 1 << power
    found = side_of(pixel, block, (1, side, side), few)
    assert found % block == 0
    assert found == block or (found**2 * pixel <= ROOM and found <= LARGEST)
    small = side_of(pixel, block, (1, side, side), 1 << 40)
    assert small <= found


def test_empty_is_told_by_bits() -> None:
    for dtype, nodata in (("uint16", None), ("float32", 0.0), ("float64", float("nan"))):
        band = np.full((4, 4), 0 if nodata is None else nodata, dtype)
        assert is_empty(band, nodata)
        band[3, 3] = 1
        assert not is_empty(band, nodata)
    assert not is_empty(np.full((2, 2), -0.0), 0.0)
    assert not is_empty(np.zeros((2, 2), "float32"), float("nan"))


def test_checksums_know_order_and_type() -> None:
    band = np.arange(12, dtype="uint16").reshape(3, 4)
    assert crc_of([band, band + 1]) == crc_of([band.astype(">u2"), np.asfortranarray(band + 1)])
    assert crc_of([band, band + 1]) != crc_of([band + 1, band])
    assert crc_of([band]) != crc_of([band.T])


def test_differences_are_told_by_name() -> None:
    before = {"method": "first", "bands": ["a"], "numbers": [{"x": 1}], "choice": "1"}
    now = {"method": "median", "bands": ["a"], "numbers": [{"x": 2}], "choice": "2"}
    assert differences(before, now) == ["method was first, is median", "other numbers"]
    assert differences(before, before) == []
    assert differences(before, {**before, "choice": "2"}) == ["other choice"]


def test_a_store_needs_zarr(native: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(UsageError, match=r"pip install 'virtual-mosaic\[zarr\]'"):
        mosaic.export(native.path, tmp_path / "out.zarr")
