"""Folders that one process holds, and files that are there whole or not."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from mosaic import files


def test_a_folder_is_held_until_its_handle_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with pytest.raises(FileNotFoundError):
        files.lock(folder)
    handle = files.lock(folder, mode=0o700)
    assert handle is not None
    assert folder.stat().st_mode & 0o777 == 0o700
    assert files.lock(folder) is None
    os.close(handle)
    again = files.lock(folder)
    assert again is not None
    os.close(again)


def test_a_folder_that_its_owner_cleared_away_is_not_the_one_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is gone between its opening and the lock: what is held is the one that is there then."""
    folder = tmp_path / "f"
    real, calls = fcntl.flock, []

    def cleared(handle: int, how: int) -> Any:
        calls.append(handle)
        if len(calls) == 1:
            folder.rename(tmp_path / "gone")
        return real(handle, how)

    monkeypatch.setattr(fcntl, "flock", cleared)
    handle = files.lock(folder, mode=0o755)
    assert handle is not None
    assert len(calls) == 2
    assert os.path.samestat(os.fstat(handle), folder.stat())
    os.close(handle)


def test_a_file_is_saved_whole_or_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    files.saved(path, b"one")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        files.saved(path, b"two")
    assert files.is_full(tmp_path, caught.value)
    assert not files.is_full(tmp_path, ValueError("something else"))
    assert [one.name for one in tmp_path.iterdir()] == ["a.json"]
    assert path.read_bytes() == b"one"
