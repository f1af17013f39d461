"""An export of 20,000 x 20,000 pixels of three bands, unbroken and killed:  make bench-export

Each export is a process of its own. Memory is that of the process and of GDAL's beside it, summed
every 20 ms. The second is killed by SIGKILL while it writes windows, and again while it puts the
file together; what it makes in the end is compared with the first, byte by byte.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson

import mosaic
from mosaic.exporter.journal import folder_of
from tests.benchmarks import homes
from tests.benchmarks.seam import CRS, Corpus, drawn, make

ROOT = Path(__file__).resolve().parents[2]
SIDE = 20_000
SCENES = Corpus(size=11_400, bands=("B02", "B03", "B04"), dates=1, rows=2)
"""Four scenes of 114 km, two in each zone; a window of 200 km lies within them."""
_WORK = """
import sys
from affine import Affine
from odc.geo.geobox import GeoBox
import mosaic
source, out, side, left, top, crs = sys.argv[1:]
grid = GeoBox((int(side),) * 2, Affine(10, 0, float(left), 0, -10, float(top)), crs)
report = mosaic.export(source, out, geobox=grid, overwrite=True)
print(report.windows, report.resumed, report.bytes)
"""


@dataclass(frozen=True)
class Run:
    """One export, or as much of it as was let live."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds of all its processes."""
    memory: float
    """MB of all its processes, at most."""
    own: float
    """MB of the exporting process alone."""
    said: str
    """Windows, how many were there, bytes; empty for one that was killed."""


def resident(pid: int) -> float:
    """MB of a process."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    line = next((line for line in text.splitlines() if line.startswith("VmRSS")), "VmRSS: 0")
    return int(line.split()[1]) / 1024


def children(pid: int) -> list[int]:
    """Processes that a process started."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(one) for one in task.read_text().split()]
        except OSError:
            continue
    return found


def run(words: list[str], until: Callable[[], bool] | None = None) -> Run:
    """An export; killed as soon as ``until`` says so."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", _WORK, *words], stdout=subprocess.PIPE, text=True, env=environment
    )
    most = own = 0.0
    while process.poll() is None:
        alone = resident(process.pid)
        most = max(most, alone + sum(map(resident, children(process.pid))))
        own = max(own, alone)
        if until is not None and until():
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.02)
    said = process.communicate()[0]
    wall = time.monotonic() - start
    if until is None and process.returncode:
        raise SystemExit(f"the export ended with {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(wall, cpu, most, own, said.strip())


def digest(path: Path) -> str:
    """Of a file, or of all files of a folder by name."""
    told = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            told.update(str(file.relative_to(path)).encode())
            with file.open("rb") as data:
                while block := data.read(1 << 20):
                    told.update(block)
    return told.hexdigest()


def scenes(work: Path) -> Path:
    """A mosaic of the corpus, made once."""
    home = make(work / "seam", SCENES)
    if not (work / "mosaic").is_dir():
        document = {"type": "FeatureCollection", "features": list(drawn(SCENES))}
        (home / "items.json").write_bytes(orjson.dumps(document))
        mosaic.build(home / "items.json", work / "mosaic", dst_crs=CRS)
    return work / "mosaic"


def done(folder: Path) -> int:
    """Windows that a journal tells."""
    try:
        return (folder / "done.ndjson").read_bytes().count(b"\n")
    except OSError:
        return 0


def compared(work: Path, source: Path, ending: str, place: list[str]) -> None:
    """Rows of one format."""
    first, second = work / f"first.{ending}", work / f"second.{ending}"
    folder = folder_of(second)
    shutil.rmtree(folder, ignore_errors=True)
    whole = run([str(source), str(first), *place])
    windows, _, size = map(int, whole.said.split())
    told(f"{ending}, unbroken", whole, size, "")
    broken = [str(source), str(second), *place]
    for part in (0.3, 0.7):
        count = part * windows
        told(f"killed at {part:.0%}", run(broken, lambda: done(folder) >= count))  # noqa: B023
    if ending == "tif":
        told("killed in GDAL's copy", run(broken, lambda: any(folder.glob("whole-*"))))
    last = run(broken)
    same = "byte by byte" if digest(first) == digest(second) else "NO"
    found = last.said.split()[1]
    told(f"gone on with ({found} of {windows} windows were there)", last, size, same)
    for out in (first, second):
        shutil.rmtree(out) if out.is_dir() else out.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=homes.CACHE / "export", help="scenes, files")
    parser.add_argument("--side", type=int, default=SIDE)
    given = parser.parse_args()
    source = scenes(given.work)
    x, y = SCENES.middle
    left, top = (round(at / 10) * 10 + 5 * sign * given.side for at, sign in ((x, -1), (y, 1)))
    print("| export | wall s (CPU s) | MB: all, own | file MB | equal |")
    print("| --- | --- | --- | --- | --- |")
    for ending in ("tif", "zarr"):
        compared(given.work, source, ending, [str(given.side), str(left), str(top), CRS])


def told(name: str, one: Run, size: int = 0, equal: str = "") -> None:
    """A row of the table."""
    print(
        f"| {name} | {one.wall:.1f} ({one.cpu:.1f}) | {one.memory:.0f}, {one.own:.0f} "
        f"| {size / 1e6:.0f} | {equal} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
