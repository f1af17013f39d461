"""``mosaic build`` and ``mosaic update``, and what is told of them."""

from __future__ import annotations

from typing import Any

import click

from mosaic.catalog.source import label
from mosaic.cli.options import (
    BBOX,
    QUIET,
    VERBOSE,
    Names,
    json_option,
    search_flags,
    search_options,
)
from mosaic.cli.output import errors_told, list_problems, near, print_json, size_text, zones_text
from mosaic.cli.progress import steps
from mosaic.errors import Problem


@click.command()
@click.argument("source", nargs=-1, required=True)
@click.option(
    "-o",
    "--out",
    metavar="DIR",
    required=True,
    help="Folder, or postgresql://…, to write; it appears whole or not at all.",
)
@search_options
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
@BBOX
@click.option(
    "--bands",
    type=Names(),
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
    type=Names(),
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
@json_option("The report as JSON on stdout.")
@QUIET
@VERBOSE
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

    with errors_told(as_json, verbose):
        picked = options(
            res=res or None,
            resampling=resampling or None,
            search=search_flags(chosen),
            recipe=recipe_of(source, chosen.pop("recipe")),
            **chosen,
        )
        with steps(quiet or as_json) as progress:
            report = make(source, out, picked, progress)
        if as_json:
            print_json(report.as_dict())
        elif not quiet:
            _summary(report.as_dict(), verbose)


@click.command()
@click.argument("folder")
@click.argument("source", nargs=-1)
@click.option("--drop", metavar="ID", multiple=True, help="Take this item out. Repeatable.")
@click.option(
    "--drop-missing", is_flag=True, help="Take out items that SOURCE doesn't have any more."
)
@click.option("--recipe", metavar="FILE", help="The recipe it was built with, if that is a file.")
@click.option("--skip-bad", is_flag=True, help="Leave out, and list, what can't be indexed.")
@json_option("The report as JSON on stdout.")
@QUIET
@VERBOSE
def update(
    folder: str,
    source: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **chosen: Any,
) -> None:
    """Bring a mosaic up to date with SOURCE, or by its own searches.

    Without SOURCE the searches that it was built from are made again. Items are added, or
    replaced where their `updated` is later; only what changes is written.
    """
    from mosaic.builder.update import update as updated

    with errors_told(as_json, verbose):
        with steps(quiet or as_json) as progress:
            report = updated(folder, source, progress=progress, **chosen)
        if as_json:
            print_json(report.as_dict())
        elif not quiet:
            what = (
                f"{report.added:,} added, {report.replaced:,} replaced, {report.dropped:,} dropped"
            )
            click.echo(f"{what}: {report.items:,} items in {near(report.path)}", err=True)
            for note in report.notes:
                click.echo(f"note     {note}", err=True)
            list_problems(report.left_out, verbose, "left out: ")


def _summary(report: dict[str, Any], verbose: bool) -> None:
    height, width = report["shape"]
    lines = [
        f"items    {report['items']:,} ({zones_text(report, 6)})",
        f"grid     {label(report['crs'])}, {width} x {height} pixels of "
        f"{size_text(report['resolution'])}",
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
        size = size_text(one["resolution"])
        lines.append(f"overview {wide} x {high} pixels of {size}, one an index")
    if report["slices"]:
        slices = report["slices"]
        lines.append(f"slices   {len(slices)}: {slices[0]} to {slices[-1]}")
    if report["headers_read"]:
        lines.append(f"headers  {report['headers_read']:,} files opened")
    lines.append(f"written  {near(report['path'])} in {report['seconds']:.1f} s")
    for line in lines:
        click.echo(line, err=True)
    for note in report["notes"]:
        click.echo(f"note     {note}", err=True)
    for key, prefix in (("disagreements", "believed the file: "), ("left_out", "left out: ")):
        list_problems([Problem(**one) for one in report[key]], verbose, prefix)
