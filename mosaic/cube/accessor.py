"""``ds.mosaic``: what a dataset will take to read, and what of it couldn't be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from mosaic import bridge
from mosaic.cube.axes import coordinates
from mosaic.cube.choice import Choice
from mosaic.cube.composed import cube_of
from mosaic.cube.cube import Cube
from mosaic.cube.keys import Run
from mosaic.engine.plan import Plan
from mosaic.engine.survey import survey
from mosaic.errors import Problem, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@xr.register_dataset_accessor("mosaic")  # type: ignore[no-untyped-call]
class MosaicAccessor:
    """Of datasets that :func:`mosaic.open` made, and slices of them."""

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset

    @property
    def _cube(self) -> Cube:
        found = self._dataset.encoding.get("mosaic")
        if not isinstance(found, Cube):
            raise UsageError("this dataset isn't one of mosaic.open's, nor a slice of one")
        return found

    def load(self) -> xr.Dataset:
        """``Dataset.load``, with all bands read together however xarray goes about it."""
        return bridge.run(self._dataset.load_async())

    def plan(self) -> Plan:
        """What reading this dataset would take in a new process; its headers are read for that.

        Layers of time with equal coordinates count together. Rows and columns at unequal distances
        are told as the window from their first to their last. Raises what reading a header raises,
        UsageError for a dataset without any band or of other places than those that were opened.
        """
        cube, dataset = self._cube, self._dataset
        bands = [name for name in cube.variables if name in dataset.variables]
        if not bands:
            raise UsageError("no band of the mosaic is in this dataset")
        known, asked = cube.scenes().groups.time, np.atleast_1d(dataset["time"].values)
        of = np.isin(known, asked) | (np.isnat(known) & np.isnat(asked).any())
        row, column = (_run(cube, dataset, axis) for axis in ("y", "x"))
        times = np.flatnonzero(of).tolist()
        request, _ = bridge.on_planner(lambda: cube.request(bands, times, row, column))
        return bridge.run(survey(request, cube.choice.gate))

    def footprints(self) -> Figure:
        """Outlines of the scenes near the grid, in its CRS, one colour for each CRS of their own.

        The grid's own edge is black. Of scenes with one outline the topmost stands for all; the
        legend counts them.
        """
        from mosaic.cube.footprints import footprints

        cube = self._cube
        return bridge.on_planner(lambda: footprints(cube.scenes(), cube.choice.target))

    def counts(self, of: str = "items", size: int = 512) -> xr.DataArray:
        """(y, x) how many scenes lie over each place, by their outlines; nothing is read.

        ``of``: ``items``, or ``time``: in how many layers of time there is one. ``size``: most
        pixels of a side; a finer grid is told at the middles of coarser pixels. What scenes lack
        within their outlines isn't known here: ``method="count"`` reads it. Raises UsageError for
        other arguments.
        """
        from mosaic.cube.footprints import counts

        cube = self._cube
        found, grid = bridge.on_planner(lambda: counts(cube.scenes(), cube.choice.target, of, size))
        name = "items" if of == "items" else "layers"
        return xr.DataArray(found, coordinates(grid), ("y", "x"), name)

    def coverage(self, of: str = "items", size: int = 512) -> Figure:
        """:meth:`counts` as a map: how many scenes lie where, and where there is none."""
        from mosaic.cube.footprints import coverage

        cube = self._cube
        return bridge.on_planner(lambda: coverage(cube.scenes(), cube.choice.target, of, size))

    def report(self) -> tuple[Problem, ...]:
        """What couldn't be read so far with ``errors="ignore"``, each once.

        Of all that was read of the opened dataset in this process, and in one that it came from;
        where it shows is told by the variables whose names end in ``_covered``.
        """
        return self._cube.problems


def arrived(choice: Choice, problems: Sequence[Problem] = ()) -> Cube:
    """A cube that came from another process, and what couldn't be read in that."""
    found = cube_of(choice)
    found.note(problems)
    return found


def _run(cube: Cube, dataset: xr.Dataset, axis: str) -> Run:
    """The rows or columns of a slice, by its coordinates."""
    if axis not in dataset.coords:
        raise UsageError(f"the dataset has no coordinate {axis}: where it lies isn't known")
    affine = cube.choice.target.affine
    first, size = (affine.f, affine.e) if axis == "y" else (affine.c, affine.a)
    if not (affine.b == affine.d == 0):  # a rotated grid has numbers of pixels
        first, size = 0.0, 1.0
    places = (np.atleast_1d(dataset[axis].values) - first) / size - 0.5
    return spanning(np.sort(np.rint(places).astype(np.int64)))


def spanning(places: npt.NDArray[Any]) -> Run:
    """The run of rising places at equal distances, else that from the first to the last."""
    if not len(places):
        raise UsageError("the dataset is empty")
    steps = np.unique(np.diff(places))
    if len(steps) == 1 and steps[0] > 0:
        return Run(int(places[0]), len(places), int(steps[0]))
    return Run(int(places[0]), int(places[-1] - places[0]) + 1)
