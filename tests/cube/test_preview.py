"""Pictures of mosaics: the right pixels at the right places, of a bounded number of files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import orjson
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from PIL import Image

import mosaic
from mosaic.cli import main
from mosaic.cube import preview as previews
from mosaic.errors import CatalogError, MosaicError, NotACatalogError, ReadError, UsageError
from mosaic.storage import Gate
from tests.cube.conftest import Made, made
from tests.support.exact import shown
from tests.support.range_server import RangeServer
from tests.support.scenes import seam_scenes, utm_scene
from tests.support.upstream import publish


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Two zones, two dates, three bands and a stack of them."""
    scenes = seam_scenes(256, 60.0, ("B02", "B03", "B04"), dates=2)
    home = tmp_path_factory.mktemp("coloured")
    return made(home, list(scenes), dst_crs="EPSG:3035", stacks=[("B04", "B03", "B02")])


def test_pixels_are_the_mosaics_own(coloured: Made) -> None:
    """Alpha is where PROJ finds a scene, and what is brighter there isn't darker in the picture."""
    got = mosaic.preview(coloured.path, size=2000, gate=Gate())
    assert got.bands == ("B04", "B03", "B02")
    assert (got.items, got.drawn, got.files) == (8, 8, 24)
    box = mosaic.open(coloured.path, gate=Gate()).odc.geobox
    assert got.geobox == box  # small enough to be shown as it is
    for place, band in enumerate(got.bands):
        want = shown(coloured.files(band), "EPSG:3035", box.affine, box.shape, "nearest")
        alpha = got.pixels[..., 3] == 255
        assert (alpha == want.valid).mean() > 0.9999
        assert set(np.unique(got.pixels[..., 3])) == {0, 255}
        both = alpha & want.valid
        order = np.argsort(want.values[both], kind="stable")
        grey = got.pixels[..., place][both][order].astype(int)
        assert (np.diff(grey) >= 0).mean() > 0.9999  # but for pixels between two of a source's
    shown_ones = got.pixels[..., :3][got.pixels[..., 3] == 255]
    assert (shown_ones.min(), shown_ones.max()) == (0, 255)  # stretched, all bands together


def test_the_file_shows_them_where_they_lie(coloured: Made, tmp_path: Path) -> None:
    got = mosaic.preview(coloured.path, tmp_path / "shown.png", size=1500, gate=Gate())
    with Image.open(tmp_path / "shown.png") as opened:
        assert opened.size == got.size
        assert max(opened.size) == 1500
        picture = np.asarray(opened.convert("RGB")).astype(int)
    (axes,) = got.figure.axes
    rows, columns = np.mgrid[20 : got.pixels.shape[0] : 23, 20 : got.pixels.shape[1] : 23]
    checked = equal = 0
    for row, column in zip(rows.ravel().tolist(), columns.ravel().tolist(), strict=True):
        x, y = got.geobox.affine @ (column + 0.5, row + 0.5)
        across, up = axes.transData.transform((x, y))
        here = picture[int(picture.shape[0] - up), int(across)]
        *want, alpha = got.pixels[row, column].tolist()
        checked += alpha > 0
        equal += alpha > 0 and bool(np.abs(here - want).max() <= 2)
    assert checked > 100
    assert equal / checked > 0.9  # edges of footprints cross some
    told = {text.get_text() for text in got.figure.legends[0].get_texts()}
    assert told == {"EPSG:32632  (4)", "EPSG:32633  (4)"}


def test_a_window_and_a_time(coloured: Made) -> None:
    """One zone's half, one of its dates; PROJ tells what lies there."""
    west, south, _, north = mosaic.open(coloured.path).odc.geobox.geographic_extent.boundingbox
    bbox = (west, south, west + 0.12, north)
    first = sorted({scene.datetime[:10] for scene in coloured.scenes})[0]
    got = mosaic.preview(
        coloured.path, size=1000, bbox=bbox, datetime=first, bands=["B03"], gate=Gate()
    )
    assert got.bands == ("B03",)
    files = coloured.files("B03", lambda scene: scene.datetime.startswith(first))
    box = got.geobox
    want = shown(files, "EPSG:3035", box.affine, box.shape, "nearest")
    assert (got.pixels[..., 3] == 255 * want.valid).mean() > 0.9999
    assert got.items < len(files)
    assert got.drawn == got.items
    assert (got.pixels[..., 0] == got.pixels[..., 1]).all()  # grey


