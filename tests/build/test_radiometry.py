"""What an index declares where its items' encodings differ, and what is said of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from rasterio.enums import ColorInterp

import mosaic
from mosaic.catalog.gti import read_xml
from tests.support.scenes import Scene, utm_scene, write_scene

Json = dict[str, Any]

SCENES = tuple(
    utm_scene(
        f"s{number}",
        32632,
        9.0 + 0.06 * number,
        47.5,
        64,
        60.0,
        bands=("B04", "B03"),
        datetime=f"202{number}-06-01T10:00:00Z",
    )
    for number in range(4)
)
"""Four scenes side by side, s3 the newest."""

S2 = {"platform": "sentinel-2a"}


def _built(
    folder: Path,
    tells: list[Json],
    scenes: tuple[Scene, ...] = SCENES,
    stored: float = 2000,
    **options: Any,
) -> mosaic.builder.report.Report:  # type: ignore[name-defined]
    """Builds scenes of one number; ``tells``: properties of items, ``bands`` of their bands."""
    items = []
    for scene, one in zip(scenes, tells, strict=True):
        item = write_scene(folder / "scenes", scene, lambda lon, lat, band: 0 * lon + stored)
        item["properties"] |= {key: value for key, value in one.items() if key != "bands"}
        for asset in item["assets"].values():
            asset["href"] = str(folder / "scenes" / asset["href"].removeprefix("./"))
            asset["raster:bands"][0] |= one.get("bands", {})
        items.append(item)
    return mosaic.build(items, folder / "out", overwrite=True, **options)


def _shown(folder: Path, scene: Scene, asset: str = "B04") -> float:
    """What the mosaic shows in the middle of a scene."""
    x, y = scene.transform @ (32.5, 32.5)
    with rasterio.open(folder / f"out/{asset}.gti.gpkg") as dataset:
        (value,) = next(iter(dataset.sample([(x, y)])))
    return float(value)


def _declares(folder: Path, asset: str = "B04") -> tuple[float, float]:
    with rasterio.open(folder / f"out/{asset}.gti.gpkg") as dataset:
        return (dataset.scales[0], dataset.offsets[0])


OLD = {"bands": {"scale": 1e-4, "offset": 0}}
NEW = {"bands": {"scale": 1e-4, "offset": -0.1}}


def test_every_document_tells_the_same(tmp_path: Path) -> None:
    report = _built(
        tmp_path, [OLD, OLD, OLD, NEW], stacks=[("B04", "B03")], slices="year", raw=False
    )
    assert [(e.file, e.band, e.scale, e.offset, e.changed) for e in report.encodings] == [
        ("B04.gti.gpkg", 1, 1e-4, -0.1, 3),
        ("B03.gti.gpkg", 1, 1e-4, -0.1, 3),
    ]
    assert report.as_dict()["encodings"][0] == {
        "file": "B04.gti.gpkg",
        "band": 1,
        "scale": 1e-4,
        "offset": -0.1,
        "changed": 3,
    }
    out = tmp_path / "out"
    texts = [read_xml(out / "B04.gti.gpkg"), (out / "B04_2021.gti").read_text()]
    for band in (ET.fromstring(text).find("Band") for text in texts):
        assert band is not None
        assert (band.findtext("Scale"), band.findtext("Offset")) == ("0.0001", "-0.1")
    for band in ET.fromstring((out / "B04_B03.vrt").read_text()).iter("VRTRasterBand"):
        assert (band.findtext("Scale"), band.findtext("Offset")) == ("0.0001", "-0.1")
    assets = json.loads((out / "collection.json").read_bytes())["assets"]
    wanted = {"data_type": "uint16", "nodata": 0, "raster:scale": 1e-4, "raster:offset": -0.1}
    assert assets["B04"]["bands"] == [{"name": "B04", **wanted}]
    assert assets["B04_B03"]["bands"] == [{"name": name, **wanted} for name in ("B04", "B03")]
    assert [_shown(tmp_path, scene) for scene in SCENES] == [3000, 3000, 3000, 2000]
    assert report.notes == (
        "B04, B03: 3 of 4 items (such as s2) are brought to scale 0.0001 and offset -0.1, the "
        "newest: their numbers are read +1000, those above 64535 as 65535",
    )


def test_the_items_keep_what_they_say_of_their_files(tmp_path: Path) -> None:
    _built(tmp_path, [OLD, OLD, NEW, NEW])
    assets = pq.read_table(tmp_path / "out/items.parquet")["assets"].to_pylist()
    told = [one["B04"]["bands"][0]["raster:offset"] for one in assets]
    assert sorted(told) == [-0.1, -0.1, 0, 0]


def test_raw_declares_and_changes_nothing(tmp_path: Path) -> None:
    report = _built(tmp_path, [OLD, OLD, NEW, NEW], raw=True, stacks=[("B04", "B03")])
    assert _declares(tmp_path) == (1, 0)
    assert [_shown(tmp_path, scene) for scene in SCENES] == [2000] * 4
    assert report.notes == ()
    assert {(e.scale, e.offset, e.changed) for e in report.encodings} == {(1, 0, 0)}
    assert "<Scale>" not in (tmp_path / "out/B04_B03.vrt").read_text()
    assets = json.loads((tmp_path / "out/collection.json").read_bytes())["assets"]
    assert "raster:offset" not in assets["B04"]["bands"][0]


def test_raw_on_the_command_line(tmp_path: Path, cli: Any) -> None:
    _built(tmp_path, [OLD, OLD, NEW, NEW])
    items = tmp_path / "out/items.parquet"
    for options, wanted in (((), (1e-4, -0.1)), (("--raw",), (1, 0))):
        done = cli("build", items, "-o", tmp_path / "out2", "--overwrite", "-q", *options)
        assert done.exit_code == 0, done.output
        with rasterio.open(tmp_path / "out2/B04.gti.gpkg") as dataset:
            assert (dataset.scales[0], dataset.offsets[0]) == wanted


def test_the_other_encoding_where_the_newest_would_make_holes(tmp_path: Path) -> None:
    report = _built(tmp_path, [NEW, NEW, NEW, OLD], bands=["B04"])
    assert _declares(tmp_path) == (1e-4, -0.1)
    assert [_shown(tmp_path, scene) for scene in SCENES] == [2000, 2000, 2000, 3000]
    assert report.notes[0] == (
        "B04: 1 of 4 items (such as s3) are brought to scale 0.0001 and offset -0.1, the one "
        "that can hold all exactly: their numbers are read +1000, those above 64535 as 65535"
    )


@pytest.mark.parametrize(
    ("tells", "note"),
    [
        (
            [OLD, OLD, NEW, {"bands": {"scale": 2e-4, "offset": 0}}],
            "B04: items differ in scale and offset, and no encoding holds all exactly: none is "
            "declared, values are raw",
        ),
        (
            [OLD, OLD, NEW, {}],
            "B04: 1 of 4 items (such as s3) tell no scale and offset, others do: none is declared, "
            "values are raw",
        ),
        (
            [{"bands": {"scale": 1e-4, "offset": 0.00005}}, OLD, OLD, OLD],
            "B04: items differ in scale and offset, and no encoding holds all exactly: none is "
            "declared, values are raw",
        ),
    ],
)
def test_none_is_declared_where_none_holds(tmp_path: Path, tells: list[Json], note: str) -> None:
    report = _built(tmp_path, tells, bands=["B04"])
    assert report.notes == (note,)
    assert _declares(tmp_path) == (1, 0)
    assert [_shown(tmp_path, scene) for scene in SCENES] == [2000] * 4
    assert report.encodings[0].changed == 0


def test_what_all_tell_alike_is_no_difference(tmp_path: Path) -> None:
    report = _built(tmp_path, [{"bands": {"scale": 1, "offset": 0}}, {}, {}, {}], bands=["B04"])
    assert report.notes == ()
    assert _declares(tmp_path) == (1, 0)


BEFORE = {**S2, "s2:processing_baseline": "03.01"}
SINCE = {**S2, "s2:processing_baseline": "04.00"}
REMOVED = {**SINCE, "earthsearch:boa_offset_applied": True}


@pytest.mark.parametrize(
    ("tells", "shown", "notes"),
    [
        (
            [BEFORE, BEFORE, SINCE, SINCE],
            [3000, 3000, 2000, 2000],
            [
                "4 of 4 items (such as s3) tell no offset, or no scale: those of their Sentinel-2 "
                "processing baseline are taken",
                "2 of 4 items (such as s1) are brought to",
            ],
        ),
        (
            [{**REMOVED, **NEW}, {**REMOVED, **NEW}, {**SINCE, **NEW}, {**SINCE, **NEW}],
            [3000, 3000, 2000, 2000],
            [
                "2 of 4 items (such as s1) declare an offset that they say is removed from their "
                "pixels (boa_offset_applied): it isn't applied again",
                "2 of 4 items (such as s1) are brought to",
            ],
        ),
        (
            [{**SINCE, **OLD}, {**BEFORE, **NEW}, {**SINCE, **NEW}, {**SINCE, **NEW}],
            [3000, 2000, 2000, 2000],
            [
                "2 of 4 items (such as s1) declare an offset that their Sentinel-2 processing "
                "baseline contradicts: what they declare is believed",
                "1 of 4 items (such as s0) are brought to",
            ],
        ),
        (
            [{**SINCE, **NEW, "earthsearch:boa_offset_applied": False}] * 4,
            [2000] * 4,
            [
                "4 of 4 items (such as s3) declare an offset and say that it isn't removed from "
                "their pixels (boa_offset_applied: false), in which Earth Search is known to err"
            ],
        ),
    ],
    ids=["baselines", "removed", "contradicted", "flag-false"],
)
def test_sentinel2(tmp_path: Path, tells: list[Json], shown: list[float], notes: list[str]) -> None:
    report = _built(tmp_path, tells, bands=["B04"])
    assert _declares(tmp_path) == (1e-4, -0.1)
    assert [_shown(tmp_path, scene) for scene in SCENES] == shown
    assert len(report.notes) == len(notes)
    for said, wanted in zip(report.notes, notes, strict=True):
        assert said.startswith(f"B04: {wanted}")


def test_nothing_is_removed_twice_in_a_collection_of_one_kind(tmp_path: Path) -> None:
    """Earth Search's ``sentinel-2-l2a``: encoded like the old ones, whatever they declare."""
    tells = [{**BEFORE, **OLD, "earthsearch:boa_offset_applied": False}] * 2
    report = _built(tmp_path, [*tells, *[{**REMOVED, **NEW}] * 2], bands=["B04"])
    assert _declares(tmp_path) == (1e-4, 0)
    assert [_shown(tmp_path, scene) for scene in SCENES] == [2000] * 4
    assert [note for note in report.notes if "applied again" in note]
    assert report.encodings[0].changed == 0


