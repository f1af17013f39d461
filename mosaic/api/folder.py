"""What a mosaic's folder tells, whether it is true, and what names where it lies."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mosaic.checker.findings import CheckReport
    from mosaic.storage import Gate


def info(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What a mosaic's folder holds, as JSON-ready values.

    Raises :class:`~mosaic.errors.NotACatalogError` when it holds no mosaic.
    """
    from mosaic.builder.info import describe

    return describe(folder)


def check(
    folder: str | os.PathLike[str],
    *,
    all: bool = False,  # noqa: A002 - the option's name
    sample: int = 50,
    schemas: str | os.PathLike[str] | None = None,
    offline: bool = False,
    drift: str | os.PathLike[str] | None = None,
    gate: Gate | None = None,
) -> CheckReport:
    """Whether a mosaic is whole and true: its STAC, its tile indexes, its scenes.

    ``all``: look at every item, file and header, not at ``sample`` of them. ``schemas``: a
    folder of JSON schemas; without one, extensions' schemas come from the user's cache
    (``$XDG_CACHE_HOME/mosaic/schemas``), where they are put when there is a network.
    ``offline``: ask no network for anything. ``drift``: a file in which size, validators and
    header of the scenes are noted when they are first looked at, and from then on compared.
    ``gate``: through which remote files are asked for.

    Nothing is raised for what is wrong: it is in the report, and ``report.raise_for_errors()``
    raises it. Raises :class:`~mosaic.errors.CatalogError` when the folder holds no mosaic,
    :class:`~mosaic.errors.UsageError` for an argument that can't be meant.
    """
    from mosaic.checker.run import check as checked

    return checked(
        folder,
        all=all,
        sample=sample,
        schemas=schemas,
        offline=offline,
        drift=drift,
        gate=gate,
    )


def env(source: str | os.PathLike[str], format: str = "sh") -> str:  # noqa: A002 - the option
    """What GDAL has to be told to open a mosaic's scenes, as text; never a secret.

    ``format``: ``sh`` for a shell, ``gdal`` for a file that ``GDAL_CONFIG_FILE`` names, ``qgis``
    for its Python console, ``r``. Raises :class:`~mosaic.errors.CatalogError` for a mosaic that
    can't be read, :class:`~mosaic.errors.UsageError` for another format.
    """
    from mosaic.catalog.environment import FORMATS, origins, roots
    from mosaic.catalog.folder import Folder
    from mosaic.catalog.layout import ITEMS
    from mosaic.errors import UsageError
    from mosaic.storage import default_gate

    if format not in FORMATS:
        raise UsageError(f"--format {format}: one of {', '.join(FORMATS)}")
    folder = Folder.at(source, default_gate())
    document = folder.collection()
    columns = folder.columns(ITEMS)
    found = roots(columns, columns.fields("assets"))
    return FORMATS[format](origins(found, document.get("mosaic:signing", "none")))


def doors(source: str, folder: str | os.PathLike[str]) -> list[str]:
    """Writes the files by which GDAL and QGIS open a mosaic in PostGIS; returns their paths.

    ``source``: its URL, ``postgresql://host/db?schema=name``. The files name the database as the
    URL does (host, service, user), and never a password: libpq finds it in ``~/.pgpass`` or in a
    service file. Raises :class:`~mosaic.errors.NotACatalogError` where there is no mosaic,
    :class:`~mosaic.errors.DatabaseError` for a database that can't be read,
    :class:`~mosaic.errors.UsageError` for another source.
    """
    from mosaic.builder.doors import write_doors

    return write_doors(source, folder)


def relocate(folder: str | os.PathLike[str], base: str | None = None) -> list[str]:
    """Rewrites the absolute paths in a mosaic (its time slices) after its folder moved.

    ``base``: folder or URL from which it will be read; by default where it lies. Returns the
    files rewritten. Raises :class:`~mosaic.errors.NotACatalogError` when it holds no mosaic.
    """
    from mosaic.builder.info import relocate as rewrite

    return rewrite(folder, base)
