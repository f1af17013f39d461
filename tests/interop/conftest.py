"""Real GDALs in Debian roots; without root and debootstrap these tests skip aloud."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.interop.roots import ROOTS, Root, RootUnavailable, build


def made_root(name: str, *groups: str) -> Root:
    """A root with groups of packages, made when it isn't there."""
    try:
        return build(name, *groups)
    except RootUnavailable as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session", params=list(ROOTS))
def gdal(request: pytest.FixtureRequest) -> Root:
    """A root with GDAL 3.10 (trixie) or 3.13 (forky), made when it isn't there."""
    return made_root(request.param)


@pytest.fixture(scope="session")
def desktop() -> Root:
    """The root that holds QGIS 3.40 and R, with terra and stars, beside GDAL 3.10."""
    return made_root("trixie", "qgis", "r")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the mosaics of the set are built, once."""
    return tmp_path_factory.mktemp("interop")
