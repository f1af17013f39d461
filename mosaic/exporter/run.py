"""An export from beginning to end: the order of everything."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from mosaic.cube.cube import Cube
from mosaic.cube.opening import open_cube
from mosaic.cube.workers import client
from mosaic.errors import ExportError
from mosaic.exporter.cluster import Job, spread
from mosaic.exporter.cog import CogWriter
from mosaic.exporter.journal import FUNCTION, Journal, Written, folder_of, unfinished
from mosaic.exporter.layout import Layout, fits_tiff, layout_of
from mosaic.exporter.options import Format, format_of
from mosaic.exporter.placing import check, place, target_of
from mosaic.exporter.reading import read
from mosaic.exporter.report import Exported
from mosaic.exporter.store import StoreWriter, required
from mosaic.exporter.windows import Windows, side_of
from mosaic.exporter.writing import Unlike, Writer
from mosaic.files import is_full
from mosaic.version import __version__

Progress = Callable[[str, int, int], None]
"""Told a step's name, what is done of it, and of how much."""

FEW = 1024
"""Windows of a COG up to which they are small."""


def export(
    source: Any,
    out: str | os.PathLike[str],
    *,
    compress: str | None = None,
    level: int | None = None,
    blocksize: int = 512,
    overview_resampling: str | None = None,
    overwrite: bool = False,
    progress: Progress = lambda step, done, total: None,
    **asked: Any,
) -> Exported:
    """See :func:`mosaic.export`. ``asked``: what :func:`mosaic.open` is asked for."""
    began = time.monotonic()
    target = target_of(out)
    how = format_of(target, compress, level, blocksize, overview_resampling)
    store = how.name == "zarr"
    if store:
        required()
    check(target, overwrite, store)
    lazy = open_cube(source, cache=False, **asked)
    cube: Cube = lazy.encoding["mosaic"]
    layout = layout_of(cube)
    if not store:
        fits_tiff(layout)
    few = 0 if store else FEW  # shards are better large; windows pass through GDAL's memory, too
    windows = Windows(layout.shape, side_of(layout.pixel, how.block, layout.shape, few))
    wanted = {**identity(cube, layout, how, asked), "window": windows.side}
    with _explained(target), unfinished(target, wanted, overwrite) as journal:
        writer: Writer
        workers = None
        if store:
            writer, workers = StoreWriter(journal.folder, layout, windows, how, lazy), client()
        else:
            writer = CogWriter(journal.folder, layout, windows, how)
        try:
            resumed = _begun(windows, writer, journal)
            progress("windows", resumed, len(windows))
            left = [number for number in range(len(windows)) if number not in journal.done]
            if workers is None:
                here = _here(cube, windows, writer, left)
            else:
                here = spread(workers, Job(cube, journal.folder, layout, windows, how), left)
            for number, one in here:
                journal.record(number, one)
                progress("windows", len(journal.done), len(windows))
            whole = _whole(writer, windows, journal, progress)
        finally:
            writer.close()
        size = _size(whole)
        place(whole, target, overwrite, store)
        shutil.rmtree(journal.folder, ignore_errors=True)
    return Exported(
        path=str(target),
        format="Zarr" if store else "COG",
        shape=layout.shape,
        bands=tuple(band.name for band in layout.bands),
        crs=layout.crs,
        windows=len(windows),
        resumed=resumed,
        bytes=size,
        seconds=time.monotonic() - began,
    )


def identity(cube: Cube, layout: Layout, how: Format, asked: Mapping[str, Any]) -> dict[str, Any]:
    """All that the bytes of an export depend on, by names that users know."""
    choice = cube.choice
    place = ("bbox", "crs", "resolution", "geobox", "like", "bands", "gate", "via", "errors")
    options = {name: _plain(value) for name, value in asked.items() if name not in place}
    if callable(asked.get("groupby")):
        options["groupby"] = "a function"  # the choice tells the layers that it makes
    if callable(asked.get("method")):
        options["method"] = "a function"
        options[FUNCTION] = uuid4().hex
    return {
        "version of mosaic": __version__,
        "source": choice.named,
        "source version": choice.stamp,
        "bands": [band.name for band in layout.bands],
        "shape": list(layout.shape),
        "crs": layout.crs,
        "transform": list(layout.transform),
        **options,
        **how.as_dict(),
        "numbers": layout.as_dict()["bands"],
        "choice": choice.token,
    }


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | None) else repr(value)


def _begun(windows: Windows, writer: Writer, journal: Journal) -> int:
    """Ready to write windows; how many are there."""
    writer.begin()
    there = journal.done.items()
    journal.strike([number for number, one in there if not writer.holds(windows[number], one)])
    return len(journal.done)


def _here(
    cube: Cube, windows: Windows, writer: Writer, numbers: Sequence[int]
) -> Iterator[tuple[int, Written]]:
    """Windows as they are written; one is while the next is read."""
    before: tuple[int, Future[Written]] | None = None
    with ThreadPoolExecutor(1, "mosaic-export") as thread:
        for number in numbers:
            try:
                values = read(cube, windows[number])
            finally:  # what can't be read doesn't undo what is being written
                if before is not None:
                    yield before[0], before[1].result()
            before = number, thread.submit(writer.write, windows[number], values)
        if before is not None:
            yield before[0], before[1].result()


def _whole(writer: Writer, windows: Windows, journal: Journal, progress: Progress) -> Path:
    """The export, read back."""
    progress("putting together", 0, 0)
    whole = writer.finish(journal.done)
    try:
        for count, _ in enumerate(writer.verify(whole, journal.done), 1):
            progress("reading back", count, len(windows))
    except Unlike as error:
        journal.strike(error.numbers)
        raise ExportError(
            f"{len(error.numbers)} of {len(windows)} windows aren't as they were "
            "written: the disk may be failing; ask for the same again to write these anew"
        ) from error
    return whole


def _size(whole: Path) -> int:
    files = (path for path in whole.rglob("*") if path.is_file()) if whole.is_dir() else (whole,)
    return sum(path.stat().st_size for path in files)


@contextmanager
def _explained(target: Path) -> Iterator[None]:
    """Says of a disk that is full, or a folder that can't be written, that it is."""
    folder = folder_of(target)
    try:
        yield
    except (OSError, ExportError) as error:
        if isinstance(error, ExportError) and error.__cause__ is None:
            raise  # our own word, which needs no explanation
        if is_full(folder if folder.exists() else target.parent, error):
            raise ExportError(
                f"{target}: the disk is full; what is written so far is kept: make room, and ask "
                "for the same again"
            ) from error
        if isinstance(error, ExportError):
            raise ExportError(f"{target}: {error}") from error
        raise ExportError(
            f"{target} can't be written ({error.strerror or error}: {error.filename})"
        ) from error
