"""``mosaic serve``."""

from __future__ import annotations

from typing import Any

import click

from mosaic.cli.output import errors_told


@click.command()
@click.argument("folder", nargs=-1, required=True)
@click.option("--host", metavar="ADDRESS", help="Where to listen; default: 127.0.0.1.")
@click.option("--port", type=int, metavar="N", help="Port; 0 for any; default: 8790.")
@click.option("--url", metavar="URL", help="Where clients reach it; default: by host and port.")
@click.option("--token-file", metavar="FILE", help="It holds the token that clients must show.")
@click.option(
    "--allow-redirect",
    "redirects",
    multiple=True,
    metavar="HOST",
    help="A host, or pattern, that storage may redirect to, or a VRT read. Repeatable.",
)
@click.option(
    "--allow-origin",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="A web site (https://maps.example.org) whose pages may read. Repeatable.",
)
@click.option("--busy", type=int, metavar="N", help="Requests worked on at once; default: 64.")
@click.option("--queue", type=int, metavar="N", help="Requests that may wait; default: 1024.")
@click.option("--config", metavar="FILE", help="TOML file with these settings; flags override it.")
@click.option("-q", "--quiet", is_flag=True, help="No access log.")
def serve(
    folder: tuple[str, ...],
    redirects: tuple[str, ...],
    origins: tuple[str, ...],
    config: str | None,
    quiet: bool,
    **flags: Any,
) -> None:
    """Serve mosaics over HTTP to GDAL, QGIS, R, Python and browsers.

    Each FOLDER holds one, which is served under the folder's name, or as NAME=FOLDER says. Their
    scenes are read through one gate, with its limits, cache, retries and credentials. The
    gateway's own address, in a browser, is a map of them.
    """
    from mosaic.gateway import command

    with errors_told(False, True):
        several = {"redirects": redirects or None, "origins": origins or None}
        options = command.configured(config, {**flags, **several})
        if not quiet:
            command.log_to_stderr()
        command.serve(folder, options, lambda line: click.echo(line, err=True))
