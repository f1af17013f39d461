"""A cube's only layer as a COG: windows as files of their own, then GDAL's COG driver.

The windows are small GeoTIFFs in the export's folder, those without data none at all; a VRT makes
one raster of them, which GDAL copies. A kill meanwhile costs that copy alone. Until the end they
take about as much room as the COG.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from mosaic import bridge
from mosaic.catalog.source import GDAL_TYPES, label
from mosaic.catalog.vrt import geotransform, number
from mosaic.engine.gdal_process import Died, GdalProcess, Refused
from mosaic.errors import ExportError, UsageError
from mosaic.exporter.journal import Written
from mosaic.exporter.layout import Layout
from mosaic.exporter.options import Format
from mosaic.exporter.pixels import Array, crc_of, is_empty
from mosaic.exporter.windows import Window, Windows
from mosaic.exporter.writing import Unlike
from mosaic.files import settled
from mosaic.grid import crs

_PROGRAM = "from mosaic.exporter.tiff_job import work; work()"
_PATIENCE = 24 * 3600.0
"""Seconds: a copy of a large mosaic says nothing until it is done."""
_AT_ONCE = 16
"""Windows that are read back between two words of progress."""


class CogWriter:
    """Writes a COG. See :class:`mosaic.exporter.writing.Writer`."""

    def __init__(self, folder: Path, layout: Layout, windows: Windows, how: Format) -> None:
        self._folder, self._layout, self._windows, self._how = folder, layout, windows, how
        self._parts = folder / "windows"
        self._process = GdalProcess(_PROGRAM)

    def begin(self) -> None:
        """Clears away what a kill left half written. Raises UsageError for a CRS of its own."""
        if not same_crs(self._ask("told", self._layout.crs), self._layout.crs):
            raise UsageError(
                f"a GeoTIFF can't tell the CRS {label(self._layout.crs)}: take another --dst-crs, "
                "or export to .zarr"
            )
        self._parts.mkdir(exist_ok=True)
        for path in (*self._parts.glob("*.partial"), *self._folder.glob("whole-*")):
            path.unlink()

    def holds(self, window: Window, written: Written) -> bool:
        """Whether its file is there, if it has one."""
        path = self._part(window.number)
        size = path.stat().st_size if path.exists() else 0
        return size == written.files

    def write(self, window: Window, bands: Sequence[Array]) -> Written:
        """A GeoTIFF; nothing, where nothing is in it."""
        path, crc = self._part(window.number), crc_of(bands)
        told = self._layout.bands
        if all(is_empty(band, one.nodata) for band, one in zip(bands, told, strict=True)):
            path.unlink(missing_ok=True)
            return Written(crc, 0)
        block = min(self._how.block, self._windows.side)
        return Written(crc, self._ask("pack", str(path), np.stack(bands), block))

    def finish(self, done: Mapping[int, Written]) -> Path:
        """The COG."""
        filled = [self._windows[one] for one in sorted(done) if done[one].files]
        source, whole = self._folder / "windows.vrt", self._folder / f"whole-{os.getpid()}.tif"
        source.write_text(vrt(self._layout, filled, self._how.block), encoding="utf-8")
        self._ask("cog", str(source), str(whole), options(self._layout, self._how))
        settled(whole)
        return whole

    def verify(self, whole: Path, done: Mapping[int, Written]) -> Iterator[int]:
        """Windows, overviews, and what the file says of itself."""
        found = self._ask("facts", str(whole))
        if wrong := unlike(found, self._layout, self._how):
            raise ExportError(f"{whole}: GDAL wrote {'; '.join(wrong)}")
        numbers, bad = sorted(done), []
        for start in range(0, len(numbers), _AT_ONCE):
            some = numbers[start : start + _AT_ONCE]
            places = [self._windows[one] for one in some]
            asked = [(one.row, one.column, one.height, one.width) for one in places]
            crcs = self._ask("checked", str(whole), asked)
            bad += [one for one, crc in zip(some, crcs, strict=True) if crc != done[one].crc]
            yield from (one for one in some if one not in bad)
        if bad:
            raise Unlike(bad)
        for level, factor in enumerate(found.overviews):
            self._ask("decoded", str(whole), factor, level)

    def close(self) -> None:
        """Ends GDAL's process."""
        bridge.run(self._process.end())

    def _part(self, number: int) -> Path:
        return self._parts / _name(number)

    def _ask(self, verb: str, *arguments: Any) -> Any:
        """What GDAL's process answers. Raises ExportError."""
        try:
            return bridge.run(
                self._process.ask(verb, *arguments, patience=_PATIENCE, active=object)
            )
        except Refused as error:
            raise ExportError(f"GDAL can't write it ({error})") from error
        except Died as error:
            raise ExportError("GDAL's process ended; there may be too little memory") from error


