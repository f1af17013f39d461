"""A mosaic appears whole or not at all: exchange, kill -9, foreign files, a full disk."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import rasterio
from click.testing import Result

import mosaic
from mosaic import files, plot
from mosaic.builder import publish
from mosaic.errors import CatalogError, CatalogExistsError
from tests.build import drivers
from tests.build.conftest import read_rows, snapshot
from tests.support.scenes import read, seam_scenes, write_scenes

Cli = Callable[..., Result]
Bytes = dict[str, bytes | str | None]

FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["__main__", "tests.build.drivers"])


def names(folder: Path) -> list[str]:
    """What lies in a folder, hidden or not."""
    return sorted(path.name for path in folder.iterdir())


def hidden(folder: Path) -> list[str]:
    """What a build may leave beside a mosaic."""
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def check_whole(folder: Path, res: float) -> None:
    """A mosaic of this pixel size with all of its files, every index of which reads."""
    found = mosaic.info(folder)
    assert found["resolution"] == [res, res]
    document = orjson.loads((folder / "collection.json").read_bytes())
    assert {"items.parquet", "catalog.json", "preview.png"} <= set(document["mosaic:files"])
    for name in document["mosaic:files"]:
        assert (folder / name).stat().st_size > 0
    for name in found["indexes"]:
        with rasterio.open(folder / name) as dataset:
            assert dataset.res == (res, res)
            assert dataset.read(1).any()
    assert not (folder / ".unfinished").exists()
    assert not list(folder.glob("*.ndjson"))


def start(target: Callable[..., None], *args: object) -> Any:
    """A process that runs a driver."""
    process = FORK.Process(target=target, args=args)
    process.start()
    return process


def test_first_build_appears_whole(small: Path, tmp_path: Path) -> None:
    report = mosaic.build(small, tmp_path / "new" / "m")
    assert report.path == str(tmp_path / "new" / "m")
    check_whole(tmp_path / "new" / "m", 60)
    assert names(tmp_path / "new") == ["m"]


@pytest.mark.parametrize("exchange", [True, False], ids=["renameat2", "renames"])
def test_overwrite_replaces_all(
    small: Path, tmp_path: Path, exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "m"
    mosaic.build(small, out, slices="day")
    assert (out / "B04_2025-06-01.gti").exists()
    if not exchange:
        monkeypatch.setattr(files, "_renameat2", lambda one, other: False)
    (out / "B04.gti.gpkg.aux.xml").write_text("statistics of the old index")
    (out / "B04.gti.gpkg-wal").write_bytes(b"log of the old database")
    mosaic.build(small, out, res=120, overwrite=True)
    check_whole(out, 120)
    assert set(snapshot(out)) == set(
        orjson.loads((out / "collection.json").read_bytes())["mosaic:files"]
    )
    assert names(tmp_path) == ["m"]


def test_exchange_is_one_step_here(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not files._renameat2(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this system has no renameat2: exchanges are made of renames")
    assert (tmp_path / "a" / "b").exists()
    assert (tmp_path / "b" / "a").exists()


def test_reader_never_sees_a_missing_or_mixed_mosaic(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # half of a small build's time is drawing
    monkeypatch.setattr(plot, "footprints", lambda path, *args: path.write_bytes(b"PNG"))
    out = tmp_path / "m"
    mosaic.build(small, out)
    stop = FORK.Event()
    answer, theirs = FORK.Pipe()
    reader = start(drivers.read_on, str(out), stop, theirs)
    for number in range(30):
        mosaic.build(small, out, res=(60, 120)[number % 2], overwrite=True)
    stop.set()
    assert answer.poll(30)
    reads, seen, wrong = answer.recv()
    reader.join()
    assert not wrong
    assert reads > 100
    assert {60, 120} <= seen  # it did read while mosaics changed


@pytest.mark.parametrize("exchange", [True, False], ids=["renameat2", "renames"])
def test_killed_at_random(small: Path, tmp_path: Path, exchange: bool) -> None:
    out = tmp_path / "m"
    mosaic.build(small, out)
    (out / "mine.txt").write_text("the user's")
    chance = random.Random(7)
    leftovers = finished = 0
    res = 120
    for _ in range(25):
        before = snapshot(out)
        ours, theirs = FORK.Pipe()
        process = start(drivers.build, str(small), str(out), res, exchange, theirs)
        assert ours.poll(30)
        assert ours.recv() == "start"
        time.sleep(chance.uniform(0, 0.35))
        process.kill()
        process.join()
        leftovers += any(name.startswith(".m.building-") for name in hidden(tmp_path))
        if not out.exists():
            assert not exchange
            mosaic.info(out)
        if snapshot(out) != before:
            check_whole(out, res)
            finished += 1
            res = 180 - res
        assert (out / "mine.txt").read_text() == "the user's"
    assert leftovers >= 5  # else the kills came too late to show anything
    mosaic.build(small, out, overwrite=True)
    assert hidden(tmp_path) == []
    check_whole(out, 60)
    assert (out / "mine.txt").read_text() == "the user's"


def test_killed_first_build_leaves_no_target(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "m"
    chance = random.Random(3)
    killed = 0
    for _ in range(8):
        ours, theirs = FORK.Pipe()
        process = start(drivers.build, str(small), str(out), 60, True, theirs)
        assert ours.poll(30)
        assert ours.recv() == "start"
        time.sleep(chance.uniform(0, 0.1))
        process.kill()
        process.join()
        if out.exists():
            check_whole(out, 60)
            shutil.rmtree(out)
        else:
            killed += 1
            with pytest.raises(CatalogError, match="holds no mosaic"):
                mosaic.info(out)
    assert killed
    mosaic.build(small, out)
    assert names(tmp_path) == ["m"]


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("healer", ["info", "build", "overwrite"])
def test_killed_between_renames(small: Path, tmp_path: Path, number: int, healer: str) -> None:
    out = tmp_path / "m"
    mosaic.build(small, out)
    (out / "scene").mkdir()
    (out / "scene" / "mine.tif").write_bytes(b"the user's")
    before = snapshot(out)
    process = start(drivers.die_at_rename, str(small), str(out), number)
    process.join()
    assert process.exitcode == -9
    assert hidden(tmp_path)
    assert out.exists() == (number != 2)
    if healer == "info":
        assert mosaic.info(out)["resolution"] == ([60, 60] if number == 1 else [120, 120])
    elif healer == "build":
        with pytest.raises(CatalogExistsError):
            mosaic.build(small, out)
    else:
        mosaic.build(small, out, res=240, overwrite=True)
        assert hidden(tmp_path) == []
    if number == 1 and healer != "overwrite":
        assert snapshot(out) == before
    else:
        check_whole(out, 240 if healer == "overwrite" else 120)
    assert (out / "scene" / "mine.tif").read_bytes() == b"the user's"


def test_a_build_does_not_sweep_a_living_one(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "m"
    with publish.building(out, False) as folder:
        (folder / "half").touch()
        mosaic.build(small, out)
        assert (folder / "half").exists()
        shutil.rmtree(out)


def test_the_later_of_two_builds_does_not_overwrite_unasked(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "m"

    def second() -> None:
        with publish.building(out, False):
            mosaic.build(small, out)

    with pytest.raises(CatalogExistsError, match="--overwrite"):
        second()
    check_whole(out, 60)
    assert names(tmp_path) == ["m"]


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    """A folder with scenes and other things of the user's, in which a mosaic is to be built."""
    out = tmp_path / "place" / "m"
    write_scenes(out, seam_scenes(64, 60.0, ("B04",), dates=1))
    (out / "notes.txt").write_text("notes")
    (out / "empty" / "deep").mkdir(parents=True)
    (out / "elsewhere").symlink_to(tmp_path)
    (out / "broken").symlink_to("nowhere")
    (out / "vrt").mkdir()
    (out / "vrt" / "mine.vrt").write_text("mine")
    return out


