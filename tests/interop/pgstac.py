"""pgstac behind stac-fastapi, on loopback: an environment of its own, and a database of the server.

The environment is made once, beside the Debian roots, from the package registry that pip is
configured for; versions are pinned, since the two must fit each other.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from tests.interop.postgis import USER, Server
from tests.interop.roots import RootUnavailable, cache_folder
from tests.support.stac_api import Api, collection, free_port, proxy, wait_for

Json = dict[str, Any]

PINNED = ("stac-fastapi.pgstac[server]==7.2.0", "pypgstac[psycopg]==0.10.0")
DATABASE = "pgstac"


def environment() -> Path:
    """The folder of the programs, made when it isn't there. Raises RootUnavailable."""
    version = f"{sys.version_info.major}{sys.version_info.minor}"
    place = cache_folder() / f"pgstac-{version}"
    stamp = place / "pinned"
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / "pgstac.log").open("ab") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        if not stamp.is_file() or stamp.read_text() != "\n".join(PINNED):
            shutil.rmtree(place, ignore_errors=True)
            pip = [str(place / "bin/python"), "-m", "pip", "install", "-q"]
            pip += ["--disable-pip-version-check", *PINNED]
            for command in ([sys.executable, "-m", "venv", str(place)], pip):
                if subprocess.call(command, stdout=log, stderr=log):
                    raise RootUnavailable(f"pgstac can't be installed; see {log.name}")
            stamp.write_text("\n".join(PINNED))
    return place / "bin"


@contextmanager
def pgstac(server: Server, folder: Path, items: Iterable[Json]) -> Iterator[Api]:
    """stac-fastapi.pgstac with these items, behind a proxy that is well until it gets a fault."""
    programs = environment()
    folder.mkdir(parents=True, exist_ok=True)
    with server.connect("postgres") as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
    libpq = {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(server.port),
        "PGUSER": USER,
        "PGPASSWORD": server.password,
        "PGDATABASE": DATABASE,
    }
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    env = {**own, **libpq, "NO_PROXY": "127.0.0.1"}
    features = list(items)
    names = sorted({one["collection"] for one in features})
    documents = {"collections": map(collection, names), "items": features}
    for kind, content in documents.items():
        path = folder / f"{kind}.ndjson"
        path.write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in content))
    log = (folder / "pgstac.log").open("wb")
    for words in (
        ["migrate"],
        ["load", "collections", str(folder / "collections.ndjson")],
        ["load", "items", str(folder / "items.ndjson")],
    ):
        command = [str(programs / "pypgstac"), *words]
        done = subprocess.run(command, env=env, stdout=log, stderr=log)
        assert done.returncode == 0, (folder / "pgstac.log").read_text()[-2000:]
    with server.connect(DATABASE) as connection:  # as keepers do: else numbers are sorted as texts
        connection.execute("SET search_path TO pgstac, public")
        connection.execute("SELECT upsert_queryable('eo:cloud_cover', '{\"type\": \"number\"}')")
    back, front = free_port(), free_port()
    # links lead to the proxy, as behind any reverse proxy
    command = [str(programs / "uvicorn"), "stac_fastapi.pgstac.app:create_app", "--factory"]
    command += ["--host", "127.0.0.1", "--port", str(back), "--log-level", "warning"]
    process = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=folder)
    try:
        wait_for(f"http://127.0.0.1:{back}/_mgmt/ping", process, folder / "pgstac.log")
        with proxy(front, f"127.0.0.1:{back}", f"127.0.0.1:{front}") as api:
            yield api
    finally:
        process.terminate()
        process.wait(20)
        log.close()
