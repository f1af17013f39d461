"""A mosaic is brought up to date: as if built at once, whole at every moment, little is written."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
import rasterio
from affine import Affine
from click.testing import Result

import mosaic
from mosaic import plot
from mosaic.builder import rewrite
from mosaic.cube import built
from mosaic.errors import CatalogError, InputError, UsageError
from tests.build import drivers
from tests.support.scenes import Scene, ramp, read, seam_scenes, write_scene

Cli = Callable[..., Result]
Json = dict[str, Any]

FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["__main__", "tests.build.drivers"])

OLD, NEW, NEWER = (f"2025-07-0{day}T00:00:00Z" for day in (1, 2, 3))
SIZE = 48
LEFT, TOP, RES = 500040.0, 5300040.0, 60.0
SHIFTS = {"a": (0, 0), "b": (30, 0), "c": (60, 10), "d": (20, 30), "e": (40, 20), "far": (150, 5)}
"""Columns and rows by which scenes lie off the first one; they overlap, but for the last."""


@dataclass(frozen=True)
class State:
    """One state of a scene: its item, and its pixels of each band."""

    item: Json
    """STAC item with absolute hrefs."""
    scene: Scene
    """The scene."""
    pixels: dict[str, np.ndarray] = field(repr=False)
    """(h, w) by band."""

    def told(self, updated: str | None) -> Json:
        """Its item with another ``updated``, or none."""
        properties = {k: v for k, v in self.item["properties"].items() if k != "updated"}
        return {**self.item, "properties": properties | ({"updated": updated} if updated else {})}


def state(folder: Path, name: str, updated: str, more: float = 0) -> State:
    """A scene as it was at ``updated``, its pixels ``more`` above the truth."""
    column, row = SHIFTS[name]
    place = Affine(RES, 0, LEFT + column * RES, 0, -RES, TOP - row * RES)
    day = 1 + 2 * list(SHIFTS).index(name)
    scene = Scene(
        name,
        "EPSG:32633",
        place,
        (SIZE, SIZE),
        f"2025-06-{day:02d}T10:00:00Z",
        ("B03", "B04"),
        properties={"updated": updated},
    )
    own = folder / updated[:10]

    def truth(lon: np.ndarray, lat: np.ndarray, band: int) -> np.ndarray:
        return ramp(lon, lat, band) + more

    item = write_scene(own, scene, truth)
    for asset in item["assets"].values():
        asset["href"] = str(own / asset["href"])
    pixels = {band: scene.pixels(number, truth) for number, band in enumerate(scene.bands)}
    return State(item, scene, pixels)


@pytest.fixture(scope="module")
def was(tmp_path_factory: pytest.TempPathFactory) -> dict[str, State]:
    """All scenes as they were at first."""
    folder = tmp_path_factory.mktemp("was")
    return {name: state(folder, name, OLD) for name in SHIFTS}


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> dict[str, State]:
    """The same scenes, processed again: other files with other pixels."""
    folder = tmp_path_factory.mktemp("later")
    return {name: state(folder, name, NEW, 1000) for name in SHIFTS}


@pytest.fixture(scope="module")
def abcd(was: dict[str, State], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mosaic of four scenes; copied for each test."""
    out = tmp_path_factory.mktemp("abcd") / "m"
    mosaic.build([was[name].item for name in "abcd"], out, slices="month", stacks=[["B04", "B03"]])
    return out


