"""Every command and code block of the README runs, on what `make demo` makes, and says what it
says there; the sample opens from anywhere; ARCHITECTURE.md knows every module.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
import rasterio
import requests
from click.testing import CliRunner
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds
from rasterio.windows import from_bounds

import mosaic
from catalogs import demo
from mosaic.cli import main
from tests.support.stac_api import rustac
from tests.support.verbs import verbs

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SAMPLE = ROOT / "catalogs" / "sample"


@dataclass(frozen=True)
class Block:
    """A fenced block of the README."""

    line: int
    language: str
    text: str


def _blocks() -> list[Block]:
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [Block(README[: m.start()].count("\n") + 1, m[1], m[2]) for m in found]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of somebody who follows the README: a demo, a sample, a delivery with a fault."""
    folder = tmp_path_factory.mktemp("readme")
    here = Path.cwd()
    os.chdir(folder)
    try:
        demo.main(Path("demo"))
    finally:
        os.chdir(here)
    shutil.copytree(SAMPLE, folder / "catalogs/sample")
    document = orjson.loads((folder / "demo/scenes/items.json").read_bytes())
    document["features"][0]["properties"]["proj:epsg"] = 32633
    for item in document["features"]:
        for asset in item["assets"].values():
            asset["href"] = f"../demo/scenes/{asset['href']}"
    _landsat(folder, document["features"][1])
    (folder / "delivery").mkdir()
    (folder / "delivery/items.json").write_bytes(orjson.dumps(document))
    return folder


def _landsat(folder: Path, item: Any) -> None:
    """A mosaic of a scene in a bucket whose readers pay."""
    item = {
        **item,
        "assets": {"B04": {**item["assets"]["B04"], "href": "s3://usgs-landsat/B4.tif"}},
    }
    mosaic.build(item, folder / "demo/landsat", item_files=0)