def test_floating_point_takes_a_factor(tmp_path: Path) -> None:
    scenes = tuple(replace(scene, dtype="float32", nodata=-9999) for scene in SCENES)
    tells = [{"bands": {"scale": 0.01, "offset": 5}}] * 3
    tells.append({"bands": {"scale": 0.02, "offset": 1}})
    report = _built(tmp_path, tells, scenes, bands=["B04"])
    assert _declares(tmp_path) == (0.02, 1)
    assert [_shown(tmp_path, scene) for scene in SCENES] == [1200, 1200, 1200, 2000]
    assert report.notes[0].endswith("read x 0.5 +200; -20398 would become -9999, no data")


def test_nodata_becomes_that_of_the_index(tmp_path: Path) -> None:
    scenes = tuple(
        replace(scene, nodata=65535 if number == 0 else 0, hole=(0.0, 0.25))
        for number, scene in enumerate(SCENES)
    )
    _built(tmp_path, [OLD, OLD, NEW, NEW], scenes, bands=["B04"])
    with rasterio.open(tmp_path / "out/B04.gti.gpkg") as dataset:
        assert dataset.nodata == 0
        values = dataset.read(1)
    assert set(np.unique(values)) == {0, 2000, 3000}


def _two_or_three(path: Path, scene: Scene, dtype: str, alpha: bool, masked: bool) -> None:
    """A file without a nodata value, of three bands or of one and alpha; its left half masked."""
    height, width = scene.shape
    profile = {"driver": "GTiff", "width": width, "height": height, "dtype": dtype}
    mask = np.full(scene.shape, 255, np.uint8)
    mask[:, : width // 2] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path,
            "w",
            **profile,
            count=2 if alpha else 3,
            crs=scene.crs,
            transform=scene.transform,
            **({"ALPHA": "YES"} if alpha else {}),
        ) as dataset,
    ):
        dataset.write(np.full((1, *scene.shape), 100, dtype)[0], 1)
        if alpha:
            dataset.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
            dataset.write(mask.astype(dtype) * (257 if masked else 0) + (0 if masked else 65535), 2)
        else:
            dataset.write(np.full(scene.shape, 200, dtype), 2)
            dataset.write(np.full(scene.shape, 300, dtype), 3)
            if masked:
                dataset.write_mask(mask)


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:3035"])
@pytest.mark.parametrize(
    ("dtype", "alpha"), [("uint16", False), ("int16", False), ("float32", False), ("uint16", True)]
)
def test_a_mask_in_the_file_is_kept(tmp_path: Path, crs: str, dtype: str, alpha: bool) -> None:
    """No nodata value anywhere: what the old files mask stays masked when their numbers change."""
    items = []
    for number, scene in enumerate(SCENES):
        _two_or_three(tmp_path / f"{scene.id}.tif", scene, dtype, alpha, masked=number < 2)
        item = write_scene(tmp_path / "unused", scene)
        (asset, _) = item["assets"].values()
        bands: list[Json] = [{"data_type": dtype, "scale": 0.1, "offset": int(number < 2)}] * 3
        asset["eo:bands"] = [{"name": name} for name in ("one", "two", "three")]
        if alpha:
            bands = [bands[0], {"data_type": dtype}]
            asset["eo:bands"] = [{"name": "one"}, {"name": "alpha"}]
        asset |= {"href": str(tmp_path / f"{scene.id}.tif"), "raster:bands": bands}
        item["assets"] = {"all": asset}
        items.append(item)
    report = mosaic.build(items, tmp_path / "out", dst_crs=crs)
    assert (report.encodings[0].scale, report.encodings[0].offset) == (0.1, 0.0)
    assert [one.changed for one in report.encodings] == ([2, 0] if alpha else [2, 2, 2])
    raw = mosaic.build(items, tmp_path / "raw", dst_crs=crs, raw=True)
    assert raw.shape == report.shape
    with (
        rasterio.open(tmp_path / "out/all.gti.gpkg") as one,
        rasterio.open(tmp_path / "raw/all.gti.gpkg") as other,
    ):
        valid = one.read_masks(1) > 0
        np.testing.assert_array_equal(valid, other.read_masks(1) > 0)
        assert 0.3 < valid.mean() < 0.95
        difference = one.read(1).astype(int) - other.read(1)
    # a physical value of 1 at a scale of 0.1 is 10 numbers
    assert {0, 10} == set(np.unique(difference[valid]))


