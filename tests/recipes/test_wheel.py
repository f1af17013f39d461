"""The recipes travel in the wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mosaic.recipes.load import names

ROOT = Path(__file__).resolve().parents[2]


def test_the_wheel_holds_every_recipe_once(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        files = [name for name in wheel.namelist() if name.endswith(".toml")]
        wheel.extractall(tmp_path / "site")
    expected = [f"mosaic/recipes/{name}.toml" for name in names()]
    assert sorted(files) == sorted([*expected, "mosaic/storage/providers.toml"])
    assert not [path for path in (tmp_path / "site").rglob("*") if "sample" in path.name]
    said = subprocess.run(
        [sys.executable, "-m", "mosaic", "recipes"],
        cwd=tmp_path / "site",
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": ""},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert [line.split()[0] for line in said.splitlines()] == list(names())
