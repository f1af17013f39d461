"""Where a mosaic lies in PostGIS: ``postgresql://host/db?schema=june``; and connections to there.

The URL is libpq's, and ``schema`` besides. Passwords are libpq's business: ``~/.pgpass``, a service
file, ``PGPASSWORD``. A URL that has one is refused, since it would lie in logs and histories.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from mosaic.errors import DatabaseError, UsageError, redact
from mosaic.version import __version__

if TYPE_CHECKING:
    import psycopg

SCHEMES = ("postgresql://", "postgres://")
SCHEMA = "mosaic"
"""Schema of a URL that names none."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_SECRET = re.compile("password|secret|scram_.*_key")
"""Names of libpq's parameters that hold one."""
_LONGEST = 63
"""Bytes of a name that PostgreSQL keeps."""
_CONNECT = 30
"""Seconds until a server that doesn't answer is given up."""


def is_database(source: Any) -> bool:
    """Whether a source or target is a URL of PostgreSQL."""
    return isinstance(source, str) and source.lower().startswith(SCHEMES)


def shown(base: str) -> str:
    """Where a mosaic lies, for people: a URL without what may be secret; a database's has none."""
    return base if is_database(base) else redact(base)


def refuse(source: Any, verb: str) -> None:
    """Raises :class:`~mosaic.errors.UsageError` where a verb that wants a folder gets a URL."""
    if is_database(source):
        advice = "; build it anew with --overwrite" if verb == "update" else ""
        raise UsageError(f"mosaic {verb} works on folders, this is a database{advice}")
    if isinstance(source, str) and "://" in source:
        raise UsageError(f"mosaic {verb} works on folders of this machine, not on {shown(source)}")


@dataclass(frozen=True)
class Place:
    """A schema of a database."""

    url: str
    """The URL as it was given; it holds no secret."""
    schema: str
    """Its schema."""

    @classmethod
    def of(cls, url: str) -> Place:
        """The place that a URL names.

        Raises :class:`~mosaic.errors.UsageError` for one that holds a password, or can't be meant.
        """
        try:
            parts = urlsplit(url)
            query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
            # a colon that is encoded, too, has a password behind it, and libpq has a name then
            secret = parts.password is not None or ":" in unquote(parts.username or "")
            broken = parts.port == 0 or bool(parts.fragment) or "@" in parts.path
        except ValueError:
            broken, secret, query = True, False, []
        # a URL that is broken may hold a password where none is looked for: it isn't shown
        if secret or any(_SECRET.search(name.lower()) for name, _ in query):
            raise UsageError(
                "the database's URL holds a password, which would lie in logs and files: leave it "
                "out, and put it into ~/.pgpass or a service file (PGSERVICE)"
            )
        if broken:
            raise UsageError("no URL of a database, such as postgresql://me@host/db?schema=june")
        schema = dict(query).get("schema", SCHEMA)
        if not _NAME.fullmatch(schema) or schema.lower().startswith("pg_"):
            raise UsageError(f"schema={schema:.80}: letters, digits and _, and not pg_…")
        return cls(url, schema)

    @cached_property
    def parameters(self) -> dict[str, str]:
        """What libpq is told: host, dbname and what else the URL has.

        Raises :class:`~mosaic.errors.UsageError` for what libpq doesn't know.
        """
        parts = urlsplit(self.url)
        query = [pair for pair in parse_qsl(parts.query) if pair[0] != "schema"]
        plain = f"postgresql://{parts.netloc}{parts.path}?{urlencode(query, safe='/')}"
        try:
            found = _psycopg().conninfo.conninfo_to_dict(plain)
        except _psycopg().Error:
            unknown = ", ".join(name for name, _ in query) or unquote(parts.path)
            raise UsageError(f"{self.url}: libpq doesn't take it ({unknown})") from None
        return {name: str(value) for name, value in found.items()}

    def for_gdal(self) -> str:
        """The connection as GDAL takes it, ``PG:…``: one schema, and never a password.

        GDAL 3.13 takes for a file beside the ``.gti`` what has neither a slash at its beginning
        nor ``://`` in it: the name of the application has.
        """
        name = {"application_name": f"mosaic://{self.schema}"}
        told = {"schemas": self.schema, **dict(sorted(self.parameters.items())), **name}
        # GDAL and libpq take the same quotes
        words = (f"{name}='{_escaped(value)}'" for name, value in told.items())
        return f"PG:{' '.join(words)}"

    def lock(self) -> int:
        """The advisory lock of who writes here, within the database."""
        digest = hashlib.sha256(f"mosaic {self.schema}".encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=True)

    def digest(self) -> str:
        """Names the place among those of this machine."""
        told = sorted({**self.parameters, "schema": self.schema}.items())
        return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")


def named(prefix: str, name: str) -> str:
    """A name of a table that GDAL and PostgreSQL take as it is: ASCII, no dot, not too long."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    whole = f"{prefix}{plain}"
    if plain == name and len(whole) <= _LONGEST:
        return whole
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{whole[: _LONGEST - 9]}_{digest}"


@contextmanager
def connected(place: Place, **options: Any) -> Iterator[psycopg.Connection[Any]]:
    """A connection; what the server or psycopg says becomes a typed error.

    Raises :class:`~mosaic.errors.DatabaseError`.
    """
    pg = _psycopg()
    told = {
        "connect_timeout": str(_CONNECT),
        "keepalives_idle": "60",  # a long build leaves it idle
        "application_name": f"mosaic {__version__}",
    }
    try:
        connection = pg.connect(**{**told, **place.parameters}, **options)
    except pg.Error as error:
        raise DatabaseError(
            f"{place.url} can't be reached ({_brief(error)}); look at host, port and user, and "
            "at ~/.pgpass or PGSERVICE for the password"
        ) from None
    try:
        with connection:
            yield connection
    except pg.errors.InsufficientPrivilege as error:
        advice = "its owner has to GRANT CREATE on the schema to build, USAGE and SELECT to read"
        raise DatabaseError(f"{place.url}: {_brief(error)}; {advice}") from error
    except pg.errors.DependentObjectsStillExist as error:
        raise DatabaseError(
            f"{place.url}: views of yours need its tables ({_brief(error)}); drop them, or take "
            "another schema"
        ) from error
    except pg.errors.LockNotAvailable as error:
        raise DatabaseError(
            f"{place.url} is being read by somebody who doesn't end: nothing was changed; try again"
        ) from error
    except pg.Error as error:
        raise DatabaseError(f"{place.url}: {_brief(error)}") from error


def lock_refused() -> type[Exception]:
    """What psycopg raises for a lock that wasn't given in time."""
    found: type[Exception] = _psycopg().errors.LockNotAvailable
    return found


def _brief(error: Exception) -> str:
    """What a server says, on one line."""
    diagnosis = getattr(error, "diag", None)
    detail = getattr(diagnosis, "message_detail", None)
    lines = [getattr(diagnosis, "message_primary", None) or str(error), detail or ""]
    return " ".join(" ".join(lines).split())[:300]


def _psycopg() -> Any:
    """psycopg, which comes with an extra. Raises :class:`~mosaic.errors.DatabaseError`."""
    try:
        import psycopg
    except ImportError as error:
        raise DatabaseError(
            "PostGIS needs psycopg: pip install 'virtual-mosaic[postgis]' (or psycopg[binary])"
        ) from error
    return psycopg
