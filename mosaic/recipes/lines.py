"""Where a key stands in a TOML text, which its parser doesn't tell. Pure."""

from __future__ import annotations

import re

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")

Path = tuple[str | int, ...]
"""Keys, and positions in arrays of tables, from the root to a value."""


def line_of(text: str, path: Path) -> int:
    """The line, from 1, of a key; of the nearest table above where it isn't written out; else 0."""
    places = _places(text)
    for length in range(len(path), 0, -1):
        if path[:length] in places:
            return places[path[:length]]
    return 0


def _places(text: str) -> dict[Path, int]:
    """Line of every key and table header."""
    found: dict[Path, int] = {}
    here: Path = ()
    counts: dict[Path, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        key = None if header else _KEY.match(line)
        if header:
            here = _parts(header[2])
            if header[1] == "[[":
                counts[here] = counts.get(here, -1) + 1
                here = (*here, counts[here])
            found.setdefault(here, number)
        elif key:
            found.setdefault((*here, *_parts(key[1])), number)
    return found


def _parts(text: str) -> Path:
    return tuple(part.strip("\"'") for part in _PART.findall(text))
