"""What a search found so far, in a folder: items as lines, and how to go on."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from mosaic.errors import CatalogError, SearchError
from mosaic.files import lock
from mosaic.searcher.pages import Step

Json = dict[str, Any]

ITEMS = "items.ndjson"
STATE = "state.json"
_VERSION = 1
KEEP = 24 * 3600.0
"""Seconds for which an interrupted search can go on: APIs forget where their pages were."""
KEEP_DONE = 3600.0
"""Seconds for which a build that failed finds what its search had found."""


@dataclass(frozen=True, slots=True)
class State:
    """How far a search came."""

    digest: str
    """Which search."""
    part: int = 0
    """Which of its parts is under way."""
    following: Step | None = None
    """The page to ask for; None: the part's first."""
    size: int = 0
    """Bytes of the items' file that belong to whole pages."""
    lines: int = 0
    """Lines in them."""
    pages: int = 0
    """Pages read."""
    begun: int = 0
    """Lines there were when this part began."""
    counts: tuple[tuple[int | None, int | None, int], ...] = ()
    """Of each part: items that the API counted at first and at last, and that its pages held."""
    replaced: tuple[int, ...] = ()
    """Lines that a newer version of the same item replaces."""
    doubles: int = 0
    """Items that came again as they were."""
    changed: tuple[str, ...] = ()
    """Ids of items that came in different versions, at most ten."""
    asked: tuple[str, ...] = ()
    """Digests of the pages of this part that were asked for."""
    done: bool = False
    """Whether everything is here."""
    ended: float = 0.0
    """Seconds since 1970 when it was."""
    started: float = field(default_factory=time.time)
    """Seconds since 1970 when it began."""

    def as_json(self) -> bytes:
        """The state as a file keeps it."""
        return orjson.dumps({"version": _VERSION, **asdict(self)})


def parsed(text: bytes) -> State | None:
    """The state that a file keeps, or None where it can't be understood."""
    try:
        told = orjson.loads(text)
        if told.pop("version") != _VERSION:
            return None
        following = told.pop("following")
        told = {k: tuple(v) if isinstance(v, list) else v for k, v in told.items()}
        told["counts"] = tuple(tuple(row) for row in told["counts"])
        return State(following=Step(**following) if following else None, **told)
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError):
        return None


class Kept:
    """The folder of one search, held by one process.

    What can't be written is a :class:`~mosaic.errors.CatalogError`.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        self.folder = folder
        self.path = folder / ITEMS
        self._digest = digest
        self.state = self._found() or State(digest)
        self.resumed = self.state.pages
        with _writing(folder):
            with self.path.open("ab") as stream:
                stream.truncate(self.state.size)
            self._stream = self.path.open("ab")

    def _found(self) -> State | None:
        """What an earlier attempt left, if it is of this search, young and whole."""
        try:
            state = parsed((self.folder / STATE).read_bytes())
            size = self.path.stat().st_size
        except OSError:
            return None
        if state is None or state.digest != self._digest or size < state.size:
            return None
        age = time.time() - (state.ended if state.done else state.started)
        return state if 0 <= age < (KEEP_DONE if state.done else KEEP) else None

    def restart(self) -> None:
        """Forget what was found."""
        self._stream.truncate(0)
        self.state = State(self._digest)

    def add(self, lines: list[bytes], **changed: Any) -> None:
        """A page: its lines, then the state that counts them."""
        with _writing(self.folder):
            self._stream.write(b"".join(lines))
            self._stream.flush()
        self.state = replace(
            self.state,
            size=self.state.size + sum(map(len, lines)),
            lines=self.state.lines + len(lines),
            ended=time.time(),
            **changed,
        )
        self._save()

    def _save(self) -> None:
        path = self.folder / f".{STATE}"
        with _writing(self.folder):
            path.write_bytes(self.state.as_json())
            path.chmod(0o600)  # a page's token is nobody else's
            path.replace(self.folder / STATE)

    def lines(self) -> Iterator[bytes]:
        """The items, one a line, the newest version of each."""
        self._stream.flush()
        replaced = set(self.state.replaced)
        with self.path.open("rb") as stream:
            for number, line in enumerate(stream):
                if number not in replaced:
                    yield line

    @property
    def count(self) -> int:
        """Items found, each once."""
        return self.state.lines - len(self.state.replaced)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def remove(self) -> None:
        """Delete the folder: what it held is elsewhere now."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def keeping(folder: Path, digest: str) -> Iterator[Kept]:
    """The folder of a search, locked; it stays when the search is interrupted.

    Raises :class:`~mosaic.errors.SearchError` when another process is at it,
    :class:`~mosaic.errors.CatalogError` when it can't be written.
    """
    with _writing(folder):
        handle = lock(folder, mode=0o700)
    if handle is None:
        raise SearchError(f"{folder}: another process is at this search", "wait for it")
    try:
        kept = Kept(folder, digest)
        try:
            yield kept
        finally:
            kept.close()
    finally:
        os.close(handle)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CatalogError(f"{folder} can't be written: {error.strerror or error}") from error
