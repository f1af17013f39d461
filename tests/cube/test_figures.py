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


def test_of_a_dataset_of_others(seamed: Made) -> None:
    with pytest.raises(UsageError, match="isn't one of"):
        mosaic.open(seamed.path, gate=Gate()).drop_encoding().mosaic.footprints()
