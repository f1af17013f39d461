"""Items whose fields differ in kind from one to the next, made even: a column has one type.

``"nodata": "nan"`` in one item and ``0`` in another is valid STAC and no valid Parquet; so are
boxes with heights beside boxes without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson

Json = dict[str, Any]
Kinds = dict[tuple[str, ...], set[str]]

_PLAIN = frozenset(("id", "type", "stac_version", "stac_extensions", "bbox", "geometry"))
"""Fields that are checked before, or whose form is the same in all items."""


_DEEPEST = 32
"""Levels of nesting that stay columns: Arrow takes 64."""
_SPECIAL = ("nan", "inf", "-inf")
"""What STAC writes for numbers that JSON hasn't."""


def even(
    lines: Callable[[], Iterable[bytes]], into: Path
) -> tuple[list[str], frozenset[tuple[str, ...]]]:
    """Rewrites items (NDJSON): fields that are no column become text, empty objects go.

    Numbers beside text become text, other mixtures and what is nested too deeply JSON texts;
    boxes lose their heights where some have none. ``lines``: called for each of two passes.
    Returns the names of the fields that were rewritten, and the paths of nodata values that are
    numbers for all that: "nan", "inf" and "-inf" are the only texts among them.
    """
    kinds: Kinds = {}
    sizes: set[int] = set()
    for line in lines():
        document = orjson.loads(line)
        _note(document, (), kinds)
        sizes.add(len(document.get("bbox") or ()))
    mixed = {
        path for path, found in kinds.items() if len(found) > 1 and found != {"str", "no number"}
    }
    numbers = frozenset(
        path for path in mixed if path[-1] == "nodata" and kinds[path] == {"number", "no number"}
    )
    flat = {4, 6} <= sizes
    with into.open("wb") as out:
        for line in lines():
            document = _evened(orjson.loads(line), (), mixed)
            if flat and len(document.get("bbox") or ()) == 6:
                document["bbox"] = [*document["bbox"][:2], *document["bbox"][3:5]]
            out.write(orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE))
    names = {".".join(part for part in path if part != "[]") for path in mixed - numbers}
    return sorted(names), numbers


def _note(value: Any, path: tuple[str, ...], kinds: Kinds) -> None:
    if len(path) == _DEEPEST and isinstance(value, dict | list):
        kinds[path] = {"deep", _kind(value)}
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            if path or key not in _PLAIN:
                _note(inner, (*path, key), kinds)
    elif isinstance(value, list):
        for inner in value:
            _note(inner, (*path, "[]"), kinds)
    if path and value is not None:
        special = path[-1] == "nodata" and value in _SPECIAL
        kinds.setdefault(path, set()).add("no number" if special else _kind(value))


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, int | float) else type(value).__name__


def _evened(value: Any, path: tuple[str, ...], mixed: set[tuple[str, ...]]) -> Any:
    if path in mixed and value is not None:
        return value if isinstance(value, str) else orjson.dumps(value).decode()
    if isinstance(value, dict):
        inner = {key: _evened(each, (*path, key), mixed) for key, each in value.items()}
        # Parquet has no structure without fields
        return {key: each for key, each in inner.items() if each != {} or not path}
    if isinstance(value, list):
        return [_evened(each, (*path, "[]"), mixed) for each in value]
    return value
