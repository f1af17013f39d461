"""What a user can choose when a mosaic is built, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mosaic.catalog.gti import GDAL_RESAMPLING
from mosaic.catalog.source import GDAL_TYPES
from mosaic.errors import UsageError
from mosaic.grid import Bounds, canonical
from mosaic.recipes.recipe import Recipe
from mosaic.searcher.request import Flags

NOTHING = Flags()
_OF_CLASSES = ("nearest", "mode")

SLICES = {"none": 0, "year": 4, "month": 7, "day": 10}
"""Time slices to the length of the part of an RFC 3339 time that names them."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a mosaic is built."""

    dst_crs: str = "auto"
    """``auto``, ``utm`` or the canonical name of a CRS."""
    res: tuple[float, float] | None = None
    """Pixel width and height in units of the CRS, or None: the finest of the scenes."""
    bbox: Bounds | None = None
    """West, south, east, north in degrees (east < west across 180), or None."""
    bands: tuple[str, ...] = ()
    """Asset keys, band names or common names; empty: every asset that holds pixels."""
    resampling: str = "nearest"
    """rasterio's name of the method for assets without one of their own."""
    resampling_of: tuple[tuple[str, str], ...] = ()
    """(asset, method) for assets with their own."""
    sort: str = "datetime"
    """Property that orders scenes."""
    ascending: bool = False
    """Whether the smallest lies on top; else the greatest (the newest)."""
    slices: str = "none"
    """``none``, ``day``, ``month`` or ``year``."""
    stacks: tuple[tuple[str, ...], ...] = ()
    """Stacks of assets to write."""
    overview: float | None = None
    """Pixel size, in units of the CRS, of a coarse image of the whole; None: there is none."""
    nodata: float | None = None
    """Value that means no data in sources that declare none, or None."""
    dtype: str | None = None
    """Data type of sources whose items don't tell it, or None: read it from one of them."""
    item_files: int = 1000
    """Most items of which each is also written as a JSON file."""
    raw: bool = False
    """Whether numbers are the files' own: no scale and offset declared, none changed."""
    skip_bad: bool = False
    """Whether items that can't be indexed are left out and reported."""
    verify: bool = False
    """Whether every header is read and believed instead of the items."""
    overwrite: bool = False
    """Whether a mosaic that is there already is replaced."""
    search: Flags = NOTHING
    """What is asked of the STAC APIs among the sources, beside the bbox."""
    recipe: Recipe | None = None
    """What is known of the items' collection, or None."""

    def method(self, asset: str) -> str:
        """Resampling method of an asset."""
        return dict(self.resampling_of).get(asset, self.resampling)


def options(
    *,
    dst_crs: str = "auto",
    res: float | Sequence[float] | None = None,
    bbox: Sequence[float] | None = None,
    bands: Sequence[str] | None = None,
    resampling: str | Mapping[str, str] | Sequence[str] | None = None,
    sort: str | None = None,
    slices: str = "none",
    stacks: Sequence[Sequence[str]] = (),
    overview: float | None = None,
    nodata: float | None = None,
    dtype: str | None = None,
    item_files: int = 1000,
    raw: bool = False,
    skip_bad: bool = False,
    verify: bool = False,
    overwrite: bool = False,
    search: Flags = NOTHING,
    recipe: Recipe | None = None,
) -> Options:
    """Options from what a person writes; what is left out is the recipe's to say, if there is one.

    Raises :class:`~mosaic.errors.UsageError` that names the option and what it takes.
    """
    names = tuple(dict.fromkeys(bands or ()))
    stacked = tuple(tuple(members) for members in stacks)
    if recipe:
        resampling = _known_methods(recipe, resampling)
        sort = recipe.sort if sort is None else sort
        names = names or tuple(rule.name for rule in recipe.bands if rule.default)
        stacked = stacked or tuple(one for one in recipe.stacks if set(one) <= set(names))
    default, own = _resampling("nearest" if resampling is None else resampling)
    sort = "-datetime" if sort is None else sort
    for members in stacked:
        if len(members) < 2:
            raise UsageError(f"--stack {','.join(members)}: a stack has two bands or more")
        if names:
            names += tuple(name for name in dict.fromkeys(members) if name not in names)
    if slices not in SLICES:
        raise UsageError(f"--slices {slices}: one of {', '.join(SLICES)}")
    if dtype is not None and dtype not in GDAL_TYPES:
        raise UsageError(f"--dtype {dtype}: one of {', '.join(GDAL_TYPES)}")
    if item_files < 0:
        raise UsageError(f"--item-files {item_files}: a count of items, or 0 for none")
    if overview is not None and not (math.isfinite(overview) and overview > 0):
        raise UsageError(f"--overview {overview:g}: a pixel size above 0")
    if not sort.strip("+-"):
        raise UsageError("--sort: a property, such as -datetime or eo:cloud_cover")
    return Options(
        dst_crs=dst_crs if dst_crs in ("auto", "utm") else canonical(dst_crs),
        res=_res(res),
        bbox=_bbox(bbox),
        bands=names,
        resampling=default,
        resampling_of=own,
        sort=sort.lstrip("+-"),
        ascending=not sort.startswith("-"),
        slices=slices,
        stacks=stacked,
        overview=overview,
        nodata=nodata,
        dtype=dtype,
        item_files=item_files,
        raw=raw,
        skip_bad=skip_bad,
        verify=verify,
        overwrite=overwrite,
        search=search,
        recipe=recipe,
    )


