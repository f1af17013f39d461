"""odc.stac.load by this package's driver and by its own, at 30 ms:  make bench-odc

As ``make bench``: interleaved rounds, a process for each read, pixels judged against PROJ's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.benchmarks import homes, told
from tests.benchmarks.bench_read import compared, served
from tests.benchmarks.contenders import DRIVERS
from tests.benchmarks.seam import Corpus


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=homes.CACHE / "corpus", help="scenes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", choices=list(DRIVERS))
    parser.add_argument("--case", action="append", choices=["seam", "small", "churro"])
    given = parser.parse_args()
    contenders = [DRIVERS[name] for name in given.only or DRIVERS]
    with served(given.work, Corpus()) as bench:
        names = given.case or ["seam", "small", "churro"]
        cases = [case for case in bench.cases if case.name in names]
        found = compared(bench, cases, contenders, given.rounds)
    print(told.table(found, names, [one.name for one in contenders]))
    print(told.conditions(max(len(result.took) for result in found.values())))


if __name__ == "__main__":
    main()
