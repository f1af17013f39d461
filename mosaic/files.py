"""Files of this machine: a folder that one process holds, two that change places; a file that is
there whole or not.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def lock(folder: Path, mode: int | None = None) -> int | None:
    """A handle on a folder that is this process's alone until it is closed, or its owner dies.

    ``mode``: the folder is made, with these permissions, if there is none. None while another
    process holds it. Raises OSError for a folder that can't be opened or made.
    """
    while True:
        if mode is not None:
            folder.mkdir(mode=mode, parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return None
        if folder.exists() and os.path.samestat(os.fstat(handle), folder.stat()):
            return handle
        os.close(handle)  # its owner has just cleared it away, or put another one in its place


def saved(path: Path, data: bytes | memoryview) -> None:
    """A file that is there whole, its bytes on disk, or not at all."""
    part = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    settled(path.parent)


def settled(path: Path) -> None:
    """A file's or folder's own bytes on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def exchange(one: Path, other: Path) -> None:
    """Two folders change places: in one step where the system can, else in three renames.

    A kill between these leaves ``.NAME.old-PID`` beside the second.
    """
    if _renameat2(one, other):
        return
    aside = other.with_name(f".{other.name}.old-{os.getpid()}")
    other.rename(aside)
    try:
        one.rename(other)
    except OSError:
        aside.rename(other)
        raise
    aside.rename(one)


def _renameat2(one: Path, other: Path) -> bool:
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    done = call(
        _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), ctypes.c_uint(_RENAME_EXCHANGE)
    )
    if done == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False  # an older kernel, or a file system that can't
    raise OSError(number, os.strerror(number), str(other))


_FULL = ("No space left", "disk is full", "File too large", "Write error")
"""What the system, SQLite and libtiff say; GDAL makes room again before it tells."""


def is_full(folder: Path, error: BaseException) -> bool:
    """Whether an error is that of a full disk, in whose words ever it is told."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    if any(words in str(error) for words in _FULL):
        return True
    probe = folder / ".probe"
    try:
        probe.write_bytes(bytes(1 << 20))
    except OSError as found:
        return found.errno in (errno.ENOSPC, errno.EDQUOT)
    finally:
        probe.unlink(missing_ok=True)
    return False
