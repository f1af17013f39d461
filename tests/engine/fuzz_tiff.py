"""The TIFF parser and decoder under a coverage-guided fuzzer; ``make fuzz`` runs it.

    python -m tests.engine.fuzz_tiff -max_total_time=300

Takes libFuzzer's own arguments. Needs atheris, which the tests don't. A crash, an exception
outside the tree of errors, a case of more than 10 s or 2 GiB ends it and leaves the bytes behind.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["mosaic.engine"]):
    from mosaic.engine import tiff  # noqa: F401 - the first import is the one that is instrumented

from tests.engine.test_tiff_hostile import SEEDS, read_all


def _one(data: bytes) -> None:
    if data:
        read_all(data[1:], known=bool(data[0] & 1))


def main() -> None:
    """Fuzz, beginning with the sound files that the tests damage."""
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(SEEDS):
            Path(folder, str(number)).write_bytes(b"\1" + seed)
        limits = ["-timeout=10", "-rss_limit_mb=2048", "-max_len=20000"]
        atheris.Setup([sys.argv[0], *limits, *sys.argv[1:], folder], _one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
