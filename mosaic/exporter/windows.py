"""The windows in which a cube is read and written, each once. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

ROOM = 48 << 20
"""Bytes of a window's pixels, of all bands, at most, if a block isn't larger."""
SMALL = 16 << 20
"""Bytes of a window's pixels that do where windows are few."""
LARGEST = 4096
"""Pixels a side of a window, at most."""


@dataclass(frozen=True, slots=True)
class Window:
    """A block of one layer, of all bands."""

    number: int
    """Its place in the order in which they are written."""
    layer: int
    """Place on the axis of time."""
    row: int
    """First row."""
    column: int
    """First column."""
    height: int
    """Rows."""
    width: int
    """Columns."""

    @property
    def place(self) -> tuple[slice, slice, slice]:
        """Where it lies in (time, y, x)."""
        rows = slice(self.row, self.row + self.height)
        columns = slice(self.column, self.column + self.width)
        return slice(self.layer, self.layer + 1), rows, columns


@dataclass(frozen=True, slots=True)
class Windows:
    """All windows of a cube, row by row, layer by layer."""

    shape: tuple[int, int, int]
    """Layers, rows and columns."""
    side: int
    """Pixels a side of a window, but for the last of a row or column."""

    def __len__(self) -> int:
        layers, height, width = self.shape
        return layers * -(-height // self.side) * -(-width // self.side)

    def __iter__(self) -> Iterator[Window]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> Window:
        if not 0 <= number < len(self):
            raise IndexError(number)
        _, height, width = self.shape
        across, down = -(-width // self.side), -(-height // self.side)
        layer, rest = divmod(number, across * down)
        row, column = (place * self.side for place in divmod(rest, across))
        size = min(self.side, height - row), min(self.side, width - column)
        return Window(number, layer, row, column, *size)


def side_of(pixel: int, block: int, shape: tuple[int, int, int], few: int = 0) -> int:
    """Pixels a side of a window: a block's doubled, as often as there is room.

    ``pixel``: bytes of a pixel of all bands. ``block``: pixels a side of a block. ``shape``:
    layers, rows and columns. ``few``: windows up to which small ones do.
    """
    side = block
    while side < LARGEST and (size := 4 * side**2 * pixel) <= ROOM:
        if size > SMALL and len(Windows(shape, side)) <= few:
            break
        side *= 2
    return side
