"""The command line: logs and progress on stderr, JSON on stdout."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

import mosaic
from mosaic.catalog.source import label
from mosaic.errors import InputError, MosaicError, Problem

if TYPE_CHECKING:
    from mosaic.checker.findings import CheckReport

SHOWN = 20
"""Problems printed without ``-v`` or ``--json``."""


def _floats(count: int, text: str, name: str) -> tuple[float, ...]:
    try:
        values = tuple(float(word) for word in text.replace(",", " ").split())
    except ValueError:
        values = ()
    if len(values) != count:
        raise click.BadParameter(f"{name} takes {count} numbers, such as 11,47,12.5,48")
    return values


class _Bbox(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    name = "w,s,e,n"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        return value if isinstance(value, tuple) else _floats(4, value, "--bbox")


class _Names(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    name = "a,b,…"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if isinstance(value, tuple):
            return value
        return tuple(word.strip() for word in value.split(",") if word.strip())


def _asked(command: Any) -> Any:
    """Adds the flags of a search, in pystac-client's words."""
    for option in reversed(
        [
            click.option(
                "-c",
                "--collections",
                type=_Names(),
                multiple=True,
                help="Collections to search: ids. Repeatable.",
            ),
            click.option("--ids", type=_Names(), multiple=True, help="Ids of items. Repeatable."),
            click.option(
                "--intersects", metavar="GEOJSON", help="A geometry or Feature: file or text."
            ),
            click.option(
                "--datetime",
                metavar="WHEN",
                help="An instant or interval: 2025-06, 2025-06-01/2025-06-15, 2025-06-01/..",
            ),
            click.option(
                "--query",
                metavar="CONDITION",
                multiple=True,
                help="Such as 'eo:cloud_cover<10', or JSON. Repeatable.",
            ),
            click.option("--filter", metavar="CQL2", help="CQL2, as text or JSON."),
            click.option(
                "--sortby",
                type=_Names(),
                multiple=True,
                help="What the API sorts by, such as -properties.datetime. Repeatable.",
            ),
            click.option("--max-items", type=click.IntRange(min=1), metavar="N", help="At most N."),
        ]
    ):
        command = option(command)
    return command


_PLAIN = ("intersects", "datetime", "query", "filter", "max_items")


def _flags(given: dict[str, Any], **more: Any) -> Any:
    """The flags of a search, taken out of what a command was given."""
    from mosaic.searcher.request import flags

    told: dict[str, Any] = {
        key: [word for words in given.pop(key) for word in words]
        for key in ("collections", "ids", "sortby")
    }
    told |= {key: given.pop(key) for key in _PLAIN}
    return flags(**told, **more)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(mosaic.__version__, "--version", message="mosaic %(version)s")
def main() -> None:
    """Virtual mosaics: scenes in many CRSs, one index that GDAL, QGIS, R and Python read."""


