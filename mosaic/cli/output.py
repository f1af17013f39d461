"""What verbs say: JSON on stdout, problems and errors on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import orjson

from mosaic.catalog.source import label
from mosaic.errors import InputError, MosaicError, Problem

SHOWN = 20
"""Problems printed without ``-v`` or ``--json``."""


@contextmanager
def errors_told(
    as_json: bool, verbose: bool, interrupted: str = "nothing was changed"
) -> Iterator[None]:
    """Errors of the package as text, or as JSON on stdout; the exit code is then 1.

    ``interrupted``: what is said after Ctrl-C.
    """
    try:
        yield
    except MosaicError as error:
        problems = getattr(error, "problems", None)
        if as_json:
            print_json(
                {
                    "error": type(error).__name__,
                    "message": str(error).split("\n")[0],
                    "problems": [problem.as_dict() for problem in problems or ()],
                    "hint": getattr(error, "hint", ""),
                }
            )
        else:
            _complain(error, problems, verbose)
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo(f"mosaic: interrupted; {interrupted}", err=True)
        sys.exit(130)


def _complain(error: MosaicError, problems: tuple[Problem, ...] | None, verbose: bool) -> None:
    if problems is None:
        click.echo(f"mosaic: {error}", err=True)
        return
    list_problems(problems, verbose)
    if isinstance(error, InputError) and error.hint:
        click.echo(f"mosaic: {error.hint}", err=True)


def list_problems(problems: Any, verbose: bool, prefix: str = "mosaic: ") -> None:
    """Problems on stderr, the first of them unless ``verbose``."""
    shown = list(problems if verbose else problems[:SHOWN])
    for problem in shown:
        click.echo(f"{prefix}{problem}", err=True)
    if len(problems) > len(shown):
        click.echo(f"{prefix}… and {len(problems) - len(shown)} more (-v or --json)", err=True)


def print_json(value: Any) -> None:
    """JSON on stdout, for people too."""
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def size_text(resolution: list[float]) -> str:
    """A pixel's width and height, once if they are equal."""
    x, y = resolution
    return f"{x:g}" if x == y else f"{x:g} x {y:g}"


def zones_text(report: dict[str, Any], most: int | None = None) -> str:
    """How many items are in which CRS, for the first ``most`` CRSs of a report."""
    found = report["source_crs"][:most]
    return ", ".join(f"{one['items']} in {label(one['crs'])}" for one in found)


def near(path: str) -> str:
    """A path as one writes it from here."""
    here = str(Path.cwd())
    return path.removeprefix(f"{here}{os.sep}") if here != os.sep else path
