"""``mosaic.preview``: a picture of a whole mosaic, by a bounded number of files and bytes.

Read are the scenes that lie on top, by their overviews; of what lies deeper as much as the bounds
let. Where a mosaic has a coarse image of the whole (``mosaic build --overview``), that is read.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from odc.geo.geobox import GeoBox

from mosaic import bridge, plot
from mosaic.catalog.columns import Longs
from mosaic.catalog.folder import Folder
from mosaic.catalog.layout import COLLECTION
from mosaic.catalog.opened import Opened
from mosaic.catalog.source import label
from mosaic.catalog.when import interval
from mosaic.cube import scripts
from mosaic.cube.looks import bands_of, colours
from mosaic.cube.piles import Pile, coarse, depths, piled, shaped, thinned
from mosaic.cube.scenes import scenes
from mosaic.cube.sources import opened
from mosaic.engine.reading import band_names, chosen, target_of
from mosaic.errors import CatalogError, UsageError, redact
from mosaic.grid import canonical, world
from mosaic.storage import Gate, chosen_gate

Json = dict[str, Any]
FILES = 384
"""Files that are opened at most: each is a request for its header, and one or more for pixels."""
BYTES = 64 << 20
"""Bytes of blocks that are read at most."""
SIZES = (200, 8000)
"""Pixels of the longer side that a picture may have."""
_SHARE = 0.8
"""Of a picture's side that pixels take; the rest is what is written around them."""
_NEAR = 20_000
"""Items whose outlines are looked at."""


@dataclass(frozen=True, slots=True, eq=False)
class Preview:
    """A picture of a mosaic."""

    figure: Figure
    """The picture, with footprints, axes and a legend."""
    size: tuple[int, int]
    """Its width and height in pixels."""
    pixels: npt.NDArray[np.uint8]
    """(h, w, 4) RGBA of the scenes alone; alpha is 0 where none was drawn."""
    geobox: GeoBox
    """The grid of these."""
    bands: tuple[str, ...]
    """Names of the bands that are shown: red, green, blue, or a single one."""
    items: int
    """Items there are."""
    drawn: int
    """Items whose pixels were drawn as far as they show; the others are outlines alone."""
    files: int
    """Files that were opened."""
    nbytes: int
    """Bytes that their headers and blocks take, at most."""

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes a PNG, which appears whole. Raises CatalogError where it can't be written."""
        target = target_file(path)
        part = target.with_name(f".{target.name}.part")
        try:
            self.figure.savefig(part, format="png", metadata={"Software": "mosaic"})
            part.replace(target)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise CatalogError(f"{target} can't be written: {error.strerror or error}") from error
        return target

    def _repr_png_(self) -> bytes:
        from io import BytesIO

        stream = BytesIO()
        self.figure.savefig(stream, format="png")
        return stream.getvalue()