@main.command()
@click.argument("source", nargs=-1, required=True)
@click.option(
    "-o",
    "--out",
    metavar="DIR",
    required=True,
    help="Folder, or postgresql://…, to write; it appears whole or not at all.",
)
@_asked
@click.option("--recipe", metavar="NAME", help="What is known of the items: a name or a file.")
@click.option(
    "--dst-crs",
    metavar="CRS",
    default="auto",
    show_default=True,
    help="The mosaic's CRS: a code such as EPSG:3857; 'utm', the zone of the middle; or 'auto', "
    "the scenes' own if they share one, else UTM, EPSG:3413 or 3031 (polar) or 4326 by extent.",
)
@click.option(
    "--res",
    type=float,
    metavar="SIZE",
    multiple=True,
    help="Pixel size in units of the CRS, twice for width and height; default: the finest scene's.",
)
@click.option("--bbox", type=_Bbox(), help="West,south,east,north in degrees.")
@click.option(
    "--bands",
    type=_Names(),
    help="Asset keys, band names or common names; default: every asset with pixels.",
)
@click.option(
    "--resampling",
    metavar="METHOD",
    multiple=True,
    help="nearest (the default), bilinear, cubic, …; or for one asset, such as SCL=nearest. "
    "Repeatable.",
)
@click.option(
    "--sort",
    metavar="PROPERTY",
    help="Which scene lies on top: the one with the smallest value, with '-' the greatest; "
    "default: -datetime.",
)
@click.option(
    "--slices",
    type=click.Choice(["none", "day", "month", "year"]),
    default="none",
    show_default=True,
    help="One more index (.gti) for each asset and day, month or year.",
)
@click.option(
    "--stack",
    "stacks",
    type=_Names(),
    multiple=True,
    help="Single-band assets as one image, such as B04,B03,B02. Repeatable.",
)
@click.option(
    "--overview",
    type=float,
    metavar="SIZE",
    help="A coarse image of the whole for each asset, of about this pixel size in units of the "
    "CRS; zoomed-out views then open no scene.",
)
@click.option("--nodata", type=float, help="Nodata value of scenes that declare none.")
@click.option("--dtype", metavar="TYPE", help="Data type, where items tell none; spares a read.")
@click.option(
    "--item-files",
    type=click.IntRange(min=0),
    metavar="N",
    default=1000,
    show_default=True,
    help="Write items as JSON files too, if they are N or fewer.",
)
@click.option(
    "--raw", is_flag=True, help="The files' own numbers: no scale, no offset, nothing harmonised."
)
@click.option("--overwrite", is_flag=True, help="Replace the mosaic that is there.")
@click.option("--skip-bad", is_flag=True, help="Leave out, and report, what can't be indexed.")
@click.option(
    "--verify", is_flag=True, help="Read every file's header, believe it, report what differs."
)
@click.option("--json", "as_json", is_flag=True, help="The report as JSON on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@click.option("-v", "--verbose", is_flag=True, help="Print every problem.")
def build(
    source: tuple[str, ...],
    out: str,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    res: tuple[float, ...],
    resampling: tuple[str, ...],
    **chosen: Any,
) -> None:
    """Build a mosaic of SOURCE… in a folder.

    SOURCE is a raster file, a folder, a glob, a STAC Item, ItemCollection, Catalog or Collection
    (JSON, NDJSON) or stac-geoparquet; '-' reads a list of these, or items, from standard input.
    stac+https://… searches a STAC API, a recipe (`mosaic recipes`) the one that it knows.
    """
    from mosaic.builder.home import make
    from mosaic.builder.options import options
    from mosaic.builder.search import recipe_of

    with _errors(as_json, verbose):
        picked = options(
            res=res or None,
            resampling=_methods(resampling),
            search=_flags(chosen),
            recipe=recipe_of(source, chosen.pop("recipe")),
            **chosen,
        )
        with _progress(quiet or as_json) as progress:
            report = make(source, out, picked, progress)
        if as_json:
            _print_json(report.as_dict())
        elif not quiet:
            _summary(report.as_dict(), verbose)


def _methods(words: tuple[str, ...]) -> tuple[str, ...] | None:
    return words or None


@main.command()
@click.argument("source")
@click.option(
    "-o",
    "--out",
    metavar="FILE",
    help="File to write: NDJSON, or an ItemCollection by .json; default: NDJSON on stdout.",
)
@_asked
@click.option("--bbox", type=_Bbox(), help="West,south,east,north in degrees.")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    metavar="N",
    help="Items a page.",
)
@click.option(
    "--method",
    type=click.Choice(["GET", "POST"], case_sensitive=False),
    help="How pages are asked for; default: POST where the API offers it.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
def search(
    source: str,
    out: str | None,
    bbox: tuple[float, ...] | None,
    limit: int,
    method: str | None,
    quiet: bool,
    **chosen: Any,
) -> None:
    """Search SOURCE, a STAC API (https://…) or a recipe, for items.

    With -o a search that is interrupted goes on where it stopped when it is asked again.
    """
    from mosaic.builder.search import search as asked

    with _errors(False, True):
        wanted = asked(source, _flags(chosen, bbox=bbox, limit=limit, method=method))
        if out is None:
            for item in wanted:
                click.echo(orjson.dumps(item).decode())
            return
        with _progress(quiet) as progress:
            outcome = wanted.save(out, lambda count, total: progress("found", count))
        if not quiet:
            click.echo(f"{outcome.count:,} items written to {out}", err=True)
            for note in outcome.notes:
                click.echo(f"note     {note}", err=True)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout.")
def recipes(as_json: bool) -> None:
    """List the recipes: collections that `mosaic build NAME` knows."""
    from mosaic.recipes.load import load_all

    with _errors(as_json, True):
        found = load_all()
        if as_json:
            _print_json([recipe.as_dict() for recipe in found])
            return
        width = max((len(recipe.name) for recipe in found), default=0)
        for recipe in found:
            click.echo(f"{recipe.name:{width}}  {recipe.title}")


@main.command()
@click.argument("folder")
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout.")
def info(folder: str, as_json: bool) -> None:
    """Tell what the mosaic in FOLDER holds."""
    with _errors(as_json, True):
        found = mosaic.info(folder)
        if as_json:
            _print_json(found)
        else:
            _describe(found)


@main.command()
@click.argument("source")
@click.option("-o", "--out", metavar="FILE", help="PNG to write; default: the mosaic's name, here.")
@click.option(
    "--size",
    type=int,
    default=1200,
    show_default=True,
    metavar="N",
    help="Pixels of the picture's longer side.",
)
@click.option("--bbox", type=_Bbox(), help="West,south,east,north in degrees.")
@click.option(
    "--bands",
    type=_Names(),
    help="One band, or three as red, green and blue; default: those, as items tell them.",
)
@click.option(
    "--datetime",
    "--time",
    "datetime_",
    metavar="WHEN",
    help="An instant or interval: 2025-06, 2025-06-01/2025-06-15.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
def preview(
    source: str,
    out: str | None,
    size: int,
    bbox: tuple[float, ...] | None,
    bands: tuple[str, ...] | None,
    datetime_: str | None,
    quiet: bool,
) -> None:
    """Draw the mosaic in SOURCE: its pixels over footprints coloured by CRS, as a PNG.

    However large it is, only some files are read: overviews of the scenes that lie on top.
    """
    from mosaic.cube.preview import name_of

    with _errors(False, True):
        path = out or name_of(source)
        made = mosaic.preview(source, path, size=size, bbox=bbox, bands=bands, datetime=datetime_)
        if not quiet:
            width, height = made.size
            click.echo(
                f"{path}: {width} x {height} pixels, {', '.join(made.bands)} of {made.drawn:,} of "
                f"{made.items:,} items; {made.nbytes / 1e6:.1f} MB of {made.files:,} files",
                err=True,
            )


@main.command()
@click.argument("folder")
@click.option("--all", "all_", is_flag=True, help="Look at every item, file and header.")
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    metavar="N",
    help="Items, remote files and headers to look at, spread over assets and CRSs.",
)
@click.option("--schemas", metavar="DIR", help="JSON schemas of STAC extensions; none is fetched.")
@click.option("--offline", is_flag=True, help="Ask no network for schemas or scenes.")
@click.option(
    "--drift",
    metavar="FILE",
    help="Note size, validators and header of the scenes in FILE, and compare them from then on.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout.")
@click.option("-v", "--verbose", is_flag=True, help="Print every problem.")
def check(
    folder: str,
    all_: bool,
    sample: int,
    schemas: str | None,
    offline: bool,
    drift: str | None,
    as_json: bool,
    verbose: bool,
) -> None:
    """Tell whether the mosaic in FOLDER is whole and true; exit 1 when something is wrong.

    Looked at: its STAC, its tile indexes by the rules that GDAL needs, its slices and stacks,
    and whether its scenes are where the items say and what the items say.
    """
    from mosaic.checker.run import check as checked

    with _errors(as_json, verbose):
        with _progress(as_json) as progress:
            report = checked(
                folder,
                all=all_,
                sample=sample,
                schemas=schemas,
                offline=offline,
                drift=drift,
                progress=progress,
            )
        if as_json:
            _print_json(report.as_dict())
        else:
            _findings(report, verbose)
    if not report.ok:
        sys.exit(1)


def _findings(report: CheckReport, verbose: bool) -> None:
    width = max(len(found.check) for found in report.findings)
    for found in report.findings:
        click.echo(f"{found.level:8} {found.check:{width}}  {found.what}")
    for level in ("error", "warning", "unknown") if verbose else ("error", "warning"):
        problems = [p for found in report.findings if found.level == level for p in found.problems]
        shown = problems if verbose else problems[:SHOWN]
        for problem in shown:
            click.echo(f"{level}: {problem}")
        if len(problems) > len(shown):
            click.echo(f"{level}: … and {len(problems) - len(shown)} more (-v or --json)")
    click.echo(f"{_near(report.path)} is {_verdict(report)}")


def _verdict(report: CheckReport) -> str:
    counts = report.counts()
    said = [
        f"{counts[level]} {level}{'s' if counts[level] > 1 and level != 'unknown' else ''}"
        for level in ("error", "warning", "unknown")
        if counts[level]
    ]
    if report.ok:
        return "sound" + (f" ({', '.join(said)})" if said else "")
    return f"not sound: {', '.join(said)}"


@main.command()
@click.argument("folder")
@click.argument("source", nargs=-1)
@click.option("--drop", metavar="ID", multiple=True, help="An item that goes. Repeatable.")
@click.option("--drop-missing", is_flag=True, help="Items go that SOURCE doesn't have any more.")
@click.option("--recipe", metavar="FILE", help="The recipe it was built with, if that is a file.")
@click.option("--skip-bad", is_flag=True, help="Leave out, and list, what can't be indexed.")
@click.option("--json", "as_json", is_flag=True, help="The report, as JSON on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@click.option("-v", "--verbose", is_flag=True, help="Print every problem.")
def update(
    folder: str,
    source: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **chosen: Any,
) -> None:
    """Bring the mosaic in FOLDER up to date with SOURCE, or with its own searches made again.

    Items are added, or replaced where their `updated` is later; only what changes is written.
    """
    from mosaic.builder.update import update as updated

    with _errors(as_json, verbose):
        with _progress(quiet or as_json) as progress:
            report = updated(folder, source, progress=progress, **chosen)
        if as_json:
            _print_json(report.as_dict())
        elif not quiet:
            what = (
                f"{report.added:,} added, {report.replaced:,} replaced, {report.dropped:,} dropped"
            )
            click.echo(f"{what}: {report.items:,} items in {_near(report.path)}", err=True)
            for note in report.notes:
                click.echo(f"note     {note}", err=True)
            _list(report.left_out, verbose, "left out: ")


@main.command()
@click.argument("folder")
@click.option(
    "--format",
    type=click.Choice(["sh", "gdal", "qgis", "r"]),
    default="sh",
    show_default=True,
    help="Lines for a shell, a file for GDAL_CONFIG_FILE, lines for QGIS' console or for R.",
)
def env(folder: str, format: str) -> None:  # noqa: A002 - the option
    """Print what GDAL has to be told to open the scenes of the mosaic in FOLDER."""
    with _errors(False, True):
        click.echo(mosaic.env(folder, format))


@main.command()
@click.argument("source")
@click.argument("out")
@click.option("--bbox", type=_Bbox(), help="West,south,east,north in degrees.")
@click.option("--dst-crs", "crs", metavar="CRS", help="CRS; default: the mosaic's.")
@click.option(
    "--res",
    "resolution",
    type=float,
    metavar="SIZE",
    multiple=True,
    help="Pixel size in units of the CRS, twice for width and height; default: the mosaic's.",
)
@click.option("--bands", type=_Names(), help="Assets or bands, by name; default: all.")
@click.option("--datetime", metavar="WHEN", help="An instant or interval, such as 2025-06.")
@click.option(
    "--groupby",
    metavar="BY",
    default="all",
    show_default=True,
    help="Layers of time: all (one), time, solar_day, day, month, id, …, or a property.",
)
@click.option(
    "--resampling",
    metavar="METHOD",
    multiple=True,
    help="nearest, bilinear, …; or for one band, such as SCL=nearest. Repeatable.",
)
@click.option(
    "--method",
    metavar="METHOD",
    default="first",
    show_default=True,
    help="What is made of a layer's scenes: first, last, median, mean, percentile:90, …",
)
@click.option("--over", metavar="BY", default="auto", help="Which items make one observation.")
@click.option("--best", metavar="NAME", help="A band or property by which the best shows.")
@click.option(
    "--mask",
    metavar="BAND=A,B",
    multiple=True,
    help="Pixels to hide: numbers or names, such as SCL=3,cloud_high_probability. Repeatable.",
)
@click.option("--mask-dilate", type=int, default=0, metavar="N", help="Pixels around these.")
@click.option("--dtype", metavar="TYPE", help="Data type; default: the bands' own.")
@click.option("--raw", is_flag=True, help="The files' own numbers.")
@click.option("--where", metavar="SQL", help="A condition on items, as of `mosaic query`.")
@click.option("--via", metavar="URL", help="A gateway that reads the scenes (`mosaic serve`).")
@click.option(
    "--compress", metavar="HOW", help="deflate, zstd, lzw, none; of Zarr zstd, gzip, none."
)
@click.option("--level", type=int, metavar="N", help="How hard the compression tries.")
@click.option(
    "--blocksize",
    type=int,
    default=512,
    show_default=True,
    metavar="N",
    help="Pixels a side of a tile, or of a shard's inner chunk.",
)
@click.option(
    "--overview-resampling",
    metavar="METHOD",
    help="nearest, average, mode, …; default: by the bands' own resampling.",
)
@click.option("--overwrite", is_flag=True, help="Replace what is there, or was begun otherwise.")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
def export(
    source: str,
    out: str,
    resolution: tuple[float, ...],
    resampling: tuple[str, ...],
    mask: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    **chosen: Any,
) -> None:
    """Write the pixels of SOURCE, a mosaic or items, to OUT: a COG (.tif) or a Zarr store (.zarr).

    An export that was interrupted goes on where it stopped when the same is asked again.
    """
    from mosaic.exporter import words
    from mosaic.exporter.run import export as exported

    with _errors(as_json, True, "ask for the same again to go on"):
        with _bar(quiet or as_json) as progress:
            report = exported(
                source,
                out,
                resolution=words.size(resolution),
                resampling=words.methods(resampling),
                mask=words.masks(mask),
                progress=progress,
                **chosen,
            )
        if as_json:
            _print_json(report.as_dict())
        elif not quiet:
            layers, height, width = report.shape
            times = f"{layers} x " if report.format == "Zarr" else ""
            click.echo(
                f"{_near(report.path)}: {report.format}, {len(report.bands)} x {times}{height} x "
                f"{width} pixels, {report.bytes / 1e6:.1f} MB",
                err=True,
            )


@contextmanager
def _bar(silent: bool) -> Iterator[Callable[[str, int, int], None]]:
    console = Console(stderr=True)
    if silent or not console.is_terminal:
        yield lambda step, done, total: None
        return
    with Progress(*Progress.get_default_columns(), console=console, transient=True) as bar:
        task = bar.add_task("opening", total=None)

        def show(step: str, done: int, total: int) -> None:
            bar.update(task, description=step, completed=done, total=total or None)

        yield show


@main.command()
@click.argument("folder")
@click.argument("sql")
@click.option("--json", "as_json", is_flag=True, help="An array of objects.")
def query(folder: str, sql: str, as_json: bool) -> None:
    """Ask the items of the mosaic in FOLDER (or at a URL) by SQL: the table is `items`."""
    with _errors(as_json, True):
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


@main.command()
@click.argument("source")
@click.argument("folder")
@click.option("--json", "as_json", is_flag=True, help="The files written, as JSON on stdout.")
def doors(source: str, folder: str, as_json: bool) -> None:
    """Write into FOLDER the files by which GDAL and QGIS open SOURCE, a mosaic in PostGIS."""
    with _errors(as_json, True):
        written = mosaic.doors(source, folder)
        if as_json:
            _print_json(written)
        else:
            click.echo(f"{len(written)} file{'s' * (len(written) != 1)} written", err=True)


@main.command()
@click.argument("folder")
@click.option("--base", help="Folder or URL it will be read from; default: where it lies.")
@click.option("--json", "as_json", is_flag=True, help="The files rewritten, as JSON on stdout.")
def relocate(folder: str, base: str | None, as_json: bool) -> None:
    """Mend the time slices of a moved FOLDER.

    A slice names its index by an absolute path; everything else in a mosaic is relative.
    """
    from mosaic.builder.info import relocate as rewrite

    with _errors(as_json, True):
        changed = rewrite(folder, base)
        if as_json:
            _print_json(changed)
        else:
            click.echo(f"{len(changed)} file{'s' * (len(changed) != 1)} rewritten", err=True)


@main.command()
@click.argument("folder", nargs=-1, required=True)
@click.option("--host", metavar="ADDRESS", help="Where to listen; default: 127.0.0.1.")
@click.option("--port", type=int, metavar="N", help="Port; 0 for any; default: 8790.")
@click.option("--url", help="Under which clients reach it; default: by host and port.")
@click.option("--token-file", metavar="FILE", help="What clients must show, as a bearer's token.")
@click.option(
    "--allow-redirect",
    "redirects",
    multiple=True,
    metavar="HOST",
    help="A host, or pattern, that storage may redirect to. Repeatable.",
)
@click.option("--busy", type=int, metavar="N", help="Requests worked on at once; default: 64.")
@click.option("--queue", type=int, metavar="N", help="Requests that may wait; default: 1024.")
@click.option("--config", metavar="FILE", help="TOML file with these settings; flags override it.")
@click.option("-q", "--quiet", is_flag=True, help="No access log.")
def serve(
    folder: tuple[str, ...],
    redirects: tuple[str, ...],
    config: str | None,
    quiet: bool,
    **flags: Any,
) -> None:
    """Serve the mosaics in FOLDER… (or NAME=FOLDER) to GDAL, QGIS, R, Python and browsers.

    Their scenes are read through one gate, with its limits, cache, retries and credentials. The
    gateway's own address, in a browser, is a map of them.
    """
    from mosaic.gateway import command

    with _errors(False, True):
        options = command.configured(config, {**flags, "redirects": redirects or None})
        if not quiet:
            command.log_to_stderr()
        command.serve(folder, options, lambda line: click.echo(line, err=True))


@contextmanager
def _errors(
    as_json: bool, verbose: bool, interrupted: str = "nothing was changed"
) -> Iterator[None]:
    try:
        yield
    except MosaicError as error:
        problems = getattr(error, "problems", None)
        if as_json:
            _print_json(
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
    _list(problems, verbose)
    if isinstance(error, InputError) and error.hint:
        click.echo(f"mosaic: {error.hint}", err=True)


def _list(problems: Any, verbose: bool, prefix: str = "mosaic: ") -> None:
    shown = list(problems if verbose else problems[:SHOWN])
    for problem in shown:
        click.echo(f"{prefix}{problem}", err=True)
    if len(problems) > len(shown):
        click.echo(f"{prefix}… and {len(problems) - len(shown)} more (-v or --json)", err=True)


@contextmanager
def _progress(silent: bool) -> Iterator[Callable[[str, int], None]]:
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


def _print_json(value: Any) -> None:
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def _size(resolution: list[float]) -> str:
    x, y = resolution
    return f"{x:g}" if x == y else f"{x:g} x {y:g}"


def _summary(report: dict[str, Any], verbose: bool) -> None:
    zones = ", ".join(f"{count} in {label(name)}" for name, count in _counts(report)[:6])
    height, width = report["shape"]
    lines = [
        f"items    {report['items']:,} ({zones})",
        f"grid     {label(report['crs'])}, {width} x {height} pixels of "
        f"{_size(report['resolution'])}",
    ]
    first, last = report["interval"]
    if first:
        lines.append(f"time     {first[:10]} to {last[:10]}")
    indexes = report["indexes"]
    names = [f"{one['file']} ({one['tiles']:,} tiles)" for one in indexes[:6]]
    names += [f"… and {len(indexes) - 6} more"] if len(indexes) > 6 else []
    lines += [f"{'index' if i == 0 else '':9}{name}" for i, name in enumerate(names)]
    lines += [f"{'stack' if i == 0 else '':9}{name}" for i, name in enumerate(report["stacks"])]
    if report["overviews"]:
        one = report["overviews"][0]
        high, wide = one["shape"]
        lines.append(f"overview {wide} x {high} pixels of {_size(one['resolution'])}, one an index")
    if report["slices"]:
        slices = report["slices"]
        lines.append(f"slices   {len(slices)}: {slices[0]} to {slices[-1]}")
    if report["headers_read"]:
        lines.append(f"headers  {report['headers_read']:,} files opened")
    lines.append(f"written  {_near(report['path'])} in {report['seconds']:.1f} s")
    for line in lines:
        click.echo(line, err=True)
    for note in report["notes"]:
        click.echo(f"note     {note}", err=True)
    _list([Problem(**one) for one in report["disagreements"]], verbose, "believed the file: ")
    _list([Problem(**one) for one in report["left_out"]], verbose, "left out: ")


def _counts(report: dict[str, Any]) -> list[tuple[str, int]]:
    return [(one["crs"], one["items"]) for one in report["source_crs"]]


def _describe(found: dict[str, Any]) -> None:
    zones = ", ".join(f"{count} in {label(name)}" for name, count in _counts(found))
    height, width = found["shape"]
    west, south, east, north = found["bbox"]
    first, last = (time[:10] if time else "?" for time in found["interval"])
    labels = sorted({name.rpartition("_")[2].removesuffix(".gti") for name in found["slices"]})
    rows = [
        ("items", f"{found['items']:,} ({zones})"),
        (
            "grid",
            f"{label(found['crs'])}, {width} x {height} pixels of {_size(found['resolution'])}",
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


def _near(path: str) -> str:
    here = str(Path.cwd())
    return path.removeprefix(f"{here}{os.sep}") if here != os.sep else path


def _top(sort: str) -> str:
    return f"{'greatest' if sort.startswith('-') else 'smallest'} {sort.lstrip('+-')}"


if __name__ == "__main__":
    main()
