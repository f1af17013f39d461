"""A search from its first page to its last: each item once, what was lost or changed told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from pystac_client import Client

from mosaic.errors import PagingError, Problem, SearchError
from mosaic.searcher import static
from mosaic.searcher.api import Api, collection_of, opened, search
from mosaic.searcher.items import Key, absolute, key, updated
from mosaic.searcher.kept import Kept
from mosaic.searcher.pages import BARREN, Page, pages, step
from mosaic.searcher.request import Flags, Request

Json = dict[str, Any]

Progress = Callable[[int, int | None], None]
"""Called with the items found so far, and the count that the API tells, if it does."""

_SHOWN = 10
_FORGOTTEN = (400, 404, 410, 422)
"""Statuses of a page whose token an API has forgotten."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a search; the items are in the folder it was kept in."""

    count: int
    """Items found, each once."""
    collections: tuple[Json, ...] = ()
    """Documents of the collections searched."""
    notes: tuple[str, ...] = ()
    """What should be said."""
    problems: tuple[Problem, ...] = ()
    """What is missing."""


def run(request: Request, kept: Kept, progress: Progress = lambda count, total: None) -> Outcome:
    """Searches, from where an interrupted search stopped; items go to ``kept``.

    Raises :class:`~mosaic.errors.SearchError` when the API can't be searched; what was found stays
    in ``kept``, and the next run goes on from there.
    """
    api = Api(request)
    client = opened(request, api)
    notes: list[str] = []
    if client is None:
        return _walked(api, request, kept, progress)
    found = [collection_of(client, api, request, name) for name in request.flags.collections]
    if kept.state.done:
        notes.append(f"the {kept.count} items are those that an earlier search found")
    elif kept.resumed:
        notes.append(f"the search went on after {kept.count} items, where it had stopped")
    try:
        _parts(api, client, request, kept, progress)
    except SearchError as error:
        if not kept.resumed or error.status not in _FORGOTTEN:
            raise
        notes = ["the API has forgotten where the search had stopped: it began anew"]
        kept.restart()
        _parts(api, client, request, kept, progress)
    lost, told = _doubts(request, kept)
    return Outcome(kept.count, tuple(one for one in found if one), (*notes, *told), lost)


def _walked(api: Api, request: Request, kept: Kept, progress: Progress) -> Outcome:
    collections = static.walk(api, request, kept, progress)
    return Outcome(kept.count, tuple(collections))


def _parts(api: Api, client: Client, request: Request, kept: Kept, progress: Progress) -> None:
    if kept.state.done:
        return
    known = _Known(kept)
    for number, flags in enumerate(request.flags.parts()):
        if number >= kept.state.part and not _enough(request, kept):
            _part(api, client, request, flags, kept, known, progress)
    kept.add([], done=True)


def _part(
    api: Api,
    client: Client,
    request: Request,
    flags: Flags,
    kept: Kept,
    known: _Known,
    progress: Progress,
) -> None:
    """One part of a search, from its first page or from the one it stopped at."""
    seen = set(kept.state.asked)
    first = kept.state.following
    if first is None:
        asked = search(client, request, flags)
        first = step(asked.url, asked.method or "POST", asked.get_parameters())
    barren = 0
    for found in pages(api, first, seen):
        fresh = _keep(request, kept, known, found, tuple(sorted(seen)))
        barren = 0 if fresh else barren + 1
        progress(kept.count, found.matched)
        if _enough(request, kept):
            return
        if barren >= BARREN and found.following:
            what = f"{request.shown}: {BARREN} pages in a row brought no new item"
            raise PagingError(what, "its paging doesn't end; --max-items ends a search early")


