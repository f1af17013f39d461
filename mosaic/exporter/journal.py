"""The hidden folder beside a target in which an export is under way, and what is done of it.

``asked.json`` tells what was asked for, ``done.ndjson`` a line for each window, written when its
bytes are on disk. A kill leaves both, and whoever asks for the same goes on from there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from mosaic.errors import ExportError, UnfinishedError
from mosaic.files import lock, saved

_ASKED, _DONE = "asked.json", "done.ndjson"


@dataclass(frozen=True, slots=True)
class Written:
    """One window, on disk."""

    crc: int
    """CRC-32 of its pixels, band after band, as they were read."""
    files: int
    """Bytes of its files."""


class Journal:
    """What is done of one export; the folder is this process's alone."""

    def __init__(self, folder: Path, done: dict[int, Written]) -> None:
        self.folder = folder
        self.done = done
        self._file = (folder / _DONE).open("ab")

    def record(self, number: int, written: Written) -> None:
        """Note a window whose bytes are on disk."""
        self._line(number, written.crc, written.files)
        self.done[number] = written

    def strike(self, numbers: Iterable[int]) -> None:
        """Windows that have to be written again."""
        for number in numbers:
            self._line(number)
            self.done.pop(number, None)

    def _line(self, *told: int) -> None:
        self._file.write(orjson.dumps(told) + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Nothing is written any more."""
        self._file.close()


def folder_of(target: Path) -> Path:
    """Where an export of a target is under way."""
    return target.with_name(f".{target.name}.export")


@contextmanager
def unfinished(target: Path, asked: Mapping[str, Any], anew: bool) -> Iterator[Journal]:
    """An export that is begun, or gone on with; its folder vanishes where nothing is done in it.

    ``asked``: what it depends on, by names that users know. ``anew``: what differs is cleared away.
    Raises :class:`~mosaic.errors.UnfinishedError` where another was begun,
    :class:`~mosaic.errors.ExportError` while another process exports to the target.
    """
    folder = folder_of(target)
    handle = _alone(folder, target)
    try:
        before = _told(folder)
        if before is not None and (found := differences(before, asked)):
            if _replayed(folder / _DONE) and not anew:
                raise UnfinishedError(str(target), found)
            before = None
        if before is None:
            _cleared(folder)
            saved(folder / _ASKED, orjson.dumps(asked))
        journal = Journal(folder, _replayed(folder / _DONE))
        try:
            yield journal
        finally:
            journal.close()
            if not journal.done and folder.exists():
                shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(handle)


def _alone(folder: Path, target: Path) -> int:
    """A lock on the folder, which goes with its owner."""
    handle = lock(folder, mode=0o777)
    if handle is None:
        raise ExportError(
            f"{target} is being exported by another process: wait for it, or name another file"
        )
    return handle


def _told(folder: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = orjson.loads((folder / _ASKED).read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return None  # killed before it began
    return found


FUNCTION = "function"
"""Name of what differs each time a function of the user's makes the numbers."""
_UNKNOWN = "method is a function, and nothing tells whether it does what it did"
_LONG = ("source version", "numbers", "choice")
"""What says nothing to people."""


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What two exports of a target differ in, as clauses."""
    now = orjson.loads(orjson.dumps(now))
    found = []
    for name in dict.fromkeys((*before, *now)):
        old, new = before.get(name), now.get(name)
        if old != new and name == FUNCTION and old and new:
            found.append(_UNKNOWN)
        elif old != new:
            plain = all(isinstance(one, str | int | float | list | None) for one in (old, new))
            short = plain and len(f"{old}{new}") < 100 and name not in _LONG
            found.append(f"{name} was {_said(old)}, is {_said(new)}" if short else f"other {name}")
    # the digest of a choice differs with everything that has a name of its own
    return [one for one in found if one != "other choice"] or found


def _said(value: Any) -> str:
    return "not told" if value is None else str(value)


def _cleared(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _replayed(path: Path) -> dict[int, Written]:
    """What a journal says; a line that a kill tore is cut off."""
    text = path.read_bytes() if path.exists() else b""
    whole, _, torn = text.rpartition(b"\n")
    if torn:
        os.truncate(path, len(text) - len(torn))
    done: dict[int, Written] = {}
    for line in whole.splitlines():
        number, *told = orjson.loads(line)
        if told:
            done[number] = Written(*told)
        else:
            done.pop(number, None)
    return done