@pytest.fixture
def out(abcd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mosaic of the scenes a to d, beside which nothing lies; its preview isn't drawn again."""
    # a third of a small update's time is drawing
    monkeypatch.setattr(plot, "footprints", lambda path, *args: path.write_bytes(b"PNG"))
    return Path(shutil.copytree(abcd, tmp_path / "place" / "m"))


def painted(states: Iterable[State], transform: Affine, shape: Any, band: str) -> np.ndarray:
    """What a mosaic is to show: scenes on one lattice, the latest on top."""
    canvas = np.zeros(shape, np.uint16)
    for one in by_time(states):
        place = one.scene.transform
        column, row = (round(part) for part in ~transform @ (place.c, place.f))
        canvas[row : row + SIZE, column : column + SIZE] = one.pixels[band]
    return canvas


def by_time(states: Iterable[State]) -> list[State]:
    return sorted(states, key=lambda one: one.scene.datetime)


def shows(out: Path, states: Iterable[State]) -> None:
    """A mosaic passes its check, and GDAL and mosaic read from it what the scenes hold."""
    wanted = by_time(states)
    ids = [one.scene.id for one in wanted]
    mosaic.check(out, all=True, offline=True).raise_for_errors()
    found = mosaic.read(out, bands=["B04", "B03"])
    for number, band in enumerate(("B04", "B03")):
        with rasterio.open(out / f"{band}.gti.gpkg") as dataset:
            want = painted(wanted, dataset.transform, dataset.shape, band)
            np.testing.assert_array_equal(dataset.read(1), want)
        np.testing.assert_array_equal(found.values[number], want)
        np.testing.assert_array_equal(found.valid[number], want != 0)
        assert drawn(out, band) == [
            (one.scene.id, one.item["assets"][band]["href"]) for one in wanted
        ]
    held = items(out)
    assert sorted(held) == sorted(ids)
    files = {path.stem: orjson.loads(path.read_bytes()) for path in (out / "items").iterdir()}
    assert sorted(files) == sorted(ids)
    for one in wanted:
        name, hrefs = one.scene.id, {b: a["href"] for b, a in one.item["assets"].items()}
        told = {band: held[name]["assets"][band]["href"] for band in hrefs}
        assert {band: os.path.normpath(out / href) for band, href in told.items()} == hrefs
        own = files[name]["assets"]
        where = {band: os.path.normpath(out / "items" / own[band]["href"]) for band in hrefs}
        assert where == hrefs
    assert mosaic.info(out)["items"] == len(ids)


def drawn(out: Path, band: str) -> list[tuple[str, str]]:
    """(item, absolute location) of each row of an index in drawing order, by SQLite."""
    base = sqlite3.connect(f"file:{out / band}.gti.gpkg?mode=ro", uri=True)
    try:
        found = base.execute("select item, location from tiles order by z").fetchall()
        (count,) = base.execute("select count(distinct z) from tiles").fetchone()
    finally:
        base.close()
    assert count == len(found)
    return [(item, os.path.normpath(out / where)) for item, where in found]


def items(out: Path) -> dict[str, Json]:
    """Rows of ``items.parquet`` by id."""
    table = pq.read_table(out / "items.parquet").to_pylist()
    found = {row["id"]: row for row in table}
    assert len(found) == len(table)
    return found


def traces(folder: Path) -> dict[str, Any]:
    """Inode, time and content of every file, and the folder's inode."""
    found: dict[str, Any] = {".": folder.stat().st_ino}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            told = path.stat()
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(folder))] = (told.st_ino, told.st_mtime_ns, digest)
    return found


def alone(out: Path) -> bool:
    """Whether nothing lies beside a mosaic."""
    return [path.name for path in out.parent.iterdir()] == [out.name]


def test_adds(out: Path, was: dict[str, State]) -> None:
    report = mosaic.update(out, [was["e"].item, was["far"].item])
    assert (report.added, report.replaced, report.dropped, report.items) == (2, 0, 0, 6)
    shows(out, was.values())
    assert alone(out)


def test_replaces_what_is_newer(
    out: Path, was: dict[str, State], later: dict[str, State], cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "items.json").write_bytes(
        orjson.dumps({"type": "FeatureCollection", "features": [later["b"].item, was["c"].item]})
    )
    result = cli("update", out, tmp_path / "items.json")
    assert result.exit_code == 0
    assert f"0 added, 1 replaced, 0 dropped: 4 items in {out}" in result.stderr
    shows(out, [was["a"], later["b"], was["c"], was["d"]])
    assert items(out)["b"]["updated"].isoformat()[:10] == NEW[:10]
    own = orjson.loads((out / "items" / "b.json").read_bytes())
    assert own["properties"]["updated"][:10] == NEW[:10]


