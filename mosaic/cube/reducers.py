"""Layers to one: what a stack makes of each pixel, fed by batches of layers and strips of rows.

Pixels are worked out one by one, whichever batch, strip or window they are fed in, so that
results don't depend on how a read is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mosaic.cube.composite import Composite
from mosaic.cube.variables import Variable

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]
Stacks = Mapping[str, tuple[Array, Bools]]
"""By band: (layers, H, W) numbers, and which of them count."""


class Reducer(Protocol):
    """One window of a composite, while its layers come and go."""

    def feed(self, stacks: Stacks, planes: Sequence[int], rows: slice) -> None:
        """Some layers, in their order, of some rows."""

    def wanting(self) -> Bools | None:
        """(H, W) pixels that further layers may change; None: all."""

    def result(self) -> dict[str, tuple[Array, Bools]]:
        """By band: (H, W) numbers, and which pixels have one."""


def reducer(made: Composite, bands: Sequence[Variable], shape: tuple[int, int]) -> Reducer:
    """The reducer of a composite's bands; not of one that is a function."""
    names = [one.name for one in bands]
    kinds = {one.name: one.dtype for one in bands}
    if made.quality is not None:
        return _Best(kinds, made.quality.name, made.quality.dtype, made.greatest, shape)
    if made.how.name == "medoid":
        return _Medoid(kinds, [abs(one.declared.scale) for one in bands], shape)
    makers: dict[str, Callable[[np.dtype[Any]], _Band]] = {
        "first": lambda kind: _First(kind, shape),
        "last": lambda kind: _First(kind, shape),
        "min": lambda kind: _Extreme(kind, shape, least=True),
        "max": lambda kind: _Extreme(kind, shape, least=False),
        "mean": lambda kind: _Mean(shape),
        "std": lambda kind: _Std(shape),
        "count": lambda kind: _Count(shape),
        "median": lambda kind: _Percentile(kind, shape, 0.5),
        "percentile": lambda kind: _Percentile(kind, shape, made.how.share),
    }
    make = makers[made.how.name]
    return _Each({name: make(kinds[name]) for name in names})


class _Band(Protocol):
    """A band by itself."""

    @property
    def some(self) -> Bools:
        """(H, W) which pixels have a number."""

    def feed(self, values: Array, valid: Bools, planes: Sequence[int], rows: slice) -> None: ...

    def wanting(self) -> Bools | None: ...

    def result(self) -> Array: ...


class _Each:
    """Bands one by one."""

    def __init__(self, bands: Mapping[str, _Band]) -> None:
        self._bands = bands

    def feed(self, stacks: Stacks, planes: Sequence[int], rows: slice) -> None:
        for name, band in self._bands.items():
            band.feed(*stacks[name], planes, rows)

    def wanting(self) -> Bools | None:
        parts = [band.wanting() for band in self._bands.values()]
        known = [part for part in parts if part is not None]
        return np.logical_or.reduce(known) if len(known) == len(parts) else None

    def result(self) -> dict[str, tuple[Array, Bools]]:
        return {name: (band.result(), band.some) for name, band in self._bands.items()}


class _All:
    """What any further layer may change."""

    def wanting(self) -> Bools | None:
        return None


class _First:
    """The first number."""

    def __init__(self, kind: np.dtype[Any], shape: tuple[int, int]) -> None:
        self._out = np.zeros(shape, kind)
        self.some = np.zeros(shape, bool)

    def feed(self, values: Array, valid: Bools, planes: Sequence[int], rows: slice) -> None:
        out, some = self._out[rows], self.some[rows]
        for plane in planes:
            new = valid[plane] & ~some
            np.copyto(out, values[plane], where=new)
            some |= new

    def wanting(self) -> Bools | None:
        return ~self.some

    def result(self) -> Array:
        return self._out


class _Extreme(_All):
    """The least or greatest number."""

    def __init__(self, kind: np.dtype[Any], shape: tuple[int, int], least: bool) -> None:
        ends = np.iinfo(kind) if kind.kind in "iu" else None
        far: Any = np.inf if ends is None else ends.max
        if not least:
            far = -np.inf if ends is None else ends.min
        self._out = np.full(shape, far, kind)
        self._take = np.minimum if least else np.maximum
        self.some = np.zeros(shape, bool)

    def feed(self, values: Array, valid: Bools, planes: Sequence[int], rows: slice) -> None:
        out, some = self._out[rows], self.some[rows]
        for plane in planes:
            self._take(out, values[plane], out=out, where=valid[plane])
            some |= valid[plane]

    def result(self) -> Array:
        return self._out