def preview(
    source: Any,
    *,
    size: int,
    bbox: Sequence[float] | None,
    bands: Sequence[str] | str | None,
    datetime: Any,
    gate: Gate | None,
    via: str | None,
) -> Preview:
    """See :func:`mosaic.preview`."""
    if not SIZES[0] <= size <= SIZES[1]:
        raise UsageError(f"size {size}: pixels of the longer side, {SIZES[0]} to {SIZES[1]}")
    names = band_names(bands)
    if names is not None and len(names) not in (1, 3):
        raise UsageError(f"{len(names)} bands: a picture shows one, or three as red, green, blue")
    gate = chosen_gate(gate, via)
    span = interval(datetime) if datetime is not None else None
    found = opened(source, gate=gate, bands=names, bbox=bbox, span=span)
    document = Folder.at(found.base, gate).collection() if found.base else {}
    bbox = bbox if bbox is not None else _over_180(found, document)
    shown = tuple(names or bands_of(found, document))
    assets = list(dict.fromkeys(asset for _, asset, _ in chosen(found, shown)))

    def look() -> tuple[GeoBox, Pile]:
        whole = target_of(found, bbox, None, None, None)
        near = scenes(found, whole, assets, span, "all", False, False)
        return coarse(whole, round(_SHARE * size)), piled(near)

    target, pile = bridge.on_planner(look)
    whole_image = _overview(found, document, assets, target) if datetime is None else None
    read = _Read(gate, target, shown, datetime)
    picture = read.all(whole_image) if whole_image else read.some(found, pile, len(assets))
    told = _title(found, document, shown, len(pile.item), picture)
    figure = bridge.on_planner(lambda: _figure(pile, target, picture.rgba, told, size))
    width, height = figure.canvas.get_width_height()
    return Preview(
        figure,
        (int(width), int(height)),
        picture.rgba,
        target,
        shown,
        len(pile.item),
        picture.items if whole_image is None else len(pile.item),
        picture.files,
        picture.nbytes,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Picture:
    """Pixels, and what they took."""

    rgba: npt.NDArray[np.uint8]
    items: int
    files: int
    nbytes: int
    whole: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """How pixels are read."""

    gate: Gate
    target: GeoBox
    bands: tuple[str, ...]
    datetime: Any

    def some(self, source: Opened, pile: Pile, assets: int) -> _Picture:
        """Scenes from the top down, as many as the bounds let."""
        rows = bridge.on_planner(lambda: _topmost(pile, self.target, FILES // assets))
        plan = scripts.plan(source.only(pile.item[rows]), **self._how())
        ids = source.ids(pile.item[rows])
        cost = dict.fromkeys(ids, 0)
        files: dict[str, set[str]] = {}
        for one in plan.rows:
            cost[one.item] += one.cost.bytes
            files.setdefault(one.item, set()).add(one.href)
        within = np.cumsum([cost[one] for one in ids]) <= BYTES
        rows, ids = rows[within], [one for one, fits in zip(ids, within, strict=True) if fits]
        taken = sum(cost[one] for one in ids)
        rgba = np.zeros((*self.target.shape, 4), np.uint8)
        if ids:
            rgba = self._pixels(source.only(pile.item[rows]))
        shown = [one for one in ids if one in files]
        return _Picture(rgba, len(ids), sum(len(files[one]) for one in shown), taken)

    def all(self, source: Opened) -> _Picture:
        """One coarse image."""
        plan = scripts.plan(source, **self._how())
        most = plan.most
        return _Picture(self._pixels(source), 0, most.files, most.bytes, whole=True)

    def _pixels(self, source: Opened) -> npt.NDArray[np.uint8]:
        got = scripts.read(source, **self._how())
        return colours(got.values, got.valid)

    def _how(self) -> Json:
        place = dict.fromkeys(("bbox", "crs", "resolution", "where"))
        return {
            "datetime": self.datetime,
            "resampling": None,
            "errors": "raise",
            "raw": False,
            "gate": self.gate,
            "via": None,
            "place": {**place, "geobox": self.target, "bands": list(self.bands)},
            "method": "first",
            "over": "auto",
            "best": None,
            "mask": None,
            "dilate": 0,
        }


def _topmost(pile: Pile, target: GeoBox, most: int) -> Longs:
    """Items that show, those on top first; then those that lie below these, down to ``most``."""
    near = np.arange(len(pile.item))
    if len(near) > _NEAR:
        few = thinned(pile, target, _NEAR)
        near = np.flatnonzero(np.isin(pile.item, few.item))
        pile = pile.take(near)
    depth = depths(pile, target, most)
    return near[np.lexsort((-pile.z, depth))[:most]]


def _over_180(source: Opened, document: Json) -> Sequence[float] | None:
    """The box of a mosaic's scenes, if they lie on both sides of 180 degrees, of a grid that ends
    there: all of it would be most of the world, with nothing in between."""
    boxes = document.get("extent", {}).get("spatial", {}).get("bbox", [])
    if len(boxes) != 1 or len(boxes[0]) != 4 or boxes[0][0] <= boxes[0][2]:
        return None
    box: list[float] = boxes[0]
    return box if world(canonical(str(source.grid.crs))) is not None else None


def _overview(
    source: Opened, document: Json, assets: Sequence[str], target: GeoBox
) -> Opened | None:
    """The coarse image of the whole, if there is one for each asset that isn't coarser than asked.

    As an item that nobody wrote.
    """
    known = document.get("assets", {})
    found = [known.get(f"{name} overview") for name in assets]
    if not all(found):
        return None
    size = abs(found[0]["proj:transform"][0])
    if size > 2 * abs(target.affine.a):
        return None
    files = {
        name: {**told, "href": f"{source.base}/{told['href'].removeprefix('./')}"}
        for name, told in zip(assets, found, strict=True)
    }
    item = {
        "type": "Feature",
        "stac_version": document["stac_version"],
        "id": "overview",
        "geometry": None,
        "properties": {"datetime": "2000-01-01T00:00:00Z"},
        "assets": files,
    }
    return opened([item], bands=list(assets))


def _title(
    source: Opened, document: Json, shown: Sequence[str], items: int, picture: _Picture
) -> str:
    name = str(document.get("title") or "") or "items"
    what = f"{name}: {items:,} items in {label(source.crs)}; {', '.join(shown)}"
    if picture.whole:
        return f"{what} of the coarse overview"
    return what if picture.items == items else f"{what} of {picture.items:,} of them"


def _figure(
    pile: Pile, target: GeoBox, rgba: npt.NDArray[np.uint8], title: str, size: int
) -> Figure:
    few = thinned(pile, target, _NEAR)
    shapes = shaped(few.grids, target)
    names = [few.grids.name(grid) for grid in shapes.grid.tolist()]
    crs = canonical(str(target.crs))
    return plot.overlaid(
        rgba, target.affine, shapes.geometry, names, pile.counts(), crs, title, size
    )


def target_file(path: str | os.PathLike[str]) -> Path:
    """Where a picture is written. Raises UsageError for what is no PNG, or in no folder."""
    found = Path(path).expanduser().absolute()
    if found.suffix.lower() != ".png":
        raise UsageError(f"{path}: a picture is written as .png")
    if found.is_dir():
        raise UsageError(f"{path} is a folder, not a file")
    if not found.parent.is_dir():
        raise UsageError(f"{path}: there is no folder {found.parent}")
    return found


def name_of(source: str) -> Path:
    """Where a picture of a mosaic is written by default: ``NAME.png``, here."""
    base = redact(source).rstrip("/").removesuffix(f"/{COLLECTION}")
    name = Path(base).expanduser().absolute().name if "://" not in base else base.split("/")[-1]
    return Path(f"{name or 'mosaic'}.png")
