"""The command line: help, streams, progress, and what each option changes in the mosaic."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any
from xml.etree import ElementTree as ET

import click
import numpy as np
import orjson
import pyogrio
import pytest
import rasterio
from affine import Affine
from click.testing import Result

import mosaic
import mosaic.cli
from mosaic.catalog.gti import read_xml
from tests.build.conftest import snapshot
from tests.support.scenes import item_of, read, utm_scene
from tests.support.verbs import verbs

Cli = Callable[..., Result]
Json = dict[str, Any]


def run(*args: object, **kw: Any) -> subprocess.CompletedProcess[str]:
    """``python -m mosaic`` in a process of its own."""
    command = [sys.executable, "-m", "mosaic", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **kw)


# ---- help and streams


def test_every_option_is_documented(cli: Cli) -> None:
    overview = cli("--help").output
    assert "..." not in overview.partition("Commands:")[2]  # a line each, whole
    for name, command in verbs().items():
        assert name in overview
        assert command.help
        text = cli(name, "--help").output
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, parameter.name
                for word in (*parameter.opts, *parameter.secondary_opts):
                    assert word in text
    assert set(verbs()) >= {"build", "info", "relocate"}


def test_every_verb_of_every_module_is_known_and_imported_when_asked_for() -> None:
    found = [import_module(f"mosaic.cli.{one.name}") for one in iter_modules(mosaic.cli.__path__)]
    written = [one for module in found for one in vars(module).values()]
    assert {one.name: one for one in written if isinstance(one, click.Command)} == verbs()
    code = (
        "import sys\nfrom mosaic.cli import main\nmain(['--version'], standalone_mode=False)\n"
        "print([name for name in sys.modules if name.startswith(('mosaic.cli.', 'rich'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"mosaic {mosaic.__version__}", "[]"]


def test_options_have_the_names_of_the_python_arguments() -> None:
    import inspect

    python = set(inspect.signature(mosaic.build).parameters) - {"source", "out"}
    options = {parameter.name for parameter in verbs()["build"].params}
    assert python == options - {"source", "out", "as_json", "quiet", "verbose"}


def test_module_and_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"mosaic {mosaic.__version__}\n")
    script = Path(sys.executable).with_name("mosaic")
    if script.exists():
        again = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
        assert again.stdout == done.stdout


def test_streams(small: Path, tmp_path: Path) -> None:
    """The summary is a log: stdout stays free for JSON, and quiet is quiet."""
    plain = run("build", small, "-o", tmp_path / "plain")
    assert plain.returncode == 0
    assert plain.stdout == ""
    for word in ("4 (2 in EPSG:32632, ", "B04.gti.gpkg (4 tiles)", "2025-06-01", "/plain in "):
        assert word in plain.stderr
    assert "\x1b" not in plain.stderr  # no terminal, no progress
    quiet = run("build", small, "-o", tmp_path / "quiet", "-q")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    as_json = run("build", small, "-o", tmp_path / "json", "--json")
    assert (as_json.returncode, as_json.stderr) == (0, "")
    report = orjson.loads(as_json.stdout)
    assert report["path"] == str(tmp_path / "json")
    assert report["items"] == 4


def test_errors_are_one_line_and_nothing_else(tmp_path: Path) -> None:
    """Not even GDAL's own words get between: rasterio logs them, and nobody asked for its log."""
    with rasterio.open(
        tmp_path / "bad.tif", "w", driver="GTiff", width=32, height=32, count=1, dtype="uint8",
        crs="EPSG:32633", transform=Affine(60, 0, 270000, 0, -60, 5260000),
    ) as dataset:  # fmt: skip
        dataset.write(np.ones((1, 32, 32), "uint8"))
    (tmp_path / "bad.tif").write_bytes((tmp_path / "bad.tif").read_bytes()[:200])
    done = run("build", tmp_path / "bad.tif", "-o", tmp_path / "m", "-q")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"mosaic: item bad asset data ({tmp_path}/bad.tif): ")
    done = run("build", tmp_path / "bad.tif", "-o", tmp_path / "m", "--json")
    assert (done.returncode, done.stderr) == (1, "")
    told = orjson.loads(done.stdout)
    assert told["error"] == "NoItemsError"
    assert [problem["item"] for problem in told["problems"]] == ["bad"]