def _keep(request: Request, kept: Kept, known: _Known, found: Page, asked: tuple[str, ...]) -> int:
    """A page's items, each once; returns how many are new."""
    state = kept.state
    most = request.flags.max_items
    room = len(found.features) if most is None else most - kept.count
    lines: list[bytes] = []
    replaced, changed = list(state.replaced), dict.fromkeys(state.changed)
    fresh = here = doubles = 0
    for item in found.features:
        if fresh >= room:
            break
        line = orjson.dumps(absolute(item, request.url), option=orjson.OPT_APPEND_NEWLINE)
        before = known.add(item, line, state.part)
        fresh += before.is_new
        here += before.is_new_in_part
        doubles += not (before.is_kept or before.is_new_in_part)
        if before.is_kept:
            lines.append(line)
        if before.older is not None:
            replaced.append(before.older)
            changed[str(item.get("id"))] = None
    counts = state.counts
    if len(counts) <= state.part:
        counts = (*counts, (found.matched, found.matched, 0))
    at_first, _, sofar = counts[-1]
    ends = found.following is None
    kept.add(
        lines,
        part=state.part + ends,
        following=found.following,
        asked=() if ends else asked,
        begun=known.lines if ends else state.begun,
        pages=state.pages + 1,
        counts=(*counts[:-1], (at_first, found.matched, sofar + here)),
        replaced=tuple(replaced),
        changed=tuple(changed)[:_SHOWN],
        doubles=state.doubles + doubles,
    )
    return fresh


def _enough(request: Request, kept: Kept) -> bool:
    most = request.flags.max_items
    return most is not None and kept.count >= most


def _doubts(request: Request, kept: Kept) -> tuple[tuple[Problem, ...], list[str]]:
    """What a search has reason to doubt: what is lost, what changed meanwhile."""
    state = kept.state
    lost, notes = [], []
    if state.changed:
        notes.append(
            f"{len(state.replaced)} items changed while they were searched, the newest version is "
            f"taken: {', '.join(state.changed[:3])}"
        )
    if state.doubles:
        notes.append(f"{state.doubles} items came again: each is kept once")
    for at_first, at_last, found in state.counts:
        if at_last is None or _enough(request, kept):
            continue
        if at_first != at_last:
            notes.append(f"the API counted {at_first} items at first, {at_last} at last")
        if found < at_last:
            what = f"{request.shown} counts {at_last} items, its pages held {found}"
            advice = "search again, the collection may have changed meanwhile; --skip-bad goes on"
            lost.append(Problem("search", what, advice))
    return tuple(lost), notes


@dataclass(frozen=True, slots=True)
class _Before:
    """What is known of an item when it comes."""

    is_kept: bool
    """Whether its line is to be written."""
    is_new: bool
    """Whether it comes for the first time."""
    is_new_in_part: bool
    """Whether it comes for the first time in this part of the search."""
    older: int | None = None
    """Line of an older version, or None."""


class _Known:
    """Which items a search has, in which version; not the items themselves."""

    def __init__(self, kept: Kept) -> None:
        self._seen: dict[Key, tuple[int, int, str, int]] = {}
        self.lines = 0
        with kept.path.open("rb") as stream:
            for number, line in enumerate(stream):
                item = orjson.loads(line)
                part = kept.state.part - (number < kept.state.begun)
                self._seen[key(item)] = (number, hash(line), updated(item), part)
                self.lines += 1

    def add(self, item: Json, line: bytes, part: int) -> _Before:
        """Note an item; an older or equal version is not to be kept."""
        name = key(item)
        if not name[1]:  # whoever reads it says that it has no id
            self.lines += 1
            return _Before(True, True, True)
        entry = (self.lines, hash(line), updated(item), part)
        before = self._seen.get(name)
        if before is None:
            self._seen[name] = entry
            self.lines += 1
            return _Before(True, True, True)
        number, version, when, in_part = before
        if version == entry[1] or when > entry[2]:
            self._seen[name] = (number, version, when, part)
            return _Before(False, False, in_part != part)
        self._seen[name] = entry
        self.lines += 1
        return _Before(True, False, in_part != part, number)
