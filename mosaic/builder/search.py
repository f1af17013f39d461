"""Searches among a build's sources: what they ask, where their items wait, and that they go on."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from mosaic.builder.inputs import Found, Given, Noted, Parent, Source
from mosaic.builder.options import Options
from mosaic.errors import CatalogError, PagingError, UsageError
from mosaic.recipes.load import is_recipe, load
from mosaic.recipes.recipe import Recipe
from mosaic.searcher.kept import KEEP, Kept, keeping
from mosaic.searcher.request import PREFIX, Flags, Request
from mosaic.searcher.request import flags as flags_of
from mosaic.searcher.run import Outcome, Progress, run
from mosaic.secret import unsigned

Json = dict[str, Any]

_DOCUMENTS = (".json", ".geojson")


@dataclass(frozen=True, slots=True)
class Search:
    """A search that was asked for and not made yet: iterate over it, save it, or build it."""

    request: Request
    """What is asked, of whom."""
    recipe: Recipe | None = None
    """What is known of the collection, or None."""

    def __iter__(self) -> Iterator[Json]:
        """The items, each once. Raises :class:`~mosaic.errors.SearchError`."""
        with tempfile.TemporaryDirectory() as folder, self._kept(Path(folder)) as kept:
            _whole(run(self.request, kept))
            for line in kept.lines():
                yield orjson.loads(line)

    def save(
        self,
        path: str | os.PathLike[str],
        progress: Progress = lambda count, total: None,
    ) -> Outcome:
        """Writes the items to a file: NDJSON, or an ItemCollection by ``.json`` or ``.geojson``.

        The file appears whole. A search that is interrupted goes on where it stopped when it is
        saved again. Raises :class:`~mosaic.errors.SearchError`,
        :class:`~mosaic.errors.CatalogError` when the file can't be written.
        """
        target = Path(path).expanduser().absolute()
        with self._kept(waiting(target, self.request)) as kept:
            outcome = _whole(run(self.request, kept, progress))
            part = target.with_name(f".{target.name}.part")
            try:
                with part.open("wb") as stream:
                    _write(stream.write, kept, target.suffix.lower() in _DOCUMENTS)
                part.replace(target)
            except OSError as error:
                what = f"{target} can't be written: {error.strerror or error}"
                raise CatalogError(what) from error
            kept.remove()
        return outcome

    def _kept(self, folder: Path) -> Any:
        return keeping(folder, self.request.digest())


def _write(write: Callable[[bytes], object], kept: Kept, is_document: bool) -> None:
    if is_document:
        write(b'{"type":"FeatureCollection","features":[\n')
    for number, line in enumerate(kept.lines()):
        write(b"," + line if is_document and number else line)
    if is_document:
        write(b"]}\n")


def _whole(outcome: Outcome) -> Outcome:
    """Raises :class:`~mosaic.errors.SearchError` for a search that lost items."""
    if outcome.problems:
        raise PagingError("; ".join(str(problem) for problem in outcome.problems))
    return outcome


def search(source: str, flags: Flags) -> Search:
    """A search of an API by URL, or by recipe.

    Raises :class:`~mosaic.errors.UsageError` for what is neither, or what no API could understand.
    """
    if is_recipe(source):
        recipe = load(source)
        return Search(_by_recipe(recipe, flags), recipe)
    return Search(Request(source.removeprefix(PREFIX), flags))


def recipe_of(sources: Iterable[Source | Search], named: str | None = None) -> Recipe | None:
    """The recipe that a build follows: one of its sources, or one that is named.

    Raises :class:`~mosaic.errors.UsageError` for two of them.
    """
    found: dict[str, Recipe] = {}
    for source in (*sources, *((named,) if named else ())):
        if isinstance(source, Search):
            if source.recipe:
                found[source.recipe.name] = source.recipe
        elif isinstance(source, str | os.PathLike) and (source == named or is_recipe(source)):
            recipe = load(source)
            found[recipe.name] = recipe
    if len(found) > 1:
        raise UsageError(f"one recipe a mosaic, not {' and '.join(found)}: build them apart")
    return next(iter(found.values()), None)


def requests(
    sources: Sequence[Source | Search], options: Options
) -> tuple[list[Request], list[Source]]:
    """What is searched, and the sources that are read.

    Raises :class:`~mosaic.errors.UsageError` for flags of a search where nothing is searched.
    """
    flags = options.search
    if options.bbox is not None and not flags.intersects:
        flags = replace(flags, bbox=options.bbox)
    wanted: list[Request] = []
    read: list[Source] = []
    for source in sources:
        if isinstance(source, Search):
            wanted.append(source.request)
        elif is_recipe(source):
            wanted.append(_by_recipe(load(str(source)), flags))
        elif isinstance(source, str) and _is_searched(source):
            known = options.recipe.collections if options.recipe else ()
            asked = replace(flags, collections=flags.collections or known)
            wanted.append(Request(source.removeprefix(PREFIX), asked))
        else:
            read.append(source)
    if options.search.asked and len(wanted) == sum(isinstance(one, Search) for one in sources):
        raise UsageError(
            "--collections, --datetime, --query and the like are for a STAC API: "
            "give stac+https://… or a recipe"
        )
    return list(dict.fromkeys(wanted)), read


def repeated(document: Json, options: Options) -> list[Request]:
    """The searches that a mosaic was built from, to be made again.

    Raises :class:`~mosaic.errors.UsageError` for one that was built from something else.
    """
    told = document.get("mosaic:search")
    if not told:
        raise UsageError("the mosaic wasn't built from a search: name what to update it from")
    found = []
    for one in told:
        known = dict(one)
        url = known.pop("url")
        for name in ("query", "filter"):
            if name in known and not isinstance(known[name], str):
                known[name] = orjson.dumps(known[name]).decode()
        given = flags_of(**known)
        recipe = options.recipe
        rate = _rate(recipe) if recipe and unsigned(recipe.endpoint) == url else None
        found.append(Request(url, given, rate))
    return found


def _is_searched(source: str) -> bool:
    """Whether a source is an API, or a STAC document on the web."""
    if source.startswith(PREFIX):
        return True
    is_web = source.startswith(("http://", "https://"))
    return is_web and urlsplit(source).path.lower().endswith(_DOCUMENTS)


def _by_recipe(recipe: Recipe, flags: Flags) -> Request:
    asked = replace(
        flags,
        collections=flags.collections or recipe.collections,
        query=(*recipe.query, *flags.query),
    )
    return Request(recipe.endpoint, asked, _rate(recipe))


def _rate(recipe: Recipe) -> float | None:
    """Requests a minute that a recipe knows its endpoint to bear."""
    host = urlsplit(recipe.endpoint).hostname or ""
    rates = [
        one.limits.requests_per_minute
        for one in recipe.limits
        if host in one.hosts and one.limits.requests_per_minute
    ]
    return min(rates, default=None)


def waiting(target: Path, request: Request) -> Path:
    """The folder beside a target in which a search's items wait."""
    return target.with_name(f".{target.name}.search-{request.digest()}")