def test_what_lies_in_the_folder_stays(inside: Path, tmp_path: Path) -> None:
    before = snapshot(inside)
    inode = (inside / "S2_32_0_0" / "B04.tif").stat().st_ino
    for res in (60, 120, 60):
        mosaic.build(inside / "items.json", inside, res=res, overwrite=True)
        after = snapshot(inside)
        assert {name: after[name] for name in before} == before
        check_whole(inside, res)
    assert (inside / "S2_32_0_0" / "B04.tif").stat().st_ino == inode  # linked, not copied
    own = orjson.loads((inside / "collection.json").read_bytes())["mosaic:files"]
    assert set(snapshot(inside)) == set(before) | set(own)
    rows = read_rows(inside / "B04.gti.gpkg")
    assert sorted(rows) == sorted(f"S2_3{z}_{r}_0/B04.tif" for z in (2, 3) for r in (0, 1))
    pixels = read(inside / "B04.gti.gpkg")
    moved = inside.rename(tmp_path / "moved")
    assert pixels.any()
    assert (read(moved / "B04.gti.gpkg") == pixels).all()


def test_rasters_inside_the_folder_by_folder(inside: Path) -> None:
    for _ in range(3):
        report = mosaic.build(inside, inside, overwrite=True, skip_bad=True)
        assert report.items == 4  # indexes, stacks and previews are no scenes


