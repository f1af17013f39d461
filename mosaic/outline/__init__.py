"""Outlines of rasters in another CRS: exact edges, cut at the antimeridian, closed at a pole.

The perimeter of each grid is projected point by point (at least 21 points a side, doubled
until a chord lies within a tenth of a pixel of the curve). Where the target CRS is cut at a
meridian, an outline that crosses it becomes a piece on either side.
"""

from mosaic.outline.boxes import box_bounds, box_outlines, lonlat_bounds, lonlat_union, meets
from mosaic.outline.edges import Geometries, Outlines, batches, outlines
from mosaic.outline.growth import grown, scaled
from mosaic.outline.rings import Bools

__all__ = [
    "Bools",
    "Geometries",
    "Outlines",
    "batches",
    "box_bounds",
    "box_outlines",
    "grown",
    "lonlat_bounds",
    "lonlat_union",
    "meets",
    "outlines",
    "scaled",
]
