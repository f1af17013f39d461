"""PostGIS in the trixie root, on loopback: a server of its own, in memory, gone with the test."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.interop.roots import CommandFailed, Root
from tests.support.stac_api import free_port

USER = "mosaic"
# PostgreSQL refuses to run as root. Its data lie in the root's private /tmp, which is memory.
# Collation by ICU's English: there '~' sorts before digits, as in most databases of teams.
SERVE = """
bin=/usr/lib/postgresql/17/bin
own() { setpriv --reuid postgres --regid postgres --clear-groups "$@"; }
home=$(mktemp -d); data=$home/data
printf %s "$PASSWORD" >"$home/password"; chown -R postgres "$home"
own $bin/initdb -D "$data" -U "$ADMIN" -A scram-sha-256 --pwfile "$home/password" -E UTF8 \
    --locale C.UTF-8 --locale-provider icu --icu-locale en-US --no-sync >"$home/log"
exec setpriv --reuid postgres --regid postgres --clear-groups $bin/postgres -D "$data" \
    -c port="$PORT" -c listen_addresses=127.0.0.1 -c unix_socket_directories="$home" \
    -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c log_min_messages=fatal \
    -c max_connections=60 -c shared_buffers=64MB
"""


@dataclass(frozen=True)
class Server:
    """A running PostGIS, and how its clients find the password."""

    port: int
    """On 127.0.0.1."""
    password: str
    """Of everybody; no file of a mosaic may hold it."""
    folder: Path
    """With ``pgpass`` and ``pg_service.conf``."""

    @property
    def env(self) -> dict[str, str]:
        """What libpq is told, in Python and in the roots alike."""
        return {
            "PGPASSFILE": str(self.folder / "pgpass"),
            "PGSERVICEFILE": str(self.folder / "pg_service.conf"),
        }

    def url(self, schema: str, database: str = "gis") -> str:
        """The URL of a mosaic."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}?schema={schema}"

    def connect(self, database: str = "gis") -> psycopg.Connection:
        """A connection of the administrator."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            dbname=database,
            user=USER,
            password=self.password,
            autocommit=True,
        )


@contextmanager
def serving(root: Root, folder: Path) -> Iterator[Server]:
    """A server with a database ``gis`` that has PostGIS."""
    port, password = free_port(), secrets.token_hex(16)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pgpass").write_text(f"127.0.0.1:{port}:*:*:{password}\n")
    (folder / "pgpass").chmod(0o600)
    (folder / "pg_service.conf").write_text(
        f"[gis]\nhost=127.0.0.1\nport={port}\ndbname=gis\nuser={USER}\n"
    )
    command = root.command(
        ["sh", "-ec", SERVE],
        env={"PORT": str(port), "PASSWORD": password, "ADMIN": USER},
    )
    log = (folder / "postgres.log").open("wb")
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )
    server = Server(port, password, folder)
    try:
        _wait(server, process, folder / "postgres.log")
        with server.connect("postgres") as connection:
            connection.execute("CREATE DATABASE gis")
        with server.connect() as connection:
            connection.execute("CREATE EXTENSION postgis")
        yield server
    finally:
        os.killpg(process.pid, signal.SIGINT)  # PostgreSQL's fast end
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)
        log.close()


def _wait(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if process.poll() is not None:
            raise CommandFailed(process.returncode, ["postgres"], "", log.read_text())
        try:
            server.connect("postgres").close()
            return
        except psycopg.OperationalError:
            time.sleep(0.1)
    raise AssertionError(f"PostgreSQL doesn't come up: {log.read_text()}")