def _name(number: int) -> str:
    return f"{number:08d}.tif"


def same_crs(one: str, other: str) -> bool:
    """Whether a CRS as a file tells it is the one it was given; axes have their usual order."""
    return bool(one) and bool(crs(one).equals(crs(other), ignore_axis_order=True))


def options(layout: Layout, how: Format) -> dict[str, str]:
    """What GDAL's COG driver is told."""
    smooth = not any(band.nearest for band in layout.bands)
    told = {
        "COMPRESS": how.compress.upper(),
        "BLOCKSIZE": str(how.block),
        "OVERVIEW_RESAMPLING": (how.overviews or ("average" if smooth else "nearest")).upper(),
        "BIGTIFF": "IF_SAFER",
        "NUM_THREADS": "ALL_CPUS",
    }
    if how.compress != "none":
        told["PREDICTOR"] = "YES"
    if how.level is not None:
        told["LEVEL"] = str(how.level)
    return told


def unlike(found: Any, layout: Layout, how: Format) -> list[str]:
    """What a COG says wrongly of itself, as clauses.

    ``found``: :class:`mosaic.exporter.tiff_job.Facts`.
    """
    bands, shape = layout.bands, layout.shape[1:]
    packing = {"none": ""}.get(how.compress, how.compress.upper())
    wanted: dict[str, tuple[Any, Any]] = {
        "no layout of a COG": (found.layout, "COG"),
        "another size": (found.shape, shape),
        "another CRS": (same_crs(found.crs, layout.crs), True),
        "another place": (np.allclose(found.transform, layout.transform, rtol=1e-12), True),
        "other data types": (found.dtypes, tuple(band.dtype for band in bands)),
        "other nodata": (
            [_plain(one) for one in found.nodata],
            [_plain(band.nodata) for band in bands],
        ),
        "other names": (found.names, tuple(band.name for band in bands)),
        "other scales": (found.scales, tuple(band.scale for band in bands)),
        "other offsets": (found.offsets, tuple(band.offset for band in bands)),
        "other tiles": (found.block, (how.block, how.block)),
        "no overviews": (bool(found.overviews), max(shape) > how.block),
        "another compression": (found.compress, packing),
    }
    return [what for what, (one, other) in wanted.items() if one != other]


def _plain(nodata: float | None) -> float | str | None:
    return "nan" if nodata is not None and math.isnan(nodata) else nodata


def vrt(layout: Layout, filled: Sequence[Window], block: int) -> str:
    """A VRT of the windows that have data. Source: GDAL's VRT driver documentation."""
    _, height, width = layout.shape
    bands = []
    for place, band in enumerate(layout.bands, 1):
        nodata = "" if band.nodata is None else f"<NoDataValue>{_said(band.nodata)}</NoDataValue>"
        color = f"<ColorInterp>{band.color}</ColorInterp>" if band.color in _COLORS else ""
        sources = "".join(_source(one, place) for one in filled)
        bands.append(
            f'<VRTRasterBand dataType="{GDAL_TYPES[band.dtype]}" band="{place}" '
            f'blockXSize="{block}" blockYSize="{block}">'
            f"<Description>{escape(band.name)}</Description>"
            f"<UnitType>{escape(band.unit)}</UnitType>"
            f"<Offset>{band.offset!r}</Offset><Scale>{band.scale!r}</Scale>"
            f"{nodata}{color}{sources}</VRTRasterBand>"
        )
    return (
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>{escape(layout.crs)}</SRS>'
        f"<GeoTransform>{geotransform(layout.transform)}</GeoTransform>{''.join(bands)}"
        "</VRTDataset>"
    )


_COLORS = ("Red", "Green", "Blue")


def _said(nodata: float) -> str:
    return "nan" if math.isnan(nodata) else number(nodata)


def _source(one: Window, band: int) -> str:
    size = f'xSize="{one.width}" ySize="{one.height}"'
    return (
        f'<SimpleSource><SourceFilename relativeToVRT="1">windows/{_name(one.number)}'
        f"</SourceFilename><SourceBand>{band}</SourceBand>"
        f'<SourceProperties RasterXSize="{one.width}" RasterYSize="{one.height}"/>'
        f'<SrcRect xOff="0" yOff="0" {size}/>'
        f'<DstRect xOff="{one.column}" yOff="{one.row}" {size}/></SimpleSource>'
    )
