"""Ways between CRSs."""

import numpy as np
import pyproj
import pytest

from mosaic.grid import moves_datum, stepwise, systems


@pytest.mark.parametrize(
    ("source", "target", "box", "count"),
    [
        ("EPSG:3035", "EPSG:32632", (-10, 35, 40, 70), 2),
        ("EPSG:32633", "EPSG:3035", (5, 40, 25, 70), 2),
        ("EPSG:3035", "EPSG:4326", (-30, 30, 60, 80), 1),
        ("EPSG:4258", "EPSG:32632", (0, 35, 20, 70), 1),
        ("EPSG:3035", "EPSG:3857", (-30, 30, 60, 80), 2),
        ("EPSG:2193", "EPSG:32760", (165, -50, 180, -30), 2),
        ("EPSG:32632", "EPSG:32633", (0, -80, 20, 84), 1),  # one datum
        ("EPSG:27700", "EPSG:32630", (-7, 50, 2, 60), 1),  # datums that differ
        ("EPSG:4258", "EPSG:4326", (-180, -90, 180, 90), 1),
    ],
)
def test_steps_lead_where_the_way_leads(
    source: str, target: str, box: tuple[float, float, float, float], count: int
) -> None:
    chance = np.random.default_rng(1)
    lon, lat = (chance.uniform(a, b, 500) for a, b in zip(box[:2], box[2:], strict=True))
    x, y = pyproj.Transformer.from_crs("EPSG:4326", source, always_xy=True).transform(lon, lat)
    direct = pyproj.Transformer.from_crs(source, target, always_xy=True).transform(x, y)
    unit = 1e-12 if pyproj.CRS(target).is_geographic else 1e-7
    for found in (stepwise(source, target, x, y), stepwise(source, target, x, y, back=True)):
        np.testing.assert_allclose(found, direct, rtol=0, atol=unit)
    assert len(systems._steps(source, target)) == count  # how many transformers that took


def test_a_crs_that_brings_its_own_shift_is_gone_to_directly() -> None:
    bound = "+proj=longlat +ellps=bessel +towgs84=598.1,73.7,418.2,0.202,0.045,-2.455,6.7 +type=crs"
    lon, lat = np.array([9.0, 11.0]), np.array([48.0, 52.0])
    direct = pyproj.Transformer.from_crs(bound, "EPSG:32632", always_xy=True).transform(lon, lat)
    np.testing.assert_array_equal(stepwise(bound, "EPSG:32632", lon, lat), direct)
    assert moves_datum(bound, "EPSG:32632")
    assert not moves_datum("EPSG:3035", "EPSG:32632")
