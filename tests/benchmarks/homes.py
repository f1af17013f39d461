"""The environments of the contenders: made once by pip, outside the tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CACHE = Path(
    os.environ.get("MOSAIC_BENCH")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mosaic-bench"
)
"""Where they lie, and the scenes."""
PACKAGES = {
    "peers": ("odc-stac==0.5.3", "stackstac==0.5.1", "rio-tiler==9.4.12"),
    # the last rustac of whose DuckDB there are extensions as wheels
    "lazycogs": (
        "lazycogs==0.7.0",
        "rustac==0.9.17",
        "duckdb-extension-icu==1.5.5",
        "duckdb-extension-parquet==1.5.5",
        "duckdb-extension-spatial==1.5.5",
    ),
}
"""What each holds, besides our own."""


class Missing(RuntimeError):  # noqa: N818 (it is a state, not a mistake)
    """An environment isn't there and can't be made."""


def python(home: str) -> str:
    """The interpreter of an environment. Raises Missing."""
    if home == "own":
        return sys.executable
    found = CACHE / home / "bin/python"
    if not (CACHE / home / "made").is_file():
        _make(home)
    return str(found)


def _make(home: str) -> None:
    base = sys.executable if home == "peers" else _python313()
    shutil.rmtree(CACHE / home, ignore_errors=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run([base, "-m", "venv", CACHE / home], check=True)
        pip = [CACHE / home / "bin/python", "-m", "pip", "install", "-q", *PACKAGES[home]]
        subprocess.run(pip, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise Missing(f"no environment with {', '.join(PACKAGES[home])}: {error}") from error
    (CACHE / home / "made").touch()


def _python313() -> str:
    """Python 3.13 or newer, which lazycogs needs: ``MOSAIC_BENCH_PYTHON``, or of the path."""
    names = (os.environ.get("MOSAIC_BENCH_PYTHON", ""), "python3.14", "python3.13", "python3")
    for name in names:
        found = shutil.which(name) if name else None
        told = [found, "-c", "import sys; sys.exit(sys.version_info < (3, 13))"]
        if found and subprocess.run(told, capture_output=True, check=False).returncode == 0:
            return str(Path(found))
    raise Missing("no Python 3.13 for lazycogs: name one by MOSAIC_BENCH_PYTHON")
