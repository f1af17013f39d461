"""TIFFs read through the public door: ranges of a file go in, whole levels come out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mosaic.engine.tiff import Blocks, Chunks, Image, Need, Tiff, blank, decode, parse
from mosaic.storage.ranges import Span

Fetch = Callable[[Sequence[Span]], list[bytes]]

HEAD = 16 << 10


class Memory:
    """Bytes that count how often and how much they are read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.requests = 0
        self.bytes = 0

    def __call__(self, spans: Sequence[Span]) -> list[bytes]:
        found = [self.data[span.start : span.stop] for span in spans]
        self.requests += len(spans)
        self.bytes += sum(map(len, found))
        return found


def header(fetch: Fetch, size: int | None = None, href: str = "a.tif", first: int = HEAD) -> Tiff:
    """The header, asked for until it is complete; fails where the parser asks for a thing twice."""
    spans = [Span(0, first)]
    chunks = Chunks(size=size, href=href).add(spans, fetch(spans))
    asked: set[tuple[Span, ...]] = set()
    found = parse(chunks)
    while isinstance(found, Need):
        assert found.spans
        assert found.spans not in asked, "asked again for what is at hand"
        assert all(span.stop > span.start for span in found.spans)
        asked.add(found.spans)
        chunks = chunks.add(found.spans, fetch(found.spans))
        found = parse(chunks, found)
    return found


def open_tiff(path: Path) -> tuple[Tiff, bytes]:
    """A file's header and its bytes."""
    data = path.read_bytes()
    return header(Memory(data), len(data), str(path)), data


def located(image: Image, data: bytes, *block: npt.ArrayLike) -> Blocks:
    """Where blocks lie; parts of long tables are fetched once."""
    found = image.locate(*block)
    if isinstance(found, Need):
        chunks = Chunks(size=len(data)).add(found.spans, Memory(data)(found.spans))
        found = image.locate(*block, chunks=chunks)
    assert not isinstance(found, Need), "asked again for what is at hand"
    return found


def pixels(image: Image, data: bytes, fill: Any = 0) -> npt.NDArray[Any]:
    """(samples, height, width) of a whole image."""
    out = np.empty((image.samples, *image.shape), image.dtype)
    rows, columns = image.grid
    index = (
        np.arange(rows)[:, None, None],
        np.arange(columns)[:, None],
        np.arange(image.planes),
    )
    where = located(image, data, *index)
    assert where.offset.shape == (rows, columns, image.planes)
    for (row, column, plane), span in zip(
        np.ndindex(rows, columns, image.planes), where.spans(), strict=True
    ):
        if span is None:
            block = blank(image, image.dtype.type(fill), row, column)
        else:
            block = decode(image, data[span.start : span.stop], row, column, plane)
        assert block.shape == (*image.size_of(row, column), image.depth)
        assert block.dtype == image.dtype
        y, x = row * image.block[0], column * image.block[1]
        part = slice(plane, plane + image.depth) if image.separate else slice(None)
        out[part, y : y + block.shape[0], x : x + block.shape[1]] = np.moveaxis(block, 2, 0)
    return out
