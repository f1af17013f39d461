"""The table and the figure of ``make bench``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from mosaic.engine.cost import Cost
from tests.benchmarks.limit import Limit
from tests.benchmarks.result import Result

Found = Mapping[tuple[str, str], Result]


def table(found: Found, cases: Sequence[str], names: Sequence[str]) -> str:
    """Medians of wall and CPU, with how many times the first contender's wall each took."""
    head = ["wall s (CPU s)", *cases, "seam: requests, MB, HEADs, MB of memory"]
    rows = [head, ["---"] * len(head)]
    for name in names:
        row = [name]
        for case in cases:
            result = found[case, name]
            row.append(_cell(result, found[case, names[0]]))
        seam = found.get(("seam", name))
        row.append(_traffic(seam) if seam else "")
        rows.append(row)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _cell(result: Result, first: Result) -> str:
    if not result.took:
        return f"absent: {result.failure[:60]}" if result.failure else "not right"
    text = f"{result.median('wall'):.2f} ({result.median('cpu'):.2f})"
    if result is first or not first.took:
        return text
    return f"{text}, {result.median('wall') / first.median('wall'):.1f}x"


def _traffic(result: Result) -> str:
    if not result.took:
        return ""
    counts = [result.median("requests"), result.median("bytes") / 1e6, result.median("heads")]
    return ", ".join(f"{value:.0f}" for value in [*counts, result.median("memory")])


def against_plan(found: Found, plans: Mapping[str, Cost], name: str) -> str:
    """Requests and bytes that the server counted beside those that ``.mosaic.plan()`` told."""
    lines = []
    for case, plan in plans.items():
        result = found[case, name]
        if result.took:
            requests, size = result.median("requests"), result.median("bytes")
            lines.append(
                f"{case}: {requests:.0f} requests, {size:.0f} bytes; by the plan at least "
                f"{plan.requests} ({requests / plan.requests:.2f}), "
                f"{plan.bytes} ({size / plan.bytes:.2f})"
            )
    return "\n".join(lines)


def against_limit(found: Found, limits: Mapping[str, Limit], latency: float, name: str) -> str:
    """Wall and CPU beside what a read can't go below."""
    lines = []
    for case, one in limits.items():
        result = found[case, name]
        if result.took:
            wall, cpu = result.median("wall"), result.median("cpu")
            work, least = one.decode + one.warp, one.wall(latency)
            lines.append(
                f"{case}: {one.blocks} blocks, decode {one.decode:.3f} s, warp {one.warp:.3f} s; "
                f"wall {wall / least:.2f} times the limit of {least:.3f} s, "
                f"CPU {cpu / work:.2f} times decode and warp"
            )
    return "\n".join(lines)


def conditions(rounds: int) -> str:
    """In which state the machine was."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"medians of up to {rounds} rounds, {os.cpu_count()} processors, load {load}"


def figure(found: Found, cases: Sequence[str], names: Sequence[str], path: Path) -> None:
    """Wall and CPU of every contender in every case, as bars on a logarithmic axis."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(11, 4.2), layout="constrained")
    for axes, what in zip(made.subplots(1, 2, sharey=True), ("wall", "cpu"), strict=True):
        width = 0.8 / len(names)
        for place, name in enumerate(names):
            there = [at for at, case in enumerate(cases) if found[case, name].took]
            axes.bar(
                [at + (place - len(names) / 2 + 0.5) * width for at in there],
                [found[cases[at], name].median(what) for at in there],
                width,
                label=name,
                color=f"C{place}",
            )
        axes.set_yscale("log")
        axes.set_xticks(range(len(cases)), cases)
        axes.set_title("seconds from open to loaded" if what == "wall" else "seconds of CPU")
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, ncols=2, frameon=False)
    made.savefig(path, dpi=110)
