"""The small VRTs of a mosaic: what they are, and whether they are fit. No raster is opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from mosaic.checker.read import affine
from mosaic.errors import CatalogError
from mosaic.grid import Bounds


@dataclass(frozen=True, slots=True)
class Source:
    """One source of a VRT."""

    name: str
    """As it is written."""
    relative: bool
    """Whether that is relative to the VRT."""
    told: bool
    """Whether its size and type are told, so that it isn't opened before it is read."""


@dataclass(frozen=True, slots=True)
class Small:
    """What a VRT declares."""

    crs: str
    """Text of the CRS."""
    transform: tuple[float, ...]
    """Affine a, b, c, d, e, f."""
    shape: tuple[int, int]
    """Height and width in pixels."""
    dtypes: tuple[str, ...]
    """GDAL's data type of each band."""
    warped: bool
    """Whether it shows a tile, warped, on the mosaic's own pixels."""
    sources: tuple[Source, ...]
    """What it reads."""
    encodings: tuple[tuple[float, float], ...]
    """Scale and offset of each band; 1 and 0 where none are given."""
    changes: tuple[tuple[float, float], ...]
    """Factor and summand by which each band's numbers change, also in a VRT within it."""

    @property
    def bounds(self) -> Bounds:
        """Left, bottom, right, top."""
        a, _, c, _, e, f = self.transform
        return (c, f + e * self.shape[0], c + a * self.shape[1], f)


def small(text: str, folder: Path, within: int = 3) -> Small:
    """What the text of a VRT in a folder declares; ``within``: how deep VRTs may lie in it.

    Raises :class:`~mosaic.errors.CatalogError` when it is no VRT, or lacks its place.
    """
    try:
        root = ET.fromstring(text)
        if root.tag != "VRTDataset":
            raise CatalogError(f"its VRT is <{root.tag}>, no VRTDataset")
        transform = affine(root.findtext("GeoTransform") or "")
        crs = (root.findtext("SRS") or "").strip()
        if transform is None or not crs:
            raise CatalogError("its VRT declares no SRS and GeoTransform")
        shape = (int(root.get("rasterYSize", "")), int(root.get("rasterXSize", "")))
        return _small(root, crs, transform, shape, folder, within)
    except (ET.ParseError, ValueError) as error:
        raise CatalogError(f"its VRT is broken ({error})") from error


def _small(
    root: ET.Element,
    crs: str,
    transform: tuple[float, ...],
    shape: tuple[int, int],
    folder: Path,
    within: int,
) -> Small:
    return Small(
        crs,
        transform,
        shape,
        tuple(band.get("dataType") or "" for band in root.findall("VRTRasterBand")),
        root.get("subClass") == "VRTWarpedDataset" or _shows_warped(root),
        tuple(_sources(root)),
        tuple(
            (float(band.findtext("Scale") or 1), float(band.findtext("Offset") or 0))
            for band in root.findall("VRTRasterBand")
        ),
        _changes(root, folder, within),
    )


def _changes(root: ET.Element, folder: Path, within: int) -> tuple[tuple[float, float], ...]:
    found = tuple(
        (float(band.findtext(".//ScaleRatio") or 1), float(band.findtext(".//ScaleOffset") or 0))
        for band in root.findall("VRTRasterBand")
    )
    if any(change != (1.0, 0.0) for change in found):
        return found
    for source in _sources(root) if within else ():
        # a warped VRT shows the one that changes numbers, and one with a mask the warped
        inner = folder / source.name
        if is_text(source.name):
            return small(source.name, folder, within - 1).changes
        own = source.relative and inner.parent == folder and inner.suffix == ".vrt"
        if own and inner.is_file():
            return small(inner.read_text(encoding="utf-8"), folder, within - 1).changes
    return found


def _shows_warped(root: ET.Element) -> bool:
    """Whether a VRT shows the alpha band of a warped one as its mask."""
    names = [found.text or "" for found in root.findall("MaskBand//SourceFilename")]
    return any(
        name.endswith("_alpha.vrt") or 'subClass="VRTWarpedDataset"' in name for name in names
    )


def _sources(root: ET.Element) -> list[Source]:
    found = []
    for kind in ("SimpleSource", "ComplexSource"):
        for one in root.iter(kind):
            name = one.find("SourceFilename")
            if name is not None:
                told = one.find("SourceProperties") is not None
                found.append(Source(name.text or "", name.get("relativeToVRT") == "1", told))
    found += [
        Source(name.text or "", name.get("relativeToVRT") == "1", True)
        for name in root.iter("SourceDataset")
    ]
    return list(dict.fromkeys(found))


def _lost(found: Small, folder: Path) -> list[str]:
    """Sources beside a VRT that aren't there."""
    return [one.name for one in found.sources if one.relative and not (folder / one.name).exists()]


def is_text(location: str) -> bool:
    """Whether a location is the text of a VRT."""
    return location.lstrip().startswith("<VRTDataset")


def smalls(locations: list[str], folder: Path) -> tuple[dict[int, Small], dict[int, str]]:
    """VRTs among locations, by row, and what is wrong with those that can't be taken.

    Files below the mosaic's ``vrt/`` are read; other files are scenes.
    """
    good: dict[int, Small] = {}
    bad: dict[int, str] = {}
    for row, location in enumerate(locations):
        inline = is_text(location)
        if not inline and not (location.startswith("vrt/") and location.endswith(".vrt")):
            continue
        try:
            text = location if inline else (folder / location).read_text(encoding="utf-8")
            here = folder if inline else (folder / location).parent
            good[row] = small(text, here)
            lost = [] if inline else _lost(good[row], here)
            if lost:
                bad[row] = f"its VRT {location} reads {lost[0]}, which isn't there"
        except CatalogError as error:
            bad[row] = str(error)
        except (OSError, UnicodeDecodeError) as error:
            bad[row] = f"its VRT {location} can't be read ({getattr(error, 'strerror', error)})"
    return good, bad
