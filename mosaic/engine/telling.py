"""A plan for people: as text, as HTML, as a table."""

from __future__ import annotations

import html as markup
from typing import TYPE_CHECKING

from mosaic.storage.metrics import size_text

if TYPE_CHECKING:
    import pandas as pd

    from mosaic.engine.plan import Plan


def lines(plan: Plan) -> list[tuple[str, str]]:
    """What a plan says, by name."""
    least, most = plan.least, plan.most
    time = f"at least {plan.seconds:.1f} s" if plan.seconds >= 0.05 else "no limit is known"
    if plan.seconds >= 0.05 and round(plan.rest_seconds, 1) < round(plan.seconds, 1):
        time += f"; {plan.rest_seconds:.1f} s for what remains"
    here = "nothing" if not least.held else f"{least.held:,} of {least.ranges:,} ranges"
    return [
        ("items", _both(*plan.items)),
        ("files", _both(least.files, most.files)),
        *(
            [("by GDAL", f"{_both(least.foreign, most.foreign)} files: what it asks isn't counted")]
            if most.foreign
            else []
        ),
        ("shape", _shape(plan)),
        ("requests", _both(least.requests, most.requests)),
        ("bytes", _both(least.bytes, most.bytes, size_text)),
        ("waste", f"{plan.waste:.2f} bytes for one that is used"),
        ("at hand", f"{here}; {least.rest:,} requests, {size_text(least.rest_bytes)} remain"),
        ("time", time),
        *([("problems", f"{len(plan.problems):,}, not counted")] if plan.problems else []),
    ]


def text(plan: Plan) -> str:
    """A plan as lines."""
    return "\n".join(f"{name:9}{value}" for name, value in lines(plan))


def html(plan: Plan) -> str:
    """A plan as a small table."""
    body = "".join(
        f"<tr><th style='text-align:left'>{name}</th>"
        f"<td style='text-align:left'>{markup.escape(value)}</td></tr>"
        for name, value in lines(plan)
    )
    return f"<table>{body}</table>"


def _both(low: int, high: int, shown: object = None) -> str:
    show = shown if callable(shown) else "{:,}".format
    return show(low) if low == high else f"{show(low)} to {show(high)}"


def _shape(plan: Plan) -> str:
    height, width = plan.window[2:]
    blocks = f"{plan.blocks:,.0f} block{'s' if round(plan.blocks) != 1 else ''}"
    place = f"{plan.shape}: {width:,} x {height:,} pixels"
    return (
        f"{place} of {plan.depth:,} times, {blocks} each"
        if plan.depth > 1
        else (f"{place}, {blocks}")
    )


def dataframe(plan: Plan) -> pd.DataFrame:
    """A row for each scene of a plan, in drawing order.

    ``sure``: False for what is read only if holes show above; ``held``: ranges at hand, of
    ``ranges``; ``waste``: bytes that travel for one that is used.
    """
    import pandas as pd

    return pd.DataFrame(
        {
            "item": [row.item for row in plan.rows],
            "asset": [row.asset for row in plan.rows],
            "layer": [row.layer for row in plan.rows],
            "level": [row.level for row in plan.rows],
            "factor": [row.factor for row in plan.rows],
            "sure": [row.sure for row in plan.rows],
            **{
                name: [getattr(row.cost, name) for row in plan.rows]
                for name in ("blocks", "requests", "bytes", "used", "waste", "ranges", "held")
            },
            "href": [row.href for row in plan.rows],
        }
    )
