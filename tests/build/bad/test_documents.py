"""Files that hold no items, paths that lead nowhere, nothing to index."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

import mosaic
from mosaic.errors import NoItemsError
from tests.build.bad.conftest import SKIP, put

Json = dict[str, Any]


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.json", b"<!DOCTYPE html><html>sign in</html>", "is HTML, not JSON"),
        ("a.json", b"  \n<html></html>", "is HTML, not JSON"),
        ("a.json", b"{broken", "is no JSON"),
        ("a.json", b"", "is empty"),
        ("a.json", b"[1, 2", "is no JSON"),
        ("a.json", b'{"name": "something else"}', "holds no STAC item"),
        ("a.json", b'{"type": "FeatureCollection", "features": null}', "holds no STAC item"),
        ("a.json", b'"text"', "holds no STAC item"),
        ("a.json.gz", b"no gzip", "can't be read"),
        ("a.json.gz", gzip.compress(b'{"type": "Feature"}' * 99)[:-9], "can't be read"),
        ("a.parquet", b"PAR1 no parquet", "can't be read as stac-geoparquet"),
    ],
)
def test_document_that_is_no_stac(
    name: str,
    content: bytes,
    what: str,
    tmp_path: Path,
    small: Path,
    refused: Callable[..., list[Json]],
    skipped: Callable[..., Json],
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    (problem,) = refused(path)
    assert problem["what"].startswith(f"{path} {what}")
    assert problem["advice"]
    report = skipped(path, small)
    assert report["items"] == 4
    assert report["left_out"] == [problem]


def test_parquet_without_stac(tmp_path: Path, refused: Callable[..., list[Json]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": [1]}), tmp_path / "a.parquet")
    (problem,) = refused(tmp_path / "a.parquet")
    assert "lacks the columns id, assets and geometry" in problem["what"]


@pytest.mark.parametrize("name", ["a.ndjson", "a.json", "a.ndjson.gz", "-"])
def test_broken_line(
    name: str,
    items: list[Json],
    tmp_path: Path,
    refused: Callable[..., list[Json]],
    skipped: Callable[..., Json],
) -> None:
    lines = [orjson.dumps(item) for item in items]
    lines[2:2] = [b"", lines[0][:50], b'{"no": "item"}']
    content = b"\n".join(lines)
    path: object = tmp_path / name
    stdin = None
    if name == "-":
        path, stdin = "-", content
    else:
        (tmp_path / name).write_bytes(gzip.compress(content) if name[-1] == "z" else content)
    where = "standard input" if name == "-" else str(path)
    problems = refused(path, hint=SKIP, stdin=stdin)
    assert len(problems) == 2
    assert problems[0]["what"].startswith(f"{where} line 4 is no JSON")
    assert problems[1]["what"].startswith(f"{where} line 5 holds no STAC item")
    report = skipped(path, stdin=stdin)
    assert report["items"] == 4
    assert report["left_out"] == problems


@pytest.mark.parametrize(
    ("given", "kind", "what"),
    [
        ("nowhere.json", "missing", "nowhere.json: no such file or folder"),
        ("nowhere.tif", "missing", "nowhere.tif: no such file or folder"),
        ("no/*.tif", "no-match", "no/*.tif matches no file"),
    ],
)
def test_paths_that_lead_nowhere(
    given: str, kind: str, what: str, refused: Callable[..., list[Json]], small: Path
) -> None:
    (problem,) = refused(given)
    assert (problem["kind"], problem["what"]) == (kind, what)
    (problem,) = refused(given, small, hint=SKIP)
    assert problem["what"] == what


@pytest.mark.parametrize("what", ["folder", "collection", "file", "stdin"])
def test_nothing_to_index(what: str, tmp_path: Path, refused: Callable[..., list[Json]]) -> None:
    if what == "folder":
        (tmp_path / "empty").mkdir()
        (tmp_path / "empty" / "notes.txt").touch()
        problems = refused(tmp_path / "empty")
    elif what == "stdin":
        problems = refused("-", stdin=b"\n")
    elif what == "file":
        (tmp_path / "a.ndjson").write_bytes(b"\n")
        problems = refused(tmp_path / "a.ndjson")
    else:
        problems = refused(put(tmp_path, []))
    assert [p["what"] for p in problems] == ["no items and no rasters were found"]


def test_nothing_is_left_with_skip_bad(items: list[Json], tmp_path: Path) -> None:
    for item in items:
        item["assets"] = {}
    with pytest.raises(NoItemsError, match="nothing is left to index") as caught:
        mosaic.build(items, tmp_path / "m", skip_bad=True)
    assert len(caught.value.problems) == 4
    assert not list(tmp_path.iterdir())


def test_bands_that_no_item_has(small: Path, refused: Callable[..., list[Json]]) -> None:
    problems = refused(small, "--bands", "red,nir", hint="the items have: B04")
    assert len(problems) == 4
    assert {p["what"] for p in problems} == {"has none of the assets red, nir"}


def test_bbox_beside_the_items(small: Path, refused: Callable[..., list[Json]]) -> None:
    hint = "the items lie at [11.95, 47.47, 12.05, 47.53]"
    (problem,) = refused(small, "--bbox", "0,0,1,1", hint=hint)
    assert "no item lies inside --bbox" in problem["what"]


def test_unreadable_file_is_named_not_the_target(
    tmp_path: Path, small: Path, refused: Callable[..., list[Json]]
) -> None:
    (tmp_path / "a.json").mkdir()
    loop = tmp_path / "b.json"
    loop.symlink_to(loop)
    (problem,) = refused(loop)
    assert str(loop) in problem["what"]


def test_python_arguments_that_are_no_items(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="5: give paths, or items as dicts"):
        mosaic.build([5], tmp_path / "m")
    assert not list(tmp_path.iterdir())
