"""Does a tile index keep the rules by which GDAL reads it right? Judging alone, no reading.

The rules and what was measured are in docs/tile-indexes.md: GDAL is patient with most breaches and
answers with holes, so they are looked for here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

import numpy as np

from mosaic.catalog.source import GDAL_TYPES
from mosaic.checker.extent import same_crs
from mosaic.checker.read import Declared, Rows
from mosaic.checker.vrt import Small
from mosaic.errors import Problem
from mosaic.grid import Bounds
from mosaic.secret import SECRET_PARAMETERS

AGAIN = "build the mosaic again"


@dataclass(frozen=True, slots=True)
class Mark:
    """A mosaic's grid as its collection tells it (``mosaic:grid``)."""

    crs: str
    """Canonical name of the CRS."""
    shape: tuple[int, int]
    """Height and width in pixels."""
    transform: tuple[float, ...]
    """Affine a, b, c, d, e, f."""

    @property
    def res(self) -> tuple[float, float]:
        """Pixel width and height."""
        return (self.transform[0], -self.transform[4])

    @property
    def bounds(self) -> Bounds:
        """Left, bottom, right, top."""
        a, _, c, _, e, f = self.transform
        return (c, f + e * self.shape[0], c + a * self.shape[1], f)


def grid_problems(
    name: str,
    crs: str,
    transform: tuple[float, ...] | None,
    shape: tuple[int, int] | None,
    mark: Mark,
) -> list[Problem]:
    """Where the grid that a GTI XML or a VRT declares isn't the mosaic's."""
    wrong = []
    if not crs:
        wrong.append("declares no SRS")
    elif not same_crs(crs, mark.crs, mark.bounds):
        wrong.append(f"declares the SRS {crs[:40]}, collection.json {mark.crs[:40]}")
    if transform is None:
        wrong.append("declares no GeoTransform")
    elif not np.allclose(transform, mark.transform, rtol=1e-12, atol=1e-9 * mark.res[0]):
        said = f"{list(transform)}, collection.json {list(mark.transform)}"
        wrong.append(f"declares the transform {said}")
    if shape is None:
        wrong.append("declares no XSize and YSize")
    elif shape != mark.shape:
        size, other = (f"{one[1]} x {one[0]}" for one in (shape, mark.shape))
        wrong.append(f"declares {size} pixels, collection.json {other}")
    return [Problem("grid", f"{name} {what}", AGAIN) for what in wrong]


def declaration_problems(name: str, found: Declared, rows: Rows, mark: Mark) -> list[Problem]:
    """What an index should declare and doesn't, or declares wrongly."""
    problems = grid_problems(name, found.crs, found.transform, found.shape, mark)
    if not same_crs(rows.crs, mark.crs, mark.bounds):
        what = f"{name}: its footprints are in {rows.crs[:40] or 'no CRS'}, not in {mark.crs[:40]}"
        problems.append(Problem("index-crs", what, f"{AGAIN}: GDAL would read it empty"))
    wrong = []
    types = set(GDAL_TYPES.values())
    if not found.band_count or len(found.dtypes) != found.band_count:
        wrong.append(
            ("bands", f"declares {found.band_count or 'no'} bands, describes {len(found.dtypes)}")
        )
    elif not all(kind in types for kind in found.dtypes):
        wrong.append(("bands", "declares no data type: GDAL would take Byte"))
    if found.sort_field not in rows.columns:
        wrong.append(("sort-field", f"sorts by {found.sort_field or 'nothing'}, no column of it"))
    if found.location_field not in rows.columns:
        wrong.append(("location-field", f"has no column {found.location_field}"))
    factor = max(found.factors, default=1)
    if found.shape and (found.shape[0] % factor or found.shape[1] % factor):
        size = f"{found.shape[1]} x {found.shape[0]}"
        wrong.append(("factor", f"is {size} pixels, no multiple of its overview factor {factor}"))
    if rows.found_by_place is not None and rows.found_by_place != len(rows):
        wrong.append(
            ("rows", f"has {len(rows)} rows, {rows.found_by_place} of them in its spatial index")
        )
    return problems + [Problem(kind, f"{name} {what}", AGAIN) for kind, what in wrong]


_BARE = re.compile(r"(?:^|>)\s*(https?|s3|gs|az|abfss?|oss)://", re.IGNORECASE)
_USER = re.compile(r"://[^/@\s<>]*:[^/@\s<>]*@")
_SECRET = re.compile(
    r"[?&;](?:" + "|".join(map(re.escape, sorted(SECRET_PARAMETERS))) + r"|x-(?:amz|goog|ms)-\w+)=",
    re.IGNORECASE,
)


def holds_secret(text: str) -> bool:
    """Whether a URL in a text carries a password, or what signs or authorises a request."""
    plain = unquote(unquote(text.replace("&amp;", "&").replace("&amp;", "&")))
    return bool(_USER.search(plain) or _SECRET.search(plain))


def location_problems(name: str, asset: str, rows: Rows) -> list[Problem]:
    """Locations that GDAL reads badly, or that hold a secret."""
    problems = []
    for text, item in zip(rows.location, rows.item, strict=True):
        if not text:
            problems.append(Problem("location", f"{name}: has no location", AGAIN, item, asset))
            continue
        if "://" not in text and "%3A" not in text and "?" not in text and "GTI:" not in text:
            continue
        bare = _BARE.search(text)
        if bare or "GTI:" in text or "/vsicurl/http" in text:
            form = bare[1] + "://" if bare else "GTI:" if "GTI:" in text else "/vsicurl/"
            what = f"{name}: its location is a bare {form}, which GDAL reads badly or not"
            problems.append(Problem("location", what, AGAIN, item, asset))
        if holds_secret(text):
            what = f"{name}: its location holds a password, token or signature"
            advice = f"{AGAIN}, and have the secret withdrawn"
            problems.append(Problem("secret", what, advice, item, asset))
    return problems


def vrt_faults(
    one: Small,
    index: Declared,
    mark: Mark,
    scene: tuple[str, tuple[int, int], tuple[float, ...]],
) -> list[str]:
    """What is wrong with a VRT that stands for a tile; ``scene``: its CRS, shape and affine."""
    faults = []
    if index.dtypes and one.dtypes[: len(index.dtypes)] != index.dtypes:
        faults.append(
            f"its VRT has bands of {', '.join(one.dtypes)}, the index {', '.join(index.dtypes)}"
        )
    if not all(source.told for source in one.sources):
        faults.append("its VRT tells no size and type of its source: GDAL opens it at once")
    crs, shape, transform = scene
    if one.warped:
        if not same_crs(one.crs, mark.crs, mark.bounds):
            faults.append(f"its VRT is in {one.crs[:40]}, the mosaic in {mark.crs[:40]}")
        off = (np.array(one.transform) - np.array(mark.transform)) / (mark.res[0] + mark.res[1])
        shift = np.array([off[2] / mark.res[0], off[5] / mark.res[1]])
        shift *= mark.res[0] + mark.res[1]
        same = np.allclose(off[[0, 1, 3, 4]], 0, atol=1e-9)
        if not same or np.abs(shift - np.round(shift)).max() > 1e-3:
            faults.append("its VRT doesn't lie on the mosaic's pixels")
    else:
        if not same_crs(one.crs, crs, one.bounds):
            faults.append(f"its VRT is in {one.crs[:40]}, the item in {crs[:40]}")
        size = abs(transform[0]) + abs(transform[1])
        if one.shape != shape or not np.allclose(one.transform, transform, atol=1e-6 * size):
            faults.append("its VRT has another grid than the item")
    return faults
