"""Options that several verbs share, and the types of their values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


class Bbox(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Four numbers."""

    name = "w,s,e,n"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if isinstance(value, tuple):
            return value
        try:
            values = tuple(float(word) for word in value.replace(",", " ").split())
        except ValueError:
            values = ()
        if len(values) != 4:
            raise click.BadParameter("--bbox takes 4 numbers, such as 11,47,12.5,48")
        return values


class Names(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Words between commas."""

    name = "a,b,…"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if isinstance(value, tuple):
            return value
        return tuple(word.strip() for word in value.split(",") if word.strip())


BBOX = click.option("--bbox", type=Bbox(), help="West,south,east,north in degrees.")
QUIET = click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
VERBOSE = click.option("-v", "--verbose", is_flag=True, help="Print every problem.")


def json_option(text: str) -> Callable[[Command], Command]:
    """``--json``, and ``text`` about what it prints."""
    return click.option("--json", "as_json", is_flag=True, help=text)


def search_options(command: Command) -> Command:
    """Adds the flags of a search, in pystac-client's words."""
    for option in reversed(
        [
            click.option(
                "-c",
                "--collections",
                type=Names(),
                multiple=True,
                help="Collections to search: ids. Repeatable.",
            ),
            click.option("--ids", type=Names(), multiple=True, help="Ids of items. Repeatable."),
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
                type=Names(),
                multiple=True,
                help="What the API sorts by, such as -properties.datetime. Repeatable.",
            ),
            click.option("--max-items", type=click.IntRange(min=1), metavar="N", help="At most N."),
        ]
    ):
        command = option(command)
    return command


_PLAIN = ("intersects", "datetime", "query", "filter", "max_items")


def search_flags(given: dict[str, Any], **more: Any) -> Any:
    """The flags of a search, taken out of what a command was given."""
    from mosaic.searcher.request import flags

    told: dict[str, Any] = {
        key: [word for words in given.pop(key) for word in words]
        for key in ("collections", "ids", "sortby")
    }
    told |= {key: given.pop(key) for key in _PLAIN}
    return flags(**told, **more)
