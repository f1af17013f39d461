"""A mosaic is whole at every moment of an update, for writers, readers and the killed."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from click.testing import Result

import mosaic
from mosaic.builder import rewrite
from mosaic.cube import built
from mosaic.errors import CatalogError
from tests.build import drivers
from tests.build.update.conftest import (
    State,
    alone,
    painted,
    shows,
    traces,
)

Cli = Callable[..., Result]
FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["__main__", "tests.build.drivers"])


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
