"""Servers and gates that end with their test."""

import random
from collections.abc import Callable, Iterator

import pytest

from mosaic.settings import CacheSettings, Limits, Retry
from mosaic.storage import Gate
from tests.support.range_server import RangeServer

QUICK = Retry(base=0.01, longest=0.2, deadline=60, attempt=20, connect=2, stall=0.5)


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