def test_a_scene_that_is_replaced_during_a_build_is_not_lost(small: Path, tmp_path: Path) -> None:
    """Editors and GDAL write a new file and rename it: its inode differs from the one linked."""
    out = tmp_path / "m"
    mosaic.build(small, out)
    (out / "scene.tif").write_bytes(b"old")
    real = publish.exchange

    def exchange(one: Path, other: Path) -> None:
        if not (other / "late.tif").exists():
            fresh = tmp_path / "fresh"
            fresh.write_bytes(b"new")
            fresh.replace(out / "scene.tif")
            (out / "late.tif").write_bytes(b"late")
        real(one, other)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish, "exchange", exchange)
        mosaic.build(small, out, overwrite=True)
    assert (out / "scene.tif").read_bytes() == b"new"
    assert (out / "late.tif").read_bytes() == b"late"
    assert hidden(tmp_path) == []


def test_a_file_that_appears_under_our_name_during_a_build_is_not_lost(
    small: Path, tmp_path: Path
) -> None:
    out = tmp_path / "m"
    mosaic.build(small, out)
    before = snapshot(out)
    real = publish.exchange

    def exchange(one: Path, other: Path) -> None:
        for path in one.glob("*.gti"):
            (out / path.name).write_text("the user's")
        return real(one, other)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish, "exchange", exchange)
        with pytest.raises(CatalogExistsError, match="isn't mosaic's"):
            mosaic.build(small, out, slices="month", overwrite=True)
    assert snapshot(out) == before | {"B04_2025-06.gti": b"the user's"}


