"""CRSs and pixel grids: names, transformations, pixel sizes, the mosaic's own grid.

A raster's *grid* is (CRS, height, width, affine). Coordinates are always x, y (longitude,
latitude), whatever the authority's axis order. Angles are degrees.
"""

from mosaic.grid.grids import Grids, affine6, pixel_extent
from mosaic.grid.own import covering, enlarged, mosaic_geobox, nice_resolution, overview_factors
from mosaic.grid.systems import (
    LONLAT,
    Bounds,
    Floats,
    canonical,
    choose_crs,
    crs,
    is_geographic,
    is_horizontal,
    moves_datum,
    project,
    seam,
    stepwise,
    transformer,
    turn,
    utm,
    world,
)

__all__ = [
    "LONLAT",
    "Bounds",
    "Floats",
    "Grids",
    "affine6",
    "canonical",
    "choose_crs",
    "covering",
    "crs",
    "enlarged",
    "is_geographic",
    "is_horizontal",
    "mosaic_geobox",
    "moves_datum",
    "nice_resolution",
    "overview_factors",
    "pixel_extent",
    "project",
    "seam",
    "stepwise",
    "transformer",
    "turn",
    "utm",
    "world",
]
