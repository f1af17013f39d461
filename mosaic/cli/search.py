"""``mosaic search``, and ``mosaic recipes``: what can be searched by name."""

from __future__ import annotations

from typing import Any

import click
import orjson

from mosaic.cli.options import BBOX, QUIET, json_option, search_flags, search_options
from mosaic.cli.output import errors_told, print_json
from mosaic.cli.progress import steps


@click.command()
@click.argument("source")
@click.option(
    "-o",
    "--out",
    metavar="FILE",
    help="File to write: NDJSON, or an ItemCollection by .json; default: NDJSON on stdout.",
)
@search_options
@BBOX
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
@QUIET
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

    with errors_told(False, True):
        wanted = asked(source, search_flags(chosen, bbox=bbox, limit=limit, method=method))
        if out is None:
            for item in wanted:
                click.echo(orjson.dumps(item).decode())
            return
        with steps(quiet) as progress:
            outcome = wanted.save(out, lambda count, total: progress("found", count))
        if not quiet:
            click.echo(f"{outcome.count:,} items written to {out}", err=True)
            for note in outcome.notes:
                click.echo(f"note     {note}", err=True)


@click.command()
@json_option("As JSON on stdout.")
def recipes(as_json: bool) -> None:
    """List the recipes: collections that `mosaic build NAME` knows."""
    from mosaic.recipes.load import load_all

    with errors_told(as_json, True):
        found = load_all()
        if as_json:
            print_json([recipe.as_dict() for recipe in found])
            return
        width = max((len(recipe.name) for recipe in found), default=0)
        for recipe in found:
            click.echo(f"{recipe.name:{width}}  {recipe.title}")
