"""The persistent block cache: one file per block, shared by processes, bounded, crash-safe.

A block is written beside its place and renamed into it, and read only if its length and checksum
hold, so a crash leaves a whole block or none.  The size that all processes have written is kept in
one small file, and whoever writes holds its lock: so the bound holds at every moment, and an
unfinished file that another one finds is litter.  The size is raised before a block is written, so
a crash can only make it too large, which the next count repairs.  Names are hashes: nothing of an
href is on disk.

A disk that is full, read-only or gone costs one warning; then the process goes on without.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import struct
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from mosaic.storage.answer import Meta
from mosaic.storage.ranges import Span

_log = logging.getLogger("mosaic.storage")
_HEAD = struct.Struct("<8sQI")
_MAGIC = b"mosaic1\n"
_LOW = 0.9  # of the bound is left after making room
_TOUCH = 60.0  # seconds between two notes that a block was used


class DiskCache:
    """A folder of blocks; its methods block, so call them in the pool."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.bound = size
        self._lock = threading.Lock()
        self._writing = True
        self._reading = True
        with self._guard("opened", reading=True):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / "meta").mkdir(mode=0o700, exist_ok=True)
            self._recount()

    @property
    def size(self) -> int:
        """Bytes that all processes hold there, as last counted."""
        with contextlib.suppress(OSError, ValueError):
            return int((self.folder / "size").read_text() or "0")
        return 0

    def get(self, key: str, version: str, span: Span) -> memoryview | None:
        """A block, or None if it isn't there or not whole."""
        if not self._reading:
            return None
        path = self._path(key, version, span)
        try:
            data = path.read_bytes()
            if time.time() - path.stat().st_mtime > _TOUCH:
                os.utime(path)
        except OSError:
            return None
        body = _verified(data)
        if body is None:
            with contextlib.suppress(OSError):
                path.unlink()
        return body

    def has(self, key: str, version: str, span: Span) -> bool:
        """Whether a block is there, whole or not; nothing is read."""
        return self._reading and self._path(key, version, span).exists()

    def put(self, key: str, version: str, span: Span, data: memoryview) -> None:
        """Keep a block."""
        path = self._path(key, version, span)
        weight = _HEAD.size + len(data)
        if not self._writing or weight > self.bound * _LOW or path.exists():
            return
        with self._guard("written"), self._turn() as file:
            self._reserve(file, weight)
            head = _HEAD.pack(_MAGIC, len(data), zlib.crc32(data))
            _write(path, head, data)

    def meta(self, key: str) -> tuple[Meta, float] | None:
        """The version last seen of an object, and when it was verified (epoch seconds)."""
        if not self._reading:
            return None
        try:
            told = json.loads(self._meta_path(key).read_bytes())
            return Meta(told["size"], told["etag"], told["modified"]), float(told["at"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put_meta(self, key: str, meta: Meta, at: float) -> None:
        """Remember the version seen of an object at a time (epoch seconds)."""
        if not self._writing:
            return
        told = {"size": meta.size, "etag": meta.etag, "modified": meta.modified, "at": at}
        data = memoryview(json.dumps(told).encode())
        with self._guard("written"), self._turn() as file:
            self._reserve(file, len(data))
            _write(self._meta_path(key), b"", data)

    def forget(self, key: str) -> None:
        """Forget which version of an object was seen; its blocks serve again if it still holds."""
        with contextlib.suppress(OSError):
            self._meta_path(key).unlink()

    def _path(self, key: str, version: str, span: Span) -> Path:
        name = _hash(f"{key}\n{version}\n{span.start}-{span.stop}")
        return self.folder / name[:2] / name[2:]

    def _meta_path(self, key: str) -> Path:
        name = _hash(key)
        return self.folder / "meta" / name[:2] / name[2:]

    def _reserve(self, file: int, weight: int) -> None:
        size = _int(file) + weight
        if size > self.bound:
            size = self._make_room(weight) + weight
        _put_int(file, size)

    def _recount(self) -> None:
        with self._turn() as file:
            _put_int(file, self._make_room(0))

    def _make_room(self, weight: int) -> int:
        # least recently used first; the times are those of files, so all processes agree
        found = sorted(self._files())
        size = sum(one for _, one, _ in found)
        full = size + weight > self.bound
        for _, one, path in found:
            litter = path.suffix == ".part"
            if litter or (full and size + weight > self.bound * _LOW):
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
                size -= one
        return size

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        for folder, _, names in os.walk(self.folder):
            for name in names:
                if name == "size":
                    continue
                path = Path(folder, name)
                with contextlib.suppress(OSError):
                    info = path.stat()
                    yield info.st_mtime, info.st_size, path

    @contextlib.contextmanager
    def _turn(self) -> Iterator[int]:
        # the kernel frees the lock of a process that dies
        file = os.open(self.folder / "size", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
        finally:
            os.close(file)

    @contextlib.contextmanager
    def _guard(self, verb: str, *, reading: bool = False) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            with self._lock:
                first, self._writing = self._writing, False
                self._reading = self._reading and not reading
            if first:
                _log.warning(
                    "the cache in %s can't be %s (%s): going on without; "
                    "free some space or set MOSAIC_CACHE_DIR elsewhere",
                    self.folder,
                    verb,
                    os.strerror(error.errno) if error.errno else type(error).__name__,
                )


def _verified(data: bytes) -> memoryview | None:
    if len(data) < _HEAD.size:
        return None
    magic, length, checksum = _HEAD.unpack_from(data)
    body = memoryview(data)[_HEAD.size :]
    whole = magic == _MAGIC and len(body) == length and zlib.crc32(body) == checksum
    return body if whole else None


def _write(path: Path, head: bytes, data: memoryview) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    descriptor, name = tempfile.mkstemp(suffix=".part", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(head)
            file.write(data)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


def _int(file: int) -> int:
    text = os.pread(file, 32, 0)
    return int(text) if text.strip().isdigit() else 0


def _put_int(file: int, value: int) -> None:
    os.pwrite(file, b"%-31d\n" % value, 0)