def _known_methods(
    recipe: Recipe, given: str | Mapping[str, str] | Sequence[str] | None
) -> dict[str, str]:
    """A recipe's methods, under those that a user gives; classes stay classes unless named."""
    default, own = _resampling("nearest" if given is None else given)
    is_told = given is not None and any("=" not in w for w in _words(given))
    methods = {
        name: default if is_told and rule.resampling not in _OF_CLASSES else rule.resampling
        for rule in recipe.bands
        for name in (rule.name, rule.common_name)
        if name
    }
    return {"*": default, **methods, **dict(own)}


def _words(given: str | Mapping[str, str] | Sequence[str]) -> list[str]:
    """Words of a choice without those for one asset."""
    if isinstance(given, Mapping):
        return ["*"] if "*" in given else []
    return [given] if isinstance(given, str) else list(given)


def _resampling(
    given: str | Mapping[str, str] | Sequence[str],
) -> tuple[str, tuple[tuple[str, str], ...]]:
    if isinstance(given, Mapping):
        pairs = [(asset, method) for asset, method in given.items() if asset != "*"]
        default = given.get("*", "nearest")
    else:
        words = [given] if isinstance(given, str) else list(given)
        pairs = [(a, m) for a, eq, m in (word.rpartition("=") for word in words) if eq]
        defaults = [word for word in words if "=" not in word]
        if len(defaults) > 1:
            raise UsageError(f"--resampling: one default, not {' and '.join(defaults)}")
        default = defaults[0] if defaults else "nearest"
    for method in (default, *(method for _, method in pairs)):
        if method not in GDAL_RESAMPLING:
            raise UsageError(f"--resampling {method}: one of {', '.join(GDAL_RESAMPLING)}")
    return default, tuple(pairs)


def _res(res: float | Sequence[float] | None) -> tuple[float, float] | None:
    if res is None:
        return None
    pair = (res, res) if isinstance(res, int | float) else tuple(res)
    if len(pair) == 1:
        pair = pair * 2
    if len(pair) != 2 or not all(math.isfinite(value) and value > 0 for value in pair):
        raise UsageError(f"--res {res}: one or two numbers above 0")
    return (float(pair[0]), float(pair[1]))


def _bbox(box: Sequence[float] | None) -> Bounds | None:
    if box is None:
        return None
    if len(box) != 4 or not all(math.isfinite(value) for value in box):
        raise UsageError("--bbox: west,south,east,north in degrees")
    west, south, east, north = (float(value) for value in box)
    if not (-90 <= south < north <= 90):
        raise UsageError(f"--bbox: south {south:g} must lie below north {north:g}, within 90")
    if not (-180 <= west <= 180 and -180 <= east <= 180 and west != east):
        raise UsageError(
            f"--bbox: west {west:g} and east {east:g} within 180; east < west crosses 180"
        )
    return (west, south, east, north)
