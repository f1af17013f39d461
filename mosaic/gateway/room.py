"""A gateway's own folder: gone when it ends, swept by the next one where it was killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

from mosaic.errors import UsageError
from mosaic.files import lock

_PREFIX = "mosaic-gateway-"


class Room:
    """A new folder among the temporary files, locked as long as its process lives.

    Raises UsageError where none can be made.
    """

    def __init__(self) -> None:
        try:
            base = Path(tempfile.gettempdir())
            _sweep(base)
            # by another name until it is locked: who sweeps now doesn't take it for a dead one's
            new = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=base))
            self._handle = lock(new)
            self.path = new.rename(new.with_name(new.name.removeprefix(".")))
        except OSError as error:
            why = f"no temporary folder can be made ({error.strerror}): make room, or set TMPDIR"
            raise UsageError(why) from error
        self._pid = os.getpid()

    def close(self) -> None:
        """Clear it away; in a child nothing happens."""
        if os.getpid() != self._pid:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _sweep(base: Path) -> None:
    """Clear away the folders that gateways of this user left when they were killed."""
    for folder in base.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            told = folder.lstat()
            if not stat.S_ISDIR(told.st_mode) or told.st_uid != os.geteuid():
                continue
            handle = lock(folder)
            if handle is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(handle)
