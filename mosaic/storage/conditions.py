"""What a request for an object asks for: its range, and the version it will take. Pure.

Source: RFC 9110, 13.1, 13.2.2 and 14.2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from mosaic.storage.answer import Meta

_RANGE = re.compile(r"(\d{0,18})-(\d{0,18})", re.ASCII)
_TAG = re.compile(r'(?:W/)?"[^"]*"|[^\s,"]+')  # a comma may stand within; some don't quote


def asked(text: str, size: int) -> tuple[int, int, int] | None:
    """(start, stop, status) of a Range header, or None for 416.

    More than one range is refused: ten thousand small ones cost a server more than their sender.
    """
    unit, _, rest = text.partition("=")
    wanted = [part for part in rest.replace(" ", "").split(",") if part]
    if unit.strip().lower() != "bytes" or not wanted:
        return 0, size, 200  # none, or one that isn't ours to know
    if len(wanted) > 1:
        return None
    match = _RANGE.fullmatch(wanted[0])
    if not match or match[1] == match[2] == "":
        return 0, size, 200  # one that may be ignored
    if match[1] == "":
        start, stop = max(0, size - int(match[2])), size
    else:
        start, stop = int(match[1]), min(size, int(match[2]) + 1) if match[2] else size
    return (start, stop, 206) if start < stop else None


def unwanted(headers: Mapping[str, str], meta: Meta) -> int:
    """412 where the reader wants another version than this one, 304 where it has it, or 0."""
    tags, since = headers.get("If-Match", ""), headers.get("If-Unmodified-Since", "")
    if _unmet(tags, meta) if tags else _modified(since, meta) is True:
        return 412
    tags, since = headers.get("If-None-Match", ""), headers.get("If-Modified-Since", "")
    if known(tags, meta) if tags else _modified(since, meta) is False:
        return 304
    return 0


def known(if_none_match: str, meta: Meta) -> bool:
    """Whether the reader has this version already (304)."""
    tags = [tag.removeprefix("W/") for tag in _TAG.findall(if_none_match)]
    return "*" in tags or (bool(meta.etag) and meta.etag.removeprefix("W/") in tags)


def same_version(if_range: str, meta: Meta) -> bool:
    """Whether a range may be answered with a part: no other version is held by the reader."""
    if not if_range:
        return True
    if if_range.startswith(('"', "W/")):
        return if_range == meta.etag and not if_range.startswith("W/")
    return if_range == meta.modified


def _unmet(if_match: str, meta: Meta) -> bool:
    tags = _TAG.findall(if_match)
    is_one = bool(meta.etag) and not meta.etag.startswith("W/") and meta.etag in tags
    return "*" not in tags and not is_one


def _modified(since: str, meta: Meta) -> bool | None:
    """Whether this version is younger than a date; None where one of both isn't told."""
    ours, theirs = _date(meta.modified), _date(since)
    return ours > theirs if ours and theirs else None


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
