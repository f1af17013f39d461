"""What a check found: one finding a check, and the report of them all."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from mosaic.errors import BrokenCatalogError, Problem, SourceMismatchError

LEVELS = ("ok", "unknown", "warning", "error")
"""From what is well to what is wrong; only ``error`` fails a check."""

HEADERS = "headers"
"""Name of the check that compares items with their files."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check."""

    check: str
    """What was checked: a file of the mosaic, or ``stac``, ``locations``, ``headers``, …"""
    what: str
    """What was looked at and how it is, in a few words."""
    count: int
    """How many things were looked at."""
    level: str = "ok"
    """One of :data:`LEVELS`."""
    problems: tuple[Problem, ...] = ()
    """What is wrong, or couldn't be known."""

    def as_dict(self) -> dict[str, Any]:
        """The finding as JSON-ready values."""
        return {
            "check": self.check,
            "what": self.what,
            "count": self.count,
            "level": self.level,
            "problems": [problem.as_dict() for problem in self.problems],
        }


def finding(
    check: str, what: str, count: int, problems: list[Problem], level: str = "error"
) -> Finding:
    """A finding that is well without problems and of a level with them."""
    return Finding(check, what, count, level if problems else "ok", tuple(problems))


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The outcome of :func:`mosaic.check`."""

    path: str
    """The mosaic's folder."""
    findings: tuple[Finding, ...]
    """One a check, in the order in which they were made."""
    seconds: float
    """Wall time."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong; what is unknown or a warning isn't wrong."""
        return not self.errors

    @property
    def errors(self) -> tuple[Problem, ...]:
        """What is wrong."""
        return tuple(p for f in self.findings if f.level == "error" for p in f.problems)

    def counts(self) -> dict[str, int]:
        """Findings by level."""
        counted = Counter(found.level for found in self.findings)
        return {level: counted[level] for level in LEVELS}

    def raise_for_errors(self) -> None:
        """Raises when something is wrong, else nothing.

        Raises :class:`~mosaic.errors.SourceMismatchError` when all that is wrong is that items
        and their files contradict each other, :class:`~mosaic.errors.BrokenCatalogError` when
        the mosaic itself is broken.
        """
        if self.ok:
            return
        wrong = {found.check for found in self.findings if found.level == "error"}
        if wrong == {HEADERS}:
            raise SourceMismatchError(self.errors, "mend the items, or build with --verify")
        raise BrokenCatalogError(self.errors)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON-ready values, without secrets."""
        return {
            "path": self.path,
            "ok": self.ok,
            "counts": self.counts(),
            "findings": [found.as_dict() for found in self.findings],
            "seconds": round(self.seconds, 3),
        }
