"""A mosaic's folder appears whole, or not at all.

A build is written to a hidden folder beside the target. It takes the target's place in one
step: ``rename`` where there is nothing yet, Linux's ``renameat2(RENAME_EXCHANGE)`` where there
is a mosaic, elsewhere two renames that the next build or reader finishes or takes back.
Files in the target that mosaic didn't write (scenes that lie inside it) go along as hard links.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mosaic.catalog.layout import is_mosaic, read_collection
from mosaic.errors import CatalogError, CatalogExistsError, InputError, UsageError
from mosaic.files import exchange, is_full, lock

_MARK = ".unfinished"
"""File in a build's folder until the build is whole."""


@contextmanager
def building(target: Path, overwrite: bool, held: os.stat_result | None = None) -> Iterator[Path]:
    """A hidden folder to build in; on a clean exit it becomes ``target``, else it vanishes.

    ``held``: the mosaic that is to be replaced (:func:`holding`), and no other. Raises
    :class:`~mosaic.errors.CatalogExistsError` when the target holds a mosaic and ``overwrite`` is
    false, :class:`~mosaic.errors.CatalogError` when it can't be written.
    """
    target = target.absolute()
    recover(target)
    _check(target, overwrite)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.building-", dir=target.parent))
    except OSError as error:
        raise _unwritable(target, error) from error
    handle = os.open(folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)  # tells a build that lives from what a kill left behind
    try:
        folder.chmod(target.stat().st_mode if target.exists() else 0o755)
        (folder / _MARK).touch()
        yield folder
        if (folder / _MARK).exists():  # it wasn't called off
            (folder / _MARK).unlink()
            _check(target, overwrite)  # another build may have come first
            _same(target, held)
            _publish(folder, target)
    except OSError as error:
        raise _unwritable(target, error) from error
    except Exception as error:  # SQLite, GDAL and others have their own words for a full disk
        if not isinstance(error, InputError | UsageError) and is_full(folder, error):
            raise _unwritable(target, OSError(errno.ENOSPC, "")) from error
        raise
    finally:
        os.close(handle)
        if folder.exists() and folder != target:
            shutil.rmtree(folder, ignore_errors=True)


def call_off(folder: Path) -> None:
    """Ends a build without a result: the target stays as it is."""
    (folder / _MARK).unlink()


@contextmanager
def holding(target: Path) -> Iterator[os.stat_result]:
    """A mosaic that one process changes: the lock is its folder's, and goes with its owner.

    Raises :class:`~mosaic.errors.CatalogError` while another process changes it.
    """
    try:
        handle = lock(target)
    except OSError as error:
        raise _unwritable(target, error) from error
    if handle is None:
        raise CatalogError(
            f"{target} is being changed by another process: wait for it, then try again"
        )
    try:
        yield os.fstat(handle)
    finally:
        os.close(handle)


def _same(target: Path, held: os.stat_result | None) -> None:
    if held is not None and not (target.exists() and os.path.samestat(held, target.stat())):
        raise CatalogError(f"{target} was built anew meanwhile: nothing was changed; try again")


def _check(target: Path, overwrite: bool) -> None:
    if target == Path.cwd() or target in Path.cwd().parents:
        raise CatalogExistsError(
            f"{target} is (or holds) the current folder, which can't be replaced while you are "
            "in it: name another folder"
        )
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise CatalogExistsError(f"{target} is there and is no folder")
    if is_mosaic(target) and not overwrite:
        raise CatalogExistsError(f"{target} holds a mosaic already: --overwrite replaces it")


def _unwritable(target: Path, error: OSError) -> CatalogError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return CatalogError(f"{target}: the disk is full; nothing was changed")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return CatalogError(f"{target}: the folder can't be written ({error.strerror})")
    return CatalogError(f"{target}: {error.strerror or error} ({error.filename})")


def _publish(folder: Path, target: Path) -> None:
    if not target.exists():
        folder.rename(target)
        return
    carry(target, folder)
    exchange(folder, target)
    try:
        # what is now in `folder` is the old mosaic; whatever appeared in it meanwhile comes along
        carry(folder, target)
    except BaseException:
        exchange(folder, target)  # it holds files of the user's: it must not be cleared away
        raise
    _discard(folder, target)


