"""A mosaic's pixels as files: ``mosaic export`` and ``mosaic preview``."""

from __future__ import annotations

from typing import Any

import click

import mosaic
from mosaic.cli.options import BBOX, QUIET, Names, json_option
from mosaic.cli.output import errors_told, near, print_json
from mosaic.cli.progress import bar


@click.command()
@click.argument("source")
@click.argument("out")
@BBOX
@click.option("--dst-crs", "crs", metavar="CRS", help="CRS; default: the mosaic's.")
@click.option(
    "--res",
    "resolution",
    type=float,
    metavar="SIZE",
    multiple=True,
    help="Pixel size in units of the CRS, twice for width and height; default: the mosaic's.",
)
@click.option("--bands", type=Names(), help="Assets or bands, by name; default: all.")
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
@click.option(
    "--over",
    metavar="BY",
    default="auto",
    help="Which items make one observation: id, solar_day, …; default: by the layers.",
)
@click.option(
    "--best",
    metavar="NAME",
    help="Band or property whose smallest value shows; with '-' the greatest.",
)
@click.option(
    "--mask",
    metavar="BAND=A,B",
    multiple=True,
    help="Pixels to hide: numbers or names, such as SCL=3,cloud_high_probability. Repeatable.",
)
@click.option("--mask-dilate", type=int, default=0, metavar="N", help="Hide N pixels around, too.")
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
@json_option("The report as JSON on stdout.")
@QUIET
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
    """Write pixels of a mosaic, or of items, as a COG or Zarr store.

    SOURCE is a mosaic's folder or URL, or items; OUT ends with .tif or .zarr. An export that was
    interrupted goes on where it stopped when the same is asked again.
    """
    from mosaic.exporter import words
    from mosaic.exporter.run import export as exported

    with errors_told(as_json, True, "ask for the same again to go on"):
        with bar(quiet or as_json) as progress:
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
            print_json(report.as_dict())
        elif not quiet:
            layers, height, width = report.shape
            times = f"{layers} x " if report.format == "Zarr" else ""
            click.echo(
                f"{near(report.path)}: {report.format}, {len(report.bands)} x {times}{height} x "
                f"{width} pixels, {report.bytes / 1e6:.1f} MB",
                err=True,
            )


@click.command()
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
@BBOX
@click.option(
    "--bands",
    type=Names(),
    help="One band, or three as red, green and blue; default: those, as items tell them.",
)
@click.option(
    "--datetime",
    "--time",
    "datetime_",
    metavar="WHEN",
    help="An instant or interval: 2025-06, 2025-06-01/2025-06-15.",
)
@QUIET
def preview(
    source: str,
    out: str | None,
    size: int,
    bbox: tuple[float, ...] | None,
    bands: tuple[str, ...] | None,
    datetime_: str | None,
    quiet: bool,
) -> None:
    """Draw a mosaic: its pixels over footprints coloured by CRS.

    However large it is, only some files are read: overviews of the scenes that lie on top.
    """
    from mosaic.cube.preview import name_of

    with errors_told(False, True):
        path = out or name_of(source)
        made = mosaic.preview(source, path, size=size, bbox=bbox, bands=bands, datetime=datetime_)
        if not quiet:
            width, height = made.size
            click.echo(
                f"{path}: {width} x {height} pixels, {', '.join(made.bands)} of {made.drawn:,} of "
                f"{made.items:,} items; {made.nbytes / 1e6:.1f} MB of {made.files:,} files",
                err=True,
            )
