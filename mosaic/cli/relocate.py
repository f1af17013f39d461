"""Files that name where a mosaic lies: ``mosaic relocate`` and ``mosaic doors``."""

from __future__ import annotations

import click

import mosaic
from mosaic.cli.options import json_option
from mosaic.cli.output import errors_told, print_json


@click.command()
@click.argument("folder")
@click.option(
    "--base", metavar="DIR", help="Folder or URL it will be read from; default: where it lies."
)
@json_option("The files rewritten, as JSON on stdout.")
def relocate(folder: str, base: str | None, as_json: bool) -> None:
    """Mend the time slices of a moved FOLDER.

    A slice names its index by an absolute path; everything else in a mosaic is relative.
    """
    from mosaic.builder.info import relocate as rewrite

    with errors_told(as_json, True):
        changed = rewrite(folder, base)
        if as_json:
            print_json(changed)
        else:
            click.echo(f"{len(changed)} file{'s' * (len(changed) != 1)} rewritten", err=True)


@click.command()
@click.argument("source")
@click.argument("folder")
@json_option("The files written, as JSON on stdout.")
def doors(source: str, folder: str, as_json: bool) -> None:
    """Write the files by which GDAL and QGIS open a mosaic in PostGIS.

    SOURCE is its URL, postgresql://…; the files are written into FOLDER.
    """
    with errors_told(as_json, True):
        written = mosaic.doors(source, folder)
        if as_json:
            print_json(written)
        else:
            click.echo(f"{len(written)} file{'s' * (len(written) != 1)} written", err=True)
