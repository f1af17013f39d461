"""Where a mosaic is to live: in a folder, or in a schema of PostGIS."""

from __future__ import annotations

import os
from collections.abc import Sequence

from mosaic.builder import make as folder
from mosaic.builder import postgis
from mosaic.builder.inputs import Source
from mosaic.builder.make import Progress
from mosaic.builder.options import Options
from mosaic.builder.report import Report
from mosaic.builder.search import Search
from mosaic.catalog.database import is_database, shown
from mosaic.errors import UsageError


def make(
    sources: Sequence[Source | Search],
    out: str | os.PathLike[str],
    options: Options,
    progress: Progress = lambda step, done: None,
) -> Report:
    """Builds a mosaic from sources. See :func:`mosaic.build`."""
    if is_database(out):
        return postgis.make_there(sources, str(out), options, progress)
    if "://" in os.fspath(out):
        raise UsageError(
            f"{shown(os.fspath(out))}: a mosaic is built in a folder of this machine, or in "
            "PostGIS; upload the folder, and mend it with mosaic relocate --base"
        )
    return folder.make(sources, out, options, progress)
