"""One budget for all processes of a machine: the limiter's state in a file, its slots as locks.

A request in flight holds the lock of one slot file, and the kernel frees the locks of a process
that dies, even of one that was killed.  There are as many slots as the cap, so that the cap can't
be exceeded whatever else goes wrong.  The adaptive state (limit, rates, tokens, Retry-After) is a
few hundred bytes that every process reads, advances and writes under one more lock; the clock is
the machine's monotonic one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import math
import os
import random
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from mosaic.errors import UsageError
from mosaic.settings import Limits
from mosaic.storage.limiter import PACKED, Grant, Limiter, Outcome, State, fresh_state

_POLL = 0.01  # seconds until a process looks again for what another one may have freed


class SharedLimiter:
    """A process's share of one origin's budget, kept in a folder that processes agree on.

    ``now`` must be the loop's clock, which is the machine's monotonic clock.
    """

    def __init__(self, limits: Limits, folder: str, origin: str) -> None:
        self._limits = limits
        self._mine: set[int] = set()
        self._limit = min(limits.start, limits.concurrency)
        self._held_until = -math.inf
        self._chance = random.Random(os.getpid())
        place = Path(folder) / hashlib.blake2b(origin.encode(), digest_size=12).hexdigest()
        try:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._state = _open(place / "state")
            self._slots = [_open(place / f"slot{i}") for i in range(limits.concurrency)]
        except OSError as error:
            raise UsageError(
                f"MOSAIC_SHARED_LIMITS={folder}: {os.strerror(error.errno or 0)}"
            ) from error

    @property
    def in_flight(self) -> int:
        """Requests of this process in flight."""
        return len(self._mine)

    @property
    def limit(self) -> int:
        """Requests that may be in flight, of all processes, as last read."""
        return self._limit

    def held_until(self) -> float:
        """When the last Retry-After ends, whichever process heard it."""
        return self._held_until

    def try_start(self, now: float, size: int) -> Grant | float:
        """Leave, holding a slot; or the seconds after which to ask again."""
        with self._turn() as limiter:
            busy, free = self._count()
            limiter.in_flight = busy
            grant = limiter.try_start(now, size)
            if not isinstance(grant, Grant):
                # another process may end a request, and can't wake this one
                return min(grant, _POLL * (0.5 + self._chance.random())) if busy else grant
            slot = free[0]
            fcntl.flock(self._slots[slot], fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._mine.add(slot)
            return grant._replace(slot=slot)

    def finish(self, grant: Grant, outcome: Outcome, now: float, size: int) -> None:
        """The attempt is over: free its slot."""
        if grant.slot not in self._mine:
            return  # abandoned meanwhile
        with self._turn() as limiter:
            limiter.in_flight = self._count()[0]
            limiter.finish(grant, outcome, now, size)
        self._mine.discard(grant.slot)
        fcntl.flock(self._slots[grant.slot], fcntl.LOCK_UN)

    def hold(self, now: float, seconds: float) -> None:
        """Retry-After, for every process."""
        with self._turn() as limiter:
            limiter.hold(now, seconds)

    def abandon(self) -> None:
        """Close the files, which frees the slots unless a parent still holds them."""
        files, self._slots = [self._state, *self._slots], []
        self._mine.clear()
        for file in files:
            with contextlib.suppress(OSError):
                os.close(file)

    def _count(self) -> tuple[int, list[int]]:
        """Slots taken, by whichever process, and those that are free."""
        free = []
        for index, file in enumerate(self._slots):
            if index in self._mine:
                continue
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            fcntl.flock(file, fcntl.LOCK_UN)
            free.append(index)
        return len(self._slots) - len(free), free

    @contextlib.contextmanager
    def _turn(self) -> Iterator[Limiter]:
        fcntl.flock(self._state, fcntl.LOCK_EX)
        try:
            state = self._read()
            limiter = Limiter(self._limits, state)
            yield limiter
            self._limit = limiter.limit
            self._held_until = limiter.held_until()
            packed = limiter.state.pack()
            os.pwrite(self._state, packed + zlib.crc32(packed).to_bytes(4, "little"), 0)
        finally:
            fcntl.flock(self._state, fcntl.LOCK_UN)

    def _read(self) -> State:
        data = os.pread(self._state, PACKED + 4, 0)
        packed, check = data[:PACKED], data[PACKED:]
        if len(data) != PACKED + 4 or zlib.crc32(packed).to_bytes(4, "little") != check:
            return fresh_state(self._limits)
        state = State.unpack(packed)
        # a reboot restarts the clock: what lies in the future was written before it
        if max(state.requests.stamp, state.cut_at) > time.monotonic() + 1:
            return fresh_state(self._limits)
        return state


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
