"""A recipe read from TOML: checked against one schema, its mistakes told by line and key."""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

from mosaic.catalog.gti import GDAL_RESAMPLING
from mosaic.catalog.source import GDAL_TYPES, holds
from mosaic.errors import RecipeError
from mosaic.recipes.lines import line_of
from mosaic.recipes.recipe import ENCODINGS, SIGNING, BandRule, HostLimits, Mask, Recipe
from mosaic.settings import Limits

Json = dict[str, Any]

Check = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_text, value))


_TEXT = (_is_text, "a text")
_TEXTS = (_is_texts, "a list of texts")
_TABLE = (lambda value: isinstance(value, dict) and bool(value), "a table")
_URL = (lambda value: _is_text(value) and value.startswith("https://"), "an https:// URL")
_YES_NO = (lambda value: isinstance(value, bool), "true or false")
_POSITIVE = (lambda value: _is_number(value) and 0 < value < math.inf, "a number above 0")


def _one_of(names: Any) -> tuple[Check, str]:
    return (lambda value: value in names, f"one of {', '.join(names)}")


_BAND: dict[str, tuple[Check, str]] = {
    "common_name": _TEXT,
    "dtype": _one_of(tuple(GDAL_TYPES)),
    "nodata": (_is_number, "a number (nan and inf are numbers too)"),
    "undeclared": _YES_NO,
    "encoding": _one_of(ENCODINGS),
    "scale": (lambda value: _is_number(value) and value != 0 and math.isfinite(value), "a number"),
    "offset": (lambda value: _is_number(value) and math.isfinite(value), "a number"),
    "unit": _TEXT,
    "resampling": _one_of(tuple(GDAL_RESAMPLING)),
    "names": _TEXTS,
    "default": _YES_NO,
}
_OWN = {
    **_BAND,
    "asset": (
        lambda v: isinstance(v, dict) and all(map(_is_text, v.values())),
        "a table of collections and keys of assets",
    ),
}
_LIMITS: dict[str, tuple[Check, str]] = {
    "hosts": _TEXTS,
    "concurrency": (lambda v: _is_number(v) and isinstance(v, int) and v > 0, "a count above 0"),
    "requests_per_minute": _POSITIVE,
    "bytes_per_second": _POSITIVE,
    "source": _URL,
}
_MASK: dict[str, tuple[Check, str]] = {
    "band": _TEXT,
    "classes": (
        lambda v: isinstance(v, dict) and all(type(n) is int for n in v.values()),
        "a table of names and numbers",
    ),
    "bits": (
        lambda v: isinstance(v, dict) and all(map(_is_bits, v.values())),
        "a table of names and bits, such as cloud = 3 or confidence = [8, 9]",
    ),
    "bad": _TEXTS,
}
_ROOT: dict[str, tuple[Check, str]] = {
    "title": _TEXT,
    "endpoint": (
        lambda v: _is_text(v) and bool(re.match(r"https?://[^\s?@#]+$", v)),
        "a URL without user, query or token",
    ),
    "collections": _TEXTS,
    "source": _URL,
    "sort": (lambda v: _is_text(v) and bool(v.strip("+-")), "a property, such as -datetime"),
    "stacks": (
        lambda v: isinstance(v, list) and all(_is_texts(s) and len(s) > 1 for s in v),
        "lists of two bands or more",
    ),
    "query": _TEXTS,
    "signing": _one_of(SIGNING),
    "limits": (
        lambda v: isinstance(v, list) and all(isinstance(x, dict) for x in v),
        "tables, each headed [[limits]]",
    ),
    "defaults": _TABLE,
    "bands": _TABLE,
    "mask": _TABLE,
}


def _is_bits(value: Any) -> bool:
    ends = value if isinstance(value, list) and len(value) == 2 else [value, value]
    return all(type(end) is int and 0 <= end < 64 for end in ends) and ends[0] <= ends[1]


