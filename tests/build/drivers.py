"""What other processes do in the tests of publishing: build, read, and be killed."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
import traceback
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import orjson

import mosaic
from mosaic import files
from mosaic.builder import make, publish, repack, rewrite, update
from mosaic.catalog.gti import read_xml
from mosaic.cli import main
from tests.support.verbs import verbs

assert make.plot  # all of it is imported before the fork, so that a kill hits the build
assert update.rewritten
assert verbs()


def without_exchange() -> None:
    """As on a system without renameat2."""
    files._renameat2 = lambda one, other: False


def build(items: str, out: str, res: float, exchange: bool, ready: Connection) -> None:
    """An overwriting build that says when it starts and when it is done."""
    if not exchange:
        without_exchange()
    ready.send("start")
    mosaic.build(items, out, res=res, overwrite=True)
    ready.send("done")


def die_at_rename(items: str, out: str, number: int) -> None:
    """A build without renameat2 that kills itself before its ``number``-th rename.

    After the last rename it dies before it clears the old mosaic away.
    """
    without_exchange()
    real = Path.rename
    renames = 0

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def rename(self: Path, target: Path) -> Path:
        nonlocal renames
        if Path(out).name in (self.name, Path(target).name) or ".old-" in self.name:
            renames += 1
            if renames == number:
                die()
        return real(self, target)

    Path.rename = rename  # type: ignore[method-assign,assignment]
    publish.shutil.rmtree = lambda *args, **kw: die()  # type: ignore[assignment]
    mosaic.build(items, out, res=120, overwrite=True)


def read_on(out: str, stop: Event, answer: Connection) -> None:
    """Reads a mosaic until told to stop; answers how often, and what was wrong."""
    reads, seen = 0, set()
    try:
        while not stop.is_set():
            seen.add(_read_once(out))
            reads += 1
            time.sleep(0.001)  # leave the builds a processor
    except BaseException:
        answer.send((reads, seen, traceback.format_exc()))
        return
    answer.send((reads, seen, ""))


def _read_once(out: str) -> Any:
    """The pixel size that all files of one mosaic agree on, or None if it was just replaced."""
    handle = os.open(out, os.O_RDONLY | os.O_DIRECTORY)  # fails when the mosaic is missing
    try:
        here = Path(f"/proc/self/fd/{handle}")
        try:
            document = orjson.loads((here / "collection.json").read_bytes())
            missing = [name for name in document["mosaic:files"] if not (here / name).exists()]
            xml = read_xml(here / "B04.gti.gpkg")
        except Exception:
            if Path(out).stat().st_ino != os.fstat(handle).st_ino:
                return None  # it was replaced, and is being cleared away, under our eyes
            raise
        if Path(out).stat().st_ino != os.fstat(handle).st_ino:
            return None
        size = document["mosaic:grid"]["transform"][0]
        start = xml.index("<GeoTransform>") + len("<GeoTransform>")
        assert float(xml[start:].split(",")[1]) == size, "index and collection differ"
        assert not missing, missing
        return size
    finally:
        os.close(handle)


def as_nobody(args: list[str], answer: Connection) -> None:
    """The command line as a user who may write nowhere; answers (exit code, stderr)."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    read, write = os.pipe()
    os.dup2(write, 2)
    code: Any = 0
    try:
        main(args)
    except SystemExit as error:
        code = error.code
    except BaseException:
        code = traceback.format_exc()
    sys.stderr.flush()
    os.close(write)
    os.close(2)
    answer.send((code, os.read(read, 65536).decode()))


def die_at_step(out: str, item: Any, step: str) -> None:
    """An update that kills itself at one of its steps."""

    def die(*args: object, **kw: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def after(module: Any, name: str) -> None:
        real = getattr(module, name)

        def then_die(*args: object, **kw: object) -> None:
            real(*args, **kw)
            die()

        setattr(module, name, then_die)

    if step == "items.parquet is written":
        after(repack, "changed")
    elif step == "an index is changed":
        after(rewrite, "change_index")
    elif step == "all is written":
        after(rewrite, "write_stac")
    elif step == "before the swap":
        publish.exchange = die
    elif step == "between two renames":
        without_exchange()
        after(Path, "rename")
    elif step == "after the swap":
        after(publish, "exchange")
    mosaic.update(out, [item])


def update_slowly(out: str, item: Any, ready: Connection) -> None:
    """An update that stops amid its work, says so, and goes on when it is told to."""
    real = repack.changed

    def changed(*args: Any) -> list[int]:
        ready.send("amid")
        assert ready.recv() == "go on"
        return real(*args)

    repack.changed = changed
    mosaic.update(out, [item])
    ready.send("done")


def hold(out: str, ready: Connection) -> None:
    """Another program that locks a mosaic's folder until it is told not to."""
    handle = os.open(out, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    ready.send("amid")
    assert ready.recv() == "go on"
    os.close(handle)
    ready.send("done")