def test_drops_by_id(out: Path, was: dict[str, State], cli: Cli) -> None:
    result = cli("update", out, "--drop", "d", "--drop", "a", "--json")
    assert result.exit_code == 0
    told = orjson.loads(result.stdout)
    assert [told[name] for name in ("added", "replaced", "dropped", "items")] == [0, 0, 2, 2]
    shows(out, [was["b"], was["c"]])


def test_drops_what_is_missing(out: Path, was: dict[str, State]) -> None:
    report = mosaic.update(out, [was[name].item for name in "bce"], drop_missing=True)
    assert (report.added, report.replaced, report.dropped, report.same) == (1, 0, 2, 2)
    shows(out, [was[name] for name in "bce"])


def test_all_at_once(out: Path, was: dict[str, State], later: dict[str, State]) -> None:
    report = mosaic.update(out, [later["c"].item, was["e"].item], drop=["a"])
    assert (report.added, report.replaced, report.dropped, report.items) == (1, 1, 1, 4)
    shows(out, [was["b"], later["c"], was["d"], was["e"]])


@pytest.mark.parametrize("tells", [True, False], ids=["updated", "no updated"])
def test_a_second_time_nothing_is_written(
    out: Path, was: dict[str, State], later: dict[str, State], tells: bool
) -> None:
    given = [later["b"], was["e"]]
    told = [one.item if tells else one.told(None) for one in given]
    first = mosaic.update(out, told)
    assert (first.added, first.replaced) == (1, 1)
    before = traces(out)
    again = mosaic.update(out, told)
    assert (again.added, again.replaced, again.dropped, again.same) == (0, 0, 0, 2)
    assert not again.changed
    assert traces(out) == before
    assert alone(out)
    shows(out, [was["a"], later["b"], was["c"], was["d"], was["e"]])


def test_an_older_state_is_not_taken(out: Path, was: dict[str, State], cli: Cli) -> None:
    before = traces(out)
    given = was["b"].told("2025-06-30T23:59:59Z")
    report = mosaic.update(out, [given])
    assert not report.changed
    assert report.notes == ("1 items were given in an earlier state: not taken",)
    assert traces(out) == before


def test_unknown_id(out: Path, cli: Cli) -> None:
    before = traces(out)
    result = cli("update", out, "--drop", "a", "--drop", "nobody")
    assert result.exit_code != 0
    assert "the mosaic has no item nobody" in result.stderr
    with pytest.raises(UsageError, match="no item nobody"):
        mosaic.update(out, drop=["a", "nobody"])
    assert traces(out) == before
    assert alone(out)


@pytest.mark.parametrize("newer", [True, False], ids=["newer", "as it is"])
def test_what_is_dropped_by_id_goes_though_it_is_given(
    out: Path, was: dict[str, State], later: dict[str, State], newer: bool
) -> None:
    given = (later if newer else was)["a"].item
    report = mosaic.update(out, [given, was["e"].item], drop=["a"])
    assert (report.added, report.replaced, report.dropped) == (1, 0, 1)
    shows(out, [was[name] for name in "bcde"])


def test_missing_from_nothing(out: Path, tmp_path: Path) -> None:
    """A source that has nothing, for once, doesn't empty a mosaic."""
    before = traces(out)
    (tmp_path / "none.json").write_bytes(b'{"type": "FeatureCollection", "features": []}')
    with pytest.raises(InputError, match="--drop-missing would drop all"):
        mosaic.update(out, tmp_path / "none.json", drop_missing=True)
    assert traces(out) == before


def test_nothing_to_update_from(out: Path, tmp_path: Path) -> None:
    before = traces(out)
    with pytest.raises(UsageError, match="wasn't built from a search: name what to update it"):
        mosaic.update(out)
    with pytest.raises(CatalogError, match="nowhere"):
        mosaic.update(tmp_path / "nowhere", drop=["a"])
    assert traces(out) == before


def test_files_of_the_users_stay(out: Path, was: dict[str, State]) -> None:
    (out / "mine").mkdir()
    (out / "mine" / "notes.txt").write_text("the user's")
    inode = (out / "mine" / "notes.txt").stat().st_ino
    mosaic.update(out, [was["e"].item], drop=["a"])
    assert (out / "mine" / "notes.txt").stat().st_ino == inode
    shutil.rmtree(out / "mine")
    shows(out, [was[name] for name in "bcde"])