class _Count(_All):
    """How many there are."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._count = np.zeros(shape, np.int32)

    @property
    def some(self) -> Bools:
        return np.ones(self._count.shape, bool)

    def feed(self, values: Array, valid: Bools, planes: Sequence[int], rows: slice) -> None:
        for plane in planes:
            self._count[rows] += valid[plane]

    def result(self) -> Array:
        return self._count


class _Mean(_All):
    """Sums, in the order of layers."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._sum = np.zeros(shape, np.float64)
        self._count = np.zeros(shape, np.int32)

    @property
    def some(self) -> Bools:
        found: Bools = self._count > 0
        return found

    def feed(self, values: Array, valid: Bools, planes: Sequence[int], rows: slice) -> None:
        total, count = self._sum[rows], self._count[rows]
        for plane in planes:
            np.add(total, values[plane], out=total, where=valid[plane])
            count += valid[plane]

    def result(self) -> Array:
        found: Array = self._sum / np.maximum(self._count, 1)
        return found


class _Std(_All):
    """Welford's sums: exact to rounding, with no second look."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._mean, self._squares = np.zeros(shape, np.float64), np.zeros(shape, np.float64)
        self._count = np.zeros(shape, np.int32)

    @property
    def some(self) -> Bools:
        found: Bools = self._count > 0
        return found

    def feed(self, values: Array, valid: Bools, planes: Sequence[int], rows: slice) -> None:
        mean, squares, count = self._mean[rows], self._squares[rows], self._count[rows]
        for plane in planes:
            there = valid[plane]
            count += there
            off = np.where(there, values[plane].astype(np.float64) - mean, 0.0)
            mean += off / np.maximum(count, 1)
            squares += off * np.where(there, values[plane] - mean, 0.0)

    def result(self) -> Array:
        found: Array = np.sqrt(self._squares / np.maximum(self._count, 1))
        return found


class _Percentile(_All):
    """A percentile of all layers, which are fed at once."""

    def __init__(self, kind: np.dtype[Any], shape: tuple[int, int], share: float) -> None:
        double = kind.itemsize > 4 or (kind.kind in "iu" and kind.itemsize > 2)
        self._out = np.zeros(shape, np.float64 if double else np.float32)
        self._share = share
        self.some = np.zeros(shape, bool)

    def feed(self, values: Array, valid: Bools, planes: Sequence[int], rows: slice) -> None:
        from mosaic.engine.kernels_stack import called, percentile

        chosen = np.array(planes, np.int64)
        called(percentile, values, valid, chosen, self._share, self._out[rows], self.some[rows])

    def result(self) -> Array:
        return self._out


class _Best(_All):
    """Of each pixel the layer whose quality is the best; the first of equals."""

    def __init__(
        self,
        kinds: Mapping[str, np.dtype[Any]],
        quality: str,
        kind: np.dtype[Any],
        greatest: bool,
        shape: tuple[int, int],
    ) -> None:
        self._quality, self._greatest = quality, greatest
        self._best, self._known = np.zeros(shape, kind), np.zeros(shape, bool)
        self._out = {name: np.zeros(shape, one) for name, one in kinds.items()}
        self._some = {name: np.zeros(shape, bool) for name in kinds}

    def feed(self, stacks: Stacks, planes: Sequence[int], rows: slice) -> None:
        best, known = self._best[rows], self._known[rows]
        qualities, counts = stacks[self._quality]
        for plane in planes:
            one = qualities[plane]
            better = counts[plane] & (~known | (one > best if self._greatest else one < best))
            np.copyto(best, one, where=better)
            known |= better
            for name, out in self._out.items():
                values, valid = stacks[name]
                np.copyto(out[rows], values[plane], where=better)
                np.copyto(self._some[name][rows], valid[plane], where=better)

    def result(self) -> dict[str, tuple[Array, Bools]]:
        return {name: (out, self._some[name]) for name, out in self._out.items()}


class _Medoid(_All):
    """Of each pixel the layer that lies nearest to all others, in all bands at once."""

    def __init__(
        self, kinds: Mapping[str, np.dtype[Any]], weights: Sequence[float], shape: tuple[int, int]
    ) -> None:
        self._weights = np.array(weights, np.float64)
        self._out = {name: np.zeros(shape, kind) for name, kind in kinds.items()}
        self._some = np.zeros(shape, bool)

    def feed(self, stacks: Stacks, planes: Sequence[int], rows: slice) -> None:
        from mosaic.engine.kernels_stack import called, medoid

        chosen = list(planes)
        if not chosen:
            return
        names = list(self._out)
        valid = np.logical_and.reduce([stacks[name][1][chosen] for name in names])
        kind = np.result_type(np.float32, *(stacks[name][0].dtype for name in names))
        stack = np.stack([stacks[name][0][chosen].astype(kind) for name in names], axis=1)
        best = np.empty(valid.shape[1:], np.int64)
        called(medoid, stack, valid, self._weights, best)
        some = best >= 0
        self._some[rows] = some
        place = np.maximum(best, 0)[None]
        for name, out in self._out.items():
            taken = np.take_along_axis(stacks[name][0][chosen], place, 0)[0]
            np.copyto(out[rows], taken, where=some)

    def result(self) -> dict[str, tuple[Array, Bools]]:
        return {name: (out, self._some) for name, out in self._out.items()}
