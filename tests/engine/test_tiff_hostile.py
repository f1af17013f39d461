"""Damaged and hostile TIFFs: an error that names what is wrong; little memory, little time."""

from __future__ import annotations

import pickle
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mosaic.engine.tiff import Chunks, Need, Tiff, blank, decode, parse
from mosaic.engine.tiff.image import MOST_BYTES
from mosaic.errors import MosaicError, TiffBlockError, TiffError, TiffUnsupportedError
from tests.engine.craft import PLAIN, craft
from tests.engine.support import Memory, header, located

MIB = 1 << 20
MEMORY = 48 * MIB
"""What a header, or a small block, may take, whatever it claims."""
SECONDS = 5.0
"""What one case may take; hypothesis tries hundreds in that time, but machines are shared."""


@contextmanager
def bounded(memory: int = MEMORY, seconds: float = SECONDS) -> Iterator[None]:
    """Fails where more memory or time is taken: numpy's and imagecodecs' buffers are counted."""
    start = time.monotonic()
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < memory
    assert time.monotonic() - start < seconds


def _read(data: bytes, known: bool = True) -> Tiff:
    return header(Memory(data), len(data) if known else None)


def _without(*tags: int) -> dict[int, Any]:
    return {tag: value for tag, value in PLAIN.items() if tag not in tags}


