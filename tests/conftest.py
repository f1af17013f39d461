"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.scenes import seam_scenes, write_scenes

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data of other projects, kept beside the checkout; CI must have it."""
    if not SHARED.is_dir():
        if os.environ.get("CI"):
            pytest.fail("the shared data isn't beside the checkout")
        pytest.skip("no shared data beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def seam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``items.json`` of eight scenes in two UTM zones; never written to."""
    return write_scenes(tmp_path_factory.mktemp("seam"), seam_scenes())
