"""stac-geoparquet files of others, read as items: the same as stac-geoparquet itself reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import shapely
import stac_geoparquet.arrow

from mosaic.builder import rows

S2 = "stac-utils+rustac/scripts/fixtures/1000-sentinel-2-items.parquet"
OLD = "stac-utils+stac-geoparquet/tests/data/naip.parquet"
"""Of a time when ``bbox`` was a list."""


def without_nulls(value: Any) -> Any:
    """What JSON has: no fields of other rows, lists for arrays."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple | np.ndarray):
        return [without_nulls(inner) for inner in value]
    return value


def test_rows_are_the_items_that_stac_geoparquet_reads(shared: Path) -> None:
    table = pq.read_table(shared / S2)
    found = [item for batch in table.to_batches() for item in rows.items(batch)]
    assert len(found) == 1000
    for item, given in zip(found, stac_geoparquet.arrow.stac_table_to_items(table), strict=True):
        expected = without_nulls(given)
        for field in ("datetime", "created", "updated", "start_datetime", "end_datetime"):
            # stac-geoparquet keeps no fractions of a second, or zeros of them
            for one in (item["properties"], expected["properties"]):
                if one.get(field):
                    one[field] = np.datetime64(one[field].rstrip("Z"), "s")
        expected["properties"].setdefault("datetime", None)
        item.pop("links", None), expected.pop("links", None)
        assert orjson.loads(orjson.dumps(item["geometry"])) == expected["geometry"]
        item["geometry"] = expected["geometry"]
        assert without_nulls(item) == without_nulls(expected)


def test_rows_of_the_old_layout(shared: Path) -> None:
    table = pq.read_table(shared / OLD)
    found = [item for batch in table.to_batches() for item in rows.items(batch)]
    for item, row in zip(found, table.to_pylist(), strict=True):
        assert item["bbox"] == row["bbox"]
        assert item["assets"] == without_nulls(row["assets"])
        assert shapely.from_wkb(row["geometry"]) == shapely.from_geojson(
            orjson.dumps(item["geometry"])
        )
        assert item["properties"]["naip:state"] == row["naip:state"]
        assert {"id", "links", "collection"}.isdisjoint(item["properties"])
