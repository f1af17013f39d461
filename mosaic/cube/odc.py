"""``mosaic.odc_driver``: the engine and the gate below odc.stac.load.

odc-loader reads a chunk's sources one after the other. Those that were opened together are drawn
beside each other here: when one is asked for, the next are begun, as far as memory allows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from mosaic import bridge
from mosaic.cube.odc_source import Drawn, draw, target_in
from mosaic.cube.values import cast
from mosaic.cube.workers import check_workers, same_version
from mosaic.errors import ReadError, SourceMismatchError, UsageError
from mosaic.storage import Gate, chosen_gate
from mosaic.version import __version__

if TYPE_CHECKING:
    from odc.loader.types import RasterLoadParams, RasterSource

Array = npt.NDArray[Any]
Roi = tuple[slice, slice]

AHEAD = 64 << 20
"""Bytes of results that are drawn before they are asked for, in each thread that reads."""
_ENV = "mosaic"
_log = logging.getLogger("mosaic.odc")


class Load:
    """What all readers of one load share; travels to workers."""

    def __init__(self, gate: Gate, geobox: GeoBox) -> None:
        self.gate = gate
        self.geobox = geobox

    def __repr__(self) -> str:
        return f"Load({self.geobox.shape.y} x {self.geobox.shape.x})"


class _Asked:
    """What a reader is asked for."""

    def __init__(self, cfg: RasterLoadParams, geobox: GeoBox, selection: Any) -> None:
        self.cfg = cfg
        self.geobox = geobox
        self.selection = selection
        self.key = repr((cfg, selection))

    def same(self, other: _Asked) -> bool:
        """Whether another one asks for the same."""
        return self.key == other.key and self.geobox == other.geobox


class Opened:
    """Readers that were opened together, in the order in which they will be asked.

    All but ``add`` and ``end`` run on the background loop.
    """

    def __init__(self, load: Load) -> None:
        self.load = load
        self._waiting: list[Reader] = []
        self._begun: dict[Reader, tuple[_Asked, asyncio.Task[Drawn]]] = {}

    def add(self, reader: Reader) -> None:
        """One that will be asked after those that are there."""
        self._waiting.append(reader)

    def end(self) -> None:
        """From now on each reader is on its own."""
        self._waiting.clear()
        if self._begun:
            bridge.run(self._close())

    async def take(self, reader: Reader, asked: _Asked) -> Drawn:
        """What a reader is asked for; the next readers are begun."""
        if reader in self._waiting:
            self._waiting.remove(reader)
        before, task = self._begun.pop(reader, (asked, None))
        if task is None or not before.same(asked):
            if task is not None:
                await _given_up([task])
            task = self._draw(reader, asked)
        self._ahead(asked)
        return await task

    async def _close(self) -> None:
        """Give up what nobody asked for."""
        tasks = [task for _, task in self._begun.values()]
        self._begun.clear()
        await _given_up(tasks)

    def _ahead(self, asked: _Asked) -> None:
        rows, columns = asked.geobox.shape
        size = rows * columns * (np.dtype(asked.cfg.dtype or "float32").itemsize + 1)
        for reader in self._waiting:
            if (len(self._begun) + 1) * size > AHEAD:
                break
            if reader not in self._begun:
                self._begun[reader] = asked, self._draw(reader, asked)

    def _draw(self, reader: Reader, asked: _Asked) -> asyncio.Task[Drawn]:
        target = target_in(self.load.geobox, asked.geobox)
        work = draw(self.load.gate, reader.source, asked.cfg, target, asked.selection)
        return asyncio.ensure_future(work)


async def _given_up(tasks: list[asyncio.Task[Drawn]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Reader:
    """One source of a load: odc-loader's ``RasterReader``."""

    def __init__(self, source: RasterSource, opened: Opened) -> None:
        self.source = source
        self._opened = opened

    def __repr__(self) -> str:
        return f"Reader({self.source.uri.partition('?')[0]}, band {self.source.band})"

    def __reduce__(self) -> tuple[object, ...]:
        return _reader, (self.source, self._opened.load)

    def read(
        self,
        cfg: RasterLoadParams,
        dst_geobox: GeoBox,
        *,
        dst: Array | None = None,
        selection: Any = None,
    ) -> tuple[Roi, Array]:
        """Where the source may show in a grid, and its pixels there: (y, x), or with its bands.

        Bands lie where ``cfg.dims`` has them. Pixels without data have the load's fill value, else
        the file's nodata value (NaN of floating point), else 0. Numbers are rounded, and kept
        within the type's ends. Raises UsageError; ReadError unless ``cfg.fail_on_error`` is false:
        then it is logged, and nothing is shown.
        """
        try:
            found = bridge.run(self._opened.take(self, _Asked(cfg, dst_geobox, selection)))
        except (ReadError, SourceMismatchError) as error:
            if cfg.fail_on_error:
                raise
            _log.warning("left out, as fail_on_error=False says: %s", error)
            nothing = np.zeros((0, 0), cfg.dtype) if dst is None else dst[:0, :0]
            return (slice(0, 0), slice(0, 0)), nothing
        return found.roi, self._given(found, cfg, dst)

    def _given(self, found: Drawn, cfg: RasterLoadParams, dst: Array | None) -> Array:
        """Pixels as odc-loader wants them."""
        from odc.loader import resolve_dst_dtype, resolve_dst_nodata

        dtype = dst.dtype if dst is not None else resolve_dst_dtype(found.values.dtype.str, cfg)
        fill = resolve_dst_nodata(dtype, cfg, found.nodata)
        values = cast(found.values, dtype)
        values[~found.filled] = 0 if fill is None else fill
        flat = self.source.band != 0 and not (self.source.meta and self.source.meta.extra_dims)
        last = self.source.ydim == 0
        made = values[0] if flat else values.transpose(1, 2, 0) if last else values
        if dst is None:
            return made
        part = dst[found.roi] if flat or last else dst[:, found.roi[0], found.roi[1]]
        part[...] = made
        return part


