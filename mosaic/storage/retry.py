"""Whether a failed attempt is worth another, and when: pure, clock and chance injected."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mosaic.errors import (
    AccessError,
    BodyError,
    DeadlineError,
    ServerError,
    StorageError,
    ThrottledError,
    UnreachableError,
)
from mosaic.settings import Retry
from mosaic.storage.limiter import Outcome


@dataclass(frozen=True, slots=True)
class Sort:
    """What a sort of failure means."""

    again: bool
    """Another attempt may succeed."""
    load: Outcome
    """What it tells the limiter."""
    error: type[StorageError]
    """What it is called when patience ends."""


class Kind(Enum):
    """The sorts of failure that are told apart. Everything else is final."""

    REFUSED = Sort(True, Outcome.REFUSED, ThrottledError)
    """429 or 503."""
    SERVER = Sort(True, Outcome.NEUTRAL, ServerError)
    """Another 5xx."""
    RESET = Sort(True, Outcome.BROKEN, UnreachableError)
    """A connection that was refused or broke."""
    TIMEOUT = Sort(True, Outcome.BROKEN, DeadlineError)
    """No connection, or no byte, in time."""
    TRUNCATED = Sort(True, Outcome.NEUTRAL, BodyError)
    """A body shorter than announced."""
    FORBIDDEN = Sort(False, Outcome.NEUTRAL, AccessError)
    """401, 403, or S3's 400: worth one more attempt after signing anew."""
    FINAL = Sort(False, Outcome.NEUTRAL, StorageError)
    """Anything that another attempt would only repeat."""


class Failure(Exception):  # noqa: N818 - a value on its way from an attempt to the decision
    """One failed attempt."""

    def __init__(
        self,
        kind: Kind,
        cause: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        error: type[StorageError] | None = None,
        advice: str = "",
    ) -> None:
        super().__init__(cause)
        self.kind = kind
        self.cause = cause
        self.status = status
        self.retry_after = retry_after
        self.error = error or kind.value.error
        self.advice = advice


class Budget:
    """Retries that an origin may take: spent by each, earned back by successes.

    A dead origin spends it and then fails at once, instead of once per request and patience; an
    origin that fails every other time never does (each success earns two).
    """

    __slots__ = ("left", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self.left = float(most)

    def earn(self) -> None:
        """An attempt succeeded."""
        self.left = min(float(self.most), self.left + 2)

    def spend(self) -> bool:
        """Take one retry; False when none is left."""
        if self.left < 1:
            return False
        self.left -= 1
        return True


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No further attempt."""

    why: str
    """The reason, in one clause."""


def pause(settings: Retry, attempts: int, failure: Failure, chance: float) -> float:
    """Seconds before the attempt after ``attempts`` failed ones: full jitter, exponential.

    ``chance`` is drawn from [0, 1). Retry-After is a floor. Source: "Exponential Backoff And
    Jitter", AWS Architecture Blog; RFC 9110, 10.2.3.
    """
    most: float = min(settings.longest, settings.base * 2.0 ** min(attempts - 1, 30))
    return max(failure.retry_after or 0.0, chance * most)


def decide(
    settings: Retry,
    budget: Budget,
    failure: Failure,
    *,
    attempts: int,
    now: float,
    deadline: float,
    chance: float,
) -> float | GiveUp:
    """Seconds to wait before another attempt, or the reason why there is none."""
    if not failure.kind.value.again:
        return GiveUp("")
    if attempts >= settings.attempts:
        return GiveUp("no attempts left")
    seconds = pause(settings, attempts, failure, chance)
    if now + seconds >= deadline:
        return GiveUp("the deadline would pass")
    if not budget.spend():
        return GiveUp("the origin's retry budget is spent")
    return seconds
