"""What can't be indexed: one clear line each, nothing written, the old catalog intact."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import Result

import mosaic
from tests.build.conftest import snapshot

Cli = Callable[..., Result]
Json = dict[str, Any]


@pytest.fixture
def items(small: Path) -> list[Json]:
    """Four sound items with absolute hrefs, to be spoilt; ``S2_32_1_0`` is the second."""
    found: list[Json] = orjson.loads(small.read_bytes())["features"]
    for item in found:
        item["assets"]["B04"]["href"] = str(small.parent / item["assets"]["B04"]["href"])
    return found


@pytest.fixture
def refused(tmp_path: Path, built: Path, cli: Cli) -> Callable[..., list[Json]]:
    """Builds over an old mosaic: it must fail in one line a problem and leave all as it was."""
    out = tmp_path / "out" / "m"
    shutil.copytree(built, out)
    before = snapshot(out.parent)

    def build(*args: object, hint: str = "", stdin: bytes | None = None) -> list[Json]:
        arguments = ("build", *args, "-o", out, "--overwrite")
        plain = cli(*arguments, stdin=stdin)
        assert plain.exit_code == 1
        assert plain.stdout == ""
        lines = plain.stderr.splitlines()
        as_json = cli(*arguments, "--json", stdin=stdin)
        assert as_json.exit_code == 1
        assert as_json.stderr == ""
        told = orjson.loads(as_json.stdout)
        assert told["hint"] == hint
        problems: list[Json] = told["problems"]
        assert len(lines) == len(problems) + bool(hint), plain.stderr
        for line, problem in zip(lines, problems, strict=False):
            assert line.startswith("mosaic: ")
            assert problem["what"] in line
            assert problem["item"] in line
        assert snapshot(out.parent) == before
        return problems

    return build


@pytest.fixture
def skipped(tmp_path: Path, cli: Cli) -> Callable[..., Json]:
    """Builds with ``--skip-bad``; the report."""

    def build(*args: object, stdin: bytes | None = None) -> Json:
        out = tmp_path / "skipped"
        result = cli("build", *args, "-o", out, "--skip-bad", "--json", stdin=stdin)
        assert result.exit_code == 0, result.output
        report: Json = orjson.loads(result.stdout)
        assert mosaic.info(out)["items"] == report["items"]
        return report

    return build


def put(folder: Path, items: list[Json]) -> Path:
    """A file of these items."""
    path = folder / "given.json"
    path.write_bytes(orjson.dumps({"type": "FeatureCollection", "features": items}))
    return path


SKIP = "--skip-bad leaves these out and goes on"
