"""What a read took, and what all reads of a case by a contender took."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from tests.benchmarks.truth import Verdict


@dataclass(frozen=True)
class Took:
    """One read."""

    wall: float
    """Seconds from open to loaded."""
    cpu: float
    """Seconds of the process, all threads."""
    memory: float
    """MB of the resident set above what it was when warm."""
    requests: int
    """Requests that the server saw."""
    bytes: int
    """Bytes that it sent."""
    heads: int
    """HEAD requests among them."""


@dataclass
class Result:
    """All reads of one case by one contender."""

    took: list[Took] = field(default_factory=list)
    """Those that count."""
    verdict: Verdict | None = None
    """Of the first one's pixels."""
    failure: str = ""
    """Why there is none, or no more."""

    def median(self, name: str) -> float:
        """Of all rounds."""
        return float(median(getattr(one, name) for one in self.took))
