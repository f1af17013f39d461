"""TIFFs made tag by tag, right or wrong."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

CODES = {"u1": 1, "S": 2, "u2": 3, "u4": 4, "i1": 6, "i2": 8, "i4": 9, "f4": 11, "f8": 12, "u8": 16}
Tags = Mapping[int, Any]

PLAIN: dict[int, Any] = {
    256: 64, 257: 64, 258: 8, 259: 1, 262: 1, 277: 1, 322: 64, 323: 64, 324: 2048, 325: 4096,
}  # fmt: skip
"""One tile of 64 x 64 bytes behind byte 2048."""


def craft(
    *directories: Tags,
    order: str = "<",
    big: bool = False,
    size: int = 8192,
    loop: int | None = None,
) -> bytes:
    """A file with these directories, one after the other, of at least ``size`` bytes.

    A value is a number (written as LONG, or LONG8 if it is large), a text, bytes, an array, or
    (type, count, value or offset) as it shall stand in the entry. ``loop``: which directory comes
    after the last one.
    """
    word, head = (8, 8) if big else (4, 2)
    entry = 20 if big else 12
    first = 16 if big else 8
    starts, bodies, at = [], [], first
    for tags in directories:
        starts.append(at)
        end = at + head + entry * len(tags) + word
        rows, values = b"", b""
        for tag, value in sorted(tags.items()):
            kind, count, raw = _raw(value, order, word)
            if len(raw) > word:
                place = struct.pack(f"{order}{'Q' if big else 'I'}", end + len(values))
                values += raw + b"\0" * (-len(raw) % 8)
            else:
                place = raw.ljust(word, b"\0")
            rows += struct.pack(f"{order}HH{'Q' if big else 'I'}", tag, kind, count) + place
        bodies.append((len(tags), rows, values))
        at = end + len(values)
        at += -at % 8
    data = b"II" if order == "<" else b"MM"
    data += struct.pack(f"{order}H", 43 if big else 42)
    data += struct.pack(f"{order}HHQ", 8, 0, first) if big else struct.pack(f"{order}I", first)
    for index, (count, rows, values) in enumerate(bodies):
        data = data.ljust(starts[index], b"\0")
        last = starts[loop] if loop is not None else 0
        after = starts[index + 1] if index + 1 < len(bodies) else last
        data += struct.pack(f"{order}{'Q' if big else 'H'}", count) + rows
        data += struct.pack(f"{order}{'Q' if big else 'I'}", after) + values
    return data.ljust(size, b"\0")


def _raw(value: Any, order: str, word: int) -> tuple[int, int, bytes]:
    if isinstance(value, tuple):
        kind, count, place = value
        return kind, count, struct.pack(f"{order}{'Q' if word == 8 else 'I'}", place)
    if isinstance(value, str):
        return 2, len(value) + 1, value.encode() + b"\0"
    if isinstance(value, bytes):
        return 7, len(value), value
    if isinstance(value, int):
        value = np.array([value], "u4" if value < 1 << 32 else "u8")
    array = np.asarray(value)
    if isinstance(value, Sequence) and array.dtype.kind == "i":
        array = array.astype("u4")
    name = array.dtype.str[1:]
    return CODES[name], array.size, array.astype(f"{order}{name}").tobytes()
