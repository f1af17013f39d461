"""Masks: which numbers of a quality band hide a pixel. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mosaic.catalog.source import holds, span
from mosaic.cube.variables import Variable
from mosaic.errors import UsageError

Bools = npt.NDArray[np.bool_]

_SCL = (
    "no_data saturated_or_defective dark_area_pixels cloud_shadows vegetation not_vegetated water "
    "unclassified cloud_medium_probability cloud_high_probability thin_cirrus snow"
).split()
"""Sentinel-2's scene classification, 0 to 11."""

_LEVELS = ("low", "medium", "high")
_QA_PIXEL = {
    name: (1 << bit, 1 << bit)
    for bit, name in enumerate(
        "fill dilated_cloud cirrus cloud cloud_shadow snow clear water".split()
    )
} | {
    f"{name}_confidence={level}": (3 << bit, number << bit)
    for bit, name in ((8, "cloud"), (10, "cloud_shadow"), (12, "snow"), (14, "cirrus"))
    for number, level in enumerate(_LEVELS, 1)
}
"""Landsat Collection 2, as its STAC items call them: bits that count, and what they are."""

_FMASK = {
    name: (1 << bit, 1 << bit)
    for bit, name in enumerate(
        "cirrus cloud adjacent_to_cloud_or_shadow cloud_shadow snow_ice water".split()
    )
} | {
    f"aerosol={level}": (3 << 6, number << 6)
    for number, level in enumerate(("climatology", *_LEVELS))
}
"""Harmonized Landsat and Sentinel-2."""

_BITS = {"qa_pixel": _QA_PIXEL, "fmask": _FMASK}


@dataclass(frozen=True, slots=True)
class Rule:
    """A quality band, and which of its numbers hide a pixel."""

    band: Variable
    """The band; its pixels are taken as they are, by nearest neighbour."""
    values: tuple[float, ...] = ()
    """Numbers."""
    bits: tuple[tuple[int, int], ...] = ()
    """Bits that count, and what they are."""

    def hides(self, values: npt.NDArray[Any]) -> Bools:
        """(...) which pixels are hidden."""
        hidden = np.isin(values, self.values) if self.values else np.zeros(values.shape, bool)
        for bits, wanted in self.bits:
            kind = values.dtype.type
            hidden |= (values & kind(bits)) == kind(wanted)
        return hidden


def is_classes(asset: str) -> bool:
    """Whether an asset is known to hold classes or bits."""
    return asset.lower() in ("scl", *_BITS)


def names_of(mask: Any) -> list[str]:
    """The bands that a mask names. Raises UsageError where it is none."""
    if mask is None:
        return []
    if not isinstance(mask, Mapping) or not mask:
        raise UsageError(f'mask={mask!r:.80}: a mapping such as {{"SCL": [3, 8, 9, 10]}}')
    return [str(name) for name in mask]


def rule(band: Variable, wanted: Any) -> Rule:
    """What a user wrote of one band. Raises UsageError, which says what there is."""
    if isinstance(wanted, str) or not isinstance(wanted, Iterable):
        wanted = [wanted]
    told = list(wanted)
    if not told:
        raise UsageError(f"mask: name values of {band.name} that are to be hidden")
    values, bits = [], []
    for one in told:
        if isinstance(one, str):
            found = _named(band, one)
            if isinstance(found, tuple):
                bits.append(found)
            else:
                values.append(float(found))
        else:
            values.append(_number(band, one))
    return Rule(band, tuple(values), tuple(bits))


def _named(band: Variable, name: str) -> tuple[int, int] | int:
    asset = band.asset.lower()
    if asset == "scl" and name in _SCL:
        return _SCL.index(name)
    ends = None if asset == "scl" else span(band.declared.dtype)
    known = _BITS.get(asset, {})
    size = 0 if ends is None else (ends[1] - ends[0] + 1).bit_length() - 1
    bit = name.removeprefix("bit:")
    if name in known or (name != bit and bit.isdecimal() and int(bit) < size):
        if ends is None or (ends[0] < 0 and known):
            raise UsageError(f"mask: {band.name} is {band.declared.dtype}, which has no bits")
        return known.get(name) or (1 << int(bit), 1 << int(bit))
    names = _SCL if asset == "scl" else [*known]
    if size:
        names = [*names, f"bit:0 to bit:{size - 1}"]
    there = f"; it has {', '.join(names)}" if names else "; give its values as numbers"
    raise UsageError(f"mask: {band.name} has no class or bit {name!r:.40}{there}")


def _number(band: Variable, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise UsageError(f"mask: {value!r:.40} is no value of {band.name}") from error
    dtype = band.declared.dtype
    if not holds(dtype, number):
        raise UsageError(f"mask: {band.name} is {dtype}, no pixel of it is {number:g}")
    if band.asset.lower() == "scl" and number >= len(_SCL):
        told = ", ".join(f"{place} {name}" for place, name in enumerate(_SCL))
        raise UsageError(f"mask: {band.name} has no class {number:g}; it has {told}")
    return number
