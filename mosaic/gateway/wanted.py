"""What a path asks of a mosaic's cube: ``groupby=month&method=median``. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mosaic.errors import UsageError

SIDE = 1024
"""Pixels of a chunk's side, unless told."""
_SIDES = (256, 512, 1024, 2048)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A cube as a path asks for it."""

    pairs: tuple[tuple[str, str], ...] = ()
    """Words of :func:`mosaic.open` and their values, as they are written, in order."""
    side: int = SIDE
    """Pixels of a chunk's side."""
    build: str = ""
    """The only build of the mosaic that may answer, or empty for any."""

    def arguments(self) -> dict[str, Any]:
        """Arguments for :func:`mosaic.open`. Raises UsageError."""
        found: dict[str, Any] = {}
        masks = [_mask(text) for name, text in self.pairs if name == "mask"]
        if len({band for band, _ in masks}) < len(masks):
            raise UsageError("a band is given as mask once, with all that hides: mask=SCL:3,8,9")
        if masks:
            found["mask"] = dict(masks)
        for name, text in self.pairs:
            if name != "mask":
                try:
                    found[name] = _READ[name](text)
                except ValueError:
                    raise UsageError(f"{name}={text[:40]!r} is no number") from None
        return found


def wanted(text: str) -> Wanted:
    """What a segment of a path asks for; an empty one asks for what mosaic.open gives.

    Raises :class:`~mosaic.errors.UsageError`.
    """
    pairs = []
    side, build = SIDE, ""
    for pair in text.split("&") if text else []:
        name, _, value = pair.partition("=")
        if not value:
            raise UsageError(f"{pair[:40]!r}: name=value, several joined by &")
        if name == "chunk":
            if value not in map(str, _SIDES):
                raise UsageError(f"chunk= is one of {', '.join(map(str, _SIDES))}")
            side = int(value)
        elif name == "build":
            build = value
        elif name in _READ or name == "mask":
            pairs.append((name, value))
        else:
            known = ", ".join([*_READ, "mask", "chunk", "build"])
            raise UsageError(f"there is no {name[:40]!r}; there are {known}")
    single = [name for name, _ in pairs if name != "mask"]
    if len(set(single)) < len(single):
        raise UsageError("only mask may be given more than once")
    return Wanted(tuple(sorted(pairs)), side, build)


def _mask(text: str) -> tuple[str, list[Any]]:
    """``SCL:cloud_shadow,9``: a band, and what of it hides a pixel."""
    band, mark, rest = text.partition(":")
    if not mark or not rest:
        raise UsageError(f"mask={text[:40]!r}: a band and what hides, such as SCL:8,9")
    return band, [int(word) if word.isdecimal() else word for word in rest.split(",")]


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _numbers(text: str) -> list[float]:
    return [float(word) for word in text.split(",")]


def _resolution(text: str) -> float | list[float]:
    found = _numbers(text)
    return found[0] if len(found) == 1 else found


_READ: dict[str, Callable[[str], Any]] = {
    "bands": _words,
    "datetime": lambda text: text.replace("..", "/"),  # a slash would end the segment
    "groupby": str,
    "method": str,
    "over": str,
    "best": str,
    "mask_dilate": int,
    "resampling": str,
    "dtype": str,
    "crs": str,
    "resolution": _resolution,
    "bbox": _numbers,
}
