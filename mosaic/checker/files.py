"""The files of a mosaic beside its indexes: are they there, and do slices and stacks fit?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mosaic.catalog.headers import read_header
from mosaic.catalog.layout import COLLECTION
from mosaic.checker.index import AGAIN, Mark, grid_problems
from mosaic.checker.read import Declared, counted, declared
from mosaic.checker.vrt import Small, Source, small
from mosaic.errors import CatalogError, HeaderError, Problem

Json = dict[str, Any]


def file_problems(folder: Path, documents: dict[str, Json]) -> tuple[int, list[Problem]]:
    """Files that the mosaic's documents name and that aren't there; and how many they name."""
    named: dict[str, str] = {}
    for document, content in documents.items():
        for link in dicts(content.get("links")):
            named.setdefault(_local(link.get("href")), f"{document} links to it")
        assets = content.get("assets")
        for key, asset in (assets if isinstance(assets, dict) else {}).items():
            if isinstance(asset, dict):
                named.setdefault(_local(asset.get("href")), f"it is the asset {key}")
        for name in _list(content.get("mosaic:files")):
            named.setdefault(_local(name), "it is one of the mosaic's own")
    named.pop("", None)
    lost = [
        Problem("missing", f"{name} isn't there, but {why}", AGAIN)
        for name, why in named.items()
        if not (folder / name).exists()
    ]
    own = documents[COLLECTION].get("mosaic:files")
    if not isinstance(own, list) or not all(isinstance(name, str) for name in own):
        what = f"{COLLECTION}: mosaic:files is no list of names"
        lost.append(Problem("files", what, f"{AGAIN}: what is its own and what is yours?"))
    return len(named), lost


def _local(href: Any) -> str:
    return href.removeprefix("./") if isinstance(href, str) and "://" not in href else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def dicts(values: Any) -> list[Json]:
    """The objects in a list of JSON; of anything else none."""
    return [value for value in _list(values) if isinstance(value, dict)]


def side_problems(folder: Path, names: list[str]) -> list[Problem]:
    """``.aux.xml`` files beside indexes: GDAL believes them, whatever became of the index."""
    problems = []
    for name in names:
        own, aside = folder / name, folder / f"{name}.aux.xml"
        if own.exists() and aside.exists():
            stale = aside.stat().st_mtime < own.stat().st_mtime
            what = f"{aside.name} lies beside it (QGIS writes it)"
            what += " and is older: its statistics are of another state" if stale else ""
            problems.append(Problem("aux", what, "remove it when the index is rewritten"))
    return problems


def slice_problems(
    folder: Path, name: str, indexes: dict[str, Declared], mark: Mark
) -> tuple[list[Problem], bool]:
    """What is wrong with one time slice; and whether it points to another machine."""
    try:
        found = declared((folder / name).read_text(encoding="utf-8"))
    except (CatalogError, UnicodeDecodeError) as error:
        return [Problem("slice", f"{name}: {error}", AGAIN)], False
    except OSError as error:
        return [Problem("slice", f"{name} can't be read ({error.strerror})", AGAIN)], False
    index = found.dataset.replace("%2F", "/").rpartition("/")[2]
    if found.dataset.startswith("/vsi") or "://" in found.dataset:
        return _like(name, found, indexes.get(index), mark), True
    if not found.dataset or index not in indexes:
        what = f"{name} points to {found.dataset or 'nothing'}, no index of this mosaic"
        return [Problem("slice", what, AGAIN)], False
    if Path(found.dataset).resolve() != (folder / index).resolve():
        there = "another" if Path(found.dataset).exists() else "which isn't there"
        what = f"{name} points to {found.dataset}, {there}, instead of the index beside it"
        return [Problem("slice", what, f"run: mosaic relocate {folder}")], False
    problems = _like(name, found, indexes[index], mark)
    try:
        if found.where and not counted(folder / index, found.where):
            pass  # an asset that no scene of that time has: empty, and right
    except CatalogError as error:
        problems.append(Problem("slice", f"{name}: {error}", AGAIN))
    if not found.where:
        problems.append(Problem("slice", f"{name} has no filter: it shows all of time", AGAIN))
    return problems, False


def _like(name: str, found: Declared, index: Declared | None, mark: Mark) -> list[Problem]:
    problems = grid_problems(name, found.crs, found.transform, found.shape, mark)
    if index is not None and found.dtypes != index.dtypes:
        what = f"{name} declares bands of {_words(found.dtypes)}, its index {_words(index.dtypes)}"
        problems.append(Problem("slice", what, AGAIN))
    if index is not None and (found.encodings, found.nodata) != (index.encodings, index.nodata):
        what = f"{name} declares another scale, offset or nodata value than its index"
        problems.append(Problem("slice", what, AGAIN))
    if index is not None and found.sort_field != index.sort_field:
        what = f"{name} sorts by {found.sort_field or 'nothing'}, its index by {index.sort_field}"
        problems.append(Problem("slice", what, AGAIN))
    return problems


def stack_problems(
    folder: Path, name: str, indexes: dict[str, Declared], mark: Mark
) -> list[Problem]:
    """What is wrong with a stack of indexes."""
    try:
        found = small((folder / name).read_text(encoding="utf-8"), folder)
    except (CatalogError, UnicodeDecodeError) as error:
        return [Problem("stack", f"{name}: {error}", AGAIN)]
    except OSError as error:
        return [Problem("stack", f"{name} can't be read ({error.strerror})", AGAIN)]
    problems = grid_problems(name, found.crs, found.transform, found.shape, mark)
    for member in found.sources:
        problems += _member_problems(folder, name, found, member, indexes)
    if len(found.sources) != len(found.dtypes):
        what = f"{name} has {len(found.dtypes)} bands of {len(found.sources)} indexes"
        problems.append(Problem("stack", what, AGAIN))
    return problems


def _member_problems(
    folder: Path, name: str, found: Small, member: Source, indexes: dict[str, Declared]
) -> list[Problem]:
    if not member.relative or not (folder / member.name).is_file():
        what = f"{name} stacks {member.name}, which isn't beside it"
        return [Problem("stack", what, AGAIN)]
    index = indexes.get(member.name)
    if index is None:
        return [Problem("stack", f"{name} stacks {member.name}, no sound index", AGAIN)]
    if (index.shape, index.transform) != (found.shape, found.transform):
        return [Problem("stack", f"{name} and {member.name} have different grids", AGAIN)]
    dtype = found.dtypes[found.sources.index(member)] if member in found.sources else ""
    if index.dtypes != (dtype,):
        what = f"{name} takes {member.name} for {dtype}, it declares {_words(index.dtypes)}"
        return [Problem("stack", what, AGAIN)]
    if found.encodings[found.sources.index(member)] != index.encodings[0]:
        what = f"{name} declares another scale or offset than {member.name}"
        return [Problem("stack", what, AGAIN)]
    if not member.told:
        what = f"{name} tells no size and type of {member.name}: GDAL opens it at once"
        return [Problem("stack", what, AGAIN)]
    return []


def overview_problems(folder: Path, name: str, found: Declared, mark: Mark) -> list[Problem]:
    """Coarse images that an index names as overviews and that don't cover it."""
    problems = []
    for file in found.overviews:
        path = Path(file) if file.startswith("/") else folder / file
        try:
            header = read_header(str(path))
        except HeaderError as error:
            what = f"{name}: its overview {file} {error.problem.what}"
            problems.append(Problem("overview", what, AGAIN))
            continue
        a, _, c, _, e, f = header.transform
        box = (c, f + e * header.shape[0], c + a * header.shape[1], f)
        if not np.allclose(box, mark.bounds, rtol=0, atol=max(a, -e)):
            what = f"{name}: its overview {file} doesn't cover the mosaic"
            problems.append(Problem("overview", what, AGAIN))
        elif len(header.bands) != (found.band_count or 1):
            what = f"{name}: its overview {file} has {len(header.bands)} bands"
            problems.append(Problem("overview", what, AGAIN))
    return problems


def _words(values: tuple[str, ...]) -> str:
    return ", ".join(dict.fromkeys(values)) or "no type"
