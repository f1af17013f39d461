"""``mosaic check``, and how its findings are told."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from mosaic.cli.options import VERBOSE, json_option
from mosaic.cli.output import SHOWN, errors_told, near, print_json
from mosaic.cli.progress import steps

if TYPE_CHECKING:
    from mosaic.checker.findings import CheckReport


@click.command()
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
@click.option(
    "--schemas", metavar="DIR", help="Take JSON schemas of STAC extensions from here; fetch none."
)
@click.option("--offline", is_flag=True, help="Ask no network for schemas or scenes.")
@click.option(
    "--drift",
    metavar="FILE",
    help="Keep size, validators and header of the scenes in FILE; next time, tell which changed.",
)
@json_option("As JSON on stdout.")
@VERBOSE
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
    """Tell whether the mosaic in FOLDER is whole and true.

    Looked at: its STAC, its tile indexes by the rules that GDAL needs, its slices and stacks,
    and whether its scenes are where the items say and what the items say. The exit code is 1 when
    something is wrong.
    """
    from mosaic.checker.run import check as checked

    with errors_told(as_json, verbose):
        with steps(as_json) as progress:
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
            print_json(report.as_dict())
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
    click.echo(f"{near(report.path)} is {_verdict(report)}")


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
