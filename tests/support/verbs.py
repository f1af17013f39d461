"""The command line's verbs, all of them imported."""

from __future__ import annotations

import click

from mosaic.cli import main


def verbs() -> dict[str, click.Command]:
    """The verbs by name."""
    context = click.Context(main)
    found = {name: main.get_command(context, name) for name in main.list_commands(context)}
    return {name: verb for name, verb in found.items() if verb is not None}
