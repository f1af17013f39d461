"""The command line, and folders that hold no mosaic, half of one, or a broken one."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

import mosaic
from mosaic.cli import main
from mosaic.errors import CatalogError, NotACatalogError, UsageError
from tests.check.conftest import errors
from tests.support.scenes import seam_scenes, write_scenes

Cli = Callable[..., Result]


@pytest.fixture
def cli() -> Cli:
    """Runs ``mosaic check``; an exception that isn't ours fails the test."""

    def run(*args: object) -> Result:
        result = CliRunner().invoke(main, ["check", *map(str, args)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def test_a_table(good: Path, cli: Cli) -> None:
    done = cli(good, "--offline")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert done.stderr == ""
    assert re.fullmatch(r"ok       files            (\d+) of \1 are there", lines[0])
    assert "ok       B03.gti.gpkg     8 tiles" in lines
    assert lines[-1].endswith("m is sound (1 unknown)")
    assert not any("https://" in line for line in lines)
    assert any("projection/v2.0.0" in line for line in cli(good, "--offline", "-v").stdout.split())


def test_a_table_of_what_is_wrong(broken: Path, cli: Cli) -> None:
    for folder in (broken / "scenes").iterdir():
        shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
    (broken / "B02.gti.gpkg.aux.xml").write_text("<PAMDataset/>")
    done = cli(broken, "--offline")
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert "error    local files      0 of 24 are there" in lines
    assert sum(line.startswith("error: item S2_3") for line in lines) == 20
    assert "error: … and 4 more (-v or --json)" in lines
    assert any(line.startswith("warning: B02.gti.gpkg.aux.xml lies beside it") for line in lines)
    assert lines[-1].endswith("m is not sound: 1 error, 1 warning, 1 unknown")
    every = cli(broken, "--offline", "-v").stdout.splitlines()
    assert sum(line.startswith("error: item S2_3") for line in every) == 24
    assert (broken / "B02.gti.gpkg.aux.xml").exists()


def test_json(broken: Path, cli: Cli) -> None:
    done = cli(broken, "--offline", "--json", "--all")
    assert done.exit_code == 0
    report = orjson.loads(done.stdout)
    assert report["ok"] is True
    counts = report["counts"]
    assert counts["ok"] >= 11
    assert (counts["unknown"], counts["warning"], counts["error"]) == (1, 0, 0)
    (broken / "scenes/S2_32_0_0/B02.tif").unlink()
    done = cli(broken, "--offline", "--json")
    assert done.exit_code == 1
    report = orjson.loads(done.stdout)
    (found,) = (one for one in report["findings"] if one["level"] == "error")
    (problem,) = found["problems"]
    assert (problem["item"], problem["asset"]) == ("S2_32_0_0", "B02")


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Sizes and times of all files."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
    }


def test_a_check_changes_nothing(broken: Path, empty: Path) -> None:
    for name in ("B02.gti.gpkg", "B04_B03_B02.vrt", "scenes/S2_32_0_0/B02.tif"):
        (broken / f"{name}.aux.xml").write_text("<PAMDataset/>")
    before = snapshot(broken)
    mosaic.check(broken, schemas=empty, all=True)
    assert snapshot(broken) == before


# ---- what is no mosaic


def _file(folder: Path) -> Path:
    (folder / "x").write_text("hello")
    return folder / "x"


def _with(name: str, content: str | bytes | dict[str, object]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        if isinstance(content, dict):
            (folder / name).write_bytes(orjson.dumps(content))
        else:
            data = content.encode() if isinstance(content, str) else content
            (folder / name).write_bytes(data)
        return folder

    return write


OTHER: dict[str, object] = {
    "type": "Collection",
    "stac_version": "1.0.0",
    "id": "sentinel-2-l2a",
    "description": "of another kind",
    "license": "proprietary",
    "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None] * 2]}},
    "links": [],
}
LANDING: dict[str, object] = {
    "type": "Catalog",
    "stac_version": "1.0.0",
    "id": "api",
    "description": "an API",
    "conformsTo": ["https://api.stacspec.org/v1.0.0/core"],
    "links": [],
}
NO_MOSAIC = [
    ("nothing", lambda folder: folder / "gone", "gone: no such folder"),
    ("file", _file, "is a file; check takes the folder of a mosaic"),
    ("empty", lambda folder: folder, "holds no mosaic: there is no collection.json"),
    ("collection", _with("collection.json", OTHER), "a STAC Collection, but none that mosaic made"),
    ("landing", _with("catalog.json", LANDING), "no collection.json, though a catalog.json"),
    ("landing too", _with("collection.json", LANDING), "is a STAC Catalog, but none"),
    ("html", _with("collection.json", "<!DOCTYPE html><html>"), "collection.json is HTML"),
    ("list", _with("collection.json", "[1]"), "is JSON, but none"),
    ("text", _with("collection.json", "{"), "is no JSON"),
    ("empty file", _with("collection.json", ""), "is no JSON"),
    ("binary", _with("collection.json", b"\xff\xfe\x00"), "is no JSON"),
    ("mark", _with("collection.json", {**OTHER, "mosaic:grid": {}}), "mosaic:grid is broken"),
    ("mark too", _with("collection.json", {**OTHER, "mosaic:grid": 7}), "mosaic:grid is broken"),
    (
        "marks",
        _with(
            "collection.json",
            {**OTHER, "mosaic:grid": {"crs": "EPSG:0", "shape": [1, 1], "transform": [1] * 6}},
        ),
        "mosaic:grid is broken",
    ),
]


@pytest.mark.parametrize(
    ("make", "words"), [n[1:] for n in NO_MOSAIC], ids=[n[0] for n in NO_MOSAIC]
)
def test_no_mosaic(tmp_path: Path, cli: Cli, make: Callable[[Path], Path], words: str) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    path = make(folder)
    done = cli(path, "--offline")
    assert done.exit_code == 1
    assert words in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    told = orjson.loads(cli(path, "--offline", "--json").stdout)
    assert told["error"] in ("NotACatalogError", "CatalogError")
    with pytest.raises(CatalogError):
        mosaic.check(path, offline=True)


def test_a_collection_of_another_kind_from_the_wild(shared: Path) -> None:
    for folder in (
        "radiantearth+stac-spec/examples",
        "stac-utils+stactools/tests/data-files/planet-disaster",
    ):
        with pytest.raises(NotACatalogError, match="mosaic build"):
            mosaic.check(shared / folder, offline=True)


def test_arguments_that_cant_be_meant(good: Path, cli: Cli) -> None:
    with pytest.raises(
        UsageError, match=r"folders of this machine, not on https://host\.example/m$"
    ):
        mosaic.check("https://host.example/m?sig=SECRET")
    with pytest.raises(UsageError, match="above 0"):
        mosaic.check(good, sample=0)
    assert cli(good, "--sample", 0).exit_code == 2
    assert "--schemas" in cli(good, "--schemas", good / "nowhere").stderr


ODD: list[Callable[[dict[str, object]], object]] = [
    lambda d: d.update(links=7),
    lambda d: d.update(links=[7, {"rel": "item"}, {"rel": "item", "href": [1]}]),
    lambda d: d.update(assets=[1]),
    lambda d: d.update(assets={"B03": 7, "B04": {"roles": 7, "href": 7}}),
    lambda d: d.update(stac_extensions=7),
    lambda d: d.update({"mosaic:files": 1.5}),
    lambda d: d.update({"mosaic:files": [None, {}]}),
    lambda d: d.update({"mosaic:sort": 7, "mosaic:items": "8"}),
    lambda d: d.update({"mosaic:assets": ["B02", "../../etc/passwd", ""]}),
    lambda d: d.clear() or d.update({"mosaic:grid": GRID, "mosaic:assets": []}),  # type: ignore[func-returns-value]
]
GRID = {"crs": "EPSG:32633", "shape": [64, 64], "transform": [60, 0, 0, 0, -60, 0]}


@pytest.mark.parametrize("change", ODD)
def test_a_collection_of_odd_fields_is_told(
    broken: Path, cli: Cli, change: Callable[[dict[str, object]], object]
) -> None:
    document = orjson.loads((broken / "collection.json").read_bytes())
    change(document)
    (broken / "collection.json").write_bytes(orjson.dumps(document))
    done = cli(broken, "--offline")
    assert done.exit_code == 1
    assert done.stderr == ""


def test_the_sample_is_sound(cli: Cli) -> None:
    sample = Path(__file__).resolve().parents[2] / "catalogs" / "sample"
    assert cli(sample, "--offline", "--all").exit_code == 0


# ---- half a mosaic

HALVES: list[tuple[str, Callable[[Path], object], str, str]] = [
    ("no index", lambda m: (m / "B03.gti.gpkg").unlink(), "B03.gti.gpkg", "isn't there"),
    ("no items", lambda m: (m / "items.parquet").unlink(), "items.parquet", "isn't there"),
    ("no catalog", lambda m: (m / "catalog.json").unlink(), "files", "catalog.json"),
    ("no slice", lambda m: (m / "B03_2025-06-01.gti").unlink(), "slices", "B03_2025-06-01.gti"),
    ("no stack", lambda m: (m / "B04_B03_B02.vrt").unlink(), "B04_B03_B02.vrt", "can't be read"),
    ("no preview", lambda m: (m / "preview.png").unlink(), "files", "preview.png"),
    ("cut index", lambda m: cut(m / "B03.gti.gpkg", 0.4), "B03.gti.gpkg", "build the mosaic again"),
    ("cut, 1 kB", lambda m: cut(m / "B03.gti.gpkg", 0.01), "B03.gti.gpkg", "build the mosaic"),
    ("empty index", lambda m: cut(m / "B03.gti.gpkg", 0), "B03.gti.gpkg", "build the mosaic again"),
    (
        "HTML index",
        lambda m: (m / "B03.gti.gpkg").write_text("<!doctype html>" * 100),
        "B03.gti.gpkg",
        "not a database",
    ),
    ("other table", lambda m: renamed(m / "B03.gti.gpkg"), "B03.gti.gpkg", "lacks the columns"),
    ("no XML", lambda m: without_xml(m / "B03.gti.gpkg"), "B03.gti.gpkg", "carries no GTI XML"),
    ("cut items", lambda m: cut(m / "items.parquet", 0.5), "items.parquet", "can't be read"),
    ("empty items", lambda m: cut(m / "items.parquet", 0), "items.parquet", "can't be read"),
    ("HTML catalog", lambda m: (m / "catalog.json").write_text("<html>"), "files", "is no JSON"),
    ("list catalog", lambda m: (m / "catalog.json").write_text("[]"), "STAC documents", "object"),
]  # fmt: skip


def cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def renamed(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA legacy_alter_table = ON")
        for (name,) in database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            database.execute(f'DROP TRIGGER "{name}"')
        database.execute("ALTER TABLE tiles RENAME TO others")
    database.close()


def without_xml(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("UPDATE gpkg_metadata SET metadata = ''")
    database.close()


@pytest.mark.parametrize(
    ("harm", "check", "words"), [h[1:] for h in HALVES], ids=[h[0] for h in HALVES]
)
def test_half_a_mosaic(
    broken: Path, cli: Cli, harm: Callable[[Path], object], check: str, words: str
) -> None:
    harm(broken)
    done = cli(broken, "--offline")
    assert done.exit_code == 1
    assert done.stderr == ""
    report = mosaic.check(broken, offline=True)
    found = next(one for one in errors(report) if one.check == check)
    assert any(words in str(problem) for problem in found.problems), found.problems
    assert "Traceback" not in done.output


def test_a_build_that_was_killed_holds_no_mosaic(tmp_path: Path, cli: Cli) -> None:
    scenes = write_scenes(tmp_path / "in", seam_scenes(64, 60.0, ("B04",), dates=1))
    mosaic.build(scenes, tmp_path / "m")
    (tmp_path / "m/collection.json").unlink()  # it is written last
    done = cli(tmp_path / "m", "--offline")
    assert done.exit_code == 1
    assert "there is no collection.json, though a catalog.json" in done.stderr
