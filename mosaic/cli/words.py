"""The command line's words as :func:`mosaic.open`'s arguments. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from mosaic.errors import UsageError


def size(given: Sequence[float]) -> float | tuple[float, ...] | None:
    """``--res``, given once or twice."""
    if len(given) > 2:
        raise UsageError("--res: once, or twice for width and height")
    return tuple(given) if len(given) == 2 else given[0] if given else None


def methods(given: Sequence[str]) -> str | dict[str, str] | None:
    """``--resampling METHOD`` and ``BAND=METHOD``."""
    plain = [one for one in given if "=" not in one]
    if len(plain) > 1:
        raise UsageError("--resampling: one method, and others as BAND=METHOD")
    if len(plain) == len(given):
        return plain[0] if plain else None
    parts = [one.rpartition("=") for one in given]
    return {band or "*": method for band, _, method in parts}


def masks(given: Sequence[str]) -> dict[str, list[str | int]] | None:
    """``--mask BAND=A,B``."""
    found: dict[str, list[str | int]] = {}
    for one in given:
        band, equals, values = one.partition("=")
        words = [word.strip() for word in values.split(",") if word.strip()]
        if not (band and equals and words):
            raise UsageError(f"--mask {one}: BAND=VALUE,VALUE, such as SCL=3,8,9")
        found.setdefault(band, []).extend(map(_value, words))
    return found or None


def _value(word: str) -> str | int:
    return int(word) if word.lstrip("-").isdigit() else word