def test_on_both_sides_of_180(tmp_path: Path) -> None:
    """The scenes fill the picture, though the mosaic's grid goes round the world."""
    numbers = np.arange(90 * 90, dtype=np.uint8).reshape(1, 90, 90) % 250 + 1
    for name, west in enumerate((178.5, 179.4, -180.0, -179.1)):
        grid = {"crs": "EPSG:4326", "transform": Affine(0.01, 0, west, 0, -0.01, 10), "nodata": 0}
        profile = {"driver": "GTiff", "width": 90, "height": 90, "count": 1, "dtype": "uint8"}
        with rasterio.open(tmp_path / f"{name}.tif", "w", **profile, **grid) as file:
            file.write(numbers)
    mosaic.build(sorted(tmp_path.glob("*.tif")), tmp_path / "mosaic")
    got = mosaic.preview(tmp_path / "mosaic", gate=Gate())
    assert got.pixels.shape == (90, 330, 4)  # 178.5 to 181.8 degrees
    there = got.pixels[..., 3] == 255
    assert there[:, [50, 149, 151, 239, 241, 329]].all()
    assert there.sum() == 4 * 90 * 90 - 90 * 30  # the first two share 0.0 and the last two 0.1


def test_colours_that_items_tell(tmp_path: Path) -> None:
    """Red, green and blue by their common names, whatever else there is."""
    scenes = seam_scenes(128, 120.0, ("nir", "a", "b", "c"), dates=1)
    built = made(tmp_path, list(scenes))
    document = orjson.loads(built.items.read_bytes())
    for item in document["features"]:
        for name, color in (("a", "blue"), ("b", "green"), ("c", "red")):
            item["assets"][name]["eo:bands"] = [{"name": name, "common_name": color}]
    built.items.write_bytes(orjson.dumps(document))
    mosaic.build(built.items, tmp_path / "told")
    assert mosaic.preview(tmp_path / "told", size=300).bands == ("c", "b", "a")
    assert mosaic.preview(built.items, size=300).bands == ("c", "b", "a")
    assert mosaic.preview(built.path, size=300).bands == ("nir",)


