"""What GDAL writes beside the pixels: nodata, and metadata as XML."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import unescape

import numpy as np

_ENTITIES = {"&quot;": '"', "&apos;": "'"}
_ROLES = ("scale", "offset", "description", "unittype")


@dataclass(frozen=True, slots=True)
class BandTags:
    """What is known of one band."""

    scale: float = 1.0
    """Factor from stored numbers to physical values."""
    offset: float = 0.0
    """Added after ``scale``."""
    description: str = ""
    """Name, or empty."""
    unit: str = ""
    """Unit of the physical values, or empty."""


def read(text: str, samples: int) -> tuple[tuple[BandTags, ...], tuple[tuple[str, str], ...]]:
    """Bands, and tags of the dataset, from the text of GDAL_METADATA.

    What isn't well-formed is as if it weren't there, which is how GDAL takes it.
    """
    bands: list[dict[str, Any]] = [{} for _ in range(samples)]
    tags: list[tuple[str, str]] = []
    for item in _items(text):
        # GDAL escapes texts, and then again as XML
        value = unescape(item.text or "", _ENTITIES)
        role, sample = item.get("role", ""), item.get("sample", "")
        if role in _ROLES and sample.isdecimal() and len(sample) < 7 and int(sample) < samples:
            _put(bands[int(sample)], role, value)
        elif not sample and not item.get("domain"):
            tags.append((item.get("name", ""), value))
    return tuple(BandTags(**band) for band in bands), tuple(tags)


def _items(text: str) -> list[ET.Element]:
    # GDAL writes no document type; entities are a way to make little text large
    if not text or "<!DOCTYPE" in text or "<!ENTITY" in text:
        return []
    try:
        return ET.fromstring(text).findall("Item")
    except (ET.ParseError, ValueError):
        return []


def _put(band: dict[str, Any], role: str, value: str) -> None:
    if role == "description":
        band["description"] = value
    elif role == "unittype":
        band["unit"] = value
    elif (number := _number(value)) is not None and math.isfinite(number):
        band[role] = float(number)


def nodata(text: str, dtype: np.dtype[Any]) -> float | int | None:
    """The value of GDAL_NODATA as a sample can hold it, or None.

    A value that no sample can have is None; for float32 it is the nearest that one can.
    """
    number = _number(text)
    if number is None or dtype.kind == "c":
        return number
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            near = float(dtype.type(number))
        # a text that was cut may lie just beyond the largest number
        if math.isinf(near) and math.isfinite(number) and abs(number) < 1.001 * np.finfo(dtype).max:
            return math.copysign(float(np.finfo(dtype).max), number)
        return None if math.isinf(near) and math.isfinite(number) else near
    limits = np.iinfo(dtype)
    if isinstance(number, float):
        if not number.is_integer():
            return None
        number = int(number)
    return number if limits.min <= number <= limits.max else None


def _number(text: str) -> float | int | None:
    text = text.strip()[:128]
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return None


def fill(dtype: np.dtype[Any], value: float | int | None) -> np.generic:
    """A pixel of a block that the file leaves out."""
    made: np.generic = dtype.type(0 if value is None else value)
    return made