def _reader(source: RasterSource, load: Load) -> Reader:
    return Reader(source, Opened(load))


class Driver:
    """odc-loader's ``ReaderDriver``."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def __repr__(self) -> str:
        return "mosaic.odc_driver()"

    def new_load(self, geobox: GeoBox, *, chunks: dict[str, int] | None = None) -> Load:
        """What all readers of a load share. ``chunks``: given if dask is to read them."""
        if chunks is not None:
            check_workers()
        return Load(self._gate, geobox)

    def finalise_load(self, load_state: Load) -> Load:
        """Nothing is held open."""
        return load_state

    def capture_env(self) -> dict[str, Any]:
        """What workers must agree on; dask's keys are made of it, too."""
        return {_ENV: __version__}

    @contextmanager
    def restore_env(self, env: dict[str, Any], load_state: Load) -> Iterator[Opened]:
        """Readers that are opened within are read together. Raises WorkerError."""
        same_version(str(env.get(_ENV)))
        opened = Opened(load_state)
        try:
            yield opened
        finally:
            opened.end()

    def open(self, src: RasterSource, ctx: Opened) -> Reader:
        """A reader of one source; nothing is read yet."""
        made = Reader(src, ctx)
        ctx.add(made)
        return made

    @property
    def md_parser(self) -> None:
        """None: odc-stac's own, which hears ``stac_cfg=``."""
        return None

    @property
    def dask_reader(self) -> None:
        """None: odc-loader's own way."""
        return None

    @property
    def aux_reader(self) -> Any:
        """odc-stac's own, for ``with_properties=``; None where it isn't installed."""
        try:
            from odc.stac._mdtools import StacAuxReader
        except ImportError:
            return None
        return StacAuxReader()


def driver(gate: Gate | None, via: str | None) -> Driver:
    """The driver. Raises UsageError where odc-loader isn't installed."""
    try:
        import odc.loader  # noqa: F401 - who isn't there is told of here
    except ImportError as error:
        what = "odc.stac.load isn't installed: pip install 'virtual-mosaic[odc]'"
        raise UsageError(what) from error
    return Driver(chosen_gate(gate, via))
