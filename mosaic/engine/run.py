"""One request while it is served: what is known, what was drawn, what couldn't be read."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mosaic.engine.budget import Budget
from mosaic.engine.cover import Bools
from mosaic.engine.known import Known
from mosaic.engine.paint import Canvas
from mosaic.engine.scene import Request, Scene
from mosaic.engine.stock import Stock
from mosaic.errors import (
    ForeignError,
    MosaicError,
    Problem,
    ReadError,
    SourceMismatchError,
    TiffError,
)
from mosaic.storage import Gate


@dataclass(slots=True)
class Tally:
    """What a read did."""

    headers: int = 0
    """Headers that were looked at."""
    blocks: int = 0
    """Blocks that were decoded."""
    waves: int = 0
    """Waves of the layer with most of them."""
    peak: int = 0
    """Bytes of blocks in memory at once, at most."""


@dataclass(slots=True, eq=False)
class Outcome:
    """What was drawn."""

    canvases: list[Canvas]
    """One a layer."""
    covered: list[Bools | None]
    """(H, W) a layer: whether all that could show in a pixel was read; None: everywhere."""
    problems: list[Problem] = field(default_factory=list)
    """What couldn't be read."""
    tally: Tally = field(default_factory=Tally)
    """What it took."""


class Run:
    """One request while it is served."""

    def __init__(self, request: Request, gate: Gate, ignore: bool, budget: Budget) -> None:
        self.request = request
        self.gate = gate
        self.ignore = ignore
        self.budget = budget
        self.stock = Stock()
        self.known = Known(request, gate)
        self.cells = self.known.cells
        self.outcome = Outcome(
            Canvas.blanks(request.layers, request.shape),
            # without errors="ignore" a read is whole, or it raises
            [np.ones(request.shape, bool) if ignore else None for _ in request.layers],
        )

    def failed(self, scene: Scene, error: MosaicError) -> None:
        """Raise what went wrong with a file, or note it."""
        if isinstance(error, ReadError):  # said already
            raise error
        if isinstance(error, SourceMismatchError):
            found = error.problems[0]
            if not self.ignore:
                raise error
        else:
            found = _problem(scene, error)
            if not self.ignore:
                raise ReadError([found]) from error
        if found not in self.outcome.problems:
            self.outcome.problems.append(found)


def _problem(scene: Scene, error: MosaicError) -> Problem:
    what, advice = str(error), ""
    if isinstance(error, TiffError | ForeignError):
        what, advice = error.what, error.advice
    return Problem(type(error).__name__, what, advice, scene.item, scene.asset, scene.href)
