"""The queue before one origin: who waits for leave, in the order of asking."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import Protocol

from mosaic.storage.limiter import Grant, Outcome
from mosaic.storage.metrics import Counts
from mosaic.storage.retry import Budget, Failure, Kind

_LINGER = (
    0.05  # seconds that a cancelled attempt keeps its permit: its server must hear of it first
)


class Governor(Protocol):
    """The limiter of one process, or its share of a budget that processes share."""

    @property
    def in_flight(self) -> int:
        """Requests of this process in flight."""

    @property
    def limit(self) -> int:
        """Requests that may be in flight."""

    def try_start(self, now: float, size: int) -> Grant | float:
        """Leave, or the seconds after which to ask again."""

    def finish(self, grant: Grant, outcome: Outcome, now: float, size: int) -> None:
        """An attempt is over."""

    def hold(self, now: float, seconds: float) -> None:
        """Retry-After."""

    def held_until(self) -> float:
        """When the last Retry-After ends."""


class Origin:
    """One origin: its limiter, its retry budget, its counters, and who waits.

    Belongs to one loop; its clock is that loop's.
    """

    def __init__(self, name: str, provider: str, governor: Governor, budget: Budget) -> None:
        self.name = name
        self.provider = provider
        self.governor = governor
        self.budget = budget
        self.counts = Counts()
        self._waiting: deque[tuple[asyncio.Future[Grant], int]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def acquire(self, size: int, deadline: float) -> Grant:
        """Wait for leave to ask for ``size`` bytes.

        Raises TimeoutError at the deadline, and Failure at once when the origin asked for a longer
        pause than the deadline leaves.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        pause = self.governor.held_until() - now
        if now + pause >= deadline:
            raise Failure(
                Kind.REFUSED, f"the origin asked for a pause of {pause:.0f} s", retry_after=pause
            )
        if not self._waiting:
            got = self.governor.try_start(now, size)
            if isinstance(got, Grant):
                return self._started(got, now)
        future: asyncio.Future[Grant] = loop.create_future()
        self._waiting.append((future, size))
        self._pump(loop)
        try:
            async with asyncio.timeout_at(deadline):
                return await future
        except (asyncio.CancelledError, TimeoutError):
            if future.done() and not future.cancelled():
                self.release(future.result(), Outcome.NEUTRAL)
            raise

    def release(self, grant: Grant, outcome: Outcome, size: int = 0) -> None:
        """An attempt is over: tell the limiter, let the next ones go."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self.governor.finish(grant, outcome, now, size)
        self.counts.in_flight = self.governor.in_flight
        self.counts.note_limit(now, self.governor.limit)
        self._pump(loop)

    def release_late(self, grant: Grant, outcome: Outcome = Outcome.NEUTRAL) -> None:
        """An attempt that we left keeps its permit until its server has heard of it."""
        asyncio.get_running_loop().call_later(_LINGER, self.release, grant, outcome)

    def hold(self, seconds: float) -> None:
        """Retry-After: nobody asks before."""
        self.governor.hold(asyncio.get_running_loop().time(), seconds)

    def _started(self, grant: Grant, now: float) -> Grant:
        counts = self.counts
        counts.in_flight = self.governor.in_flight
        counts.peak = max(counts.peak, counts.in_flight)
        counts.note_limit(now, self.governor.limit)
        return grant

    def _pump(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting = self._waiting
        while waiting:
            future, size = waiting[0]
            if future.done():
                waiting.popleft()
                continue
            now = loop.time()
            got = self.governor.try_start(now, size)
            if isinstance(got, Grant):
                waiting.popleft()
                future.set_result(self._started(got, now))
                continue
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if got < math.inf:
                self._timer = loop.call_at(now + got, self._wake, loop)
            return

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        self._pump(loop)
