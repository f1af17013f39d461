"""How much one origin is asked at once and per second: a pure state machine, clock injected.

Two limits hold at the same time, because providers have both: requests in flight, and a rate (of
requests, of bytes).  Both adapt.  Concurrency starts small, grows until the first refusal, is
halved by a refusal, a reset or a timeout, and then creeps back to just below where it was refused;
from there it probes one request further, ever more rarely, because each probe of a full server
costs a refusal (plain AIMD against a server of two would be refused every fourth time).  A rate is
bound by the first refusal, at half of what was being sent, and grows slowly.

A halving that changes nothing is taken back, and that share of refusals is then put up with:
refusals that do not depend on load (a flaky proxy) must not starve a job.  The test is sound,
because a limit exceeded by less than half is no longer exceeded right after halving.

All numbers of the state are floats, so that processes can share it as bytes.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import NamedTuple

from mosaic.settings import Limits
from mosaic.storage.bucket import Bucket

_RIPE = 30  # outcomes after a cut by which its effect is judged
_PROBE = 32.0  # successes at the ceiling before one request more is tried
_PROBE_MOST = 2048.0
_FLOORS = (4.0, 256 * 1024.0)  # requests/s and bytes/s that adaptation does not go below


class Outcome(Enum):
    """What an attempt tells about the load its origin bears."""

    OK = "ok"
    REFUSED = "refused"
    """429 or 503: too many requests, in flight or per second."""
    BROKEN = "broken"
    """A reset or a timeout: perhaps too many in flight."""
    NEUTRAL = "neutral"
    """Nothing: cancelled, or failed for a reason that has nothing to do with load."""


class Grant(NamedTuple):
    """Leave for one attempt."""

    at: float
    """When it was granted, in seconds of the injected clock."""
    depth: int
    """Requests in flight with it."""
    slot: int = -1
    """Slot of a budget shared between processes, or -1."""


@dataclass(slots=True)
class State:
    """Everything a limiter remembers, as floats."""

    limit: float
    """Requests that may be in flight; its floor counts."""
    ceiling: float = math.inf
    """The most that was in flight without being refused, once something was."""
    cuts: float = 0.0
    """How often the limit was halved."""
    cut_at: float = -math.inf
    """When it was last cut: answers to older requests are old news."""
    hold_until: float = -math.inf
    """Retry-After: nothing is sent before."""
    seen: float = 0.0
    """Outcomes since the last cut, aged."""
    bad: float = 0.0
    """Bad ones of them."""
    before: float = 1.0
    """Share of bad outcomes just before the last cut."""
    calm: float = 0.0
    """Share of bad outcomes that a cut was seen not to change."""
    judged: float = 1.0
    """0 until the effect of the last cut is judged, then 1."""
    credit: float = 0.0
    """Successes at the ceiling since the last probe; during a probe, those beyond it."""
    patience: float = _PROBE
    """Successes at the ceiling that the next probe needs."""
    requests: Bucket = field(default_factory=lambda: Bucket(math.inf, math.inf))
    volume: Bucket = field(default_factory=lambda: Bucket(math.inf, math.inf))

    def pack(self) -> bytes:
        """The state as bytes, for a file that processes share."""
        return struct.pack(f"{_WIDTH}d", *_numbers(self))

    @classmethod
    def unpack(cls, data: bytes) -> State:
        """The state that :meth:`pack` wrote."""
        numbers = struct.unpack(f"{_WIDTH}d", data)
        own, size = len(fields(cls)) - 2, len(fields(Bucket))
        requests, volume = Bucket(*numbers[own : own + size]), Bucket(*numbers[own + size :])
        state = cls(*numbers[:own])
        state.requests, state.volume = requests, volume
        return state


def _numbers(state: State) -> list[float]:
    own = [getattr(state, f.name) for f in fields(State)[:-2]]
    for bucket in (state.requests, state.volume):
        own += [getattr(bucket, f.name) for f in fields(Bucket)]
    return own


_WIDTH = len(fields(State)) - 2 + 2 * len(fields(Bucket))
PACKED = 8 * _WIDTH
"""Bytes of a packed state."""


class Limiter:
    """The limiter of one origin; ``now`` is any clock of seconds that doesn't run backwards."""

    def __init__(self, limits: Limits, state: State | None = None) -> None:
        self.limits = limits
        self.in_flight = 0
        self.state = state or fresh_state(limits)

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return min(self.limits.concurrency, max(1, int(self.state.limit)))

    def try_start(self, now: float, size: int) -> Grant | float:
        """Leave for a request of ``size`` bytes, or the seconds after which to ask again.

        Infinite where only the end of another request can help.
        """
        state = self.state
        if now < state.hold_until:
            return state.hold_until - now
        if self.in_flight >= self.limit:
            return math.inf
        state.requests.advance(now)
        state.volume.advance(now)
        wait = max(state.requests.wait(), state.volume.wait())
        if wait > 0:
            return wait
        state.requests.spend(1)
        state.volume.spend(size)
        self.in_flight += 1
        return Grant(now, self.in_flight)

    def finish(self, grant: Grant, outcome: Outcome, now: float, size: int) -> None:
        """The attempt is over, and ``size`` bytes came."""
        self.in_flight -= 1
        state = self.state
        if outcome is Outcome.NEUTRAL:
            return
        state.requests.advance(now)
        state.volume.advance(now)
        recent = grant.at >= state.cut_at
        if recent:
            self._count(outcome is not Outcome.OK)
        if outcome is Outcome.OK:
            state.requests.grow(1)
            state.volume.grow(size)
            self._grow(grant)
        elif recent:
            self._shrink(grant, outcome, now)

    def hold(self, now: float, seconds: float) -> None:
        """Retry-After: a floor for the whole origin."""
        self.state.hold_until = max(self.state.hold_until, now + seconds)

    def held_until(self) -> float:
        """When the last Retry-After ends."""
        return self.state.hold_until

    def _count(self, bad: bool) -> None:
        state = self.state
        if state.seen >= 2 * _RIPE:
            state.calm *= state.bad / state.seen >= state.calm / 2  # the flakiness is over
            state.seen /= 2
            state.bad /= 2
        state.seen += 1
        state.bad += bad
        if not state.judged and state.seen >= _RIPE:
            state.judged = 1.0
            share = state.bad / state.seen
            alike = state.before / 2 <= share <= 2 * state.before + 1 / _RIPE
            if alike and state.before < 0.5:
                state.calm = share
                self._undo()

    def _grow(self, grant: Grant) -> None:
        state, cap = self.state, float(self.limits.concurrency)
        if state.limit >= cap or grant.depth * 2 < self.limit:
            return  # at the cap, or never used: what was not tried proves nothing
        if not state.cuts:
            state.limit = min(cap, state.limit + 1)
        elif state.limit > state.ceiling:  # a probe
            state.credit += grant.depth > state.ceiling
            if state.credit >= state.limit:
                state.ceiling, state.credit, state.patience = math.inf, 0.0, _PROBE
        elif state.limit < state.ceiling:
            state.limit = min(cap, state.ceiling, state.limit + 1 / state.limit)
        else:
            state.credit += 1
            if state.credit >= state.patience:
                state.limit, state.credit = min(cap, state.ceiling + 1), 0.0

    def _shrink(self, grant: Grant, outcome: Outcome, now: float) -> None:
        state = self.state
        if state.limit > state.ceiling and grant.depth > state.ceiling:  # a probe that failed
            state.limit, state.credit, state.cut_at = state.ceiling, 0.0, now
            state.patience = min(_PROBE_MOST, 2 * state.patience)
            return
        share = state.bad / state.seen
        overwhelmed = state.seen >= 8 and share >= 0.5
        if not overwhelmed and (not state.judged or (state.calm and share < 2 * state.calm + 0.05)):
            return  # too early to tell what the last cut did, or known to have another cause
        state.before, state.seen, state.bad, state.cut_at = share, 0.0, 0.0, now
        state.judged, state.calm, state.credit = 0.0, 0.0, 0.0
        state.cuts += 1
        state.ceiling = max(1.0, min(state.ceiling, grant.depth - 1.0))
        state.limit = max(1.0, min(state.limit, float(self.limits.concurrency)) / 2)
        if outcome is Outcome.REFUSED:
            for bucket, floor in zip((state.requests, state.volume), _FLOORS, strict=True):
                bucket.halve(min(floor, bucket.top))

    def _undo(self) -> None:
        state = self.state
        state.ceiling = math.inf
        state.limit = min(float(self.limits.concurrency), state.limit * 2)
        for bucket in (state.requests, state.volume):
            bucket.rate = min(bucket.top, bucket.rate * 2)
            bucket.refused_at = 0.0


def fresh_state(limits: Limits) -> State:
    """The state of a limiter that knows nothing of its origin yet."""
    per_second = (limits.requests_per_minute or math.inf) / 60
    volume = limits.bytes_per_second or math.inf
    return State(
        limit=float(min(limits.start, limits.concurrency)),
        requests=Bucket(per_second, per_second),
        volume=Bucket(volume, volume),
    )
