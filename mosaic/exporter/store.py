"""A cube as a Zarr v3 store: a window is a shard of each band's array.

Shards are files that appear whole. Those without data aren't there, and read as the fill value.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mosaic.cube.opening import DIMS
from mosaic.errors import ExportError, UsageError
from mosaic.exporter.attributes import of_band, of_group
from mosaic.exporter.journal import Written
from mosaic.exporter.layout import BandLayout, Layout
from mosaic.exporter.options import Format
from mosaic.exporter.pixels import Array, crc_of
from mosaic.exporter.windows import Window, Windows
from mosaic.exporter.writing import Unlike
from mosaic.files import settled


def required() -> None:
    """Raises UsageError where zarr isn't installed, or too old."""
    try:
        import zarr
    except ImportError as error:
        raise UsageError("Zarr needs the extra: pip install 'virtual-mosaic[zarr]'") from error
    if int(zarr.__version__.partition(".")[0]) < 3:
        raise UsageError(f"zarr {zarr.__version__} is too old: take 3 or newer")


class StoreWriter:
    """Writes a Zarr store. See :class:`mosaic.exporter.writing.Writer`."""

    def __init__(
        self, folder: Path, layout: Layout, windows: Windows, how: Format, lazy: Any = None
    ) -> None:
        self.store = folder / "store.zarr"
        self._layout, self._windows, self._how, self._lazy = layout, windows, how, lazy
        self._arrays: dict[str, Any] = {}
        self._anew = False

    def begin(self) -> None:
        """Coordinates and empty arrays, where they aren't there yet."""
        made = self.store.with_name(".begun")
        told = made.read_text() if made.exists() else ""
        if told != self._own():
            shutil.rmtree(self.store, ignore_errors=True)
            self._make()
            self._anew = True
            made.write_text(self._own())
        for path in self.store.rglob("*.partial"):
            path.unlink()

    def _own(self) -> str:
        """Tells the store from one that was exchanged for it just before a kill."""
        return str(self.store.stat().st_ino) if self.store.exists() else "none"

    def _make(self) -> None:
        import zarr

        names = [band.name for band in self._layout.bands]
        coordinates = self._lazy.drop_vars(list(self._lazy.data_vars)).assign_attrs(
            of_group(self._layout)
        )
        coordinates.time.encoding = {"units": _SINCE, "dtype": "int64", "calendar": _CALENDAR}
        coordinates.to_zarr(self.store, mode="w", zarr_format=3, consolidated=False)
        group = zarr.open_group(self.store, mode="r+", zarr_format=3)
        block, side = self._how.block, self._windows.side
        for name, band in zip(names, self._layout.bands, strict=True):
            told = self._lazy[name].attrs
            group.create_array(
                name,
                shape=self._layout.shape,
                dtype=band.dtype,
                chunks=(1, block, block),
                shards=(1, side, side),
                fill_value=0 if band.nodata is None else band.nodata,
                compressors=packing(self._how, band),
                dimension_names=DIMS,
                attributes=of_band(self._layout, told, band.dtype, band.nodata),
            )

    def holds(self, window: Window, written: Written) -> bool:
        """Whether its shards are there."""
        return not self._anew and self._size(window) == written.files

    def write(self, window: Window, bands: Sequence[Array]) -> Written:
        """A shard of each band."""
        for path in self._shards(window):
            path.unlink(missing_ok=True)  # a damaged one would be read first
        for band, values in zip(self._layout.bands, bands, strict=True):
            self._array(band.name)[window.place] = values[np.newaxis]
        for path in self._shards(window):
            if path.exists():
                settled(path)
                settled(path.parent)
        return Written(crc_of(bands), self._size(window))

    def finish(self, done: Mapping[int, Written]) -> Path:
        """The store, with all arrays' metadata in one document."""
        import zarr

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that Zarr's specification doesn't know it yet
            zarr.consolidate_metadata(str(self.store), zarr_format=3)
        for path in (self.store, *self.store.rglob("*")):
            if path.is_dir() or path.name == "zarr.json":
                settled(path)
        return self.store

    def verify(self, whole: Path, done: Mapping[int, Written]) -> Iterator[int]:
        """Windows, and what the arrays say of themselves."""
        import zarr

        group: Any = zarr.open_group(whole, mode="r", zarr_format=3, use_consolidated=True)
        for band in self._layout.bands:
            self._alike(group[band.name], band)
        bad = []
        for number in sorted(done):
            place = self._windows[number].place
            try:
                crc = crc_of(group[band.name][place][0] for band in self._layout.bands)
            except (OSError, RuntimeError, ValueError):  # what codecs say of damaged bytes
                crc = None
            if crc == done[number].crc:
                yield number
            else:
                bad.append(number)
        if bad:
            raise Unlike(bad)

    def _alike(self, array: Any, band: BandLayout) -> None:
        told = dict(array.attrs)
        wanted = of_band(self._layout, self._lazy[band.name].attrs, band.dtype, band.nodata)
        same = (array.shape, array.dtype.name) == (self._layout.shape, band.dtype)
        if not same or told != wanted or array.metadata.dimension_names != DIMS:
            raise ExportError(f"array {band.name} isn't as it was made: {self.store}")

    def close(self) -> None:
        """Nothing is open."""

    def _array(self, name: str) -> Any:
        import zarr

        if name not in self._arrays:
            # as it is in the store: another process may hold its own
            group = zarr.open_group(self.store, mode="r+", zarr_format=3, use_consolidated=False)
            self._arrays[name] = group[name]
        return self._arrays[name]

    def _shards(self, window: Window) -> list[Path]:
        """Files of a window. Source: Zarr v3, default chunk key encoding."""
        side = self._windows.side
        key = Path("c", *map(str, (window.layer, window.row // side, window.column // side)))
        return [self.store / band.name / key for band in self._layout.bands]

    def _size(self, window: Window) -> int:
        return sum(path.stat().st_size for path in self._shards(window) if path.exists())


_SINCE = "microseconds since 1970-01-01"
_CALENDAR = "proleptic_gregorian"


def packing(how: Format, band: BandLayout) -> Any:
    """How chunks of a band are compressed."""
    from zarr.codecs import BloscCodec, BloscShuffle, GzipCodec

    if how.compress == "none":
        return None
    if how.compress == "gzip":
        return GzipCodec(level=how.level or 6)
    return BloscCodec(
        cname="zstd",
        clevel=how.level or 5,
        shuffle=BloscShuffle.shuffle,
        typesize=np.dtype(band.dtype).itemsize,
    )
