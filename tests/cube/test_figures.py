"""Figures of datasets: what they draw."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest

import mosaic
from mosaic.errors import UsageError
from mosaic.storage import Gate
from tests.cube.conftest import Made


def test_footprints_lie_where_the_scenes_do(seamed: Made) -> None:
    """Each outline's middle is a scene's, by PROJ; scenes of two dates are drawn once."""
    ds = mosaic.open(seamed.path, gate=Gate())
    figure = ds.mosaic.footprints()
    (axes,) = figure.axes
    legend = {text.get_text() for text in axes.get_legend().get_texts()}
    assert legend == {"EPSG:32632  (4)", "EPSG:32633  (4)"}
    places = {(scene.crs, scene.transform, scene.shape) for scene in seamed.scenes}
    want = []
    for crs, transform, (height, width) in places:
        to = pyproj.Transformer.from_crs(crs, "EPSG:3035", always_xy=True)
        want.append(to.transform(*transform @ (width / 2, height / 2)))
    rings = [path.vertices for part in axes.collections for path in part.get_paths()]
    assert len(rings) == len(places)
    got = [(ring.min(0) + ring.max(0)) / 2 for ring in rings]
    for one in want:
        assert min(np.hypot(*(np.array(one) - other)) for other in got) < 120  # two pixels
    (edge,) = axes.lines
    west, south, east, north = ds.odc.geobox.boundingbox
    assert (edge.get_xdata().min(), edge.get_xdata().max()) == (west, east)
    assert (edge.get_ydata().min(), edge.get_ydata().max()) == (south, north)


def test_only_what_is_near_is_drawn(seamed: Made) -> None:
    west, south, _, north = mosaic.open(seamed.path).odc.geobox.geographic_extent.boundingbox
    ds = mosaic.open(seamed.path, gate=Gate(), bbox=(west, south, west + 0.01, north))
    (axes,) = ds.mosaic.footprints().axes
    assert [text.get_text()[:10] for text in axes.get_legend().get_texts()] == ["EPSG:32632"]


def scenes_at(made: Made, crs: str, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Which places PROJ puts inside each scene."""
    found = {}
    for scene in made.scenes:
        to = pyproj.Transformer.from_crs(crs, scene.crs, always_xy=True)
        column, row = ~scene.transform @ to.transform(x, y)
        height, width = scene.shape
        found[scene.id] = (column > 0) & (column < width) & (row > 0) & (row < height)
    return found


def test_counts_are_those_of_proj(seamed: Made) -> None:
    """Items over each place, and layers of time that have one, but for a pixel's edge."""
    ds = mosaic.open(seamed.path, gate=Gate(), groupby="day")
    got = ds.mosaic.counts(size=300)
    layers = ds.mosaic.counts(of="time", size=300)
    assert got.dims == ("y", "x")
    assert max(got.shape) == 300
    assert got.odc.geobox.extent.contains(ds.odc.geobox.extent.buffer(-1))
    x, y = np.meshgrid(got.x, got.y)
    inside = scenes_at(seamed, "EPSG:3035", x, y)
    want = np.sum(list(inside.values()), axis=0)
    assert want.max() == 8
    assert (got.values == want).mean() > 0.995
    days = {scene.datetime[:10] for scene in seamed.scenes}
    of_days = [
        np.any([inside[s.id] for s in seamed.scenes if s.datetime.startswith(day)], axis=0)
        for day in days
    ]
    assert (layers.values == np.sum(of_days, axis=0)).mean() > 0.995
    assert layers.values.max() == len(days) == 2
    figure = ds.mosaic.coverage(size=300)
    axes, bar = figure.axes
    assert f"{(want > 0).mean():.1%}"[:4] in axes.get_title()
    assert [text.get_text() for text in bar.get_yticklabels()] == [str(n) for n in range(1, 9)]
    drawn = axes.images[0]
    np.testing.assert_array_equal(drawn.get_array().filled(0), got.values)
    corners = drawn.get_transform().transform([(0, 0), got.shape[::-1]])
    placed = axes.transData.inverted().transform(corners)
    box = got.odc.geobox.boundingbox
    np.testing.assert_allclose(placed, [(box.left, box.top), (box.right, box.bottom)], rtol=1e-9)


def test_many_layers_are_counted_in_parts(seamed: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    ds = mosaic.open(seamed.path, gate=Gate(), groupby="id")
    whole = ds.mosaic.counts(of="time", size=64)
    monkeypatch.setattr("mosaic.cube.piles._TABLE", 64 * 64)
    monkeypatch.setattr("mosaic.cube.piles._PAIRS", 1000)
    np.testing.assert_array_equal(ds.mosaic.counts(of="time", size=64), whole)
    np.testing.assert_array_equal(ds.mosaic.counts(size=64), whole)  # each item is a layer


def test_counts_that_cannot_be_meant(seamed: Made) -> None:
    ds = mosaic.open(seamed.path, gate=Gate())
    with pytest.raises(UsageError, match="items, time"):
        ds.mosaic.counts(of="dates")
    with pytest.raises(UsageError, match="size=0"):
        ds.mosaic.coverage(size=0)


def test_of_a_dataset_of_others(seamed: Made) -> None:
    with pytest.raises(UsageError, match="isn't one of"):
        mosaic.open(seamed.path, gate=Gate()).drop_encoding().mosaic.footprints()
