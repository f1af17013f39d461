"""What the contenders of ``make bench`` are asked for. Plain: other environments import it."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Window:
    """Pixels of a grid in EPSG:3035, of some bands on some days, by nearest neighbour."""

    left: float
    """Metres."""
    top: float
    """Metres."""
    res: float
    """Metres to a pixel."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    bands: tuple[str, ...]
    """Assets."""
    days: tuple[str, ...]
    """Dates; scenes of one are drawn on each other."""

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top."""
        bottom, right = self.top - self.height * self.res, self.left + self.width * self.res
        return self.left, bottom, right, self.top

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Days, bands, height, width."""
        return len(self.days), len(self.bands), self.height, self.width


@dataclass(frozen=True)
class Case:
    """What is timed."""

    name: str
    """How tables call it."""
    window: Window
    """What is read while the clock runs."""
    before: Window | None = None
    """What the same process has read just before."""


def windows(
    middle: tuple[float, float],
    size: int,
    res: float,
    bands: tuple[str, ...],
    days: tuple[str, ...],
) -> list[Case]:
    """The cases, for a corpus of tiles of ``size`` pixels about a place."""
    x, y = (round(part / res) * res for part in middle)

    def window(pixels: int, bands: tuple[str, ...], days: tuple[str, ...], zoom: int = 1) -> Window:
        half = pixels // 2 * res * zoom
        return Window(x - half, y + half, res * zoom, pixels, pixels, bands, days)

    # a sixteenth aside, so that no case begins at another one's pixels
    first = window(size // 4, bands[:3], days[:1])
    aside = replace(first, left=first.left + size // 8 * res, top=first.top - size // 8 * res)
    small = replace(first, left=first.left - size // 16 * res)
    return [
        Case("seam", window(size, bands[:3], days[:1])),
        Case("small", small),
        Case("overview", window(size // 4, bands[:3], days[:1], zoom=10)),
        Case("churro", window(size // 64, bands, days)),
        Case("second", aside, before=first),
    ]