HOSTILE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "the header ends at byte 8 of at most 0"),
    "a little": (b"II*\0\x08", "the header ends at byte 8 of at most 5"),
    "something else": (b"\x89PNG\r\n\x1a\n" * 9, "no TIFF"),
    "no directory": (b"II*\0" + bytes(60), "has no directory"),
    "a directory behind the end": (b"II*\0\0\0\0\x7f" + bytes(60), "of at most 68"),
    "an empty directory": (b"II*\0\x08" + bytes(60), "counts 0 entries"),
    "too many entries": (b"II*\0\x08\0\0\0\xff\xff" + bytes(999_999), "counts 65535 entries"),
    "a huge BigTIFF directory": (
        struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, 1 << 62) + bytes(99),
        f"counts {1 << 62} entries",
    ),
    "a BigTIFF of other offsets": (b"II\x2b\0\4\0\0\0" + bytes(60), "offsets of other than 8"),
    "a loop": (craft(PLAIN, PLAIN, PLAIN, loop=1), "a loop"),
    "a loop of one": (craft(PLAIN, loop=0), "a loop"),
    "cut in its directory": (craft(PLAIN)[:60], "of at most 60"),
    "no width": (craft(_without(256)), "has no IMAGE_WIDTH"),
    "no pixels": (craft({**PLAIN, 257: 0}), "an image of 64 x 0 pixels"),
    "no samples": (craft({**PLAIN, 277: 0}), "0 samples"),
    "4 G pixels a side": (craft({**PLAIN, 256: 0xFFFFFFFF}), "an image of 4294967295 x 64"),
    "no tile": (craft({**PLAIN, 322: 0}), "blocks of 0 x 64"),
    "a width of text": (craft({**PLAIN, 256: "64"}), "IMAGE_WIDTH has values of type 2"),
    "a tile too large": (craft({**PLAIN, 322: 1 << 20, 323: 1 << 20}), "one block holds"),
    "a tile of too many bits": (
        craft({**PLAIN, 258: 1, 322: 1 << 15, 323: 1 << 16}),
        "one block holds 2147483648 bytes",
    ),
    "too few tiles": (craft({**PLAIN, 256: 65}), "counts 1 blocks, but the image has 2"),
    "4 G tiles": (
        craft({**PLAIN, 256: 1 << 22, 257: 1 << 22, 324: (16, 1 << 32, 64)}, big=True),
        "TILE_OFFSETS ends at byte 34359738432 of 8192",
    ),
    "too many blocks": (
        craft({**PLAIN, 256: (1 << 31) - 1, 257: (1 << 31) - 1, 322: 1, 323: 1}, big=True),
        "blocks",
    ),
    "no offsets": (craft(_without(324)), "TILE_OFFSETS"),
    "no byte counts": (craft({**_without(325), 259: 8}), "TILE_BYTE_COUNTS"),
    "an overlong tag": (craft({**PLAIN, 258: (3, 1 << 20, 8)}), "BITS_PER_SAMPLE counts 1048576"),
    "a tag behind the end": (craft({**PLAIN, 339: (3, 300, 8000)}), "SAMPLE_FORMAT ends at"),
    "bits that differ": (craft({**PLAIN, 277: 2, 258: [8, 16]}), "samples of different bits"),
    "formats that differ": (craft({**PLAIN, 277: 2, 339: [1, 2]}), "different formats"),
    "no bits": (craft({**PLAIN, 258: 0}), "samples of 0 bits"),
    "7 bits": (craft({**PLAIN, 258: 7}), "samples of 7 bits"),
    "planes of a third kind": (craft({**PLAIN, 284: 3}), "planar configuration 3"),
    "a compression of nobody": (craft({**PLAIN, 259: 999}), "compression number 999"),
    "predictor 3 of bytes": (craft({**PLAIN, 259: 8, 317: 3}), "predictor 3"),
    "predictor 9": (craft({**PLAIN, 259: 8, 317: 9}), "predictor 9"),
    "bits from the other end": (craft({**PLAIN, 266: 2}), "lowest bit"),
    "LERC in a third coat": (craft({**PLAIN, 259: 34887, 50674: [4, 3]}), "packed by method 3"),
    "long metadata": (craft({**PLAIN, 42112: (2, 2 << 20, 64)}, size=4 << 20), "GDAL_METADATA of"),
    "no place": (
        craft({**PLAIN, 34264: np.full(16, np.nan)}),
        "its affine transform isn't finite",
    ),
    "a mask of another shape": (
        craft(PLAIN, {**PLAIN, 254: 4, 256: 32}),
        "none of the raster's shape",
    ),
    "a mask of two samples": (
        craft(PLAIN, {**PLAIN, 254: 4, 277: 2, 258: [8, 8]}),
        "a mask of 2 samples",
    ),
    "too many directories": (craft(*[PLAIN] * 257, size=100_000), "more than 256 directories"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_wrong_is_named(name: str) -> None:
    data, what = HOSTILE[name]
    with bounded(), pytest.raises(TiffError) as caught:
        _read(data)
    assert what in str(caught.value)
    assert str(caught.value).startswith("a.tif: ")
    assert "; " in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (type(caught.value), str(caught.value))
    # the same without a known size, which only an answer that falls short tells
    with bounded(), pytest.raises(TiffError):
        _read(data, known=False)


def test_the_longest_chain_of_directories_is_soon_read() -> None:
    far = [
        {**PLAIN, 254: 1, 256: 64 - n % 60, 257: 64 - n % 60, 40000: b"x" * 30_000}
        for n in range(255)
    ]
    data = craft(PLAIN, *far)
    fetch = Memory(data)
    start = time.monotonic()
    tiff = header(fetch, len(data))
    assert time.monotonic() - start < 2
    assert fetch.requests < 300
    assert len(tiff.levels) == 60


def test_4_g_tiles_of_a_file_of_unknown_size_are_not_fetched() -> None:
    data = craft(
        {**PLAIN, 256: 1 << 22, 257: 1 << 22, 324: (16, 1 << 32, 64), 325: (16, 1 << 32, 64)},
        big=True,
    )
    chunks = Chunks.prefix(data)
    with bounded(8 * MIB):
        tiff = parse(chunks)
        assert isinstance(tiff, Tiff)
        assert tiff.image.grid == (1 << 16, 1 << 16)
        need = tiff.image.locate(60_000, np.arange(5000))
        assert isinstance(need, Need)
        assert sum(span.stop - span.start for span in need.spans) < MIB
        chunks = chunks.add(need.spans, Memory(data)(need.spans))
        with pytest.raises(TiffError, match="of at most"):
            tiff.image.locate(60_000, np.arange(5000), chunks=chunks)


@pytest.mark.parametrize(
    ("offset", "length", "what"),
    [
        (8000, 4096, "outside the file"),
        (0, 4096, "outside the file"),
        ((1 << 64) - 8, 4096, "outside the file"),
        (2048, (1 << 64) - 8, "outside the file"),
        ((1 << 64) - 1, (1 << 64) - 1, "outside the file"),
    ],
)
def test_blocks_outside_the_file(offset: int, length: int, what: str) -> None:
    data = craft({**PLAIN, 324: (16, 1, offset), 325: (16, 1, length)}, big=True)
    with pytest.raises(TiffBlockError) as caught:
        _read(data).image.locate(0, 0)
    assert what in str(caught.value)
    assert "block (0, 0) of the image of 64 x 64 pixels" in str(caught.value)
    if offset != 8000:  # which might be right in a longer file
        bare = parse(Chunks.prefix(data))
        assert isinstance(bare, Tiff)
        with pytest.raises(TiffBlockError):
            bare.image.locate(0, 0)


def test_a_block_that_claims_more_bytes_than_any_block_has() -> None:
    data = craft({**PLAIN, 325: 7_000_000}, size=8_000_000)
    with pytest.raises(TiffBlockError, match="too long"):
        _read(data).image.locate(0, 0)


def _bombs() -> dict[str, tuple[int, bytes, dict[int, Any]]]:
    zeros = bytes(1 << 26)
    wide = np.zeros((8000, 8000), "u1")
    color = np.zeros((4000, 4000, 3), "u1")
    return {
        "deflate": (8, zlib.compress(zeros, 1), {}),
        "zstd": (50000, imagecodecs.zstd_encode(zeros), {}),
        "lzw": (5, imagecodecs.lzw_encode(zeros[: 1 << 25]), {}),
        "packbits": (32773, b"\x81\0" * (1 << 20), {}),
        "jpeg": (7, imagecodecs.jpeg8_encode(wide, 50), {}),
        "webp": (
            50001,
            imagecodecs.webp_encode(color, lossless=True, method=0),
            {277: 3, 258: [8, 8, 8]},
        ),
        "lerc": (34887, imagecodecs.lerc_encode(wide), {50674: [4, 0]}),
        "lerc in deflate": (34887, zlib.compress(zeros, 1), {50674: [4, 1]}),
        "lerc in zstd": (34887, imagecodecs.zstd_encode(zeros), {50674: [4, 2]}),
    }


_DECODE = """
import resource, sys
from pathlib import Path
from mosaic.engine.tiff import Chunks, decode, parse
from mosaic.errors import TiffBlockError

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

for path in sorted(Path(sys.argv[1]).glob("*.tif")):
    data = path.read_bytes()
    tiff = parse(Chunks.prefix(data, size=len(data)))
    before = peak()
    try:
        said = str(decode(tiff.image, data[2048:], 0, 0).shape)
    except TiffBlockError as error:
        said = str(error)
    print(path.stem, int(peak() - before), said, sep="|")
"""


def test_bombs(tmp_path: Path) -> None:
    """In a process of its own, whose peak memory tells what codecs take by themselves."""
    for name, (compression, block, extra) in _bombs().items():
        tags = {**PLAIN, 259: compression, 325: len(block), **extra}
        (tmp_path / f"{name}.tif").write_bytes(craft(tags, size=2048) + block)
    told = subprocess.run(
        [sys.executable, "-c", _DECODE, str(tmp_path)], capture_output=True, text=True, check=True
    )
    lines = [line.split("|") for line in told.stdout.splitlines()]
    assert {name for name, *_ in lines} == set(_bombs())
    for name, grown, said in lines:
        assert int(grown) < 40, f"{name}: {grown} MiB"
        # LZW stops when the block is full, as with libtiff: what follows is never looked at
        assert said == "(64, 64, 1)" if name == "lzw" else "block (0, 0)" in said, name


def test_metadata_that_swells() -> None:
    lol = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    item = '<GDALMetadata><Item name="a">&l11;</Item></GDALMetadata>'
    bomb = f'<!DOCTYPE x [<!ENTITY l0 "ha">{lol}]>{item}'
    deep = "<a>" * 200_000
    flat = "<GDALMetadata>" + "<Item/>" * 100_000 + "</GDALMetadata>"
    for text, count in ((bomb, 0), (deep, 0), (flat, 100_000), ("<GDALMetadata><Item", 0)):
        data = craft({**PLAIN, 42112: text}, size=2 * MIB)
        with bounded(96 * MIB):
            assert len(_read(data).tags) == count


def test_geo_keys_that_point_nowhere() -> None:
    keys = [
        *(1, 1, 0, 9, 1024, 0, 1, 1, 3072, 0, 1, 32767, 3075, 0, 1, 8, 3076, 0, 1, 9001),
        *(3078, 34736, 1, 900, 2057, 34736, 60000, 0, 1026, 34737, 60000, 60000, 9, 9),
    ]
    data = craft({**PLAIN, 34735: np.array(keys, "u2"), 34736: np.full(4, np.inf), 34737: "x|"})
    assert _read(data).geo.crs is None
    for code in (1, 30001, 9999):
        keys = [1, 1, 0, 2, 1024, 0, 1, 1, 3072, 0, 1, code]
        assert _read(craft({**PLAIN, 34735: np.array(keys, "u2")})).geo.crs is None


@pytest.mark.parametrize("size", [0, 1, 100])
def test_broken_blocks(size: int) -> None:
    for compression in (1, 5, 7, 8, 32946, 32773, 34887, 50000):
        tiff = _read(craft({**PLAIN, 259: compression, 325: max(size, 1)}))
        for byte in (b"\0", b"\xff", b"x"):
            with pytest.raises(TiffBlockError, match="block \\(0, 0\\)"):
                decode(tiff.image, byte * size, 0, 0)


def test_scans_of_a_jpeg_are_counted() -> None:
    jpeg = imagecodecs.jpeg8_encode(np.zeros((8192, 8192), "u1"), 50)
    tags = {**PLAIN, 256: 8192, 257: 8192, 322: 8192, 323: 8192, 259: 7, 325: len(jpeg)}
    tiff = _read(craft(tags))
    with pytest.raises(TiffBlockError, match="scans"):
        decode(tiff.image, jpeg + b"\xff\xda" * 50, 0, 0)


def _seeds() -> list[bytes]:
    """Small sound files of many kinds, to be damaged."""
    half, mask = {**PLAIN, 254: 1, 256: 32, 257: 32}, {**PLAIN, 254: 4, 258: 1}
    found = [
        craft(PLAIN, half, mask, order=order, big=big) for order in "<>" for big in (False, True)
    ]
    rng = np.random.default_rng(0)
    kinds: list[dict[str, Any]] = [
        {"compress": "deflate", "dtype": "uint16", "predictor": 2},
        {"compress": "lzw", "dtype": "float32", "predictor": 3},
        {"compress": "zstd", "dtype": "uint8", "predictor": 2},
        {"compress": "lerc", "dtype": "float32"},
        {"compress": "lerc_zstd", "dtype": "uint8"},
        {"compress": "packbits", "dtype": "int16"},
        {"compress": "jpeg", "dtype": "uint8"},
        {"compress": "webp", "dtype": "uint8"},
        {"compress": "jpeg", "dtype": "uint8", "photometric": "YCBCR"},
        {"compress": "deflate", "dtype": "uint16", "interleave": "band", "bigtiff": "YES"},
        {"dtype": "uint8", "nbits": 1, "endianness": "BIG"},
    ]
    for kind in kinds:
        for tiled in ({"tiled": True, "blockxsize": 32, "blockysize": 32}, {}):
            with rasterio.MemoryFile() as memory:
                with memory.open(
                    driver="GTiff", width=70, height=60, count=3, nodata=7, crs="EPSG:32632",
                    transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6), **kind, **tiled,
                ) as dataset:  # fmt: skip
                    dataset.write(rng.integers(0, 2, (3, 60, 70)).astype(kind["dtype"]))
                    dataset.update_tags(A="b")
                    dataset.scales = (2, 3, 4)
                found.append(bytes(memory.read()))
    return found


