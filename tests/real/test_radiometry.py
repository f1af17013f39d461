"""Real catalogs that mix encodings, and a real Sentinel-2 band read back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import orjson
import pytest
import rasterio
from rasterio.errors import RasterioIOError

import mosaic

CLIENT = "stac-utils+pystac-client/cassette-bodies"
PC_OLD = f"{CLIENT}/pc-sentinel-2-l2a-33-three-zones.json.gz"  # baseline 02.12
PC_NEW = "stac-utils+rustac/scripts/fixtures/1000-sentinel-2-items.parquet"  # 05.10 and 05.11
EARTH_SEARCH = f"{CLIENT}/earth-search-mixed-collections-10.json"
JP2 = (
    "stactools-packages+sentinel2/tests/data-files/"
    "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454.SAFE/GRANULE/"
    "L2A_T29UNU_A038058_20221005T115407/IMG_DATA/R60m/T29UNU_20221005T115411_B04_60m.jp2"
)

Encodings = list[tuple[str, float, float, int]]


@pytest.fixture
def sealed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No raster can be opened."""

    def refuse(name: Any, *args: Any, **options: Any) -> Any:
        raise RasterioIOError("there is no network here")

    with monkeypatch.context() as patched:
        patched.setattr(rasterio, "open", refuse)
        yield


def _encodings(report: Any) -> Encodings:
    return [(e.file.split(".")[0], e.scale, e.offset, e.changed) for e in report.encodings]


def _locations(index: Path) -> dict[str, str]:
    with closing(sqlite3.connect(index)) as database:
        return dict(database.execute("SELECT item, location FROM tiles"))


def test_earth_search(sealed: None, shared: Path, tmp_path: Path) -> None:
    """Three collections of one place: L1C and Collection 1 have the offset, L2A says it is gone."""
    report = mosaic.build(
        shared / EARTH_SEARCH, tmp_path / "m", bands=["red", "scl"], skip_bad=True
    )
    assert _encodings(report) == [("red", 1e-4, -0.1, 2), ("scl", 1, 0, 0)]
    assert report.notes[:2] == (
        "red: 2 of 7 items (such as S2B_20EPT_20250731_0_L2A) declare an offset that they say is "
        "removed from their pixels (boa_offset_applied): it isn't applied again",
        "red: 2 of 7 items (such as S2B_20EPT_20250731_0_L2A) are brought to scale 0.0001 and "
        "offset -0.1, the newest: their numbers are read +1000, those above 64535 as 65535",
    )
    for item, location in _locations(tmp_path / "m/red.gti.gpkg").items():
        removed = item in ("S2B_20EPT_20250731_0_L2A", "S2B_24MUV_20250731_0_L2A")
        assert ("<ScaleOffset>1000<" in location) == removed, item


def test_earth_search_originals_keep_their_offset(
    sealed: None, shared: Path, tmp_path: Path
) -> None:
    report = mosaic.build(shared / EARTH_SEARCH, tmp_path / "m", bands=["red-jp2"], skip_bad=True)
    assert _encodings(report) == [("red-jp2", 1e-4, -0.1, 0)]
    assert not [note for note in report.notes if "offset" in note]


@pytest.mark.parametrize(("bands", "scaled"), [(("red", "scl"), True), (("scl",), False)])
def test_the_collection_fits_the_raster_extension(
    sealed: None, shared: Path, tmp_path: Path, bands: tuple[str, ...], scaled: bool
) -> None:
    """Which may be named only where its fields are used."""
    mosaic.build(
        shared / "stac-utils+rustac/crates/server/data/sentinel-2/item-collection.json",
        tmp_path / "m",
        bands=bands,
    )
    document = orjson.loads((tmp_path / "m/collection.json").read_bytes())
    schema = orjson.loads((shared / "stac-extensions+raster/v2.0.0/schema.json").read_bytes())
    assert (schema["$id"].rstrip("#") in document["stac_extensions"]) is scaled
    problems = list(jsonschema.Draft7Validator(schema).iter_errors(document))
    assert not problems if scaled else problems


