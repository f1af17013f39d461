"""The parser's structure against tifffile and async-tiff, and how little it asks for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import async_tiff
import numpy as np
import pytest
import rasterio
import tifffile
from async_tiff.store import LocalStore
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin

from mosaic.engine.tiff import Chunks, Image, Need, Tiff, parse
from mosaic.errors import UsageError
from mosaic.storage import Gate
from mosaic.storage.ranges import Span
from tests.engine.craft import PLAIN, craft
from tests.engine.support import Memory, header, located, open_tiff


def _files(shared: Path) -> list[Path]:
    found = [p for p in sorted(shared.rglob("*")) if p.suffix.lower() in (".tif", ".tiff")]
    assert len(found) > 190
    return found


def _table(image: Image, data: bytes) -> tuple[list[int], list[int]]:
    rows, columns = image.grid
    where = located(
        image,
        data,
        np.arange(rows)[:, None],
        np.arange(columns),
        np.arange(image.planes)[:, None, None],
    )
    return where.offset.ravel().tolist(), where.length.ravel().tolist()


def test_levels_and_tables_are_those_that_tifffile_finds(shared: Path) -> None:
    for path in _files(shared):
        tiff, data = open_tiff(path)
        with tifffile.TiffFile(path) as theirs:
            pages = {}
            for page in theirs.pages:
                assert isinstance(page, tifffile.TiffPage)
                pages[page.shape[:2], bool(page.subfiletype & 4)] = page
            for level in tiff.levels:
                for image in (level.image, level.mask):
                    if image is None:
                        continue
                    page = pages[image.shape, image.mask]
                    assert image.samples == page.samplesperpixel
                    assert image.compression == page.compression
                    assert image.predictor == page.predictor or image.compression == 1
                    assert image.tiled == page.is_tiled
                    if image.tiled:
                        assert image.block == (page.tilelength, page.tilewidth)
                    else:
                        assert image.block[0] == min(page.rowsperstrip, image.shape[0])
                    offsets, lengths = _table(image, data)
                    there = np.array(page.databytecounts) > 0
                    assert offsets == (np.array(page.dataoffsets) * there).tolist()
                    assert lengths == list(page.databytecounts)
            if tiff.palette is not None:
                page = theirs.pages[0]
                assert isinstance(page, tifffile.TiffPage)
                assert np.array_equal(tiff.palette.T, page.colormap)


def test_tables_are_those_that_async_tiff_finds(shared: Path) -> None:
    async def compare(path: Path) -> int:
        tiff, data = open_tiff(path)
        store = LocalStore(str(path.parent))
        theirs = await async_tiff.TIFF.open(path.name, store=store)
        ifds = {(ifd.image_height, ifd.image_width): ifd for ifd in reversed(theirs.ifds)}
        done = 0
        for level in tiff.levels:
            ifd: Any = ifds[level.image.shape]
            if not level.image.tiled or level.mask is not None:
                continue
            offsets, lengths = _table(level.image, data)
            counts = list(ifd.tile_byte_counts)
            assert lengths == counts, path
            assert offsets == [
                at if n else 0 for at, n in zip(ifd.tile_offsets, counts, strict=True)
            ]
            assert level.image.block == (ifd.tile_height, ifd.tile_width)
            done += 1
        return done

    async def all_of_them() -> int:
        return sum([await compare(path) for path in _files(shared)])

    assert asyncio.run(all_of_them()) > 100


def _same(one: Tiff, other: Tiff, data: bytes) -> bool:
    return (
        one.geo == other.geo
        and one.bands == other.bands
        and one.tags == other.tags
        and [level.image.shape for level in one.levels] == [x.image.shape for x in other.levels]
        and all(
            _table(a.image, data) == _table(b.image, data)
            for a, b in zip(one.levels, other.levels, strict=True)
        )
    )


@pytest.fixture(scope="module")
def scattered(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file whose directories and values lie all over it: overviews and tags came later."""
    path = tmp_path_factory.mktemp("scattered") / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=3000, height=3000, count=1, dtype="uint16", tiled=True,
        blockxsize=64, blockysize=64, crs="EPSG:32632", transform=from_origin(5e5, 5e6, 10, 10),
    ) as dataset:  # fmt: skip
        rng = np.random.default_rng(0)
        dataset.write(rng.integers(0, 99, (1, 3000, 3000)).astype("u2"))
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4, 8, 16])
        dataset.update_tags(LONG="x" * 5000)
    return path.read_bytes()


@settings(max_examples=60)
@given(first=st.integers(1, 40_000), known=st.booleans())
def test_any_first_bytes_do(scattered: bytes, first: int, known: bool) -> None:
    size = len(scattered) if known else None
    fetch = Memory(scattered)
    tiff = header(fetch, size, first=first)
    assert _same(tiff, header(Memory(scattered), len(scattered), first=len(scattered)), scattered)
    assert len(tiff.levels) == 5
    assert fetch.requests < 16
    assert fetch.bytes < 400_000


