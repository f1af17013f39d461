"""Headers of many rasters, each read once: the one door to files while a catalog is made.

Local files are read by as many threads as help, remote ones through the gate.  What only GDAL can
reach (its ``/vsi`` names, ``oss://``) is read by few threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from mosaic.catalog.headers import Header, read_header
from mosaic.catalog.href import is_remote
from mosaic.errors import HeaderError
from mosaic.settings import HeaderSettings

if TYPE_CHECKING:
    from mosaic.storage import Gate

_GOVERNED = ("http://", "https://", "s3://", "gs://", "az://", "abfs://", "abfss://")
_UNGOVERNED_THREADS = 4  # the smallest quota that a public provider grants


def read_headers(
    hrefs: Iterable[str], gate: Gate | None = None, fresh: bool = True
) -> Iterator[tuple[str, Header | HeaderError]]:
    """Headers of many rasters, each href once, as they arrive; errors are values here.

    ``gate``: what remote ones are read through, by default this process's. ``fresh``: as they are
    now, not as the gate has them at hand.
    """
    settings = HeaderSettings.from_env()
    wanted = dict.fromkeys(hrefs)
    governed = [href for href in wanted if href.lower().startswith(_GOVERNED)]
    direct = [href for href in wanted if not href.lower().startswith(_GOVERNED)]
    local = [href for href in direct if not is_remote(href)]
    other = [href for href in direct if is_remote(href)]
    for group, threads in ((local, settings.local_threads), (other, _UNGOVERNED_THREADS)):
        if group:
            with ThreadPoolExecutor(min(threads, len(group)), "mosaic-header") as pool:
                yield from zip(group, pool.map(_read_or_error, group), strict=True)
    if governed:
        from mosaic.catalog.remote import read_governed  # the gate: not for local files

        threads = min(settings.remote_threads, len(governed))
        yield from read_governed(governed, threads, gate, fresh)


def _read_or_error(href: str) -> Header | HeaderError:
    try:
        return read_header(href)
    except HeaderError as error:
        return error