def test_the_demo_leaves_a_picture_and_a_mosaic(place: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a picture has no place
        with rasterio.open(place / "demo/seam.png") as picture:
            assert picture.width > 1000
            assert np.unique(picture.read(1)).size > 200
    assert (place / "demo/mosaic/B04_B03_B02.vrt").is_file()


@pytest.fixture
def example_api(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The README's API, https://stac.example.com/v1, is a real server with the demo's items."""
    document = orjson.loads((place / "demo/scenes/items.json").read_bytes())
    for item in document["features"]:
        for asset in item["assets"].values():
            asset["href"] = str(place / "demo/scenes" / asset["href"])
    asked = requests.Session.request
    with rustac(place / "api", [], document["features"]) as api:

        def request(self: requests.Session, method: str, url: str, **more: Any) -> Any:
            url = url.replace("https://stac.example.com/v1", api.url)
            return asked(self, method, url, **more)

        monkeypatch.setattr(requests.Session, "request", request)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield


@pytest.mark.usefixtures("example_api")
def test_every_block_of_the_readme_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))  # no schemas of this machine
    shutil.rmtree("demo/mosaic")
    names: dict[str, object] = {}
    seen = []
    with contextlib.ExitStack() as servers:
        _run(place, names, seen, servers)
    assert {"console", "sh", "python"} <= set(seen)
    assert names["red"].mean() > 100  # type: ignore[attr-defined]


def _run(
    place: Path, names: dict[str, object], seen: list[str], servers: contextlib.ExitStack
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    for block in (replace(one, text=one.text.replace("8790", port)) for one in _blocks()):
        seen.append(block.language)
        if block.language == "console":
            _console(block, place)
        elif block.language == "sh":
            for line in block.text.splitlines():
                if line.startswith("mosaic serve"):
                    servers.enter_context(_serving(shlex.split(line.removesuffix("&")), port))
                else:
                    _shell(line)
        elif block.language == "python":
            exec(compile(block.text, f"README.md:{block.line}", "exec"), names)
        elif block.language == "r":
            pass  # tests/interop/test_r.py
        elif block.language == "bash":
            pass  # tests/interop/test_postgis.py
        elif block.language == "text":
            _tiles(block)
        else:
            raise AssertionError(f"README.md:{block.line}: no way to run {block.language!r}")


def _tiles(block: Block) -> None:
    """Every URL of a gateway answers, for a tile where the demo's zones meet."""
    for line in block.text.splitlines():
        url = line.replace("{z}", "10").replace("{x}", "546").replace("{y}", "357")
        assert requests.get(url, timeout=60).status_code == 200, line


@contextlib.contextmanager
def _serving(words: list[str], port: str) -> Iterator[None]:
    """A gateway in the background, as a shell's `&` leaves it."""
    server = subprocess.Popen([sys.executable, "-m", *words])
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", int(port))).close()
                break
            time.sleep(0.1)
        yield
    finally:
        server.terminate()
        assert server.wait(20) == 0


def _console(block: Block, place: Path) -> None:
    """Runs each `$` line and compares what it says, but for paths and seconds."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        line, _, expected = part.partition("\n")
        words = shlex.split(line)
        if words[0] == "mosaic":
            done = CliRunner().invoke(main, words[1:])
            code, said = done.exit_code, done.output
        else:
            run = subprocess.run(words, capture_output=True, text=True)
            code, said = run.returncode, run.stdout + run.stderr
        said = said.replace(str(place.resolve()), "/data").replace(str(place), "/data")
        assert _steady(said) == _steady(expected), f"README.md:{block.line}: {line}"
        assert code == (1 if "mosaic: " in expected else 0), f"README.md:{block.line}: {line}"


def _steady(text: str) -> str:
    return re.sub(r"\d+\.\d (s|MB)$", r"… \1", text, flags=re.MULTILINE).strip()


def _shell(line: str) -> None:
    words = shlex.split(line)
    if words[0] == "make":
        targets = (ROOT / "Makefile").read_text()
        assert re.search(rf"^{words[1]}:", targets, re.MULTILINE), line
    elif _gdal():
        subprocess.run(words, check=True)
    else:
        warnings.warn(f"no GDAL 3.9 here, read by rasterio: {line}", stacklevel=1)
        _by_rasterio(words)


def _gdal() -> bool:
    """Whether this machine's GDAL has the tile index driver."""
    if not shutil.which("gdal_translate"):
        return False
    said = subprocess.run(["gdal_translate", "--version"], capture_output=True, text=True).stdout
    found = re.search(r"GDAL (\d+)\.(\d+)", said)
    return bool(found) and (int(found[1]), int(found[2])) >= (3, 9)


def _by_rasterio(words: list[str]) -> None:
    """What a GDAL command does, by rasterio's own GDAL."""
    command, *rest = words
    with rasterio.open(next(word for word in rest if "/" in word)) as dataset:
        if command == "gdalinfo":
            assert dataset.driver == "GTI"
        elif command == "gdal_translate":
            at = rest.index("-projwin")
            crs = rest[rest.index("-projwin_srs") + 1]
            left, top, right, bottom = map(float, rest[at + 1 : at + 5])
            bounds = transform_bounds(crs, dataset.crs, left, bottom, right, top)
            pixels = dataset.read(window=from_bounds(*bounds, dataset.transform), masked=True)
            assert not pixels.mask.any()
        elif command == "gdalwarp":
            with WarpedVRT(dataset, crs=rest[rest.index("-t_srs") + 1]) as warped:
                assert warped.read(1, masked=True).count() > 1000
        else:
            raise AssertionError(f"no way to run {command}")


def test_the_readme_shows_every_option(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {
        name
        for command in verbs().values()
        for option in command.params
        for name in option.opts
        if name.startswith("--")
    }
    short = {"--quiet": "-q", "--verbose": "-v", "--out": "-o"}
    assert not [name for name in sorted(options) if short.get(name, name) not in README]


def test_documents_never_show_the_prefix_and_link_to_what_exists() -> None:
    for path in (*ROOT.glob("*.md"), *ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("catalogs/*.py")):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\bGTI:/?[\w./]", text), path
        for target in re.findall(r"\]\(([^)#]+)\)", text) if path.suffix == ".md" else ():
            assert "://" in target or (ROOT / target).exists(), (path, target)


def test_architecture_names_every_module_in_its_room_and_no_other() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 200
    named: dict[str, set[str]] = {}
    room = ""
    for line in text.split("```")[1].splitlines():
        if begun := re.match(r"  (?:  )?(\w+)/ ", line):
            room = f"engine/{begun[1]}" if line.startswith("    ") else begun[1]
        elif re.match(r"(?:  )?\w", line):
            room = ""
        named.setdefault(room, set()).update(re.findall(r"\w+\.py\b", line))
    there: dict[str, set[str]] = {}
    for path in (ROOT / "mosaic").rglob("*.py"):
        room = path.parent.relative_to(ROOT / "mosaic").as_posix().removeprefix(".")
        if path.name != "__init__.py" or not room:
            there.setdefault(room, set()).add(path.name)
    assert named == there


def test_the_sample_opens_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = shutil.copytree(SAMPLE, tmp_path / "else where" / "sample")
    monkeypatch.chdir(tmp_path)
    for folder in (SAMPLE, copied):
        stacked = _pixels(folder / "B04_B03_B02.vrt")
        for position, name in enumerate(("B04", "B03", "B02")):
            alone = _pixels(folder / f"{name}.gti.gpkg")
            assert alone.mask.mean() < 0.12  # the corners
            np.testing.assert_array_equal(alone[0], stacked[position])


def _pixels(path: Path) -> np.ma.MaskedArray:
    with rasterio.open(path) as dataset:
        pixels: np.ma.MaskedArray = dataset.read(masked=True)
    assert pixels.std() > 100
    return pixels


def test_the_sample_is_small_and_holds_no_path_of_a_machine() -> None:
    files = [path for path in SAMPLE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_500_000
    absolute = re.compile(rb"(?<![\w.:/])/(?:home|root|tmp|work|mnt|var|Users|data|builds?)/")
    for path in files:
        assert not absolute.search(path.read_bytes()), path
    assert b"file:" not in (SAMPLE / "collection.json").read_bytes()
    table = pq.read_table(SAMPLE / "items.parquet")
    assert not absolute.search(repr(table.to_pylist()).encode())
    assert not any(absolute.search(value) for value in (table.schema.metadata or {}).values())
    for path in SAMPLE.glob("*.gti.gpkg"):
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            locations = [row[0] for row in database.execute("SELECT location FROM tiles")]
        database.close()
        assert len(locations) == 8
        assert all(location.startswith("scenes/") for location in locations)


def test_python_m_mosaic_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mosaic", "--version"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout.startswith("mosaic ")
