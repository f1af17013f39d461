"""Items for the tests of searches, and a server that has them."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
import requests

from tests.benchmarks.corpus import items
from tests.support.stac_api import Api, rustac

Json = dict[str, Any]
COUNT = 230


@pytest.fixture(scope="session")
def given() -> list[Json]:
    """Items around the world, some across 180 degrees; never changed."""
    many = list(items(3000))
    crossing = [one for one in many if one["geometry"]["type"] == "MultiPolygon"]
    return [*(one for one in many[: COUNT - 3] if one not in crossing), *crossing[:3]]


@pytest.fixture(scope="session")
def server(given: list[Json], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with rustac(tmp_path_factory.mktemp("api"), [], given) as api:
        yield api


@pytest.fixture
def api(server: Api) -> Iterator[Api]:
    """The server, well and with nothing asked yet."""
    server.asked.clear()
    server.fault = lambda number, asked, real: None
    yield server
    server.fault = lambda number, asked, real: None


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy, and nobody beyond this machine is asked."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    real = requests.Session.send

    def send(self: requests.Session, prepared: requests.PreparedRequest, **more: Any) -> Any:
        assert str(prepared.url).startswith("http://127.0.0.1:"), prepared.url
        return real(self, prepared, **more)

    monkeypatch.setattr(requests.Session, "send", send)


def ids(path: Path) -> list[str]:
    """Ids of the items that a saved search holds, in order."""
    return [orjson.loads(line)["id"] for line in path.read_bytes().splitlines()]


def finished_after_kills(command: Sequence[str], out: Path, served: Sequence[object]) -> list[str]:
    """The ids that a search finds which is killed twice, each time after a few pages more.

    ``served``: grows with each page that is answered. Fails if what is begun shows before its end.
    """
    for _ in range(2):
        before = len(served)
        process = subprocess.Popen(command)
        while len(served) - before < 6 and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not out.exists()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "went on after" in done.stderr
    return sorted(ids(out))
