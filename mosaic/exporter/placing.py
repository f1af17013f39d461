"""How an export takes its target's place: by one rename, or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mosaic.errors import ExportError, ExportExistsError, UsageError
from mosaic.files import exchange, settled

_STORES = ("zarr.json", ".zgroup", ".zmetadata")


def target_of(out: str | os.PathLike[str]) -> Path:
    """An absolute path. Raises UsageError for what lies elsewhere."""
    name = os.fspath(out)
    if "://" in name or name.startswith("/vsi"):
        raise UsageError(f"{name.partition('?')[0]}: an export is written to this machine's files")
    return Path(name).expanduser().absolute()


def check(target: Path, overwrite: bool, store: bool) -> None:
    """Raises ExportExistsError for what is there and mustn't be replaced, or can't be."""
    if not os.path.lexists(target):
        if not target.parent.is_dir():
            raise ExportError(f"{target.parent} is no folder: make it first")
        return
    if not overwrite:
        raise ExportExistsError(f"{target} is there already: --overwrite replaces it")
    if target.is_symlink():
        raise ExportExistsError(f"{target} is a link, which isn't followed: name its target")
    if store and not (target.is_dir() and any((target / name).exists() for name in _STORES)):
        raise ExportExistsError(f"{target} is no Zarr store, and isn't replaced by one")
    if not store and not target.is_file():
        raise ExportExistsError(f"{target} is no file, and isn't replaced by one")


def place(whole: Path, target: Path, overwrite: bool, store: bool) -> None:
    """What is whole gets its name; what had it is gone then."""
    check(target, overwrite, store)  # something may have come meanwhile
    if not store:
        whole.replace(target)
    elif target.exists():
        exchange(whole, target)
        shutil.rmtree(whole, ignore_errors=True)
    else:
        whole.rename(target)
    settled(target.parent)
