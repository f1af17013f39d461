"""The gateway's figures as Prometheus reads them, and as JSON for the map page. Pure.

Source: Prometheus' text exposition format 0.0.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mosaic.storage.metrics import Stats

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_COUNTERS = {
    "requests": "Attempts sent to an origin.",
    "bytes": "Bytes that came from an origin.",
    "hits": "Ranges served from memory.",
    "disk_hits": "Ranges served from the disk cache.",
    "joined": "Ranges that waited for a fetch under way.",
    "coalesced": "Ranges that shared their request with another.",
    "throttled": "Attempts refused with 429 or 503.",
    "retries": "Attempts after the first.",
    "failed": "Fetches that ended in an error.",
}
_GAUGES = {
    "in_flight": "Attempts in flight now.",
    "peak": "Attempts in flight at most.",
    "limit": "Attempts that may be in flight now.",
}

Sample = tuple[Mapping[str, str], float]


def exposition(
    stats: Stats, answers: Mapping[tuple[str, int], int], gauges: Mapping[str, tuple[str, float]]
) -> str:
    """The figures of storage, the answers given by route and status, and what else is told."""
    lines: list[str] = []
    for names, kind in ((_COUNTERS, "counter"), (_GAUGES, "gauge")):
        for name, help_ in names.items():
            samples = [({"origin": row.origin}, getattr(row, name)) for row in stats.origins]
            suffix = "_total" if kind == "counter" else ""
            lines += _family(f"mosaic_origin_{name}{suffix}", kind, help_, samples)
    cached = [({"where": "memory"}, stats.memory_bytes), ({"where": "disk"}, stats.disk_bytes)]
    lines += _family("mosaic_cache_bytes", "gauge", "Bytes held by the caches.", cached)
    given = [
        ({"route": route, "status": str(status)}, count)
        for (route, status), count in sorted(answers.items())
    ]
    lines += _family("mosaic_gateway_answers_total", "counter", "Answers given.", given)
    for name, (help_, value) in gauges.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        lines += _family(f"mosaic_gateway_{name}", kind, help_, [({}, value)])
    return "\n".join([*lines, ""])


def summary(stats: Stats, gauges: Mapping[str, tuple[str, float]]) -> dict[str, Any]:
    """The figures of storage by origin, and the gateway's own."""
    names = ("origin", *_COUNTERS, *_GAUGES)
    return {
        "origins": [{name: getattr(row, name) for name in names} for row in stats.origins],
        "memory_bytes": stats.memory_bytes,
        "disk_bytes": stats.disk_bytes,
        "gateway": {name: value for name, (_, value) in gauges.items()},
    }


def _family(name: str, kind: str, help_: str, samples: Iterable[Sample]) -> list[str]:
    lines = [f"# HELP {name} {help_}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{name}{{{inner}}} {value}" if inner else f"{name} {value}")
    return lines


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
