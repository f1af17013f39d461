"""A TIFF's header: which images a file holds, where they lie on Earth, what their bands mean.

Pure: bytes at hand go in; a header, or the ranges that are still needed, comes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mosaic.engine.tiff import build, geo, metadata
from mosaic.engine.tiff.chunks import Chunks, Missing, Need
from mosaic.engine.tiff.directory import Directory, Tag, Walk, demand, directories, layout
from mosaic.engine.tiff.image import Image
from mosaic.errors import TiffError, TiffUnsupportedError

_PALETTE = 3
_ALPHA = (1, 2)


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """The raster at one resolution."""

    image: Image
    """Its pixels."""
    mask: Image | None = None
    """Its internal mask, of the same shape, or None."""


@dataclass(frozen=True, slots=True, eq=False)
class Tiff:
    """What a TIFF says of itself."""

    href: str
    """Where it lies."""
    size: int | None
    """Length in bytes, or None where it isn't known."""
    big: bool
    """Whether it is a BigTIFF."""
    levels: tuple[Level, ...]
    """The raster at full resolution, then its overviews from fine to coarse."""
    geo: geo.Georeference
    """Where it lies on Earth, as far as the file tells."""
    nodata: float | int | None
    """Value that stands for no data (may be NaN), or None."""
    bands: tuple[metadata.BandTags, ...]
    """Scale, offset, description and unit of each band."""
    tags: tuple[tuple[str, str], ...]
    """GDAL's tags of the dataset."""
    alpha: int | None
    """Index of the sample that is alpha, or None."""
    palette: npt.NDArray[np.uint16] | None = field(repr=False)
    """(values, 3) red, green and blue of each value, 0 to 65535, or None."""
    ignored: tuple[str, ...] = ()
    """Images of the file that are left out, and why."""

    @property
    def image(self) -> Image:
        """The raster at full resolution."""
        return self.levels[0].image

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a sample."""
        return self.image.dtype

    @property
    def fill(self) -> np.generic:
        """What pixels hold where the file has no block: nodata as far as the type goes, else 0."""
        return metadata.fill(self.dtype, self.nodata)

    def nodata_of(self, band: int) -> float | None:
        """The value that means no data: one for all bands."""
        return self.nodata

    def masked_by(self, sidecar: Tiff) -> Tiff:
        """This raster with the masks of its ``.msk`` file, level by level.

        Raises TiffError where the sidecar is of another shape, TiffUnsupportedError where it has
        more than one sample.
        """
        if sidecar.image.samples != 1:
            what = f"a mask of {sidecar.image.samples} samples"
            raise TiffUnsupportedError(what, href=sidecar.href)
        if sidecar.shape != self.shape:
            raise TiffError(
                f"masks {sidecar.shape[1]} x {sidecar.shape[0]} pixels, not the raster's "
                f"{self.shape[1]} x {self.shape[0]}",
                href=sidecar.href,
            )
        masks = {level.image.shape: replace(level.image, mask=True) for level in sidecar.levels}
        levels, ignored = _joined((level.image for level in self.levels), masks)
        return replace(self, levels=levels, ignored=(*self.ignored, *ignored))


def parse(chunks: Chunks, since: Need | None = None) -> Tiff | Need:
    """The header of a TIFF, or the ranges that must be added to ``chunks`` first.

    Takes the first bytes of a file (16 KiB do for most), and whatever was asked for since; the last
    answer, ``since``, spares it going over the same directories again. Classic TIFF and BigTIFF of
    either byte order; overviews in SubIFDs aren't followed. Raises TiffError for what is no TIFF,
    is damaged or contradicts itself, and TiffUnsupportedError for what only GDAL reads: then, and
    only then, another reader may have a right answer.
    """
    walk = since.so_far if since is not None and isinstance(since.so_far, Walk) else None
    try:
        walk = directories(chunks, walk)
        return _parse(chunks, walk.found)
    except Missing as missing:
        return Need(missing.spans, missing.so_far or walk)


_REST = (
    Tag.COLOR_MAP,
    Tag.GDAL_METADATA,
    Tag.GDAL_NODATA,
    *geo.TAGS,
)


def _parse(chunks: Chunks, found: tuple[Directory, ...]) -> Tiff:
    first = found[0]
    kinds = [any(build.kind(one, chunks)) for one in found[1:]]
    others = [one for one, part in zip(found[1:], kinds, strict=True) if part]
    pages = [one for one, part in zip(found[1:], kinds, strict=True) if not part]
    wanted = [(one, (*build.STRUCTURE, *build.tables(one))) for one in (first, *others)]
    demand(chunks, [*wanted, (first, _REST)])
    main = build.image(first, chunks)
    levels, ignored = _levels(main, others, chunks)
    bands, tags = metadata.read(first.text(Tag.GDAL_METADATA, chunks), main.samples)
    return Tiff(
        href=chunks.href,
        size=chunks.size,
        big=layout(chunks)[0].big,
        levels=levels,
        geo=geo.read(first, chunks),
        nodata=metadata.nodata(first.text(Tag.GDAL_NODATA, chunks), main.dtype),
        bands=bands,
        tags=tags,
        alpha=_alpha(main),
        palette=_palette(main, first, chunks),
        ignored=(*ignored, *(f"{_name(page)}: a further page" for page in pages)),
    )


def _name(directory: Directory) -> str:
    return f"directory at byte {directory.at}"


def _levels(
    main: Image, others: list[Directory], chunks: Chunks
) -> tuple[tuple[Level, ...], tuple[str, ...]]:
    """The raster's levels, each with its mask, as GDAL finds them."""
    images = {main.shape: main}
    masks: dict[tuple[int, int], Image] = {}
    ignored: list[str] = []
    for directory in others:
        _, mask = build.kind(directory, chunks)
        name = _name(directory)
        if mask:
            one = build.image(directory, chunks)
            if one.samples != 1:
                raise build.unsupported(chunks, f"a mask of {one.samples} samples")
            masks.setdefault(one.shape, replace(one, mask=True))
            continue
        try:
            one = build.image(directory, chunks)
        except TiffError as error:
            ignored.append(f"{name}: an overview that can't be used ({error.what})")
            continue
        if (one.samples, one.dtype, one.bits) != (main.samples, main.dtype, main.bits):
            kind = f"{one.samples} samples of {one.bits} bits, {one.dtype.name}"
            ignored.append(f"{name}: an overview of {kind}")
        elif not _smaller(one.shape, main.shape):
            width, height = reversed(one.shape)
            ignored.append(f"{name}: {width} x {height} pixels are no smaller copy of the raster")
        else:
            images.setdefault(one.shape, one)
    if masks and main.shape not in masks:
        raise chunks.error("has a mask, but none of the raster's shape")
    levels, unmasked = _joined(images.values(), masks)
    return levels, (*ignored, *unmasked)


