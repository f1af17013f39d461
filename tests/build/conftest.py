"""Small scenes for the tests of the builder, and its command line within this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyogrio
import pytest
from click.testing import CliRunner, Result

import mosaic
from mosaic.cli import main
from tests.support.scenes import seam_scenes, write_scenes


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``items.json`` of four single-band scenes of 64 pixels in two zones; never written to."""
    folder = tmp_path_factory.mktemp("small")
    return write_scenes(folder, seam_scenes(64, 60.0, ("B04",), dates=1))


@pytest.fixture(scope="session")
def built(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mosaic of ``small``; copy it before you change it."""
    out = tmp_path_factory.mktemp("built") / "m"
    mosaic.build(small, out)
    return out


@pytest.fixture
def cli() -> Callable[..., Result]:
    """Runs ``mosaic`` with these arguments; an exception that isn't ours fails the test."""

    def run(*args: object, stdin: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(main, [str(arg) for arg in args], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def snapshot(folder: Path) -> dict[str, bytes | str | None]:
    """Every file, link and folder below ``folder``, with what it holds.

    But for the folder of the items' own files.
    """
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in sorted(folder.rglob("*"))
        if path != folder / "items"
    }


def read_rows(index: Path) -> list[str]:
    """The locations of an index."""
    found = pyogrio.read_arrow(index, columns=["location"])[1]
    return list(found["location"].to_pylist())
