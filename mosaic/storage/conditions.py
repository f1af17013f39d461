"""What a request for an object asks for: its range, and the version it will take. Pure.

Source: RFC 9110, 13.1 and 14.2.
"""

from __future__ import annotations

import re

from mosaic.storage.answer import Meta

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


def asked(text: str, size: int) -> tuple[int, int, int] | None:
    """(start, stop, status) of a Range header, or None for 416.

    More than one range is refused: ten thousand small ones cost a server more than their sender.
    """
    if "," in text:
        return None
    match = _RANGE.fullmatch(text.replace(" ", ""))
    if not match or match[1] == match[2] == "":
        return 0, size, 200  # none, or one that may be ignored
    if match[1] == "":
        start, stop = max(0, size - int(match[2])), size
    else:
        start, stop = int(match[1]), min(size, int(match[2]) + 1) if match[2] else size
    return (start, stop, 206) if start < stop else None


def unmet(if_match: str, meta: Meta) -> bool:
    """Whether the reader wants another version than this one (412)."""
    tags = [tag.strip() for tag in if_match.split(",")]
    is_one = bool(meta.etag) and not meta.etag.startswith("W/") and meta.etag in tags
    return bool(if_match) and "*" not in tags and not is_one


def known(if_none_match: str, meta: Meta) -> bool:
    """Whether the reader has this version already (304)."""
    if not if_none_match or not meta.etag:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or meta.etag.removeprefix("W/") in tags


def same_version(if_range: str, meta: Meta) -> bool:
    """Whether a range may be answered with a part: no other version is held by the reader."""
    if not if_range:
        return True
    if if_range.startswith(('"', "W/")):
        return if_range == meta.etag and not if_range.startswith("W/")
    return if_range == meta.modified
