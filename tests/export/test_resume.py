"""Exports that are killed, that find a full disk or an unreadable scene, and that meet others."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from click.testing import Result

import mosaic
from mosaic.errors import ExportError, ReadError, UnfinishedError
from mosaic.exporter import cog, run, store
from mosaic.exporter.journal import folder_of
from tests.cube.conftest import Made, made
from tests.export.conftest import left_behind
from tests.support.file_server import serving
from tests.support.scenes import utm_scene

ROOT = Path(__file__).resolve().parents[2]
BOTH = pytest.mark.parametrize("ending", ["tif", "zarr"])
_SCRIPT = """
import sys, time
import mosaic
from mosaic.exporter import windows, {module} as module
windows.LARGEST = 128
writer = module.{writer}
{verb} = writer.{verb}
def slow(self, *given):
    {before}
    found = {verb}(self, *given)
    {after}
    return found
writer.{verb} = slow
mosaic.export(sys.argv[1], sys.argv[2], blocksize=128, overwrite=len(sys.argv) > 3)
"""


def files(path: Path) -> dict[str, str]:
    """Every file and its digest."""
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {
        str(one.relative_to(path)): hashlib.sha256(one.read_bytes()).hexdigest()
        for one in found
        if one.is_file()
    }


def killed(
    source: Path, out: Path, verb: str, before: str, after: str, until: Callable[[], bool]
) -> None:
    """An export that is killed, with GDAL's process, as soon as something is so."""
    writer, module = ("CogWriter", "cog") if out.suffix == ".tif" else ("StoreWriter", "store")
    script = _SCRIPT.format(writer=writer, module=module, verb=verb, before=before, after=after)
    words = [sys.executable, "-c", script, str(source), str(out), "overwrite"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(words, env=environment) as process:
        patience = time.monotonic() + 60
        while not until():
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < patience
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)


def lines(out: Path) -> int:
    """Windows that the journal of an export tells."""
    try:
        return (folder_of(out) / "done.ndjson").read_bytes().count(b"\n")
    except OSError:
        return 0


@BOTH
@pytest.mark.usefixtures("small_windows")
def test_a_killed_export_goes_on(ending: str, native: Made, tmp_path: Path) -> None:
    """Killed between windows, amid one, and while the whole is put together: equal to the byte."""
    whole, out = tmp_path / f"whole.{ending}", tmp_path / f"out.{ending}"
    windows = mosaic.export(native.path, whole, blocksize=128).windows
    pause = "time.sleep(0.05)"
    killed(native.path, out, "write", pause, "", lambda: lines(out) >= 3)
    there = lines(out)
    killed(native.path, out, "write", "", pause, lambda: lines(out) > there + 1)
    killed(native.path, out, "finish", "time.sleep(60)", "", lambda: lines(out) == windows)
    assert not out.exists()
    assert left_behind(tmp_path) == [f".out.{ending}.export"]
    report = mosaic.export(native.path, out, blocksize=128)
    assert report.resumed == windows == lines(whole) + report.windows
    assert files(out) == files(whole)
    assert left_behind(tmp_path) == []


