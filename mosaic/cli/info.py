"""What a mosaic tells of itself: ``mosaic info``, ``mosaic query`` and ``mosaic env``."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click
import orjson

import mosaic
from mosaic.catalog.source import label
from mosaic.cli.options import json_option
from mosaic.cli.output import errors_told, print_json, size_text, zones_text


@click.command()
@click.argument("folder")
@json_option("As JSON on stdout.")
def info(folder: str, as_json: bool) -> None:
    """Tell what the mosaic in FOLDER holds."""
    with errors_told(as_json, True):
        found = mosaic.info(folder)
        if as_json:
            print_json(found)
        else:
            _describe(found)


def _describe(found: dict[str, Any]) -> None:
    height, width = found["shape"]
    west, south, east, north = found["bbox"]
    first, last = (time[:10] if time else "?" for time in found["interval"])
    labels = sorted({name.rpartition("_")[2].removesuffix(".gti") for name in found["slices"]})
    rows = [
        ("items", f"{found['items']:,} ({zones_text(found)})"),
        (
            "grid",
            f"{label(found['crs'])}, {width} x {height} pixels of {size_text(found['resolution'])}",
        ),
        ("bbox", f"{west:.5g}, {south:.5g}, {east:.5g}, {north:.5g}"),
        ("time", f"{first} to {last}"),
        ("on top", _top(found["sort"])),
        ("indexes", ", ".join(found["indexes"])),
        ("stacks", ", ".join(found["stacks"]) or "none"),
        ("slices", f"{len(labels)}: {labels[0]} to {labels[-1]}" if labels else "none"),
        ("size", f"{found['bytes'] / 1e6:.1f} MB"),
    ]
    for name, value in rows:
        click.echo(f"{name:9}{value}")


def _top(sort: str) -> str:
    return f"{'greatest' if sort.startswith('-') else 'smallest'} {sort.lstrip('+-')}"


@click.command()
@click.argument("folder")
@click.argument("sql")
@json_option("An array of objects.")
def query(folder: str, sql: str, as_json: bool) -> None:
    """Ask the items of the mosaic in FOLDER, or at a URL, by SQL.

    The table is `items`; its columns are those of items.parquet, and xmin, ymin, xmax, ymax.
    """
    with errors_told(as_json, True):
        found = mosaic.query(folder, sql)
        if as_json:
            click.echo(orjson.dumps(found.to_pylist(), default=str).decode())
            return
        cells = [[*found.column_names], *(map(_cell, row.values()) for row in found.to_pylist())]
        rows = [list(row) for row in cells]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            click.echo("  ".join(padded).rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return "" if value is None else f"{value:.10g}" if isinstance(value, float) else str(value)


@click.command()
@click.argument("folder")
@click.option(
    "--format",
    type=click.Choice(["sh", "gdal", "qgis", "r"]),
    default="sh",
    show_default=True,
    help="Lines for a shell, a file for GDAL_CONFIG_FILE, lines for QGIS' console or for R.",
)
def env(folder: str, format: str) -> None:  # noqa: A002 - the option
    """Print what GDAL has to be told to open a mosaic's scenes.

    Requester pays, logins, signatures and endpoints; never a secret, but where it has to lie.
    """
    with errors_told(False, True):
        click.echo(mosaic.env(folder, format))
