"""``/zarr/<mosaic>``: a mosaic as a Zarr store that was never written, its chunks drawn when asked.

``/zarr/<mosaic>/<choice>`` is another one: ``groupby=month&method=median``.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy.typing as npt
from aiohttp import web

from mosaic.bridge import planned, pooled
from mosaic.cube.axes import along, coordinates
from mosaic.cube.cube import Cube
from mosaic.cube.levels import layers, regridded, window
from mosaic.gateway.catalogs import Catalogs
from mosaic.gateway.guard import told
from mosaic.gateway.kept import Kept
from mosaic.gateway.nodes import keyed
from mosaic.gateway.served import Served
from mosaic.gateway.views import Place, View, build_of, opened
from mosaic.gateway.wanted import Wanted, wanted
from mosaic.storage import Gate
from mosaic.storage.answer import Meta
from mosaic.storage.conditions import asked, known, same_version, unwanted

T = TypeVar("T")
_VIEWS = 8
"""Stores that stay open."""
_LAYERS = 1 << 18
"""Numbers of layers of time that are remembered of windows."""
_DRAWN = 4
"""Chunks that are drawn at a time; the others wait."""
_JSON = "application/json"
_BYTES = "application/octet-stream"


class Zarr:
    """Zarr stores of the served mosaics. ``kept``: files and chunks as they were drawn."""

    def __init__(self, catalogs: Catalogs, gate: Gate, kept: Kept[bytes]) -> None:
        self._catalogs = catalogs
        self._gate = gate
        self._kept = kept
        self._views: Kept[View] = Kept(_VIEWS)
        self._layers: Kept[frozenset[int]] = Kept(_LAYERS, lambda found: 8 + len(found))
        self._turns = asyncio.Semaphore(_DRAWN)
        # opening waits for the planner, so neither the loop nor its pool can do that
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mosaic-zarr")
        self._coarser = asyncio.Lock()

    def routes(self) -> list[web.RouteDef]:
        """The routes."""
        return [web.get("/zarr/{name}/{path:.*}", self.answer)]

    def close(self) -> None:
        """Begin nothing more. On the loop, which what is opened needs: it can't be awaited."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def answer(self, request: web.Request) -> web.Response:
        """What a key holds: 404 for one that there isn't, or of a chunk where no scene lies.

        What can't be read is an error, and no missing chunk: those are filled silently.
        """
        await self._catalogs.refresh()
        served = self._catalogs.get(request.match_info["name"])
        first, _, rest = request.match_info["path"].partition("/")
        choice, path = (first, rest) if "=" in first else ("", request.match_info["path"])
        # obstore puts a slash after a URL that ends in one: an array found so has its chunks, too
        key = keyed(path.removeprefix("/"))
        if served is None or key is None:
            return _missing()
        want = wanted(choice)
        build = build_of(served)
        if want.build not in ("", build):
            return told(410, f"the mosaic was built anew: it is {build} now")
        store = served.name, build, want.pairs, want.side
        view = await self._views.get(store, lambda: self._open(served, want))
        node, index = key
        if index is None:
            body = view.documents.get(node)
            return _missing() if body is None else _whole(request, body, _tag(store, node), _JSON)
        place = view.places.get(node)
        at = view.nodes[place].window(index) if place is not None else None
        if place is None or at is None:
            return _missing()
        tag = _tag(store, place, index)
        if _has(request, tag):
            return web.Response(status=304, headers={"ETag": tag})
        if not await self._there(store, view, place, at):
            return _missing()
        body = await self._kept.get(tag, lambda: self._chunk(view, place, at))
        return _whole(request, body, tag, _BYTES)

    async def _open(self, served: Served, want: Wanted) -> View:
        return await self._waiting(lambda: opened(served, self._gate, want))

    async def _waiting(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _cube(self, view: View, level: int) -> Cube:
        async with self._coarser:
            if level not in view.cubes:
                base, grid = view.cubes[0], view.grids[level]
                view.cubes[level] = await self._waiting(lambda: regridded(base, grid))
            return view.cubes[level]

    async def _there(
        self, store: Hashable, view: View, place: Place, at: tuple[slice, ...]
    ) -> bool:
        """Whether there is anything to draw."""
        level, name = place
        if len(at) < 3:
            return True
        cube = await self._cube(view, level)

        async def look() -> frozenset[int]:
            return await planned(lambda: layers(cube, name, at[1], at[2]))

        key = store, level, name, at[1].start, at[2].start
        return at[0].start in await self._layers.get(key, look)

    async def _chunk(self, view: View, place: Place, at: tuple[slice, ...]) -> bytes:
        """A chunk as it is sent. Raises what reading raises."""
        level, name = place
        node = view.nodes[place]
        values: npt.NDArray[Any]
        if name == "time":
            values = view.times[at]
        elif len(at) == 1:
            values = along(view.grids[level], name, at[0])
        elif not at:
            grid = view.grids[level][:1, :1]  # so that no axis is made
            values = await pooled(lambda: coordinates(grid)[name].values)
        else:
            cube = await self._cube(view, level)
            async with self._turns:
                values = (await cube.ask({name}, window(at[0].start, at[1], at[2])))[name]
        return await pooled(lambda: node.encoded(values))


def _tag(*what: object) -> str:
    return f'"{hashlib.sha1(repr(what).encode()).hexdigest()}"'


def _has(request: web.Request, tag: str) -> bool:
    return known(request.headers.get("If-None-Match", ""), Meta(None, tag))


def _whole(request: web.Request, body: bytes, tag: str, kind: str) -> web.Response:
    """An object, or the range of it that is asked for."""
    headers = {"ETag": tag, "Accept-Ranges": "bytes", "Content-Type": kind}
    meta = Meta(len(body), tag)
    status = unwanted(request.headers, meta)
    if status:
        return web.Response(status=status, headers=headers)
    text = request.headers.get("Range", "")
    if not same_version(request.headers.get("If-Range", ""), meta):
        text = ""
    found = asked(text, len(body))
    if found is None:
        return web.Response(
            status=416, headers={**headers, "Content-Range": f"bytes */{len(body)}"}
        )
    start, stop, status = found
    if status == 206:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(body)}"
    return web.Response(status=status, body=body[start:stop], headers=headers)


def _missing() -> web.Response:
    return web.Response(status=404, text="no such key\n")