@given(
    cuts=st.lists(st.tuples(st.integers(0, 30_000), st.integers(0, 9_000)), max_size=12),
    where=st.tuples(st.integers(0, 30_000), st.integers(1, 9_000)),
)
def test_chunks_hold_what_was_added(cuts: list[tuple[int, int]], where: tuple[int, int]) -> None:
    data = np.random.default_rng(0).bytes(32_000)
    chunks = Chunks()
    for at, length in cuts:
        spans = [Span(at, at + length)]
        chunks = chunks.add(spans, Memory(data)(spans))
        if length:
            assert (
                bytes(chunks.get(Span(at, min(at + length, len(data))), "x"))
                == data[at : at + length]
            )
    span = Span(where[0], where[0] + where[1])
    if chunks.has(span):
        assert bytes(chunks.get(span, "x")) == data[span.start : span.stop]
    assert chunks.size in (None, len(data))


def test_a_cog_needs_its_first_16_kib_only(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", driver="COG", width=2500, height=2000, count=1, dtype="uint16", blocksize=256,
        crs="EPSG:32632", transform=from_origin(5e5, 5e6, 10, 10), compress="deflate",
    ) as dataset:  # fmt: skip
        dataset.write(np.arange(5_000_000, dtype="u2").reshape(1, 2000, 2500))
    fetch = Memory(path.read_bytes())
    tiff = header(fetch)
    assert (fetch.requests, fetch.bytes) == (1, 16384)
    assert len(tiff.levels) == 5


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_long_tables_are_fetched_where_they_are_needed(order: str, big: bool) -> None:
    rows, columns = 300, 400
    offsets = np.arange(rows * columns, dtype="u8" if big else "u4") * 7 + 5_000_000
    lengths = (np.arange(rows * columns) % 5000).astype("u2")
    data = craft(
        {**PLAIN, 256: columns * 64, 257: rows * 64, 324: offsets, 325: lengths},
        order=order, big=big, size=7_000_000,
    )  # fmt: skip
    fetch = Memory(data)
    tiff = header(fetch, len(data))
    assert fetch.bytes == 16384
    image = tiff.image
    index = (np.arange(10, 14)[:, None], np.arange(50, 55))
    need = image.locate(*index)
    assert isinstance(need, Need)
    assert sum(span.stop - span.start for span in need.spans) <= 2 * 4096 * 10
    chunks = Chunks(size=len(data)).add(need.spans, fetch(need.spans))
    found = image.locate(*index, chunks=chunks)
    assert not isinstance(found, Need)
    flat = index[0] * columns + index[1]
    assert np.array_equal(found.length, lengths[flat])
    assert np.array_equal(found.offset, np.where(lengths[flat] > 0, offsets[flat], 0))
    whole = located(image, data, np.arange(rows)[:, None], np.arange(columns))
    assert np.array_equal(whole.length.ravel(), lengths)
    for outside in ((300, 0), (0, 400), (-1, 0), (0, 0, 1)):
        with pytest.raises(UsageError):
            image.locate(*outside)


def test_no_blocks_are_no_question(tmp_path: Path) -> None:
    tiff = header(Memory(craft(PLAIN)))
    found = tiff.image.locate(np.zeros((0, 3), int), 0)
    assert not isinstance(found, Need)
    assert found.offset.shape == (0, 3)
    (span,) = located(tiff.image, b"", 0, 0).spans()
    assert span == Span(2048, 6144)


def test_headers_come_through_the_gate(shared: Path) -> None:
    path = shared / "cogeotiff+rio-tiler/tests/fixtures/mosaic_cog1.tif"
    href = str(path)
    with_gate = Gate()
    try:
        spans = (Span(0, 16384),)
        chunks = Chunks(href=href)
        while True:
            answers = with_gate.get_ranges(
                href, starts=[s.start for s in spans], ends=[s.stop for s in spans]
            )
            chunks = chunks.add(spans, answers)
            found = parse(chunks)
            if isinstance(found, Tiff):
                break
            spans = found.spans
        assert _same(found, open_tiff(path)[0], path.read_bytes())
    finally:
        with_gate.close()


def test_further_pages_and_odd_overviews_are_left_out_and_named() -> None:
    half = {**PLAIN, 256: 32, 257: 32}
    data = craft(
        PLAIN,
        {**half, 254: 1},
        {**half, 254: 0},
        {**half, 254: 1, 258: 16, 256: 16},
        {**half, 254: 1, 259: 34925, 256: 8},
        {**half, 254: 1, 256: 128, 322: 128},
        {**half, 254: 1, 256: 40, 257: 10},
        {**half, 254: 1, 258: 4, 257: 31},
        order=">",
    )
    tiff = header(Memory(data), len(data))
    assert [level.image.shape for level in tiff.levels] == [(64, 64), (32, 32)]
    assert [text.split(": ", 1)[1] for text in tiff.ignored] == [
        "an overview of 1 samples of 16 bits, uint16",
        "an overview that can't be used (compression LZMA)",
        "128 x 32 pixels are no smaller copy of the raster",
        "40 x 10 pixels are no smaller copy of the raster",
        "an overview of 1 samples of 4 bits, uint8",
        "a further page",
    ]


def test_an_overview_without_its_mask_is_left_out() -> None:
    half = {**PLAIN, 256: 32, 257: 32}
    data = craft(PLAIN, {**PLAIN, 254: 4}, {**half, 254: 1})
    tiff = header(Memory(data), len(data))
    assert len(tiff.levels) == 1
    assert tiff.levels[0].mask is not None
    assert "it has no mask" in tiff.ignored[0]
