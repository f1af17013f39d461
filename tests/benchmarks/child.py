"""One contender reads one case, in this process:  python -m tests.benchmarks.child JOB

Prints what it took as JSON, and leaves the pixels where the job says. The process is warmed first
on other scenes, elsewhere, of the same server.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.cases import Window
from tests.benchmarks.contenders import COMPOSITES, CONTENDERS, DRIVERS, Source


def memory() -> tuple[float, float]:
    """Resident set now and at most, MB."""
    with Path("/proc/self/status").open() as about:
        told = {line.split(":")[0]: line.split() for line in about}
    return int(told["VmRSS"][1]) / 1e3, int(told["VmHWM"][1]) / 1e3


def window(told: dict[str, Any]) -> Window:
    return Window(**{name: tuple(v) if isinstance(v, list) else v for name, v in told.items()})


def cpu() -> float:
    """Seconds of this process and of those it ran."""
    return sum(os.times()[:4])


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_bytes())
    contender = (CONTENDERS | COMPOSITES | DRIVERS)[job["contender"]]
    source = Source(**job["source"])
    if contender.warm:
        warm = window(job["warm"])
        contender.make(Source(**job["warm_source"]))(warm)
    read = contender.make(source)
    if job["before"]:
        read(window(job["before"]))
    urllib.request.urlopen(f"{job['server']}/_reset", timeout=10).read()
    Path("/proc/self/clear_refs").write_text("5")
    base = memory()[0]
    began, used = time.perf_counter(), cpu()
    loaded = read(window(job["window"]))
    took = {"wall": time.perf_counter() - began, "cpu": cpu() - used}
    took["memory"] = memory()[1] - base
    with urllib.request.urlopen(f"{job['server']}/_counts", timeout=10) as answer:
        took |= json.load(answer)
    if job["pixels"]:
        np.save(job["pixels"], loaded())
    print(json.dumps(took))


if __name__ == "__main__":
    main()
