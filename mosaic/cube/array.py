"""One lazy variable, as xarray's backends have them."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from mosaic import bridge
from mosaic.cube.cube import Cube
from mosaic.cube.keys import key_of
from mosaic.cube.together import lazy_with, loading

Array = npt.NDArray[Any]


class BandArray(BackendArray):
    """A band, or its coverage: (time, y, x), read when it is indexed."""

    __slots__ = ("cube", "dtype", "name", "shape")

    def __init__(
        self, cube: Cube, name: str, shape: tuple[int, int, int], dtype: np.dtype[Any]
    ) -> None:
        self.cube, self.name, self.shape, self.dtype = cube, name, shape, dtype

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}, shape={self.shape}, dtype={self.dtype})"

    def __dask_tokenize__(self) -> tuple[str, str, str]:
        return type(self).__name__, self.cube.choice.token, self.name

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Array:
        if isinstance(key, indexing.VectorizedIndexer):
            return bridge.run(self._points(key.tuple))
        owner = loading()
        also = set() if owner is None else self._siblings(owner, key)
        found: Array = indexing.explicit_indexing_adapter(
            _sound(key, self.shape),
            self.shape,
            indexing.IndexingSupport.OUTER,
            lambda index: self._read(index, owner, also),
        )
        return found

    async def async_getitem(self, key: indexing.ExplicitIndexer) -> Array:
        """:meth:`__getitem__` for ``load_async``: bands that are awaited together are one read."""
        if isinstance(key, indexing.VectorizedIndexer):
            return await bridge.hop(self._points(key.tuple))
        found: Array = await indexing.async_explicit_indexing_adapter(
            _sound(key, self.shape), self.shape, indexing.IndexingSupport.OUTER, self._read_async
        )
        return found

    def _siblings(self, owner: xr.Dataset, key: indexing.ExplicitIndexer) -> set[str]:
        """Other variables of the same cube that will be asked for with the same key."""
        arrays = lazy_with(owner, key)
        mine = [a for a in arrays if isinstance(a, BandArray) and a.cube is self.cube]
        return {array.name for array in mine} - {self.name}

    def _read(self, index: tuple[Any, ...], owner: xr.Dataset | None, also: set[str]) -> Array:
        key, kept = key_of(index, self.shape)
        found: Array = self.cube.read(self.name, key, also, owner)[kept]
        return found

    async def _read_async(self, index: tuple[Any, ...]) -> Array:
        key, kept = key_of(index, self.shape)
        found: Array = (await bridge.hop(self.cube.ask({self.name}, key)))[self.name][kept]
        return found

    def _points(self, index: tuple[Any, ...]) -> Coroutine[Any, Any, Array]:
        """Arrays of places, which xarray has made of all dimensions."""
        lists = np.broadcast_arrays(*index)
        shape = lists[0].shape
        flat = [
            np.where(one < 0, one + size, one).reshape(-1)
            for one, size in zip(lists, self.shape, strict=True)
        ]

        async def read() -> Array:
            return (await self.cube.points(self.name, *flat)).reshape(shape)

        return read()


def _sound(key: indexing.ExplicitIndexer, shape: tuple[int, ...]) -> indexing.ExplicitIndexer:
    """A key whose empty slices run forwards: xarray 2026.9 fails at those that run backwards."""
    return type(key)(
        tuple(
            slice(0, 0) if isinstance(one, slice) and not range(*one.indices(size)) else one
            for one, size in zip(key.tuple, shape, strict=True)
        )
    )
