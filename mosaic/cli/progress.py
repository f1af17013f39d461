"""Progress, on a terminal only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


@contextmanager
def steps(silent: bool) -> Iterator[Callable[[str, int], None]]:
    """For work whose end isn't known: its step, and what is done of it."""
    console = Console(stderr=True)
    if silent or not console.is_terminal:
        yield lambda step, done: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("reading", total=None)

        def show(step: str, done: int) -> None:
            text = f"{step}: {done:,}" if done else f"index {step}"
            bar.update(task, description=text)

        yield show


@contextmanager
def bar(silent: bool) -> Iterator[Callable[[str, int, int], None]]:
    """For work whose end is known: its step, what is done of it, and of how much."""
    console = Console(stderr=True)
    if silent or not console.is_terminal:
        yield lambda step, done, total: None
        return
    with Progress(*Progress.get_default_columns(), console=console, transient=True) as bar:
        task = bar.add_task("opening", total=None)

        def show(step: str, done: int, total: int) -> None:
            bar.update(task, description=step, completed=done, total=total or None)

        yield show
