"""Times as users write them: an instant, a day, a month, a year, or an interval of these. Pure."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

from mosaic.errors import UsageError

Interval = tuple[int, int]
"""First and last millisecond since 1970, both inclusive."""

PARTIAL = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?")
"""A year, a month or a day."""
_OPEN = ("", "..")
_EVER: Interval = (-(1 << 62), 1 << 62)


def interval(value: Any) -> Interval:
    """The milliseconds (UTC) that a text, date, datetime, or a pair of these means.

    ``2025``, ``2025-06`` and ``2025-06-01`` mean all of them; ``a/b`` and ``(a, b)`` from the
    beginning of a to the end of b, and ``..``, an empty text or None leave an end open, as in
    STAC API. Raises :class:`~mosaic.errors.UsageError` for what is no time.
    """
    if isinstance(value, list | tuple):
        parts = list(value)
    elif isinstance(value, str):
        parts = value.split("/")
    else:
        parts = [value]
    if len(parts) not in (1, 2):
        raise UsageError(f"datetime {value!r:.80} is no instant and no interval a/b")
    spans = [_EVER if part is None or part in _OPEN else _span(part) for part in parts]
    found = (spans[0][0], spans[-1][1])
    if found[0] > found[1]:
        raise UsageError(f"datetime {value!r:.80} ends before it begins")
    return found


def _span(part: Any) -> Interval:
    if isinstance(part, np.datetime64) and np.datetime_data(part.dtype)[0] in ("Y", "M", "D"):
        part = str(part)  # a year, a month or a day means all of it
    elif isinstance(part, np.datetime64):
        part = part.astype("datetime64[ms]").astype(object)
    if isinstance(part, datetime):
        return _instant(part)
    if isinstance(part, date):
        part = part.isoformat()
    match = PARTIAL.fullmatch(part) if isinstance(part, str) else None
    try:
        if match:
            year, month, day = (group and int(group) for group in match.groups())
            first = datetime(year or 0, month or 1, day or 1, tzinfo=UTC)
            if day:
                stop = first + timedelta(days=1)
            else:
                month = month or 12
                stop = first.replace(year=first.year + month // 12, month=month % 12 + 1)
            return _instant(first)[0], _instant(stop)[0] - 1
        return _instant(datetime.fromisoformat(str(part).replace("z", "Z")))
    except (ValueError, OverflowError) as error:
        raise UsageError(f"datetime {part!r:.80} is no RFC 3339 time or date") from error


def _instant(time: datetime) -> Interval:
    time = time if time.tzinfo else time.replace(tzinfo=UTC)
    delta = time - datetime(1970, 1, 1, tzinfo=UTC)
    milliseconds = (delta.days * 86400 + delta.seconds) * 1000 + delta.microseconds // 1000
    return milliseconds, milliseconds
