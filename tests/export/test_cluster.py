"""Zarr stores on dask.distributed: two processes that write shards."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster

import mosaic
from mosaic.cube import workers
from mosaic.errors import ExportError, ReadError, WorkerError
from mosaic.exporter import cluster, run, windows
from tests.cube.conftest import Made
from tests.export.conftest import left_behind
from tests.export.test_resume import files, lines

CHOSEN: dict[str, Any] = {"groupby": "solar_day", "blocksize": 128}


@pytest.fixture(scope="module")
def near(native: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What this process writes; made before there is a client."""
    out = tmp_path_factory.mktemp("near") / "out.zarr"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "LARGEST", 128)
        mosaic.export(native.path, out, **CHOSEN)
    return out


@pytest.fixture(scope="module")
def client(near: Path) -> Iterator[Client]:
    """Two workers of one thread each, on this machine."""
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**options, memory_limit=0) as made, Client(made) as found:
        assert near.is_dir()
        yield found


@pytest.fixture(autouse=True)
def nothing_here(monkeypatch: pytest.MonkeyPatch, small_windows: int) -> None:
    """This process writes no window."""
    monkeypatch.setattr(run, "_here", None)


def test_workers_write_the_same(native: Made, tmp_path: Path, near: Path, client: Client) -> None:
    report = mosaic.export(native.path, tmp_path / "out.zarr", **CHOSEN)
    assert report.windows > 20
    assert files(tmp_path / "out.zarr") == files(near)
    assert left_behind(tmp_path) == []
    assert not client.futures, "nothing stays at the scheduler"


def test_a_cog_is_written_here(
    native: Made, tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(cluster, "spread", None)
    mosaic.export(native.path, tmp_path / "out.tif")
    assert (tmp_path / "out.tif").is_file()
    assert not client.futures


def test_a_killed_workers_windows_are_written_again(
    native: Made, tmp_path: Path, near: Path, client: Client
) -> None:
    out = tmp_path / "out.zarr"

    def kill() -> None:
        while lines(out) < 2:
            time.sleep(0.005)
        worker = next(iter(client.scheduler_info()["workers"]))
        pid = client.run(os.getpid, workers=[worker])[worker]
        os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    mosaic.export(native.path, out, **CHOSEN)
    killer.join()
    assert files(out) == files(near)
    client.wait_for_workers(2)


def test_an_unreadable_scene_is_named(native: Made, tmp_path: Path, client: Client) -> None:
    """As ever; and what workers wrote until then is kept."""
    home = tmp_path / "home"
    shutil.copytree(native.items.parent, home)
    (home / "n4" / "B03.tif").write_bytes(b"no TIFF")
    with pytest.raises(ReadError, match="item n4 asset B03"):
        mosaic.export(home / "items.json", tmp_path / "out.zarr", **CHOSEN)
    assert not [key for key in client.futures if "written" in key], "none goes on"


def _not_marked(path: Path) -> None:
    if not path.name.startswith("seen"):
        path.write_bytes(b"")


def test_workers_that_cant(
    native: Made, tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another version, without the package, without the folder: told before anything is read."""
    out = tmp_path / "out.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(workers, "__version__", "99")
        with pytest.raises(WorkerError, match=r"worker tcp.* has mosaic .*, here is 99"):
            mosaic.export(native.path, out, **CHOSEN)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "touch", _not_marked)
        with pytest.raises(ExportError, match=r"doesn't see .*: export to a folder that all"):
            mosaic.export(native.path, out, **CHOSEN)
    hidden = {"mosaic.exporter.cluster": None}
    client.run(lambda: sys.modules.update(hidden))
    try:
        with pytest.raises(ExportError, match=r"workers can't run mosaic .*: install it there"):
            mosaic.export(native.path, out, **CHOSEN)
    finally:
        client.run(lambda: sys.modules.pop("mosaic.exporter.cluster"))
    assert list(tmp_path.iterdir()) == []
