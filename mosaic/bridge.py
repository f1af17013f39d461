"""The one background loop, the one CPU pool and the one planner, rebuilt after a fork.

Everything asynchronous runs on one loop in one thread, so that one limiter sees every request of
the process, whichever thread, notebook or dask worker asks.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from mosaic.errors import UsageError
from mosaic.leash import hold
from mosaic.still import Crew, Pause, imported

T = TypeVar("T")
_POOL, _PLANNER = "mosaic-cpu", "mosaic-plan"
_PATIENCE = 30.0
"""Seconds that a fork waits at most until no thread is amid its work: a kernel may be compiled."""


class Resident(Protocol):
    """Something that lives on the loop."""

    def after_fork(self) -> None:
        """Forget what belongs to the parent: this is its child."""

    def close(self) -> None:
        """The interpreter ends."""


class Lock(Protocol):
    """A lock that a thread which has it may take again."""

    def acquire(self) -> Any:
        """Wait for it."""

    def release(self) -> Any:
        """Give it back."""


class _Mailbox:
    """Calls for a loop from other threads: however many wait, it is woken once for all."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._calls: deque[Callable[[], None]] = deque()
        self._woken = False

    def post(self, call: Callable[[], None]) -> None:
        self._calls.append(call)
        loop = self._loop()
        if not self._woken and loop is not None:
            self._woken = True
            with contextlib.suppress(RuntimeError):  # closed: nobody is left to tell
                loop.call_soon_threadsafe(self._empty)

    def _empty(self) -> None:
        self._woken = False  # first: what is posted from now on wakes the loop again
        while self._calls:
            self._calls.popleft()()


class _Engine:
    """The loop, its thread and the pool, of one process."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.mail = _Mailbox(self.loop)
        self.callers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Mailbox]
        self.callers = weakref.WeakKeyDictionary()
        self.pool = _threads(os.cpu_count() or 1, _POOL)
        # pyproj makes its transformers anew in every thread, at 30 ms each; and what plans is
        # Python, of which no second thread would do more at the same time
        self.planner = _threads(1, _PLANNER)
        self.pause: Pause | None = None
        self.thread = threading.Thread(target=self._run, name="mosaic-loop", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def hold(self, until: float) -> None:
        """Let no thread be amid its work; first the one that may wait for the others."""
        self.planner.hold(until, mine=_here.crew == _PLANNER)
        self.pool.hold(until, mine=_here.crew == _POOL)
        if threading.current_thread() is not self.thread:
            self.pause = Pause(self.loop, until)

    def go_on(self) -> None:
        """All of them go on."""
        if self.pause is not None:
            self.pause.end()
        self.pause = None
        self.pool.go_on()
        self.planner.go_on()


class _Here(threading.local):
    crew = ""
    """Which of the executors the thread belongs to, or none."""


_here = _Here()


def _threads(count: int, crew: str) -> Crew:
    def join() -> None:
        _here.crew = crew

    return Crew(count, crew, join)


_lock = threading.Lock()
_engine: _Engine | None = None
_taken: list[Lock] = []  # by each fork
_given: list[Lock] = []  # back after this fork
_orphans: list[object] = []  # what a fork left behind: its destructors must not run in the child
_residents: weakref.WeakSet[Resident] = weakref.WeakSet()


def _get() -> _Engine:
    global _engine
    with _lock:
        if _engine is None:
            _engine = _Engine()
        return _engine


def loop() -> asyncio.AbstractEventLoop:
    """The background loop, started when first asked for."""
    engine = _engine
    return (engine or _get()).loop


def pool() -> ThreadPoolExecutor:
    """The pool for work of the CPU and for files."""
    engine = _engine
    return (engine or _get()).pool


def planner() -> ThreadPoolExecutor:
    """The one thread for what plans, and so projects."""
    engine = _engine
    return (engine or _get()).planner


def on_planner(work: Callable[[], T]) -> T:
    """Do what projects on the planner's thread, and wait for it, from any thread but the loop's."""
    if _here.crew == _PLANNER:
        return work()
    return planner().submit(work).result()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the background loop and wait for it, from any other thread.

    Raises UsageError on the background loop itself and on threads of the pool, which would wait for
    themselves. An interrupt (Ctrl-C) cancels the work, and so does a cut leash.
    """
    target = loop()
    if _is_running(target):
        work.close()
        raise UsageError("a blocking read on mosaic's own loop: await the *_async verb instead")
    if _here.crew == _POOL:
        work.close()
        raise UsageError("a blocking read in mosaic's own pool: take another thread")
    future = asyncio.run_coroutine_threadsafe(work, target)
    hold(future)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


async def planned(work: Callable[[], T]) -> T:
    """What a function returns that runs on the planner's thread; for the background loop."""
    return await asyncio.get_running_loop().run_in_executor(planner(), work)


async def pooled(work: Callable[[], T]) -> T:
    """What a function returns that runs in the pool; for the background loop."""
    return await asyncio.get_running_loop().run_in_executor(pool(), work)


async def hop(work: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine that must run on the background loop, from whichever loop."""
    engine, here = _engine or _get(), asyncio.get_running_loop()
    if here is engine.loop:
        return await work
    answer: asyncio.Future[T] = here.create_future()
    back = engine.callers.get(here) or engine.callers.setdefault(here, _Mailbox(here))
    tasks: list[asyncio.Task[T]] = []

    def start() -> None:
        tasks.append(engine.loop.create_task(work))
        tasks[0].add_done_callback(lambda task: back.post(lambda: _answer(answer, task)))

    def stop() -> None:
        tasks[0].cancel()

    engine.mail.post(start)
    try:
        return await answer
    except asyncio.CancelledError:
        engine.mail.post(stop)
        raise


def _answer(answer: asyncio.Future[T], task: asyncio.Task[T]) -> None:
    if answer.done():  # cancelled meanwhile
        task.cancelled() or task.exception()
    elif task.cancelled():
        answer.cancel()
    elif error := task.exception():
        answer.set_exception(error)
    else:
        answer.set_result(task.result())


def _is_running(target: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is target
    except RuntimeError:
        return False


def settle(resident: Resident) -> None:
    """Tell ``resident`` of forks and of the interpreter's end, as long as it lives."""
    _residents.add(resident)


def take_in_forks(lock: Lock) -> None:
    """Let a fork take a lock first, whoever has it, so that a child has it back."""
    _taken.append(lock)


def _hold() -> None:
    """Before a fork. The lock is kept until after it, so that one thread forks at a time."""
    _lock.acquire()
    until = time.monotonic() + _PATIENCE
    if _engine is not None:
        _engine.hold(until)
    imported(until)
    _given[:] = _taken
    for lock in _given:
        lock.acquire()


def _go_on() -> None:
    """After a fork, in the parent."""
    for lock in _given:
        lock.release()
    if _engine is not None:
        _engine.go_on()
    _lock.release()


def _rebuild() -> None:
    global _engine, _lock
    for lock in _given:
        lock.release()
    _lock = threading.Lock()
    _here.crew = ""  # a thread that forks is the child's main thread
    if _engine is not None:
        _orphans.append(_engine)
    _engine = None
    for resident in list(_residents):
        resident.after_fork()


def _end() -> None:
    for resident in list(_residents):
        with contextlib.suppress(Exception):  # nobody is left to tell
            resident.close()
    engine = _engine
    if engine is not None:
        # what was asked of the loop lately, such as closing connections, is still done
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), engine.loop).result(1)


os.register_at_fork(before=_hold, after_in_parent=_go_on, after_in_child=_rebuild)
atexit.register(_end)