def test_planetary_computer(sealed: None, shared: Path, tmp_path: Path) -> None:
    """No offset, no scale, no nodata: all by the baseline, and said so."""
    report = mosaic.build(
        [shared / PC_OLD, shared / PC_NEW],
        tmp_path / "m",
        dtype="uint16",
        bands=["B04", "SCL", "AOT", "WVP", "visual"],
    )
    assert report.items == 1033
    assert _encodings(report) == [
        ("B04", 1e-4, -0.1, 33),
        # three bands of a picture, named as those it was made from
        *((name, 1, 0, 0) for name in ("SCL", "AOT", "WVP", "visual", "visual", "visual")),
    ]
    about = [note for note in report.notes if note.startswith("B04")]
    assert [note.split(")", 1)[1][:40] for note in about] == [
        " tell no offset, or no scale: those of t",
        " are brought to scale 0.0001 and offset ",
        " tell no nodata: 0, as all Sentinel-2 pr",
    ]
    assert [note.split(" items")[0] for note in about] == [
        "B04: 1033 of 1033",
        "B04: 33 of 1033",
        "B04: 1033 of 1033",
    ]
    texts = _locations(tmp_path / "m/B04.gti.gpkg").values()
    assert sum("<ScaleOffset>1000<" in text for text in texts) >= 33
    assert all("<NODATA>0<" in text or "<SrcNoDataReal>0<" in text for text in texts)


def test_collections_of_one_kind_are_read_as_they_are(
    sealed: None, shared: Path, tmp_path: Path
) -> None:
    for document, offset in ((PC_OLD, 0.0), (PC_NEW, -0.1)):
        report = mosaic.build(
            shared / document, tmp_path / str(offset), dtype="uint16", bands=["B04"]
        )
        assert _encodings(report) == [("B04", 1e-4, offset, 0)]
        locations = _locations(tmp_path / str(offset) / "B04.gti.gpkg").values()
        assert all(location.startswith("/vsicurl?") for location in locations)


def test_landsat_of_which_some_items_tell_nothing(
    sealed: None, shared: Path, tmp_path: Path
) -> None:
    """Of one collection, as it was when 250 items were fetched, and later ten."""
    report = mosaic.build(
        [
            shared / f"{CLIENT}/pc-landsat-8-c2-l2-netherlands-250.json.gz",
            shared / f"{CLIENT}/pc-landsat-c2-l2-10-three-zones.json",
        ],
        tmp_path / "m",
        dtype="uint16",
        bands=["SR_B4", "red"],
    )
    assert _encodings(report) == [("SR_B4", 1, 0, 0), ("red", 1, 0, 0)]
    assert (
        "red: 250 of 260 items (such as LC08_L2SP_197023_20220324_02_T1) tell no scale and offset, "
        "others do: none is declared, values are raw"
    ) in report.notes


def test_a_real_band_as_if_it_were_of_an_older_baseline(shared: Path, tmp_path: Path) -> None:
    """JPEG 2000 without a declared nodata value, 40% of it zeros: pixel for pixel."""
    path = shared / JP2
    with rasterio.open(path) as dataset:
        stored = dataset.read(1)
        shape, affine = dataset.shape, list(dataset.transform)[:6]
    assert 0.3 < (stored == 0).mean() < 0.5
    items = []
    for year, baseline in ((2020, "02.14"), (2022, "04.00")):
        items.append(
            {
                "type": "Feature",
                "stac_version": "1.1.0",
                "id": f"y{year}",
                "geometry": None,
                "properties": {
                    "datetime": f"{year}-10-05T11:54:11Z",
                    "s2:processing_baseline": baseline,
                    "proj:code": "EPSG:32629",
                    "proj:shape": list(shape),
                    "proj:transform": affine,
                },
                "links": [],
                "assets": {"B04": {"href": str(path), "type": "image/jp2", "data_type": "uint16"}},
            }
        )
    (tmp_path / "items.json").write_bytes(
        orjson.dumps({"type": "FeatureCollection", "features": items})
    )
    report = mosaic.build(tmp_path / "items.json", tmp_path / "m", slices="year")
    assert report.headers_read == 0
    assert _encodings(report) == [("B04", 1e-4, -0.1, 1)]
    for year, shift in ((2020, 1000), (2022, 0)):
        with rasterio.open(tmp_path / f"m/B04_{year}.gti") as dataset:
            values = dataset.read(1)[: shape[0], : shape[1]]
            assert dataset.transform.c == affine[2]
            assert dataset.transform.f == affine[5]
            assert dataset.nodata == 0
        np.testing.assert_array_equal(values, np.where(stored, stored + shift, 0))
