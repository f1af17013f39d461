"""Reads beside other readers, at 30 ms:  make bench

Rounds are interleaved, each read is a process of its own, and medians count; a contender's time
counts only if its pixels were right. Writes a table and a figure.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mosaic.storage import Gate
from tests.benchmarks import homes, told
from tests.benchmarks.cases import Case, Window, windows
from tests.benchmarks.contenders import CONTENDERS, Contender, Source, lazy
from tests.benchmarks.limit import limit
from tests.benchmarks.result import Result, Took
from tests.benchmarks.seam import CRS, WARM, Corpus, drawn, make
from tests.benchmarks.truth import Verdict, judged, shown

ROOT = Path(__file__).resolve().parents[2]
LATENCY = 0.03


@dataclass(frozen=True)
class Bench:
    """A corpus, served and built."""

    work: Path
    corpus: Corpus
    server: str
    sources: dict[str, Source]

    @property
    def cases(self) -> list[Case]:
        corpus = self.corpus
        days = tuple(corpus.days())
        return windows(corpus.middle, corpus.size, corpus.res, corpus.bands, days)

    @property
    def warm(self) -> Window:
        """A window of the scenes on which processes are warmed."""
        bands = self.corpus.bands
        case = windows(WARM.middle, WARM.size, WARM.res, bands, tuple(WARM.days()))[0]
        return case.window

    def truth(self, case: Case) -> np.ndarray:
        """What a case shows; worked out once for a corpus."""
        path = self.work / f"truth_{case.name}.npy"
        if not path.is_file():
            np.save(path, shown(self.work / "seam", self.corpus, case.window))
        found: np.ndarray = np.load(path)
        return found

    def run(self, contender: Contender, case: Case, pixels: Path | None = None) -> Took:
        """One read, in a process of its own. Raises CalledProcessError."""
        job = {
            "contender": contender.name,
            "source": asdict(self.sources["seam"]),
            "warm_source": asdict(self.sources["warm"]),
            "server": self.server,
            "warm": asdict(self.warm),
            "before": asdict(case.before) if case.before else None,
            "window": asdict(case.window),
            "pixels": str(pixels) if pixels else "",
        }
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(job, file)
            file.flush()
            done = subprocess.run(
                [homes.python(contender.home), "-m", "tests.benchmarks.child", file.name],
                check=True, text=True, capture_output=True, cwd=ROOT, timeout=600,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
        told = json.loads(done.stdout.splitlines()[-1])
        return Took(**{name: told[name] for name in Took.__dataclass_fields__})

    def check(self, contender: Contender, case: Case) -> tuple[Took, Verdict]:
        """One read, and whether its pixels are right."""
        with tempfile.TemporaryDirectory() as folder:
            pixels = Path(folder) / "pixels.npy"
            took = self.run(contender, case, pixels)
            return took, judged(np.load(pixels), self.truth(case))


@contextlib.contextmanager
def served(work: Path, corpus: Corpus, latency: float = LATENCY, jobs: int = 2) -> Iterator[Bench]:
    """A corpus made, served by a process of its own, and built as mosaics."""
    corpora = {"seam": corpus, "warm": WARM}
    for name, one in corpora.items():
        make(work / name, one, jobs)
    command = [sys.executable, "-m", "tests.support.range_server", str(work)]
    server = subprocess.Popen(
        [*command, "--set", f"latency={latency}"],
        stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        with tempfile.TemporaryDirectory() as folder:
            sources = {
                name: _source(Path(folder), name, one, f"{url}/{name}")
                for name, one in corpora.items()
            }
            yield Bench(work, corpus, url, sources)
    finally:
        server.kill()
        server.wait()


def _source(folder: Path, name: str, corpus: Corpus, url: str) -> Source:
    import mosaic

    items = list(drawn(corpus))
    for item in items:
        for asset in item["assets"].values():
            asset["href"] = f"{url}/{asset['href']}"
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    mosaic.build(
        str(path), str(folder / name), dst_crs=CRS, res=corpus.res, slices="day", item_files=0
    )
    return Source(str(path), str(folder / name), url)


def compared(
    bench: Bench,
    cases: Sequence[Case],
    contenders: Sequence[Contender],
    rounds: int,
    seconds: float = math.inf,
) -> dict[tuple[str, str], Result]:
    """Every contender in every case, in interleaved rounds.

    Pixels are checked in the first round; who isn't right is in no further one. No round begins
    after so many seconds.
    """
    found = {(case.name, one.name): Result() for case in cases for one in contenders}
    began = time.monotonic()
    for turn in range(rounds):
        if time.monotonic() - began > seconds:
            break
        for case in cases:
            for one in [*contenders[turn:], *contenders[:turn]]:
                result = found[case.name, one.name]
                if not result.failure:
                    once(bench, case, one, result)
    return found


def once(bench: Bench, case: Case, one: Contender, result: Result) -> None:
    """One read more."""
    try:
        if result.verdict is None:
            took, result.verdict = bench.check(one, case)
        else:
            took = bench.run(one, case)
    except (OSError, subprocess.SubprocessError, homes.Missing) as error:
        result.failure = _last(error)
        say(f"{case.name:9} {one.name:16} {result.failure}")
        return
    say(f"{case.name:9} {one.name:16} {took.wall:7.3f} s ({took.cpu:.3f})  {result.verdict}")
    if right(one, case, result.verdict):
        result.took.append(took)
    else:
        result.failure = f"not right: {result.verdict}"


def right(one: Contender, case: Case, verdict: Verdict) -> bool:
    """Whether a contender's time counts."""
    if case.name == "overview" and one.name != "mosaic":  # each has its own choice of overview
        return verdict.near >= 0.97
    return verdict.equal >= one.equal and verdict.near >= 0.99


def _last(error: Exception) -> str:
    lines = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=homes.CACHE / "corpus", help="scenes")
    parser.add_argument("--out", type=Path, default=ROOT / "catalogs/bench.png", help="figure")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=math.inf, help="no round begins later")
    parser.add_argument("--only", action="append", choices=list(CONTENDERS))
    parser.add_argument("--case", action="append")
    given = parser.parse_args()
    contenders = [CONTENDERS[name] for name in given.only or CONTENDERS]
    with served(given.work, Corpus()) as bench:
        cases = [case for case in bench.cases if not given.case or case.name in given.case]
        limits, plans = {}, {}
        for case in cases:
            if case.name in ("seam", "small"):
                limits[case.name] = limit(bench.sources["seam"], case.window)
            if case.before is None:
                with contextlib.closing(Gate()) as gate:
                    plans[case.name] = (
                        lazy(bench.sources["seam"], case.window, gate).mosaic.plan().least
                    )
        found = compared(bench, cases, contenders, given.rounds, given.minutes * 60)
    names, titles = [case.name for case in cases], [one.name for one in contenders]
    print(told.table(found, names, titles))
    print(told.against_plan(found, plans, titles[0]))
    print(told.against_limit(found, limits, LATENCY, titles[0]))
    print(told.conditions(max(len(result.took) for result in found.values())))
    told.figure(found, names, titles, given.out)


if __name__ == "__main__":
    main()
