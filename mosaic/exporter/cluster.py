"""Windows of a Zarr store, written by the workers of a dask.distributed client.

Workers open the mosaic again and write their shards into the export's folder, which they have to
see. What they wrote is noted here as it comes; what a worker was doing that dies, another does.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

from mosaic.cube.cube import Cube
from mosaic.cube.workers import check_workers
from mosaic.errors import ExportError, MosaicError
from mosaic.exporter.journal import Written
from mosaic.exporter.layout import Layout
from mosaic.exporter.options import Format
from mosaic.exporter.reading import read
from mosaic.exporter.store import StoreWriter
from mosaic.exporter.windows import Windows
from mosaic.version import __version__

_AHEAD = 4
"""Windows that wait at the scheduler, for each thread of the workers."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker needs to know of an export."""

    cube: Cube
    """What is read; it travels as what was asked for."""
    folder: Path
    """Of the export, as all workers see it."""
    layout: Layout
    """What the store says."""
    windows: Windows
    """In which it is written."""
    how: Format
    """How chunks are packed."""


def written(job: Job, number: int) -> Written:
    """On a worker: read and write one window."""
    writer = StoreWriter(job.folder, job.layout, job.windows, job.how)
    window = job.windows[number]
    return writer.write(window, read(job.cube, window))


def sees(folder: str, mark: str) -> bool:
    """On a worker: whether it sees a file."""
    return (Path(folder) / mark).is_file()


def spread(found: Any, job: Job, numbers: Sequence[int]) -> Iterator[tuple[int, Written]]:
    """Windows as workers have written them.

    Raises :class:`~mosaic.errors.WorkerError` for workers of another version,
    :class:`~mosaic.errors.ExportError` for others that can't, and what reading raises.
    """
    distributed: Any = sys.modules["distributed"]
    _agree(found, job.folder)
    futures: dict[Any, int] = {}
    rest = iter(numbers)
    try:
        there = found.scatter(job, broadcast=True, hash=False)

        def submitted(count: int) -> list[Any]:
            some = {
                found.submit(written, there, one, pure=False): one for one in islice(rest, count)
            }
            futures.update(some)
            return list(some)

        ahead = max(_AHEAD * sum(found.nthreads().values()), 1)
        done = distributed.as_completed(submitted(ahead))
        for future in done:
            told = future.result()
            yield futures.pop(future), told
            for other in submitted(1):
                done.add(other)
    except MosaicError:
        raise
    except Exception as error:  # dask has errors of its own, and raises those of its workers
        raise ExportError(
            f"dask's workers can't go on ({type(error).__name__}: {error})"
        ) from error
    finally:
        if futures:
            found.cancel(list(futures))


def _agree(found: Any, folder: Path) -> None:
    """Raises WorkerError unless all workers have this version, ExportError unless they see the
    folder."""
    check_workers()
    mark = folder / f"seen-{uuid4().hex}"
    mark.touch()
    try:
        told = found.run(sees, str(folder), mark.name)
    except Exception as error:  # whatever a worker raises that lacks what it is asked for
        raise ExportError(
            f"dask's workers can't run mosaic {__version__} ({type(error).__name__}: {error}): "
            "install it there, or close the client"
        ) from error
    finally:
        mark.unlink(missing_ok=True)
    for worker, seen in told.items():
        if not seen:
            raise ExportError(
                f"worker {worker} doesn't see {folder}: export to a folder that all workers share, "
                "or close the client"
            )
    if not told:
        raise ExportError("the dask client has no workers: start some, or close it")