SEEDS = _seeds()
NUMBERS = [0, 1, 2, 3, 4, 5, 7, 8, 16, 42, 43, 255, 256, 257, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF,
           0xFFFFFFFF, 1 << 32, (1 << 63) - 1, (1 << 64) - 1]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A sound file with numbers changed, mostly near its tags, and perhaps cut."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(
            st.integers(0, min(len(data) - 1, draw(st.sampled_from([16, 400, 1200, 1 << 20]))))
        )
        width = draw(st.sampled_from([1, 2, 4, 8]))
        number = draw(st.sampled_from(NUMBERS) | st.integers(0, (1 << 64) - 1)) % (1 << 8 * width)
        data[at : at + width] = number.to_bytes(width, draw(st.sampled_from(["little", "big"])))
    if draw(st.integers(0, 3)) == 0:
        del data[draw(st.integers(0, len(data))) :]
    return bytes(data)


def read_all(data: bytes, known: bool) -> str:
    """Whatever a reader would do with a file; the kinds of refusal that came."""
    try:
        tiff = _read(data, known)
    except TiffError as error:
        return type(error).__name__
    tiff.geo.crs  # noqa: B018
    assert tiff.fill.dtype == tiff.dtype
    said = "fine"
    for level in tiff.levels:
        for image in (level.image, level.mask):
            if image is None:
                continue
            rows, columns = image.grid
            for row, column in {(0, 0), (rows - 1, columns - 1), (rows // 2, columns // 2)}:
                try:
                    (span,) = located(image, data, row, column, image.planes - 1).spans()
                    if span is None:
                        block = blank(image, image.dtype.type(0), row, column)
                    else:
                        block = decode(image, data[span.start : span.stop], row, column)
                    assert block.shape == (*image.size_of(row, column), image.depth)
                    assert block.dtype == image.dtype
                except TiffError as error:
                    said = type(error).__name__
    return said


@settings(max_examples=500, suppress_health_check=[HealthCheck.too_slow])
@given(data=damaged(), known=st.booleans())
def test_damage_is_named_and_costs_little(data: bytes, known: bool) -> None:
    start = time.monotonic()
    read_all(data, known)
    assert time.monotonic() - start < SECONDS


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(data=damaged(), known=st.booleans())
def test_damage_takes_no_more_memory_than_its_largest_block_may(data: bytes, known: bool) -> None:
    with bounded(3 * MOST_BYTES + MEMORY, 4 * SECONDS):
        read_all(data, known)


HEADS = [b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"II\x2b\0\x08\0\0\0\x10", b""]


@settings(max_examples=200)
@given(
    head=st.sampled_from([b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"II\x2b\0\x08\0\0\0\x10", b""]),
    rest=st.binary(max_size=400),
)
def test_any_bytes_are_no_tiff(head: bytes, rest: bytes) -> None:
    assert read_all(head + rest, known=True) != "fine"


def test_a_block_that_is_cut_is_an_error_or_all_of_it() -> None:
    kinds = set()
    for seed in SEEDS:
        image = _read(seed).image
        (span,) = located(image, seed, 0, 0).spans()
        if span is None:
            continue
        block = seed[span.start : span.stop]
        whole = decode(image, block, 0, 0)
        kinds.add(image.compression)
        for length in {*range(0, len(block), 7), *range(max(0, len(block) - 40), len(block))}:
            try:
                found = decode(image, block[:length], 0, 0)
            except TiffBlockError:
                continue
            assert np.array_equal(found, whole), (image.compression, length, len(block))
            # such as LZW without its last code, which says no more than that it ends
            assert image.compression == 5
    assert kinds == {1, 5, 7, 8, 32773, 34887, 50000, 50001}


def test_the_damage_is_of_every_kind() -> None:
    """The fuzzer above isn't blunt: cases get through the header, and fail in blocks too."""
    rng = np.random.default_rng(5)
    said = set()
    for _ in range(600):
        data = bytearray(SEEDS[rng.integers(len(SEEDS))])
        for _ in range(rng.integers(0, 4)):
            data[rng.integers(0, len(data))] = rng.integers(256)
        said.add(read_all(bytes(data), known=True))
    assert said == {"fine", "TiffError", "TiffUnsupportedError", "TiffBlockError"}


def test_errors_are_of_one_tree() -> None:
    for kind in (TiffUnsupportedError, TiffBlockError):
        assert issubclass(kind, TiffError)
    assert issubclass(TiffError, MosaicError)
    error = TiffError("x", href="https://a.b/c.tif?sig=SECRET")
    assert "SECRET" not in str(error)
    assert "SECRET" not in repr(pickle.loads(pickle.dumps(error)).__dict__)
