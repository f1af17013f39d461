"""Mosaics to export; never written to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import mosaic
from mosaic.cli import main
from mosaic.exporter import windows
from tests.cube.conftest import native as native
from tests.cube.conftest import seamed as seamed
from tests.support.series import write_series


@pytest.fixture(scope="session")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mosaic of six dates with classes (SCL), 8-bit, beside bands of 16 bits."""
    home = tmp_path_factory.mktemp("series")
    mosaic.build(write_series(home / "scenes", size=192, res=60.0, dates=4), home / "mosaic")
    return home / "mosaic"


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> int:
    """Windows of 128 pixels a side, so that there are many."""
    monkeypatch.setattr(windows, "LARGEST", 128)
    return 128


@pytest.fixture
def cli() -> Callable[..., Result]:
    """Runs a command as from a shell."""

    def run(*args: object) -> Result:
        return CliRunner().invoke(main, [*map(str, args)])

    return run


def left_behind(folder: Path) -> list[str]:
    """What lies hidden in a folder."""
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))
