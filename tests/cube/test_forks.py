"""Forks while other threads read: each child reads, too, and none waits for a lock for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.cube.conftest import Made

ROOT = Path(__file__).resolve().parents[2]
_FORKS = """
import faulthandler, os, sys, threading, time, traceback
import numpy as np
import mosaic
from mosaic.storage import Gate

path, pauses = sys.argv[1], [float(pause) for pause in sys.argv[2].split(",")]
shared, stop, wrong, reads = Gate(), threading.Event(), [], [0, 0]
place = {"bbox": (9.0, 47.45, 9.06, 47.5), "crs": "EPSG:3035", "resolution": 60, "bands": "B02"}

def read(number):
    seen = None
    while not stop.is_set():
        got = mosaic.read(path, gate=Gate() if reads[number] % 2 else shared, **place)
        wrong.extend([] if seen is None or (seen == got.values).all() else [number])
        seen = got.values
        reads[number] += 1

def child():
    faulthandler.dump_traceback_later(20, exit=True)  # a child that hangs says where
    try:
        got = [mosaic.read(path, gate=gate, **place).values for gate in (shared, Gate())]
        assert (got[0] == got[1]).all() and got[0].any()
        return 0
    except BaseException:
        traceback.print_exc()
        return 1

threads = [threading.Thread(target=read, args=(number,)) for number in range(2)]
for thread in threads:
    thread.start()
children = []
for pause in pauses:
    time.sleep(pause)
    children.append(os.fork())
    if children[-1] == 0:
        os._exit(child())
    if len(children) > 2:
        assert os.waitpid(children.pop(0), 0)[1] == 0, "a child failed"
while min(reads) < 2:
    time.sleep(0.01)
stop.set()
for thread in threads:
    thread.join(30)
    assert not thread.is_alive(), "the parent's own reads hang"
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0, "a child failed"
assert not wrong
print(len(pauses), "forks", min(reads), "reads", flush=True)
os._exit(0)
"""


def forks(path: Path, pauses: list[float], **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _FORKS, path, ",".join(map(str, pauses))],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_forks_while_threads_read(native: Made) -> None:
    assert forks(native.path, [0.01 * (k % 4) for k in range(20)]).startswith("20 forks")


def test_forks_while_modules_are_imported_and_kernels_compiled(
    native: Made, tmp_path: Path
) -> None:
    """Right at the start of the first reads, whose kernels nobody has compiled."""
    pauses = [0.05, 0.5]
    out = forks(native.path, pauses, NUMBA_CACHE_DIR=str(tmp_path / "empty"))
    assert out.startswith("2 forks")
