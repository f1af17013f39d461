"""A grid's coordinates, as datasets have them. Pure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords


def coordinates(target: GeoBox) -> dict[str, xr.DataArray]:
    """``x``, ``y`` and ``spatial_ref``."""
    found = {str(name): one for name, one in xr_coords(target, always_yx=True).items()}
    for name in "xy":
        attrs = found[name].attrs
        if attrs.get("units") == "" and target.crs is not None:
            # odc-geo goes by the axes' directions, and about a pole both run north or south
            attrs["units"] = target.crs.proj.axis_info[0].unit_name
    return found


def along(target: GeoBox, name: str, part: slice) -> npt.NDArray[np.float64]:
    """Part of ``x`` or ``y`` of an upright grid, the same to the last bit, without the rest."""
    step, start = (
        (target.affine.a, target.affine.c) if name == "x" else (target.affine.e, target.affine.f)
    )
    found: npt.NDArray[np.float64] = np.arange(part.start, part.stop) * step + (start + step / 2)
    return found
