"""What writes one format: windows in any order, then the whole; and reads it back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from mosaic.exporter.journal import Written
from mosaic.exporter.pixels import Array
from mosaic.exporter.windows import Window


class Writer(Protocol):
    """Writes into the folder of an export that is under way."""

    def begin(self) -> None:
        """Make what windows are written into, and clear away what a kill left half written."""

    def holds(self, window: Window, written: Written) -> bool:
        """Whether what the journal says of a window is still there, by its size."""

    def write(self, window: Window, bands: Sequence[Array]) -> Written:
        """Write (height, width) bands; their bytes are on disk when this returns."""

    def finish(self, done: Mapping[int, Written]) -> Path:
        """Make the whole; its bytes are on disk when this returns."""

    def verify(self, whole: Path, done: Mapping[int, Written]) -> Iterator[int]:
        """Read it back: numbers of windows as they are found sound, all in the end.

        Raises :class:`~mosaic.errors.ExportError` for what the file says wrongly of itself,
        :class:`Unlike` for windows that aren't what was read.
        """

    def close(self) -> None:
        """Nothing more is asked."""


class Unlike(Exception):  # noqa: N818 - an event
    """Windows whose pixels aren't those that were read."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self.numbers = tuple(numbers)
        super().__init__(f"{len(numbers)} windows")