@pytest.mark.usefixtures("small_windows")
def test_a_kill_amid_gdals_copy_leaves_no_orphan(native: Made, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    mosaic.export(native.path, out, blocksize=128)
    before = files(out)
    killed(native.path, out, "finish", "", "time.sleep(60)", lambda: _copied(out))
    assert files(out) == before, "what was to be replaced stays until the new one is whole"
    report = mosaic.export(native.path, out, blocksize=128, overwrite=True)
    assert report.resumed == report.windows
    assert files(out) == before
    assert left_behind(tmp_path) == []


def _copied(out: Path) -> bool:
    return any(folder_of(out).glob("whole-*"))


@pytest.mark.usefixtures("small_windows")
def test_a_torn_journal_and_lost_windows(native: Made, tmp_path: Path) -> None:
    """What isn't on disk as the journal says is written again."""
    out = tmp_path / "out.tif"
    whole = tmp_path / "whole.tif"
    windows = mosaic.export(native.path, whole, blocksize=128).windows
    killed(native.path, out, "write", "", "time.sleep(0.05)", lambda: lines(out) >= 5)
    folder = folder_of(out)
    there = lines(out)
    with (folder / "done.ndjson").open("ab") as journal:
        journal.write(b"[7,12")
    parts = sorted((folder / "windows").glob("*.tif"))
    parts[0].unlink()
    parts[1].write_bytes(parts[1].read_bytes()[:-10])
    (folder / "windows" / "00000099.tif.1.partial").write_bytes(b"half")
    report = mosaic.export(native.path, out, blocksize=128)
    assert report.resumed == there - 2
    assert report.windows == windows
    assert files(out) == {".": next(iter(files(whole).values()))}


@BOTH
@pytest.mark.usefixtures("small_windows")
def test_only_the_same_is_gone_on_with(
    ending: str, native: Made, tmp_path: Path, cli: Callable[..., Result]
) -> None:
    home = tmp_path / "mosaic"
    shutil.copytree(native.path, home)
    out = tmp_path / f"out.{ending}"
    killed(home, out, "write", "time.sleep(0.05)", "", lambda: lines(out) >= 2)
    with pytest.raises(UnfinishedError, match=r"bands was .*'B02', 'B03'.*, is .*'B02'") as caught:
        mosaic.export(home, out, blocksize=128, bands=["B02"])
    assert any(one.startswith("bands") for one in caught.value.differences)
    with pytest.raises(UnfinishedError, match="method was first, is median"):
        mosaic.export(home, out, blocksize=128, method="median")
    with pytest.raises(UnfinishedError, match="level was not told, is 3"):
        mosaic.export(home, out, blocksize=128, level=3)
    told = cli("export", home, out)  # blocks of 512
    assert (told.exit_code, "block was 128, is 512" in told.stderr) == (1, True)
    mosaic.build(native.items, home, overwrite=True)
    with pytest.raises(UnfinishedError, match="other source version"):
        mosaic.export(home, out, blocksize=128)
    report = mosaic.export(home, out, blocksize=128, overwrite=True)
    assert report.resumed == 0
    assert left_behind(tmp_path) == []


@pytest.mark.usefixtures("small_windows")
def test_a_function_isnt_taken_for_what_it_was(
    native: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers of a function of items are compared; what a function does with pixels can't be."""
    out, read = tmp_path / "out.tif", run.read

    def interrupted(cube: Any, window: Any) -> Any:
        if window.number == 3:
            raise KeyboardInterrupt
        return read(cube, window)

    def export(**asked: Any) -> int:
        return mosaic.export(native.path, out, blocksize=128, bands=["B02"], **asked).resumed

    def least(layers: Any) -> Any:
        return layers.min("time")

    monkeypatch.setattr(run, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(groupby=lambda item: "one")
    monkeypatch.setattr(run, "read", read)
    assert export(groupby=lambda item: "one") == 3
    out.unlink()
    monkeypatch.setattr(run, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(method=least)
    monkeypatch.setattr(run, "read", read)
    with pytest.raises(UnfinishedError, match="differs: method is a function, and nothing tells"):
        export(method=least)


@pytest.mark.usefixtures("small_windows")
def test_no_secret_of_a_source_is_kept_or_shown(
    native: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is who signs in anew refused."""
    out, read = tmp_path / "out.tif", run.read

    def interrupted(cube: Any, window: Any) -> Any:
        if window.number == 1:
            raise KeyboardInterrupt
        return read(cube, window)

    with serving(native.path) as served:
        first, second = (served.url.replace("://", f"://me:{word}@") for word in ("pw1", "pw2"))
        monkeypatch.setattr(run, "read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            mosaic.export(first, out, blocksize=128)
        monkeypatch.setattr(run, "read", read)
        told = b"".join(one.read_bytes() for one in folder_of(out).rglob("*") if one.is_file())
        assert served.url.encode() in told
        assert b"pw1" not in told
        with pytest.raises(UnfinishedError, match=f"source was {served.url}, is") as caught:
            mosaic.export(native.path, out, blocksize=128)
        assert "pw1" not in str(caught.value)
        assert mosaic.export(second, out, blocksize=128).resumed == 1


def test_two_at_once(native: Made, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"

    def second() -> bool:
        if not folder_of(out).exists():
            return False
        with pytest.raises(ExportError, match="is being exported by another process"):
            mosaic.export(native.path, out, bands=["B02"])
        return True

    killed(native.path, out, "write", "time.sleep(60)", "", second)
    mosaic.export(native.path, out)  # nothing was written that differs
    assert left_behind(tmp_path) == []


@BOTH
@pytest.mark.usefixtures("small_windows")
def test_what_was_written_is_read_back(
    ending: str, native: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that changes a byte behind our back."""
    out = tmp_path / f"out.{ending}"
    writer: Any = cog.CogWriter if ending == "tif" else store.StoreWriter
    finish = writer.finish

    def spoilt(self: Any, done: Any) -> Path:
        whole = finish(self, done)
        path = whole if whole.is_file() else max(whole.glob("B02/c/**/[0-9]"), key=_size)
        data = bytearray(path.read_bytes())
        middle = len(data) // 3
        data[middle : middle + 8] = bytes(8)
        path.write_bytes(data)
        return whole

    monkeypatch.setattr(writer, "finish", spoilt)
    with pytest.raises(ExportError):
        mosaic.export(native.path, out, blocksize=128)
    assert not out.exists()
    monkeypatch.setattr(writer, "finish", finish)
    report = mosaic.export(native.path, out, blocksize=128)
    assert report.resumed > 0
    want, _ = mosaic.read(native.path)
    if ending == "tif":
        with rasterio.open(out) as file:
            np.testing.assert_array_equal(file.read(), want)
    else:
        found = xr.open_zarr(out, chunks=None, mask_and_scale=False)
        np.testing.assert_array_equal(found.B02.values[0], want[0])


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


@pytest.mark.usefixtures("small_windows")
def test_a_scene_that_cant_be_read_is_named_and_then_gone_on_with(tmp_path: Path) -> None:
    scenes = [
        utm_scene(f"s{n}", 32632, 9.0 + 0.12 * n, 47.5, 192, 60.0, bands=("B04",)) for n in (0, 1)
    ]
    home = made(tmp_path / "home", scenes)
    bad = home.items.parent / "s1/B04.tif"
    bad.rename(tmp_path / "away")
    with pytest.raises(ReadError, match="item s1 asset B04"):
        mosaic.export(home.path, tmp_path / "out.tif", blocksize=128, gate=mosaic.Gate())
    assert lines(tmp_path / "out.tif") > 0
    (tmp_path / "away").rename(bad)
    report = mosaic.export(home.path, tmp_path / "out.tif", blocksize=128, gate=mosaic.Gate())
    assert report.resumed > 0
    with rasterio.open(tmp_path / "out.tif") as file:
        np.testing.assert_array_equal(file.read(), mosaic.read(home.path).values)


@pytest.mark.usefixtures("small_windows")
def test_an_interrupted_command_says_how_to_go_on(
    native: Made, tmp_path: Path, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written when Ctrl-C came is kept."""
    read, out = run.read, tmp_path / "out.tif"

    def interrupted(cube: Any, window: Any) -> Any:
        if window.number == 3:
            raise KeyboardInterrupt
        return read(cube, window)

    monkeypatch.setattr(run, "read", interrupted)
    words = ("export", native.path, out, "--blocksize", 128)
    result = cli(*words)
    assert result.exit_code == 130
    assert result.stderr == "mosaic: interrupted; ask for the same again to go on\n"
    assert lines(out) == 3
    monkeypatch.setattr(run, "read", read)
    assert '"resumed": 3' in cli(*words, "--json").stdout


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "mosaic-test", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        if os.environ.get("CI"):
            pytest.fail(f"CI must be able to mount a small disk: {done.stderr}")
        pytest.skip(f"needs root to mount a small disk: {done.stderr}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@BOTH
@pytest.mark.usefixtures("small_windows")
def test_a_full_disk(
    ending: str, native: Made, tiny_disk: Path, cli: Callable[..., Result]
) -> None:
    """With room for nothing, for some windows, for all but the whole: told, kept, gone on with."""
    out, ballast = tiny_disk / f"out.{ending}", tiny_disk / "ballast"
    words = ("export", native.path, out, "--blocksize", 128, "--compress", "none")
    words += ("--bands", "B02")
    refused, resumed = 0, []
    for free in (4096, *(1 << 10) * np.array([40, 80, 120, 200, 320, 500, 1000, 2000])):
        state = os.statvfs(tiny_disk)
        room = state.f_bavail * state.f_frsize - free
        ballast.write_bytes(b"x" * max(0, room))
        result = cli(*words, "--json")
        ballast.unlink()
        if result.exit_code == 0:
            break
        refused += 1
        assert f"{out}: the disk is full; what is written so far is kept" in result.stdout, free
        assert not out.exists()
        assert lines(out) >= max(resumed, default=0)
        resumed.append(lines(out))
    else:
        pytest.fail("the disk never had enough room: make it larger")
    assert refused > 3
    assert len(set(resumed)) > 2
    assert left_behind(tiny_disk) == []
    want, _ = mosaic.read(native.path, bands=["B02"])
    if ending == "tif":
        with rasterio.open(out) as file:
            np.testing.assert_array_equal(file.read(), want)


def test_a_folder_that_cant_be_written(
    native: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ExportError, match="can't be written"):
        mosaic.export(native.path, Path("/proc/out.tif"))
    assert multiprocessing.active_children() == []
    monkeypatch.setattr(run, "is_full", lambda folder, error: False)
    (tmp_path / ".out.tif.export").write_text("a file of somebody's")
    with pytest.raises(ExportError, match=r"out\.tif can't be written"):
        mosaic.export(native.path, tmp_path / "out.tif")


def test_a_kill_just_before_the_end_of_a_replacement(native: Made, tmp_path: Path) -> None:
    """The old store lies where the new one was: nothing of it gets into the next."""
    out, folder = tmp_path / "out.zarr", tmp_path / ".out.zarr.export"
    mosaic.export(native.path, out, raw=True, bands=["B03"])
    before = "import mosaic.exporter.run as r; r.shutil.rmtree = lambda *a, **k: time.sleep(60)"
    killed(native.path, out, "close", before, "", lambda: "B02" in names(out))
    assert names(folder / "store.zarr") == {"B03"} or not (folder / "store.zarr").exists()
    mosaic.export(native.path, out, overwrite=True)
    found = xr.open_zarr(out, chunks=None, mask_and_scale=False)
    np.testing.assert_array_equal(found.B02.values[0], mosaic.read(native.path).values[0])
    assert left_behind(tmp_path) == []


def names(store: Path) -> set[str]:
    """Bands that lie in a store."""
    return {path.parent.name for path in store.glob("B*/zarr.json")}