def test_of_many_scenes_those_on_top_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten dates of two places, two files allowed: the newest of each is drawn, no other is asked
    for; and a budget of bytes leaves outlines alone."""
    scenes = [
        utm_scene(
            f"s{place}_{date}", 32632, 9.0 + 0.3 * place, 47.5, 256, 60.0,
            bands=("B04",), datetime=f"2025-06-{date + 1:02d}T10:00:00Z",
        )
        for date in range(10)
        for place in range(2)
    ]  # fmt: skip
    monkeypatch.setattr(previews, "FILES", 2)
    with RangeServer({}) as server:
        folder = publish(tmp_path, scenes, server)
        server.reset()
        got = mosaic.preview(folder, size=800, gate=Gate())
        assert (got.items, got.drawn, got.files) == (20, 2, 2)
        asked = {path for _, path, _, _ in server.counts.log}
        assert {path.split("/")[-2] for path in asked} == {"s0_9", "s1_9"}
        assert server.counts.bytes <= got.nbytes
        box = got.geobox
        files = [tmp_path / "scenes" / name / "B04.tif" for name in ("s0_9", "s1_9")]
        want = shown(files, str(box.crs), box.affine, box.shape, "nearest")
        assert (got.pixels[..., 3] == 255 * want.valid).mean() > 0.9999
        assert got.pixels[..., 3].any()
        monkeypatch.setattr(previews, "BYTES", 1000)
        got = mosaic.preview(folder, size=800, gate=Gate())
        assert (got.drawn, got.files) == (0, 0)
        assert not got.pixels.any()
        assert "0 of them" in got.figure.axes[0].get_title()


def test_the_coarse_image_of_the_whole_is_read_instead(tmp_path: Path) -> None:
    """No scene is opened: there is none any more."""
    scenes = seam_scenes(256, 60.0, ("B04",), dates=2)
    built = made(tmp_path, list(scenes), dst_crs="EPSG:3035", overview=240)
    whole = mosaic.preview(built.path, size=1600, gate=Gate())
    assert whole.files == 8  # it would be too coarse
    shutil.rmtree(built.items.parent)
    got = mosaic.preview(built.path, size=300, gate=Gate())
    assert (got.files, got.drawn, got.items) == (1, 8, 8)
    with rasterio.open(built.path / "B04_overview.tif") as image:
        box = got.geobox
        x, y = (v.ravel() for v in np.meshgrid(*(box.coordinates[n].values for n in ("x", "y"))))
        there = np.array([one[0] for one in image.sample(zip(x, y, strict=True))])
    valid = (there > 0).reshape(box.shape)
    assert (got.pixels[..., 3] == 255 * valid).mean() > 0.999
    grey = got.pixels[..., 0][valid][np.argsort(there.reshape(box.shape)[valid], kind="stable")]
    assert (np.diff(grey.astype(int)) >= 0).mean() > 0.999
    with pytest.raises(ReadError, match="B04"):
        mosaic.preview(built.path, size=300, datetime="2025-06", gate=Gate())


@pytest.mark.parametrize(
    ("told", "kind", "says"),
    [
        ({"size": 10}, UsageError, "200 to 8000"),
        ({"bands": ["B04", "B03"]}, UsageError, "one, or three"),
        ({"bands": "B11"}, UsageError, "B11"),
        ({"bbox": (0, 0, 1, 1)}, UsageError, "no item lies"),
        ({"bbox": (0, 0)}, UsageError, "west, south, east, north"),
        ({"datetime": "yesterday"}, UsageError, "yesterday"),
        ({"datetime": "1999"}, UsageError, "no item lies"),
        ({"out": "picture.jpg"}, UsageError, "picture.jpg"),
        ({"out": "nowhere/picture.png"}, UsageError, "no folder"),
    ],
)
def test_what_cannot_be_meant(
    coloured: Made,
    told: dict[str, object],
    kind: type[MosaicError],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=says):
        mosaic.preview(coloured.path, **told)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_the_name_of_a_picture_holds_no_secret() -> None:
    for source in ("http://me:hush@host/june/", "http://host/june/collection.json?sig=hush"):
        assert previews.name_of(source) == Path("june.png")
    assert previews.name_of("http://me:hush@host:8790") == Path("host:8790.png")


def test_other_failures(coloured: Made, tmp_path: Path) -> None:
    with pytest.raises(NotACatalogError):
        mosaic.preview(tmp_path)
    got = mosaic.preview(coloured.path, size=300)
    (tmp_path / "shown.png").write_bytes(b"before")
    full = Path("/dev/full")
    if full.exists():
        (tmp_path / ".shown.png.part").symlink_to(full)
        with pytest.raises(CatalogError, match="can't be written"):
            got.save(tmp_path / "shown.png")
        assert (tmp_path / "shown.png").read_bytes() == b"before"
        assert [path.name for path in tmp_path.iterdir()] == ["shown.png"]


def test_the_command(coloured: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["preview", str(coloured.path), "--size", "400", "--time", "2025-06", "--bands", "B02"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert done.output.startswith("mosaic.png: ")
    assert "B02 of 8 of 8 items" in done.output
    with Image.open("mosaic.png") as opened:
        assert max(opened.size) == 400
        assert opened.format == "PNG"
    done = CliRunner().invoke(main, [*words, "-o", "other.gif"])
    assert done.exit_code == 1
    assert "mosaic: other.gif" in done.output
