"""GDAL in a process of its own: asked from the background loop, started anew when it died or hung.

The gate's loopback needs Python's lock to answer, and rasterio keeps that lock through some of its
calls, so the two can't share a process. A file that breaks GDAL breaks that process only; what
else was asked of it is asked again, each in a process of its own, which tells who broke it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mosaic import bridge
from mosaic.engine.answering import LENGTH
from mosaic.engine.gdal_worker import THREADS

PROGRAM = "from mosaic.engine.gdal_worker import work; work()"
"""What the process runs."""
CACHE = 64
"""Megabytes of blocks that GDAL keeps."""
_PATIENCES = 10  # a process that only others keep busy isn't waited for longer
_BUFFER = 4 << 20
_NOWHERE = "http://127.0.0.1:9"


class Died(Exception):  # noqa: N818 - an event
    """The process ended while it was asked."""


class Hung(Exception):  # noqa: N818 - an event
    """The process didn't answer, and was ended."""


class Refused(Exception):  # noqa: N818 - an event
    """GDAL can't do what was asked; its message."""


@dataclass(slots=True, eq=False)
class _Running:
    """A process that lives."""

    process: Process
    """It."""
    waiting: dict[int, asyncio.Future[Any]] = field(default_factory=dict)
    """What it was asked and hasn't answered."""
    listener: asyncio.Task[None] | None = None
    """Who hands out its answers."""
    over: bool = False
    """Whether it answers no more; the system may tell of its end later."""
    ended: bool = False
    """Whether it was told to end."""

    def send(self, number: int, verb: str, arguments: tuple[Any, ...]) -> None:
        """Say something to it."""
        data = pickle.dumps((number, verb, arguments), protocol=5)
        stdin = self.process.stdin
        assert stdin is not None
        if not stdin.is_closing():
            stdin.write(LENGTH.pack(len(data)))
            stdin.write(data)

    async def listen(self) -> None:
        """Hand out answers until it ends."""
        stdout = self.process.stdout
        assert stdout is not None
        try:
            while True:
                (size,) = LENGTH.unpack(await stdout.readexactly(LENGTH.size))
                number, failed, found = pickle.loads(await stdout.readexactly(size))
                answer = self.waiting.pop(number, None)
                if answer is None or answer.done():  # nobody wants it any more
                    continue
                if failed:
                    answer.set_exception(Refused(failed))
                else:
                    answer.set_result(found)
        except (asyncio.IncompleteReadError, ConnectionError, pickle.UnpicklingError):
            pass  # it has ended
        self.over = True
        self.end()
        for answer in self.waiting.values():
            if not answer.done():
                answer.set_exception(Died())

    def end(self) -> None:
        """End it, once: a second signal takes its exit code from who waits for it."""
        if self.process.returncode is None and not self.ended:
            self.ended = True
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()


class GdalProcess:
    """One process, started when first asked. Lives on the background loop."""

    def __init__(self, program: str = PROGRAM) -> None:
        self._program = program
        self._count = 0
        self._running: _Running | None = None
        self._start = asyncio.Lock()
        self._free = asyncio.Semaphore(THREADS)
        self._alone = asyncio.Lock()
        bridge.settle(self)

    async def ask(
        self, verb: str, *arguments: Any, patience: float, active: Callable[[], object]
    ) -> Any:
        """What a verb of :mod:`mosaic.engine.gdal_worker` answers.

        ``patience``: seconds without an answer, and without that ``active()`` changes, after which
        the process is ended. Raises Died, Hung and Refused.
        """
        async with self._free:
            try:
                return await self._asked(verb, arguments, patience, active)
            except Died:
                pass
            async with self._alone:
                other = GdalProcess(self._program)
                try:
                    return await other._asked(verb, arguments, patience, active)
                finally:
                    other.close()

    def tell(self, verb: str, *arguments: Any) -> None:
        """Say what needs no answer, if there is a process."""
        if self._running is not None:
            self._running.send(0, verb, arguments)

    def close(self) -> None:
        """End the process."""
        running, self._running = self._running, None
        if running is not None:
            running.end()

    async def end(self) -> None:
        """End the process, and wait until it has gone."""
        running = self._running
        self.close()
        if running is not None:
            await running.process.wait()

    def after_fork(self) -> None:
        """A child has a process of its own."""
        _orphans.append(self._running)
        self._running = None
        self._start, self._alone = asyncio.Lock(), asyncio.Lock()
        self._free = asyncio.Semaphore(THREADS)

    async def _asked(
        self, verb: str, arguments: tuple[Any, ...], patience: float, active: Callable[[], object]
    ) -> Any:
        running = await self._started()
        self._count += 1
        answer = running.waiting[self._count] = asyncio.get_running_loop().create_future()
        running.send(self._count, verb, arguments)
        for _ in range(_PATIENCES):
            before = active()
            done, _ = await asyncio.wait([answer], timeout=patience)
            if done:
                return answer.result()
            if active() == before:
                break
        answer.cancel()
        running.end()
        raise Hung

    async def _started(self) -> _Running:
        async with self._start:
            running = self._running
            if running is None or running.over or running.process.returncode is not None:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-c", self._program),
                    stdin=PIPE,
                    stdout=PIPE,
                    env=_environment(),
                    limit=_BUFFER,
                )
                running = self._running = _Running(process)
                running.listener = asyncio.create_task(running.listen())
            return running


def _environment() -> dict[str, str]:
    """What GDAL finds in its environment: storage is the gate's business, and only the gate's."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(("GDAL_HTTP_", "CPL_VSIL_CURL", "AWS_", "GS_", "AZURE_"))
        and not name.upper().endswith("_PROXY")
    }
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "GDAL_VRT_ENABLE_PYTHON": "NO",
        "GDAL_CACHEMAX": str(CACHE),
        "GDAL_NUM_THREADS": "1",
        # what passes the gate by finds no way out
        **dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY"), _NOWHERE),
        "no_proxy": "127.0.0.1",
    }


_orphans: list[object] = []  # a parent's process: a child must not run its destructors
_shared: list[GdalProcess] = []


def gdal_process() -> GdalProcess:
    """The process of this process, for all reads. On the background loop."""
    if not _shared:
        _shared.append(GdalProcess())
    return _shared[0]