@pytest.mark.parametrize("name", ["B04.gti.gpkg", "items.parquet", "catalog.json"])
def test_a_file_of_the_users_in_the_way(small: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "m"
    out.mkdir()
    (out / name).write_text("the user's")
    with pytest.raises(CatalogExistsError, match=f"{name} isn't mosaic's and is in its way"):
        mosaic.build(small, out, overwrite=True)
    assert snapshot(out) == {name: b"the user's"}
    assert names(tmp_path) == ["m"]


def test_a_file_of_the_users_in_the_way_of_a_later_build(seam: Path, tmp_path: Path) -> None:
    out = tmp_path / "m"
    mosaic.build(seam, out, bands=["B04"])
    (out / "B03.gti.gpkg").write_text("the user's")
    before = snapshot(out)
    with pytest.raises(CatalogExistsError, match=r"B03\.gti\.gpkg"):
        mosaic.build(seam, out, bands=["B03"], overwrite=True)
    assert snapshot(out) == before
    assert names(tmp_path) == ["m"]


def test_exists_already(small: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "m"
    mosaic.build(small, out)
    before = snapshot(out)
    result = cli("build", small, "-o", out, "--res", "120")
    assert result.exit_code == 1
    assert result.stderr == f"mosaic: {out} holds a mosaic already: --overwrite replaces it\n"
    assert snapshot(out) == before


@pytest.mark.parametrize("where", [".", "deeper"])
def test_the_current_folder_is_refused(
    small: Path, tmp_path: Path, where: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deeper").mkdir()
    monkeypatch.chdir(tmp_path / where)
    result = cli("build", small, "-o", tmp_path)
    assert result.exit_code == 1
    assert "the current folder" in result.stderr
    assert "name another folder" in result.stderr
    assert names(tmp_path) == ["deeper"]


@pytest.mark.parametrize("kind", ["file", "link to a folder", "broken link"])
def test_target_is_no_folder(small: Path, tmp_path: Path, kind: str, cli: Cli) -> None:
    out = tmp_path / "m"
    if kind == "file":
        out.write_text("mine")
    else:
        (tmp_path / "folder").mkdir()
        out.symlink_to(tmp_path / ("folder" if kind == "link to a folder" else "nowhere"))
    before = snapshot(tmp_path)
    result = cli("build", small, "-o", out, "--overwrite")
    assert result.exit_code == 1
    assert result.stderr == f"mosaic: {out} is there and is no folder\n"
    assert snapshot(tmp_path) == before


def test_folder_below_a_file(small: Path, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "file").touch()
    result = cli("build", small, "-o", tmp_path / "file" / "m")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"mosaic: {tmp_path}/file/m: ")
    assert result.stderr.count("\n") == 1


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user may enter (pytest's own are private)."""
    folder = Path(tempfile.mkdtemp(prefix="mosaic-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("there", [False, True], ids=["first", "overwrite"])
def test_unwritable_folder(public: Path, there: bool) -> None:
    items = write_scenes(public / "in", seam_scenes(64, 60.0, ("B04",), dates=1))
    (public / "out").mkdir()
    out = public / "out" / "m"
    if there:
        mosaic.build(items, out)
    before = snapshot(public)
    (public / "out").chmod(0o555)
    ours, theirs = FORK.Pipe()
    args = ["build", str(items), "-o", str(out), "--overwrite"]
    process = start(drivers.as_nobody, args, theirs)
    assert ours.poll(60)
    code, text = ours.recv()
    process.join()
    (public / "out").chmod(0o755)
    assert code == 1, (code, text)
    assert text == f"mosaic: {out}: the folder can't be written (Permission denied)\n"
    assert snapshot(public) == before


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "mosaic-test", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        reason = done.stderr.strip()
    except FileNotFoundError:
        reason = "there is no mount command"
    if reason:
        if os.environ.get("CI"):
            pytest.fail(f"CI must be able to mount a small disk: {reason}")
        pytest.skip(f"needs root to mount a small disk: {reason}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(disk: Path, free: int) -> None:
    """Leaves ``free`` bytes."""
    state = os.statvfs(disk)
    (disk / "ballast").write_bytes(b"x" * max(0, state.f_bavail * state.f_frsize - free))


def test_full_disk(small: Path, tiny_disk: Path, cli: Cli) -> None:
    out = tiny_disk / "m"
    mosaic.build(small, out)
    before = snapshot(out)
    used = sum(len(held) for held in before.values() if isinstance(held, bytes))
    refused = 0
    for free in range(0, 3 * used, 16384):
        _fill(tiny_disk, free)
        result = cli("build", small, "-o", out, "--overwrite", "--res", "120")
        (tiny_disk / "ballast").unlink()
        if result.exit_code == 0:
            break
        refused += 1
        assert result.exit_code == 1
        assert result.stderr == f"mosaic: {out}: the disk is full; nothing was changed\n", free
        assert names(tiny_disk) == ["m"]
        assert snapshot(out) == before
    else:
        pytest.fail("the disk never had enough room: make it larger")
    # nothing, the spool, the index, its XML, items.parquet, the preview, the STAC documents
    assert refused > 8
    check_whole(out, 120)


def test_full_disk_on_a_first_build(small: Path, tiny_disk: Path) -> None:
    _fill(tiny_disk, 65536)
    with pytest.raises(CatalogError, match="the disk is full"):
        mosaic.build(small, tiny_disk / "m")
    assert names(tiny_disk) == ["ballast"]