def test_given_twice(out: Path, was: dict[str, State], later: dict[str, State]) -> None:
    """A newer and an older state of one item: an error or the newer, whatever their order."""
    for given in ([later["b"].item, was["b"].item], [was["b"].item, later["b"].item]):
        mosaic.update(out, given)
        shows(out, [was["a"], later["b"], was["c"], was["d"]])


def test_a_new_field_is_kept(out: Path, was: dict[str, State]) -> None:
    """One for which ``items.parquet`` has no column: the file is written anew."""
    item = was["e"].told(OLD)
    item["properties"]["eo:cloud_cover"] = 12.5
    mosaic.update(out, [item])
    shows(out, [was[name] for name in "abcde"])
    told = {name: row["eo:cloud_cover"] for name, row in items(out).items()}
    assert told == {"a": None, "b": None, "c": None, "d": None, "e": 12.5}


def test_nothing_would_be_left(out: Path) -> None:
    before = traces(out)
    with pytest.raises(UsageError, match="nothing would be left"):
        mosaic.update(out, drop=list("abcd"))
    assert traces(out) == before


def test_of_another_collection(out: Path, was: dict[str, State], later: dict[str, State]) -> None:
    before = traces(out)
    other = {**was["e"].item, "collection": "others"}
    with pytest.raises(InputError, match=r"e: is of the collection others.*are of scenes"):
        mosaic.update(out, [later["a"].item, other])
    assert traces(out) == before
    assert alone(out)
    report = mosaic.update(out, [later["a"].item, other], skip_bad=True)
    assert [one.item for one in report.left_out] == ["e"]
    shows(out, [later["a"], was["b"], was["c"], was["d"]])


@pytest.mark.parametrize("wrong", ["not.tif", "gone"])
def test_of_what_cannot_be_read(out: Path, was: dict[str, State], wrong: str) -> None:
    before = traces(out)
    item = orjson.loads(orjson.dumps(was["e"].item))
    for asset in item["assets"].values():
        for name in ("proj:shape", "proj:transform", "raster:bands"):
            del asset[name]
        asset["href"] = str(out.parent / wrong)
    if wrong == "not.tif":
        (out.parent / wrong).write_bytes(b"no TIFF")
    with pytest.raises(InputError, match=wrong):
        mosaic.update(out, [item])
    assert traces(out) == before


def test_as_built_at_once(tmp_path: Path) -> None:
    """Scenes of two zones, warped: other pixels than a build's would show."""
    scenes = seam_scenes(64, 60.0, ("B04", "B03"), dates=2)
    given = [write_scene(tmp_path / "in", one) for one in scenes]
    again = replace(scenes[2], hole=(0.5, 0.9))
    later = write_scene(tmp_path / "later", again)
    for item, folder in (*((item, "in") for item in given), (later, "later")):
        for asset in item["assets"].values():
            asset["href"] = str(tmp_path / folder / asset["href"])
    for item in given:
        item["properties"]["updated"] = OLD
    later["properties"]["updated"] = NEW
    updated, once = tmp_path / "updated" / "m", tmp_path / "once" / "m"
    how: Json = {"dst_crs": "EPSG:32633", "slices": "day", "resampling": "bilinear"}
    mosaic.build([*given[:3], *given[4:6], given[7]], updated, **how)
    mosaic.update(updated, [given[3], given[6]])
    mosaic.update(updated, [later], drop=[given[0]["id"]])
    mosaic.build([given[1], later, *given[3:]], once, **how)
    names = sorted(path.name for path in once.rglob("*"))
    assert sorted(path.name for path in updated.rglob("*")) == names
    mosaic.check(updated, all=True, offline=True).raise_for_errors()
    assert items(updated) == items(once)
    bounds = mosaic.info(once)["bbox"]
    for day in (None, "2025-06-01"):
        found, want = (mosaic.read(one, bbox=bounds, datetime=day) for one in (updated, once))
        np.testing.assert_array_equal(found.values, want.values)
        np.testing.assert_array_equal(found.valid, want.valid)
    for band in ("B03", "B04"):
        assert drawn(updated, band) == drawn(once, band)
        for day in ("", "_2025-06-01", "_2025-06-06"):
            end = ".gti" if day else ".gti.gpkg"
            one, other = (read(at / f"{band}{day}{end}") for at in (updated, once))
            np.testing.assert_array_equal(one, other)
    documents = [orjson.loads((one / "collection.json").read_bytes()) for one in (updated, once)]
    for name in ("mosaic:items", "mosaic:source_crs", "mosaic:grid"):
        assert documents[0][name] == documents[1][name]
    temporal = [one["extent"]["temporal"] for one in documents]
    assert temporal[0] == temporal[1]


