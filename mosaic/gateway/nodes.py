"""Zarr's groups and arrays: what is told of them, which keys they have, chunks as bytes. Pure.

Sources: Zarr core 3.1, consolidated metadata as zarr-python 3 writes it, CF 1.11, and GeoZarr's
conventions multiscales, spatial and proj, v0.1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from imagecodecs import zstd_encode
from odc.geo.geobox import GeoBox

from mosaic.cube.geozarr import filling, pixels

Json = dict[str, Any]
LEVELS = "levels"
"""Name of the group that holds a grid and its coarser ones."""
TYPES = frozenset(
    "int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split()
)
"""Data types of real numbers, as Zarr names them."""
_LEVEL = 1  # zstd's: cheaper than what a network gains by more
_NUMBER = "(?:0|[1-9][0-9]{0,8})"
_CHUNK = re.compile(rf"(?P<node>[^/].*)/c(?P<index>(?:/{_NUMBER})*)", re.ASCII)


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """An array of a store."""

    name: str
    """Its name in its group."""
    dims: tuple[str, ...]
    """Names of its dimensions."""
    shape: tuple[int, ...]
    """Of all of it."""
    chunk: tuple[int, ...]
    """Of a chunk; those at the ends are as large, and filled up."""
    dtype: np.dtype[Any]
    """Of its numbers."""
    fill: float | int
    """What a chunk holds that isn't there."""
    attrs: Mapping[str, Any] = field(default_factory=dict)
    """What is told of it."""

    def document(self) -> Json:
        """Its ``zarr.json``."""
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": self.shape,
            "data_type": self.dtype.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": self.chunk}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": number(self.fill),
            "codecs": [
                {"name": "bytes", "configuration": {"endian": "little"}}
                if self.dtype.itemsize > 1
                else {"name": "bytes"},
                {"name": "zstd", "configuration": {"level": _LEVEL, "checksum": False}},
            ],
            "attributes": self.attrs,
            "dimension_names": self.dims,
            "storage_transformers": [],
        }

    def window(self, index: Sequence[int]) -> tuple[slice, ...] | None:
        """What a chunk holds of the array; None for one outside."""
        if len(index) != len(self.shape):
            return None
        found = []
        for place, size, side in zip(index, self.shape, self.chunk, strict=True):
            if place * side >= size:
                return None
            found.append(slice(place * side, min(size, (place + 1) * side)))
        return tuple(found)

    def encoded(self, values: npt.NDArray[Any]) -> bytes:
        """A chunk's numbers as they are sent, filled up to its whole size."""
        if values.shape != self.chunk:
            whole = np.full(self.chunk, self.fill, self.dtype)
            whole[tuple(slice(0, size) for size in values.shape)] = values
            values = whole
        little = np.ascontiguousarray(values, self.dtype.newbyteorder("<"))
        return bytes(zstd_encode(little.tobytes(), level=_LEVEL))


def keyed(path: str) -> tuple[str, tuple[int, ...] | None] | None:
    """The node and the chunk that a key names; no chunk for its ``zarr.json``; None: no key."""
    if path == "zarr.json":
        return "", None
    if path.endswith("/zarr.json") and not path.startswith("/"):
        return path.removesuffix("/zarr.json"), None
    match = _CHUNK.fullmatch(path)
    if match is None:
        return None
    return match["node"], tuple(int(word) for word in match["index"].split("/")[1:])


def number(value: float | int) -> float | int | str:
    """A fill value as JSON has it."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def told(attrs: Mapping[str, Any], dtype: np.dtype[Any]) -> Json:
    """A variable's attributes as JSON has them, ``_FillValue`` as xarray writes it."""
    found: Json = {}
    for name, value in attrs.items():
        plain = value.item() if isinstance(value, np.generic) else value
        if name == "_FillValue" and dtype.kind == "f":
            plain = filling(dtype, plain)
        if not isinstance(plain, float) or math.isfinite(plain):
            found[name] = plain
    return found


def group(attrs: Json, inner: Mapping[str, Json] | None = None) -> Json:
    """A group's ``zarr.json``; ``inner``: what is told of all below it, by path."""
    found = {"zarr_format": 3, "node_type": "group", "attributes": attrs}
    if inner is not None:
        every = {"kind": "inline", "must_understand": False, "metadata": inner}
        found["consolidated_metadata"] = every
    return found


def layout(grids: Sequence[GeoBox], folder: str) -> Json:
    """Grids from fine to coarse, by the convention multiscales; ``folder``: ends with a slash."""
    found: list[Json] = []
    for place, grid in enumerate(grids):
        one: Json = {"asset": f"{folder}{place}"}
        if place:
            one["derived_from"] = f"{folder}{place - 1}"
        scale = 2.0 if place else 1.0
        one["transform"] = {"scale": [scale, scale], "translation": [0.0, 0.0]}
        found.append({**one, **pixels(grid.shape, tuple(grid.affine))})
    return {"layout": found}
