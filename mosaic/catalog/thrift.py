"""Thrift's compact protocol, as Parquet's footers are written in it: values in, values out. Pure.

A structure is a list of (field id, type, value): what isn't understood is kept as it is, so that a
footer can be changed in some fields and written again. Source: Apache Thrift's
``thrift-compact-protocol.md``.
"""

from __future__ import annotations

from typing import Any

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
Struct = list[tuple[int, int, Any]]
"""Fields in order; a list's value is (type of its members, members)."""


def read(data: bytes) -> Struct:
    """The structure that bytes hold. Raises ValueError for what is none."""
    try:
        return _struct(data, 0)[0]
    except IndexError:
        raise ValueError("a structure of Thrift ends too early") from None


def write(fields: Struct) -> bytes:
    """A structure as bytes."""
    out = bytearray()
    _put_struct(out, fields)
    return bytes(out)


def field(fields: Struct, number: int) -> Any:
    """The value of a field; None without it."""
    return next((value for found, _, value in fields if found == number), None)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = data[at]
    at += 1
    if value < 128:
        return value, at
    value &= 127
    shift = 7
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def _struct(data: bytes, at: int) -> tuple[Struct, int]:
    fields: Struct = []
    number = 0
    while head := data[at]:
        at += 1
        kind = head & 15
        if head >> 4:
            number += head >> 4
        else:
            coded, at = _varint(data, at)
            number = (coded >> 1) ^ -(coded & 1)
        if kind in (TRUE, FALSE):  # the value is in the type
            fields.append((number, kind, kind == TRUE))
        else:
            value, at = _value(data, at, kind)
            fields.append((number, kind, value))
    return fields, at + 1


def _value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind in (I16, I32, I64):
        coded, at = _varint(data, at)
        return (coded >> 1) ^ -(coded & 1), at
    if kind == BINARY:
        size, at = _varint(data, at)
        return data[at : at + size], at + size
    if kind == STRUCT:
        return _struct(data, at)
    if kind in (LIST, SET):
        size, inner = data[at] >> 4, data[at] & 15
        at += 1
        if size == 15:
            size, at = _varint(data, at)
        values = []
        for _ in range(size):
            value, at = _value(data, at, inner)
            values.append(value)
        return (inner, values), at
    if kind == DOUBLE:
        return data[at : at + 8], at + 8
    if kind in (TRUE, FALSE, BYTE):  # a truth in a list takes a byte
        return data[at], at + 1
    raise ValueError(f"a structure of Thrift has a field of type {kind}")


def _put_varint(out: bytearray, value: int) -> None:
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)


def _put_struct(out: bytearray, fields: Struct) -> None:
    last = 0
    for number, kind, value in fields:
        if 0 < number - last < 16:
            out.append((number - last) << 4 | kind)
        else:
            out.append(kind)
            _put_varint(out, number << 1 ^ number >> 63)
        last = number
        if kind not in (TRUE, FALSE):
            _put(out, kind, value)
    out.append(0)


def _put(out: bytearray, kind: int, value: Any) -> None:
    if kind in (I16, I32, I64):
        _put_varint(out, value << 1 ^ value >> 63)
    elif kind == BINARY:
        _put_varint(out, len(value))
        out += value
    elif kind == STRUCT:
        _put_struct(out, value)
    elif kind in (LIST, SET):
        inner, values = value
        if len(values) < 15:
            out.append(len(values) << 4 | inner)
        else:
            out.append(15 << 4 | inner)
            _put_varint(out, len(values))
        for one in values:
            _put(out, inner, one)
    elif kind == DOUBLE:
        out += value
    else:
        out.append(value)