class _Reader:
    """One text, and how to complain of it."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file

    def wrong(self, path: tuple[str | int, ...], what: str) -> RecipeError:
        """An error that names line and key."""
        key = ".".join(str(part) for part in path if isinstance(part, str))
        return RecipeError(what, file=self.file, line=line_of(self.text, path), key=key)

    def table(
        self,
        table: Mapping[str, Any],
        known: Mapping[str, tuple[Check, str]],
        path: tuple[str | int, ...],
        required: tuple[str, ...] = (),
    ) -> None:
        """Every key is known and its value has the right form; none that must be is missing."""
        for key, value in table.items():
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                meant = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
                raise self.wrong((*path, key), f"unknown key; {meant}")
            fits, form = known[key]
            if not fits(value):
                raise self.wrong((*path, key), f"{value!r:.60} isn't {form}")
        for key in required:
            if key not in table:
                raise self.wrong(path, f"lacks {key}: {known[key][1]}")


def parse(text: str, name: str, file: str) -> Recipe:
    """A recipe from its TOML text; ``file`` is what errors name.

    Raises :class:`~mosaic.errors.RecipeError` with line and key.
    """
    try:
        root = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+)", str(error))
        what = f"no TOML: {str(error).partition(' (at')[0]}"
        raise RecipeError(what, file=file, line=int(found[1]) if found else 0) from None
    reader = _Reader(text, file)
    needed = ("title", "endpoint", "collections", "source", "bands")
    reader.table(root, _ROOT, (), needed)
    defaults: Json = root.get("defaults", {})
    reader.table(defaults, _BAND, ("defaults",))
    bands = tuple(_band(reader, key, table, defaults, root) for key, table in root["bands"].items())
    names = {rule.name for rule in bands}
    for position, members in enumerate(root.get("stacks", [])):
        for member in members:
            if member not in names:
                raise reader.wrong(("stacks",), f"stack {position + 1}: no band {member}")
    limits = root.get("limits", [])
    return Recipe(
        name=name,
        title=root["title"],
        endpoint=root["endpoint"].rstrip("/"),
        collections=tuple(root["collections"]),
        source=root["source"],
        bands=bands,
        sort=root.get("sort", "-datetime"),
        stacks=tuple(tuple(members) for members in root.get("stacks", [])),
        query=tuple(root.get("query", [])),
        signing=root.get("signing", "none"),
        mask=_mask(reader, root["mask"], names) if "mask" in root else None,
        limits=tuple(_limits(reader, table, at) for at, table in enumerate(limits)),
    )


def _band(reader: _Reader, name: str, table: Any, defaults: Json, root: Json) -> BandRule:
    path = ("bands", name)
    if not isinstance(table, dict):
        raise reader.wrong(path, "a band is a table")
    reader.table(table, _OWN, path)
    told = {**defaults, **table}
    encoding = told.get("encoding", "item")
    if encoding != "fixed":
        told = {key: value for key, value in told.items() if key not in ("scale", "offset")}
        for key in ("scale", "offset"):
            if key in table:
                raise reader.wrong((*path, key), 'is for encoding = "fixed"')
    elif "scale" not in told:
        raise reader.wrong((*path, "encoding"), '"fixed" wants a scale')
    nodata = told.get("nodata")
    if told.get("undeclared") and nodata is None:
        raise reader.wrong((*path, "undeclared"), "wants a nodata value")
    if nodata is not None and "dtype" in told and not holds(told["dtype"], nodata):
        where = (*path, "nodata") if "nodata" in table else path
        raise reader.wrong(where, f"pixels of {told['dtype']} can't be {nodata:g}")
    asset: dict[str, str] = told.get("asset", {})
    for collection in asset:
        if collection not in root["collections"]:
            raise reader.wrong((*path, "asset"), f"{collection} isn't among the collections")
    return BandRule(
        name=name,
        asset=tuple(asset.items()),
        names=tuple(told.get("names", ())),
        **{key: value for key, value in told.items() if key not in ("asset", "names")},
    )


def _mask(reader: _Reader, table: Json, names: set[str]) -> Mask:
    reader.table(table, _MASK, ("mask",), ("band", "bad"))
    if table["band"] not in names:
        raise reader.wrong(("mask", "band"), f"no band {table['band']}")
    if ("classes" in table) == ("bits" in table):
        raise reader.wrong(("mask",), "has either classes or bits")
    classes: dict[str, int] = table.get("classes", {})
    bits: dict[str, Any] = table.get("bits", {})
    for name in table["bad"]:
        if name not in classes and name not in bits:
            raise reader.wrong(("mask", "bad"), f"no class or field {name}")
    fields = {k: v if isinstance(v, list) else [v, v] for k, v in bits.items()}
    return Mask(
        band=table["band"],
        classes=tuple(classes.items()),
        bits=tuple((name, first, last) for name, (first, last) in fields.items()),
        bad=tuple(table["bad"]),
    )


def _limits(reader: _Reader, table: Json, at: int) -> HostLimits:
    reader.table(table, _LIMITS, ("limits", at), ("hosts", "source"))
    numbers = {key: table[key] for key in table if key not in ("hosts", "source")}
    return HostLimits(tuple(table["hosts"]), Limits(**numbers), table["source"])
