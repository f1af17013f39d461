"""Servers and gates that end with their test."""

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mosaic.settings import CacheSettings, Limits, Retry
from mosaic.storage import Gate
from tests.storage.signing import Service
from tests.support.range_server import RangeServer

QUICK = Retry(base=0.01, longest=0.2, deadline=60, attempt=20, connect=5, stall=10)


@pytest.fixture(scope="session")
def data() -> bytes:
    return random.Random(1).randbytes(4 << 20)


@pytest.fixture
def server(data: bytes) -> Iterator[RangeServer]:
    with RangeServer({"a.bin": data, "b.bin": data[::-1]}) as running:
        yield running


@pytest.fixture
def gate() -> Iterator[Callable[..., Gate]]:
    """Makes gates: without disk, with short pauses, unless told otherwise."""
    made: list[Gate] = []

    def make(**given: object) -> Gate:
        settings: dict[str, object] = {
            "limits": Limits(concurrency=16, start=6),
            "cache": CacheSettings(),
            "retry": QUICK,
            **given,
        }
        made.append(Gate(**settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def no_real_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    theirs = ("AWS_", "AZURE_", "CLOUDSDK_", "EARTHDATA_", "GCE_", "GOOGLE_", "GS_", "PC_SDK_")
    for name in list(os.environ):
        if name.startswith(theirs):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.delenv("NETRC", raising=False)


@pytest.fixture
def service() -> Iterator[Callable[..., Service]]:
    made: list[Service] = []

    def make(answers: dict[str, Callable[[], object]]) -> Service:
        made.append(Service(answers))
        return made[-1]

    yield make
    for one in made:
        one.server.shutdown()
        one.server.server_close()
