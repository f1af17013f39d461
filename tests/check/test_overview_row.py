"""The coarse overview of an index, which is a row without an item."""

from __future__ import annotations

from pathlib import Path

import pytest

import mosaic
from mosaic.checker.findings import Finding
from tests.check.conftest import copied, edit_xml, opened
from tests.support.scenes import seam_scenes, write_scenes

INDEX = "B04.gti.gpkg"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("overview") / "m"
    scenes = write_scenes(out / "scenes", seam_scenes(256, 60.0, ("B04",)))
    mosaic.build(scenes, out, slices="day", overview=500)
    return out


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return copied(made, tmp_path / "m")


def of_index(folder: Path, empty: Path) -> Finding:
    report = mosaic.check(folder, schemas=empty)
    (found,) = (one for one in report.findings if one.check == INDEX)
    return found


def test_a_mosaic_with_an_overview_is_sound(folder: Path, empty: Path) -> None:
    assert (folder / "B04_overview.tif").is_file()
    assert mosaic.check(folder, schemas=empty).ok
    assert of_index(folder, empty).count == 8


def test_an_overview_that_is_gone(folder: Path, empty: Path) -> None:
    (folder / "B04_overview.tif").unlink()
    (problem,) = of_index(folder, empty).problems
    assert "its overview B04_overview.tif no such file" in problem.what


def test_an_overview_that_the_index_would_show(folder: Path, empty: Path) -> None:
    edit_xml(folder / INDEX, lambda text: text.replace("<Filter>item IS NOT NULL</Filter>", ""))
    assert of_index(folder, empty).level == "error"


def test_an_overview_of_somewhere_else(folder: Path, empty: Path) -> None:
    with opened(folder / INDEX) as database:
        database.execute(
            "UPDATE tiles SET location = 'scenes/S2_32_0_0/B04.tif' WHERE item IS NULL"
        )
    (problem,) = of_index(folder, empty).problems
    assert "doesn't cover the mosaic" in problem.what
