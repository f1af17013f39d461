"""A token bucket whose rate adapts to what an origin refuses: pure, clock injected."""

from __future__ import annotations

import math
from dataclasses import dataclass

_BURST = 0.05  # seconds of a rate that may be sent at once: covers a timer's jitter, hides no limit
_TICK = 1e-6  # seconds: less would be lost in the last digit of a clock
_TAU = 1.0  # seconds over which the rates of what was sent and passed are measured
_STEP = 0.01  # seconds between two ageings of a measurement, where no token depends on it
_CLIMB = 450  # successes from half of a refused rate back to it, twice over
_NEAR = 1.005  # growth for each success from a refused rate to four times that
_FREE = 1.03  # growth for each success where no rate was refused


@dataclass(slots=True)
class Bucket:
    """A token bucket whose rate adapts, for requests or for bytes."""

    rate: float
    """Units a second; infinite where no limit is known."""
    top: float
    """The rate never grows beyond this."""
    tokens: float = 1.0
    """Units that may be sent now; below zero, a debt."""
    stamp: float = -math.inf
    """When the tokens were counted."""
    refused_at: float = 0.0
    """The rate that passed when the origin last refused: growth is slow up to here."""
    sent: float = 0.0
    """Units sent, decaying."""
    passed: float = 0.0
    """Units that were answered well, decaying."""
    weight: float = 0.0
    """Seconds over which those two were measured, decaying."""

    def advance(self, now: float) -> None:
        """Count the tokens and age the measurements."""
        if self.stamp == -math.inf:
            self.stamp = now
        past = now - self.stamp
        bound = self.rate < math.inf
        if past > (0.0 if bound else _STEP):
            if bound:
                most = max(1.0, self.rate * _BURST)
                self.tokens = min(most, self.tokens + past * self.rate)
            keep = math.exp(-past / _TAU)
            self.sent *= keep
            self.passed *= keep
            self.weight = self.weight * keep + (1 - keep) * _TAU
            self.stamp = now

    def wait(self) -> float:
        """Seconds until something may be sent; call :meth:`advance` first."""
        if self.rate == math.inf or self.tokens >= 1 - 1e-9:
            return 0.0
        return max(_TICK, (1 - self.tokens) / self.rate)

    def spend(self, units: float) -> None:
        """Send ``units``; more than the tokens at hand delays what comes next."""
        self.sent += units
        if self.rate < math.inf:
            self.tokens -= units

    def grow(self, units: float) -> None:
        """An answer of ``units`` came: a little more may be sent."""
        self.passed += units
        if self.rate < self.top:
            if self.rate < self.refused_at:
                more = self.rate + self.refused_at / _CLIMB
            else:
                more = self.rate * (_NEAR if self.rate < 4 * self.refused_at else _FREE)
            self.rate = min(self.top, more if more < 1e12 else math.inf)

    def halve(self, floor: float) -> None:
        """The origin refused: send half of what was sent, and be careful near what passed."""
        over = max(self.weight, _TAU / 4)
        self.refused_at = self.passed / over
        now = min(self.rate, self.sent / over)
        self.rate = min(self.top, max(floor, now / 2))
        self.tokens = min(self.tokens, 1.0)