@contextmanager
def searching(
    wanted: Sequence[Request], target: Path, progress: Callable[[str, int], None]
) -> Iterator[Iterator[Found]]:
    """Items of searches for a build, which begin when they are read.

    They wait beside the build's target until it is there: if the build fails or is killed, the
    next one goes on from them.
    """
    _sweep(target)
    with ExitStack() as held:
        kept = [held.enter_context(keeping(waiting(target, one), one.digest())) for one in wanted]
        try:
            yield _found(wanted, kept, progress)
        except BaseException:
            for one in kept:
                if not one.count:  # nothing, or not yet: to be asked again
                    one.remove()
            raise
        for one in kept:
            one.remove()


def _found(
    wanted: Sequence[Request], kept: Sequence[Kept], progress: Callable[[str, int], None]
) -> Iterator[Found]:
    for request, one in zip(wanted, kept, strict=True):
        outcome = run(request, one, lambda count, total: progress("found", count))
        yield from (Noted(text) for text in outcome.notes)
        yield from outcome.problems
        yield from (Parent(document) for document in outcome.collections)
        for line in one.lines():
            yield Given(orjson.loads(line), request.shown)


def _sweep(target: Path) -> None:
    """Removes what searches left so long ago that they can't go on."""
    for folder in target.parent.glob(f".{escape(target.name)}.search-*"):
        with suppress(OSError):
            newest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
            if time.time() - newest > KEEP:
                shutil.rmtree(folder)


def known(recipe: Recipe | None, wanted: Sequence[Request], assets: Iterable[str]) -> Json:
    """What ``collection.json`` keeps of a recipe and of searches; never a secret."""
    told: Json = {}
    if wanted:
        told["mosaic:search"] = [request.as_dict() for request in wanted]
    if recipe:
        told["mosaic:recipe"] = recipe.as_dict()
        told["mosaic:signing"] = recipe.signing
        told["mosaic:limits"] = [one.as_dict() for one in recipe.limits]
        if recipe.mask and recipe.mask.band in assets:
            told["mosaic:mask"] = recipe.mask.as_dict()
    return told
