"""A composite as a dataset's reader: what a cube is for scenes that are drawn on each other."""

from __future__ import annotations

from collections.abc import Sequence

from mosaic import bridge
from mosaic.cube.choice import Choice
from mosaic.cube.composer import Composer, Made
from mosaic.cube.cube import Cube, Found
from mosaic.cube.keys import Run
from mosaic.cube.reduction import finished
from mosaic.cube.scenes import Scenes
from mosaic.cube.variables import COVERED
from mosaic.cube.windows import Tile, Where
from mosaic.engine.known import all_of
from mosaic.engine.scene import Request


class Composed(Cube):
    """What a composite's arrays read from."""

    _composer: Composer | None = None

    def after_fork(self) -> None:
        """A child begins without what its parent was doing."""
        super().after_fork()
        self._composer = None

    def composer(self) -> Composer:
        """What makes its windows; from any thread but the loop's."""
        return bridge.on_planner(self._made)

    def _made(self) -> Composer:
        """The same, on the planner's thread: a file's columns are read there."""
        if self._composer is None:
            assert self.choice.composite is not None
            self._composer = Composer(self.choice, self.choice.composite, self.scenes())
        return self._composer

    def request(
        self, bands: Sequence[str], times: Sequence[int], row: Run, column: Run
    ) -> tuple[Request, Where]:
        """All that a window may ask for, as one request; margins of masks aside."""
        return self.composer().request(bands, times, row, column)

    async def _window(
        self, bands: Sequence[str], times: tuple[int, ...], row: Run, column: Run
    ) -> Found:
        """Whole windows, layer by layer and block by block."""
        found = self._blank(bands, (len(times), row.count, column.count))
        if not row.count or not column.count:
            return found
        composer = await bridge.planned(self._made)

        async def make(place: int, time: int) -> None:
            def put(name: str, tile: Tile, made: Made) -> None:
                here = place, *tile.inside(row, column)
                how = composer.made.how
                found[name][here] = finished(made.values, made.some, self.variables[name], how)
                if made.covered is not None:
                    found[name + COVERED][here] = made.covered

            self.note(await composer.window(bands, time, row, column, put))

        await all_of([make(place, time) for place, time in enumerate(times)])
        return found


def cube_of(choice: Choice, found: Scenes | None = None) -> Cube:
    """The reader of what was asked for."""
    return Cube(choice, found) if choice.composite is None else Composed(choice, found)
