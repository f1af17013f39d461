"""Failures told so that GDAL hears them: for a Zarr chunk it takes any status for a hole. Pure.

Tried with GDAL 3.13.3: statuses of 400 to 503, bodies that are cut off and connections that are
reset all give the fill value and exit 0. A chunk of a wrong size is an error (after which several
threads of 3.13.3 wait for each other for ever, and one, by GDAL_NUM_THREADS=1, exits 1). It has no
bytes: a message may be as long as a small chunk, and would be its pixels.
"""

from __future__ import annotations

import re

from aiohttp import web
from imagecodecs import zstd_encode

_CHUNK = re.compile(r"/zarr/[^/]+/.+/c(?:/\d+)+", re.ASCII)
_DEAF = ("GDAL/", "QGIS/")
"""In the User-Agent of those that take a refusal for a hole."""


def is_chunk(path: str) -> bool:
    """Whether a path is that of a chunk of numbers."""
    return _CHUNK.fullmatch(path) is not None


def loud(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """An answer as it is sent: a chunk's failure, to GDAL, as a chunk of no bytes.

    404 stays: nothing lies there.
    """
    if response.status < 400 or response.status == 404 or not isinstance(response, web.Response):
        return response
    agent = request.headers.get("User-Agent", "")
    if not any(name in agent for name in _DEAF) or not is_chunk(request.path):
        return response
    return web.Response(body=bytes(zstd_encode(b"")), headers={"Cache-Control": "no-store"})