@pytest.mark.parametrize("quiet", [False, True])
def test_progress_on_a_terminal_only(small: Path, tmp_path: Path, quiet: bool) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "mosaic", "build", str(small), "-o", str(tmp_path / "m")]
    process = subprocess.Popen(
        command + ["-q"] * quiet,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux says so when the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.stdout is not None
    assert process.stdout.read() == b""
    process.stdout.close()
    assert process.wait() == 0
    if quiet:
        assert shown == b""
    else:
        assert b"\x1b[" in shown
        assert b"items.parquet" in shown or b"index B04" in shown
        assert b"4 (2 in EPSG:32632, 2 in EPSG:32633)" in shown


# ---- usage errors


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--resampling", "magic"], "--resampling magic: one of nearest,"),
        (["--resampling", "B04=magic"], "--resampling magic: one of nearest,"),
        (["--resampling", "cubic", "--resampling", "mode"], "one default, not cubic and mode"),
        (["--dst-crs", "EPSG:1"], "'EPSG:1' is no CRS"),
        (["--res", "0"], "one or two numbers above 0"),
        (["--res", "-5"], "one or two numbers above 0"),
        (["--res", "nan"], "one or two numbers above 0"),
        (["--res", "1", "--res", "2", "--res", "3"], "one or two numbers above 0"),
        (["--res", "1e-9"], "more than GDAL can address"),
        (["--bbox", "0,50,1,40"], "south 50 must lie below north 40"),
        (["--bbox", "0,-95,1,40"], "within 90"),
        (["--bbox", "-190,0,1,40"], "within 180"),
        (["--sort", "-"], "--sort: a property"),
        (["--dtype", "complex"], "--dtype complex: one of"),
        (["--stack", "B04"], "a stack has two bands or more"),
        (["--stack", "B04,B05"], "no index B05; there are B04"),
    ],
)
def test_arguments_that_can_not_be_meant(
    args: list[str], said: str, small: Path, tmp_path: Path, cli: Cli
) -> None:
    result = cli("build", small, "-o", tmp_path / "m", *args)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("mosaic: ")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    told = orjson.loads(cli("build", small, "-o", tmp_path / "m", *args, "--json").stdout)
    assert told["error"] == "UsageError"
    assert said in told["message"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("args", [["--bbox", "1,2,3"], ["--bbox", "a,b,c,d"], ["--slices", "week"]])
def test_words_that_click_refuses(args: list[str], small: Path, tmp_path: Path, cli: Cli) -> None:
    result = cli("build", small, "-o", tmp_path / "m", *args)
    assert result.exit_code == 2
    assert args[0] in result.stderr
    assert not list(tmp_path.iterdir())


# ---- what options do


def built_with(cli: Cli, source: Path, out: Path, *args: object) -> Json:
    result = cli("build", source, "-o", out, "--overwrite", "--json", *args)
    assert result.exit_code == 0, result.output
    report: Json = orjson.loads(result.stdout)
    return report


def test_res(small: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "m"
    assert built_with(cli, small, out)["resolution"] == [60, 60]
    assert built_with(cli, small, out, "--res", 90)["resolution"] == [90, 90]
    assert built_with(cli, small, out, "--res", 90, "--res", 30)["resolution"] == [90, 30]
    with rasterio.open(out / "B04.gti.gpkg") as dataset:
        assert dataset.res == (90, 30)


def test_crs_and_bbox(small: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "m"
    assert built_with(cli, small, out, "--dst-crs", "EPSG:3857")["crs"] == "EPSG:3857"
    assert built_with(cli, small, out, "--dst-crs", "utm")["crs"] in ("EPSG:32632", "EPSG:32633")
    report = built_with(
        cli, small, out, "--dst-crs", "EPSG:4326", "--bbox", "11.97,47.48,12.03,47.52"
    )
    assert report["crs"] == "EPSG:4326"
    west, south, east, north = mosaic.info(out)["bounds"]
    dx, dy = report["resolution"]
    assert west <= 11.97 < west + dx
    assert north - dy < 47.52 <= north
    assert 12.03 <= east < 12.03 + 2 * dx
    assert 47.48 - 2 * dy < south <= 47.48


def test_resampling_for_one_asset(seam: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "m"
    built_with(cli, seam, out, "--resampling", "B02=nearest", "--resampling", "cubic")
    assert {name: method(out, name) for name in ("B02", "B03", "B04")} == {
        "B02": "nearest", "B03": "cubic", "B04": "cubic",
    }  # fmt: skip
    built_with(cli, seam, out, "--resampling", "B02=cubic_spline")
    assert method(out, "B02") == "cubicspline"
    assert method(out, "B03") == "nearest"


def method(out: Path, name: str) -> str | None:
    return ET.fromstring(read_xml(out / f"{name}.gti.gpkg")).findtext("Resampling")


@pytest.fixture
def ordered(tmp_path: Path) -> Path:
    """Items whose times, clouds, numbers and names all run differently; one lacks them."""
    items = []
    for name, day, cloud, number in (
        ("a", 2, 30.0, 10), ("b", 1, 5, 9), ("c", 3, 5.0, 100), ("d", 2, None, None),
    ):  # fmt: skip
        scene = utm_scene(
            name, 32633, 12.5, 47.5, 64, 60.0, bands=("B04",),
            datetime=f"2025-06-0{day}T10:00:00Z",
        )  # fmt: skip
        item = item_of(scene)
        item["properties"] |= {"eo:cloud_cover": cloud, "number": number}
        item["assets"]["B04"]["href"] = f"/nowhere/{name}.tif"
        items.append(item)
    path = tmp_path / "ordered.json"
    path.write_bytes(orjson.dumps(items))
    return path


@pytest.mark.parametrize(
    ("sort", "top_down"),
    [
        ("-datetime", "cadb"),  # ties by id
        ("+datetime", "badc"),
        ("datetime", "badc"),
        ("eo:cloud_cover", "bcad"),
        ("-eo:cloud_cover", "abcd"),  # unknown lies below whichever way it runs
        ("-number", "cabd"),  # as numbers, not as text
        ("number", "bacd"),
        ("nothing", "abcd"),
    ],
)
def test_sort(ordered: Path, tmp_path: Path, cli: Cli, sort: str, top_down: str) -> None:
    report = built_with(cli, ordered, tmp_path / "m", "--sort", sort)
    rows = pyogrio.read_arrow(tmp_path / "m" / "B04.gti.gpkg", columns=["item", "z"])[1].to_pydict()
    by_z = dict(zip(rows["z"], rows["item"], strict=True))
    assert "".join(by_z[z] for z in sorted(by_z, reverse=True)) == top_down
    xml = ET.fromstring(read_xml(tmp_path / "m" / "B04.gti.gpkg"))
    assert (xml.findtext("SortField"), xml.findtext("SortFieldAsc")) == ("z", "true")
    lacking = {"nothing": "4 of 4", "number": "1 of 4", "eo:cloud_cover": "1 of 4"}
    said = lacking.get(sort.strip("+-"))
    name = sort.strip("+-")
    assert (f"{said} items have no {name}: they lie below" in report["notes"]) == bool(said)


def test_sort_decides_which_pixels_show(tmp_path: Path) -> None:
    from tests.support.scenes import write_scene

    items = []
    for number, name in enumerate(("old", "new"), 1):
        scene = utm_scene(
            name, 32633, 12.5, 47.5, 64, 60.0, bands=("B04",),
            datetime=f"2025-06-0{number}T10:00:00Z",
        )  # fmt: skip
        items.append(write_scene(tmp_path, scene, lambda lon, lat, band, n=number: lon * 0 + n))
        items[-1]["assets"]["B04"]["href"] = str(tmp_path / name / "B04.tif")
    for sort, value in (("-datetime", 2), ("datetime", 1)):
        mosaic.build(items, tmp_path / "m", sort=sort, overwrite=True)
        pixels = read(tmp_path / "m" / "B04.gti.gpkg")
        assert set(pixels[pixels > 0].tolist()) == {value}


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("day", ["2024-12-31", "2025-01-01", "2025-01-31"]),
        ("month", ["2024-12", "2025-01"]),
        ("year", ["2024", "2025"]),
        ("none", []),
    ],
)
def test_slices(tmp_path: Path, cli: Cli, kind: str, labels: list[str]) -> None:
    items = []
    times = (
        "2024-12-31T23:59:59.999Z", "2025-01-01T00:00:00Z", "2025-01-31T23:30:00Z",
        "2024-12-31T22:30:00-02:00",  # is 2025-01-01 in UTC
    )  # fmt: skip
    for number, time in enumerate(times):
        scene = utm_scene(f"s{number}", 32633, 12.5, 47.5, 64, 60.0, bands=("B04",), datetime=time)
        items.append(item_of(scene))
        items[-1]["assets"]["B04"]["href"] = "/nowhere/x.tif"
    (tmp_path / "items.json").write_bytes(orjson.dumps(items))
    out = tmp_path / "m"
    report = built_with(cli, tmp_path / "items.json", out, "--slices", kind)
    assert report["slices"] == labels
    files = sorted(path.name for path in out.glob("*.gti"))
    assert files == [f"B04_{label}.gti" for label in labels]
    found = []
    for name in files:
        xml = ET.parse(out / name)
        assert xml.findtext("IndexDataset") == str(out / "B04.gti.gpkg")
        rows = pyogrio.read_arrow(
            out / "B04.gti.gpkg", columns=["item"], where=xml.findtext("Filter")
        )[1]
        found.append(sorted(rows["item"].to_pylist()))
    assert (
        found
        == {
            "day": [["s0"], ["s1", "s3"], ["s2"]],
            "month": [["s0"], ["s1", "s2", "s3"]],
            "year": [["s0"], ["s1", "s2", "s3"]],
            "none": [],
        }[kind]
    )


def test_stack(seam: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "m"
    report = built_with(
        cli, seam, out, "--stack", "B04,B03,B02", "--stack", "B02, B04", "--bands", "B03"
    )
    assert report["stacks"] == ["B04_B03_B02.vrt", "B02_B04.vrt"]
    with rasterio.open(out / "B04_B03_B02.vrt") as dataset:
        assert dataset.descriptions == ("B04", "B03", "B02")
        pixels = dataset.read()
    for number, name in enumerate(("B04", "B03", "B02")):
        assert (pixels[number] == read(out / f"{name}.gti.gpkg")[0]).all()
    assert pixels.any()
    assert mosaic.info(out)["stacks"] == report["stacks"]


def test_bands_by_common_name(seam: Path, tmp_path: Path, cli: Cli) -> None:
    items = orjson.loads(seam.read_bytes())["features"]
    for item in items:
        for key, name, common in (
            ("B04", "B04", "red"),
            ("B03", "B03", "green"),
            ("B02", "x", "blue"),
        ):
            asset = item["assets"][key]
            asset["href"] = str(seam.parent / asset["href"])
            asset["eo:bands"] = [{"name": name, "common_name": common}]
    (tmp_path / "items.json").write_bytes(orjson.dumps(items))
    report = built_with(
        cli,
        tmp_path / "items.json",
        tmp_path / "m",
        "--bands",
        "red,x, B03",
        "--stack",
        "red,x,B03",
    )
    assert {one["file"] for one in report["indexes"]} == {
        "red.gti.gpkg", "x.gti.gpkg", "B03.gti.gpkg",
    }  # fmt: skip
    built_with(cli, seam, tmp_path / "plain", "--bands", "B04,B02,B03")
    same = read(tmp_path / "plain" / "B04.gti.gpkg")
    assert same.any()
    assert (read(tmp_path / "m" / "red.gti.gpkg") == same).all()
    assert (read(tmp_path / "m" / "x.gti.gpkg") == read(tmp_path / "plain" / "B02.gti.gpkg")).all()


def test_nodata_and_dtype(small: Path, tmp_path: Path, cli: Cli) -> None:
    items = orjson.loads(small.read_bytes())["features"]
    for item in items:
        asset = item["assets"]["B04"]
        asset["href"] = str(small.parent / asset["href"])
        del asset["raster:bands"]
        del asset["eo:bands"]
    (tmp_path / "items.json").write_bytes(orjson.dumps(items))
    report = built_with(cli, tmp_path / "items.json", tmp_path / "m")
    assert report["headers_read"] == 1  # one file tells for all of its kind
    report = built_with(
        cli, tmp_path / "items.json", tmp_path / "m", "--dtype", "uint16", "--nodata", 0
    )
    assert report["headers_read"] == 0
    with rasterio.open(tmp_path / "m" / "B04.gti.gpkg") as dataset:
        assert dataset.dtypes == ("uint16",)
        assert dataset.nodata == 0
        assert dataset.read().any()


def test_info(built: Path, tmp_path: Path, cli: Cli) -> None:
    found = orjson.loads(cli("info", built, "--json").stdout)
    assert found == mosaic.info(built)
    assert (found["items"], found["assets"], found["crs"]) == (4, ["B04"], "EPSG:32633")
    plain = cli("info", built)
    assert plain.stderr == ""
    for word in ("4 (2 in EPSG:32632, 2 in EPSG:32633)", "B04.gti.gpkg", "greatest datetime"):
        assert word in plain.stdout
    for path in (tmp_path, tmp_path / "nowhere"):
        wrong = cli("info", path)
        assert wrong.exit_code == 1
        assert wrong.stderr.startswith(f"mosaic: {path} holds no mosaic; make one with")
        assert orjson.loads(cli("info", path, "--json").stdout)["error"] == "NotACatalogError"


def test_relocate(small: Path, tmp_path: Path, cli: Cli) -> None:
    """Slices need an absolute path: after a move they are read again once it is rewritten."""
    there = tmp_path / "there"
    shutil.copytree(small.parent, there / "m")
    built_with(cli, there / "m" / "items.json", there / "m", "--slices", "month")
    pixels = read(there / "m" / "B04_2025-06.gti")
    moved = tmp_path / "a & b"
    (there / "m").rename(moved)
    (moved / "mine.gti").write_text("no XML, and not ours")
    gti = moved / "B04_2025-06.gti"
    with pytest.raises(rasterio.errors.RasterioIOError):
        read(gti)
    result = cli("relocate", moved, "--json")
    assert result.exit_code == 0
    assert orjson.loads(result.stdout) == [str(gti)]
    assert pixels.any()
    assert (read(gti) == pixels).all()
    assert (read(moved / "B04.gti.gpkg") == pixels).all()
    after = snapshot(moved)
    assert orjson.loads(cli("relocate", moved, "--json").stdout) == []
    assert snapshot(moved) == after
    cli("relocate", moved, "--base", "https://host.org/m/")
    dataset = ET.parse(gti).findtext("IndexDataset") or ""
    assert dataset.startswith("/vsicurl?")
    assert dataset.endswith("url=https%3A//host.org/m/B04.gti.gpkg")
    assert cli("relocate", moved).stderr == "1 file rewritten\n"
    assert snapshot(moved) == after
    if (full := Path("/dev/full")).exists():
        part = moved / f".{gti.name}.{os.getpid()}"
        part.symlink_to(full)
        result = cli("relocate", moved, "--base", "https://host.org/m/")
        assert result.stderr == f"mosaic: {gti} can't be written (No space left on device)\n"
        assert not part.is_symlink()
        assert snapshot(moved) == after
