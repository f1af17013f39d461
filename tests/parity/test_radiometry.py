"""rasterio reads mixed encodings as if all scenes were stored in the newest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from tests.support.mixed import MIXTURES, OLD, OVERVIEWS, STORED, Mixture, Pair, added, pair


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mixed")


@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
@pytest.mark.parametrize("case", MIXTURES, ids=str)
def test_equals_scenes_stored_in_the_newest_encoding(
    case: Mixture, resampling: str, folder: Path
) -> None:
    built = pair(case, folder, resampling)
    changed = sum(scene.datetime == OLD for scene in case.scenes)
    (encoding,) = built.report.encodings
    assert (encoding.scale, encoding.offset, encoding.changed) == (1e-4, -0.1, changed)
    with rasterio.open(built.mixed) as mixed, rasterio.open(built.twin) as twin:
        assert mixed.dtypes == ("uint16",)
        assert (mixed.nodata, mixed.scales, mixed.offsets) == (0, (1e-4,), (-0.1,))
        for window in _windows(mixed):
            here, there = mixed.read(1, window=window), twin.read(1, window=window)
            np.testing.assert_array_equal(here, there)
            mask = mixed.read_masks(1, window=window)
            np.testing.assert_array_equal(mask, twin.read_masks(1, window=window))
            np.testing.assert_array_equal(mask > 0, here != 0)
        # and the twins hold each kind of number
        _held(built, resampling)


def _windows(dataset: rasterio.DatasetReader) -> list[rasterio.windows.Window]:
    """Where there are scenes: across 180 degrees a mosaic is wide and empty."""
    width, height = dataset.width, dataset.height
    if width * height < 4_000_000:
        return [rasterio.windows.Window(0, 0, width, height)]
    return [rasterio.windows.Window(left, 0, 700, height) for left in (0, width - 700, width // 2)]


def _held(built: Pair, resampling: str) -> None:
    with rasterio.open(built.mixed) as mixed:
        values = np.concatenate([mixed.read(1, window=w).ravel() for w in _windows(mixed)])
    assert {1001, 1900, 2000, 11000, 65535} <= set(np.unique(values).tolist())


@pytest.fixture(scope="module")
def own_zone(folder: Path) -> Pair:
    return pair(MIXTURES[0], folder / "again", "nearest")


def test_raw_is_what_the_files_hold(own_zone: Pair) -> None:
    with rasterio.open(own_zone.raw) as raw, rasterio.open(own_zone.mixed) as mixed:
        assert (raw.nodata, raw.scales, raw.offsets) == (0, (1.0,), (0.0,))
        assert raw.shape == mixed.shape
    year = {kind: index.parent / "B04_2021.gti" for kind, index in own_zone.indexes.items()}
    with rasterio.open(year["raw"]) as raw, rasterio.open(year["mixed"]) as mixed:
        stored, shown = raw.read(1), mixed.read(1)
        np.testing.assert_array_equal(shown, added(stored))
        assert set(np.unique(stored)) == set(STORED)
        # a file of the mosaic's own zone, on the mosaic's own pixels
        with rasterio.open(own_zone.scenes / "S2_32_0_0" / "B04.tif") as file:
            values = file.read(1)
            window = raw.window(*file.bounds).round_offsets().round_lengths()
            np.testing.assert_array_equal(np.where(values, raw.read(1, window=window), 0), values)
    year["raw"] = own_zone.raw.parent / "B04_2024.gti"
    year["mixed"] = own_zone.mixed.parent / "B04_2024.gti"
    with rasterio.open(year["raw"]) as raw, rasterio.open(year["mixed"]) as mixed:
        np.testing.assert_array_equal(mixed.read(1), raw.read(1))


def test_one_ground_has_one_value_in_both_encodings(own_zone: Pair) -> None:
    reflectance = []
    for year in (2021, 2024):
        with rasterio.open(own_zone.mixed.parent / f"B04_{year}.gti") as one:
            values = one.read(1, masked=True).astype(float)
            reflectance.append(values * one.scales[0] + one.offsets[0])
    both = ~reflectance[0].mask & ~reflectance[1].mask
    assert both.sum() > 10_000
    np.testing.assert_array_equal(reflectance[0][both], reflectance[1][both])
    assert set(np.unique(np.round(reflectance[0][both], 4))) == {0.0001, 0.09, 0.1, 1.0, 6.4535}


@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
@pytest.mark.parametrize("factor", [2, 4])
def test_overviews_too(factor: int, resampling: str, folder: Path) -> None:
    built = pair(OVERVIEWS, folder, resampling)
    with rasterio.open(built.mixed) as mixed, rasterio.open(built.twin) as twin:
        shape = (mixed.height // factor, mixed.width // factor)
        here, there = mixed.read(1, out_shape=shape), twin.read(1, out_shape=shape)
        assert factor in mixed.overviews(1)
    assert np.count_nonzero(here) > here.size // 4
    np.testing.assert_array_equal(here, there)
