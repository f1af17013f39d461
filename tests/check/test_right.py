"""What is right passes, however odd."""

from __future__ import annotations

from pathlib import Path

import pytest
import shapely
from affine import Affine

import mosaic
from tests.check.conftest import TURNED, errors, geometries, only, rasters
from tests.support.mosaics import CASES, write_case
from tests.support.scenes import item_of, seam_scenes


def test_orders_by_other_properties_pass(tmp_path: Path, empty: Path) -> None:
    scenes = seam_scenes(64, 60.0, ("B04",))
    items = [item_of(scene) for scene in scenes]
    for number, item in enumerate(items):
        item["properties"]["rank"] = [3, "10", None, 2.5][number % 4]
        item["assets"]["B04"]["href"] = f"https://host.example/{item['id']}.tif"
    for sort in ("rank", "-rank", "-eo:cloud_cover", "+datetime", "-no-such-property"):
        mosaic.build(items, tmp_path / "m", sort=sort, overwrite=True)
        report = mosaic.check(tmp_path / "m", schemas=empty, offline=True)
        assert errors(report) == [], sort


def test_every_case_passes(tmp_path: Path, empty: Path) -> None:
    built: dict[str, Path] = {}
    for case in CASES:
        items = built.setdefault(case.name, write_case(_folder(tmp_path / case.name), case.scenes))
        out = tmp_path / f"{case}"
        mosaic.build(items, out, dst_crs=case.crs)
        report = mosaic.check(out, schemas=empty)
        assert errors(report) == [], case


def _folder(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    return path


SOUTH_UP = Affine(10, 0, 501_000, 0, 10, 5_000_000)
NORTH_UP = Affine(10, 0, 502_000, 0, -10, 5_000_000)
ODD = [
    ("rotated", [TURNED, NORTH_UP], {"nodata": 0}, {}),
    ("rotated, in degrees", [TURNED, NORTH_UP], {"nodata": 0}, {"dst_crs": "EPSG:4326"}),
    ("south up", [SOUTH_UP, NORTH_UP], {"nodata": 0}, {}),
    ("no nodata", [TURNED, SOUTH_UP, NORTH_UP], {}, {"dst_crs": "EPSG:3035"}),
    ("no nodata, two bands", [TURNED, NORTH_UP], {"count": 2}, {"dst_crs": "EPSG:3035"}),
    ("nodata by hand", [NORTH_UP, SOUTH_UP], {}, {"nodata": 0}),
    ("oblong pixels", [Affine(10, 0, 5e5, 0, -30, 5e6), NORTH_UP], {}, {"res": (10, 30)}),
]


@pytest.mark.parametrize(
    ("transforms", "written", "options"), [one[1:] for one in ODD], ids=[one[0] for one in ODD]
)
@pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside"])
def test_odd_rasters_pass(
    tmp_path: Path, empty: Path, transforms: list[Affine], written: dict[str, object],
    options: dict[str, object], inside: bool,
) -> None:  # fmt: skip
    out = tmp_path / "m"
    files = rasters(out / "in" if inside else tmp_path / "in", transforms, **written)  # type: ignore[arg-type]
    mosaic.build(files, out, **options)  # type: ignore[arg-type]
    report = mosaic.check(out, schemas=empty, all=True)
    assert errors(report) == []


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:3832"])
def test_the_whole_world_passes(tmp_path: Path, empty: Path, crs: str) -> None:
    for name, left in (("a", -180), ("b", 0)):
        rasters(tmp_path / name, [Affine(6, 0, left, 0, -4.5, 90)], crs="EPSG:4326", nodata=0)
    mosaic.build([tmp_path / "a", tmp_path / "b"], tmp_path / "m", dst_crs=crs)
    assert errors(mosaic.check(tmp_path / "m", schemas=empty)) == []


def test_one_id_in_two_collections_passes(tmp_path: Path, empty: Path) -> None:
    scenes = seam_scenes(64, 60.0, ("B04",), dates=1)
    items = [item_of(scene) for scene in scenes] + [item_of(scenes[0])]
    items[-1]["collection"] = "others"
    for item in items:
        item["assets"]["B04"]["href"] = f"https://host.example/{item['id']}.tif"
    mosaic.build(items, tmp_path / "m")
    assert errors(mosaic.check(tmp_path / "m", schemas=empty, offline=True)) == []


def test_a_bbox_and_names_of_bands_pass(seam: Path, tmp_path: Path, empty: Path) -> None:
    mosaic.build(seam, tmp_path / "m", bbox=(11.8, 47.53, 11.9, 47.56), dst_crs="EPSG:3857")
    assert errors(mosaic.check(tmp_path / "m", schemas=empty)) == []


def test_items_named_by_band_are_found(tmp_path: Path, empty: Path) -> None:
    items = [item_of(scene) for scene in seam_scenes(64, 60.0, ("B04",), dates=1)]
    for item in items:
        asset = item["assets"].pop("B04")
        asset["eo:bands"] = [{"name": "B04", "common_name": "red"}]
        item["assets"]["file"] = {**asset, "href": f"https://host.example/{item['id']}.tif"}
    mosaic.build(items, tmp_path / "m", bands=["red"])
    report = mosaic.check(tmp_path / "m", schemas=empty, offline=True)
    assert errors(report) == []
    geometries(tmp_path / "m/red.gti.gpkg", lambda g: shapely.buffer(g, 500.0))
    found = only(mosaic.check(tmp_path / "m", schemas=empty, offline=True), "red.gti.gpkg")
    assert len(found.problems) == len(items)