def _smaller(shape: tuple[int, int], full: tuple[int, int]) -> bool:
    """Whether an image can be another one shrunk alike in both directions, up to a pixel."""
    (height, width), (rows, columns) = shape, full
    alike = abs(width * rows - height * columns) <= rows + columns
    return height <= rows and width <= columns and alike


def _joined(
    images: Iterable[Image], masks: Mapping[tuple[int, int], Image]
) -> tuple[tuple[Level, ...], list[str]]:
    """Levels from fine to coarse. An overview whose mask is missing would show invalid pixels."""
    levels, ignored = [], []
    for image in sorted(images, key=lambda one: -one.shape[0] * one.shape[1]):
        mask = masks.get(image.shape)
        if masks and mask is None:
            ignored.append(f"an overview of {image.shape[1]} x {image.shape[0]}: it has no mask")
        else:
            levels.append(Level(image, mask))
    return tuple(levels), ignored


def _alpha(main: Image) -> int | None:
    """Which sample is alpha: the first of the extra ones that says so."""
    first = main.samples - len(main.extra)
    for place, kind in enumerate(main.extra):
        if kind in _ALPHA and first + place > 0:
            return first + place
    return None


def _palette(main: Image, directory: Directory, chunks: Chunks) -> npt.NDArray[np.uint16] | None:
    values = directory.numbers(Tag.COLOR_MAP, chunks)
    if main.photometric != _PALETTE or main.bits > 16 or len(values) < 3 << main.bits:
        return None
    return np.array(values[: 3 << main.bits], np.uint16).reshape(3, -1).T