def _discard(folder: Path, target: Path) -> None:
    """Clears away an old mosaic, nothing of which is needed; first its name says so."""
    gone = target.with_name(f".{target.name}.gone-{folder.name.rpartition('-')[2]}")
    folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def foreign(folder: Path) -> Iterator[Path]:
    """Paths, relative to a mosaic's folder, of what mosaic didn't write.

    Files, links, and folders in which there is nothing.
    """
    own = _own(folder)
    for here, folders, names in os.walk(folder):
        found = [*names, *(name for name in folders if (Path(here) / name).is_symlink())]
        if not folders and not names and here != str(folder):
            yield Path(here).relative_to(folder)
        for name in found:
            path = (Path(here) / name).relative_to(folder)
            base = next((end for end in _BESIDE if name.endswith(end)), "")
            if str(path) not in own and str(path).removesuffix(base) not in own:
                yield path


_BESIDE = (".aux.xml", "-wal", "-shm", "-journal")
"""Endings of what GDAL, QGIS and SQLite leave beside an index: worthless beside another."""


def _own(folder: Path) -> set[str]:
    return set(read_collection(folder)["mosaic:files"]) if is_mosaic(folder) else set()


def carry(source: Path, destination: Path) -> None:
    """Hard-links into ``destination`` the files of ``source`` that mosaic didn't write.

    Raises :class:`~mosaic.errors.CatalogExistsError` when one of them has the name of a file
    of the mosaic there.
    """
    own = _own(destination)
    for path in foreign(source):
        old, new = source / path, destination / path
        if old.is_dir() and not old.is_symlink():
            _folder(source, destination, path)
        elif not os.path.lexists(new):
            _folder(source, destination, path.parent)
            os.link(old, new, follow_symlinks=False)
        elif str(path) in own or new.is_dir() != old.is_dir():
            raise CatalogExistsError(
                f"{old} isn't mosaic's and is in its way: move it, or name another folder"
            )
        elif not os.path.samestat(old.lstat(), new.lstat()):
            _replace(old, new)


def _folder(source: Path, destination: Path, path: Path) -> None:
    """A folder like the one it stands for: mode, owner and times too."""
    if path == Path() or (destination / path).is_dir():
        return
    _folder(source, destination, path.parent)
    (destination / path).mkdir(mode=0o700)
    found = (source / path).stat()
    with suppress(PermissionError):  # another's folder in ours: only root may give it back
        os.chown(destination / path, found.st_uid, found.st_gid)
    shutil.copystat(source / path, destination / path)


def _replace(old: Path, new: Path) -> None:
    """The user's file in place of an older state of it, which an editor left behind."""
    if old.lstat().st_mtime_ns < new.lstat().st_mtime_ns:
        return
    fresh = new.with_name(f".{new.name}.{os.getpid()}")
    os.link(old, fresh, follow_symlinks=False)
    fresh.replace(new)


def recover(target: Path) -> None:
    """Finishes, or takes back, an exchange by renames that a kill interrupted."""
    target = target.absolute()
    if target.exists():
        return
    olds = sorted(target.parent.glob(f".{target.name}.old-*"))
    builds = list(target.parent.glob(f".{target.name}.building-*"))
    if not olds or not all(map(_abandoned, builds)):
        return
    whole = [folder for folder in builds if not (folder / _MARK).exists() and is_mosaic(folder)]
    (whole[0] if whole else olds[0]).rename(target)


def sweep(target: Path) -> None:
    """Removes what killed builds left beside a target."""
    alone = True
    for folder in target.parent.glob(f".{target.name}.building-*"):
        if not _abandoned(folder):
            alone = False
        else:
            if not (folder / _MARK).exists() and target.exists():
                carry(folder, target)  # an old mosaic, or a whole new one
            _discard(folder, target)
    if target.exists() and alone:
        for folder in target.parent.glob(f".{target.name}.old-*"):
            carry(folder, target)
            _discard(folder, target)
    for folder in target.parent.glob(f".{target.name}.gone-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _abandoned(folder: Path) -> bool:
    """Whether no living process builds in a folder: its lock goes with its owner."""
    try:
        handle = lock(folder)
    except OSError:
        return False
    if handle is None:
        return False
    os.close(handle)
    return True
