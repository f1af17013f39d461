"""The command line: logs and progress on stderr, JSON on stdout."""

from __future__ import annotations

from importlib import import_module

import click

from mosaic.version import __version__

_MODULES = {
    "build": "build",
    "check": "check",
    "doors": "relocate",
    "env": "info",
    "export": "export",
    "info": "info",
    "preview": "export",
    "query": "info",
    "recipes": "search",
    "relocate": "relocate",
    "search": "search",
    "serve": "serve",
    "update": "build",
}
"""The module of each verb."""


class _Verbs(click.Group):
    """Verbs that are imported when they're asked for, so that each starts without the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _MODULES:
            return None
        module = import_module(f"mosaic.cli.{_MODULES[cmd_name]}")
        verb: click.Command = getattr(module, cmd_name)
        return verb


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "--version", message="mosaic %(version)s")
def main() -> None:
    """Virtual mosaics: scenes in many CRSs, one index that GDAL, QGIS, R and Python read."""