def test_only_what_changes_is_written(out: Path, was: dict[str, State]) -> None:
    """An item without B03: its index, and the files of the other items, are the same inodes."""
    item = was["e"].item
    item = {**item, "assets": {"B04": item["assets"]["B04"]}}
    before = traces(out)
    mosaic.update(out, [item])
    after = traces(out)
    same = {name for name in before if before[name] == after.get(name)}
    assert {f"items/{name}.json" for name in "abcd"} | {"B03.gti.gpkg"} <= same
    assert {"B04.gti.gpkg", "items.parquet", "collection.json"}.isdisjoint(same)


def test_row_groups_that_stay_are_copied(
    was: dict[str, State], later: dict[str, State], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte, as they are in the old file."""
    from mosaic.builder import arrange

    monkeypatch.setattr(arrange, "GROUP", 2)
    monkeypatch.setattr(arrange, "MANY", 2)
    out = tmp_path / "m"
    mosaic.build([was[name].item for name in "abcd"], out)
    old = chunks(out / "items.parquet")
    group = next(ids for ids in old if "d" in ids)
    mosaic.update(out, [later["d"].item])
    new = chunks(out / "items.parquet")
    (kept,) = (ids for ids in old if ids != group)
    assert new[kept] == old[kept]
    assert group not in new
    shows(out, [was["a"], was["b"], was["c"], later["d"]])


def chunks(path: Path) -> dict[tuple[str, ...], bytes]:
    """Compressed bytes of each row group of a Parquet file, by the ids in it."""
    file, whole = pq.ParquetFile(path), path.read_bytes()
    found = {}
    for number in range(file.num_row_groups):
        meta = file.metadata.row_group(number)
        raw = b""
        for at in range(meta.num_columns):
            one = meta.column(at)
            start = one.dictionary_page_offset or one.data_page_offset
            raw += whole[start : start + one.total_compressed_size]
        ids = file.read_row_group(number, ["id"])["id"].to_pylist()
        found[tuple(sorted(ids))] = raw
    return found


@pytest.mark.parametrize("holder", [drivers.update_slowly, drivers.hold], ids=["update", "flock"])
def test_a_second_writer_is_refused(
    out: Path, was: dict[str, State], cli: Cli, holder: Callable[..., None]
) -> None:
    ours, theirs = FORK.Pipe()
    args = (str(out), was["e"].item, theirs)
    process = start(holder, *(args if holder is drivers.update_slowly else (args[0], args[2])))
    assert ours.poll(30)
    assert ours.recv() == "amid"
    before = traces(out)
    with pytest.raises(CatalogError, match="is being changed by another process: wait for it"):
        mosaic.update(out, drop=["a"])
    result = cli("update", out, "--drop", "a")
    assert result.exit_code == 1
    assert result.stderr == (
        f"mosaic: {out} is being changed by another process: wait for it, then try again\n"
    )
    assert traces(out) == before
    ours.send("go on")
    assert ours.poll(30)
    assert ours.recv() == "done"
    process.join()
    mosaic.update(out, drop=["a"])
    shows(out, [was[name] for name in ("bcde" if holder is drivers.update_slowly else "bcd")])
    assert alone(out)


def test_a_build_in_the_middle_is_not_undone(
    out: Path, was: dict[str, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = rewrite.write_stac

    def then_build(*args: Any) -> None:
        real(*args)
        monkeypatch.setattr(rewrite, "write_stac", real)
        mosaic.build([was["far"].item], out, overwrite=True)

    monkeypatch.setattr(rewrite, "write_stac", then_build)
    with pytest.raises(CatalogError, match="was built anew meanwhile"):
        mosaic.update(out, [was["e"].item])
    shows(out, [was["far"]])
    assert alone(out)


STEPS = [
    "items.parquet is written",
    "an index is changed",
    "all is written",
    "before the swap",
    "between two renames",
    "after the swap",
]


@pytest.mark.parametrize("step", STEPS)
def test_killed(out: Path, was: dict[str, State], later: dict[str, State], step: str) -> None:
    before = traces(out)
    process = start(drivers.die_at_step, str(out), later["b"].item, step)
    process.join(30)
    assert process.exitcode == -9
    assert not alone(out)
    if step == "after the swap":
        shows(out, [was["a"], later["b"], was["c"], was["d"]])
    elif step == "between two renames":
        assert not out.exists()
    else:
        assert traces(out) == before
    report = mosaic.update(out, [later["b"].item, was["e"].item])
    assert report.items == 5
    shows(out, [was["a"], later["b"], was["c"], was["d"], was["e"]])
    assert alone(out)


def start(target: Callable[..., None], *args: object) -> Any:
    """A process that runs a driver."""
    process = FORK.Process(target=target, args=args)
    process.start()
    return process


def test_opened_before_read_after(
    out: Path, was: dict[str, State], later: dict[str, State]
) -> None:
    """The old pixels, by mosaic and by GDAL alike."""
    cube = mosaic.open(out, bands=["B04"])
    with rasterio.open(out / "B04.gti.gpkg") as dataset:
        old = painted([was[name] for name in "abcd"], dataset.transform, dataset.shape, "B04")
        mosaic.update(out, [later["d"].item, was["e"].item], drop=["a"])
        np.testing.assert_array_equal(dataset.read(1), old)
    assert (cube.time.values[1:] > cube.time.values[:-1]).all()
    top = np.zeros_like(old)
    for layer in cube["B04"].values:
        top = np.where(layer > 0, layer, top)
    np.testing.assert_array_equal(top, old)
    shows(out, [was["b"], was["c"], later["d"], was["e"]])


def test_opened_amid_an_update(
    out: Path, was: dict[str, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old collection isn't taken for that of the new items."""
    real = built.open_mosaic

    def then_open(*args: Any, **kw: Any) -> Any:
        monkeypatch.setattr(built, "open_mosaic", real)
        mosaic.update(out, [was["far"].item, was["e"].item])
        return real(*args, **kw)

    monkeypatch.setattr(built, "open_mosaic", then_open)
    with pytest.raises(CatalogError, match="changed while it was opened: open it again"):
        mosaic.read(out, bands=["B04"])
    shows(out, was.values())


def test_reads_while_updates_go_on(out: Path, was: dict[str, State]) -> None:
    """Whoever reads meanwhile has all of the old mosaic, or all of the new one, or is told."""
    mosaic.update(out, [was["e"].item])
    with rasterio.open(out / "B04.gti.gpkg") as dataset:
        place, shape = dataset.transform, dataset.shape
    known = {
        painted([was[name] for name in names], place, shape, "B04").tobytes(): names
        for names in ("abcde", "abcd")
    }
    seen: list[str] = []
    wrong: list[BaseException] = []
    done = threading.Event()

    def reader() -> None:
        try:
            while not done.is_set():
                try:
                    found = mosaic.read(out, bands=["B04"]).values[0]
                except CatalogError as error:
                    assert "open it again" in str(error)  # noqa: PT017 - it is seldom raised
                else:
                    seen.append(known[found.tobytes()])
        except BaseException as error:
            wrong.append(error)

    thread = threading.Thread(target=reader)
    thread.start()
    for number in range(40):
        if number >= 8 and set(seen) == set(known.values()):
            break
        mosaic.update(out, [was["e"].item] if number % 2 else [], drop=["e"][number % 2 :])
    done.set()
    thread.join(30)
    assert not wrong
    assert set(seen) == set(known.values())