def test_many_encodings_make_one_note(tmp_path: Path) -> None:
    scenes = tuple(replace(scene, dtype="float32", nodata=None) for scene in SCENES)
    scenes = (*scenes, replace(scenes[3], id="s4", datetime="2030-01-01T00:00:00Z"))
    tells = [{"bands": {"scale": 0.01 * (n + 1), "offset": 0}} for n in range(4)]
    tells.append({"bands": {"scale": 1, "offset": 0}})
    report = _built(tmp_path, tells, scenes, bands=["B04"])
    assert report.notes == (
        "B04: 4 of 5 items (such as s3) are brought to scale 1 and offset 0, the newest, from 4 "
        "others",
    )


def test_what_another_file_tells_is_said(tmp_path: Path) -> None:
    """Items without bands: one header is read for all, and its scale and offset with it."""
    items = []
    for scene in SCENES:
        item = write_scene(tmp_path, scene)
        path = tmp_path / scene.id / "B04.tif"
        with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dataset:
            dataset.scales, dataset.offsets = (1e-4,), (0,)
        item["assets"] = {"B04": {**item["assets"]["B04"], "href": str(path)}}
        del item["assets"]["B04"]["raster:bands"]
        items.append(item)
    report = mosaic.build(items, tmp_path / "out")
    assert report.headers_read == 1
    assert _declares(tmp_path) == (1e-4, 0)
    assert report.notes == (
        "B04: 3 of 4 items (such as s3) tell no scale and offset: those of another file of their "
        "collection are taken",
    )
    for item, baseline in zip(items, ("02.14", "02.14", "04.00", "04.00"), strict=True):
        item["properties"] |= {**S2, "s2:processing_baseline": baseline}
    report = mosaic.build(items, tmp_path / "out", overwrite=True)
    # the first file, of an old baseline, is believed of itself alone
    assert _declares(tmp_path) == (1e-4, -0.1)
    assert report.encodings[0].changed == 2
    assert report.notes[0].startswith("B04: 3 of 4 items (such as s3) tell no offset, or no scale")
