"""URLs of databases: what they name, what GDAL is told, and that no password gets further."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import mosaic
from mosaic.catalog.database import Place, named
from mosaic.errors import DatabaseError, MosaicError, UsageError, redact


def test_what_a_url_names() -> None:
    place = Place.of("postgresql://me@db.example.org:5433/gis?schema=june&sslmode=require")
    assert place.schema == "june"
    assert place.parameters == {
        "host": "db.example.org",
        "port": "5433",
        "dbname": "gis",
        "user": "me",
        "sslmode": "require",
    }
    assert Place.of("postgres:///?service=gis").parameters == {"service": "gis"}
    assert Place.of("postgres:///?service=gis").schema == "mosaic"
    same = Place.of("postgresql://me@db.example.org:5433/gis?sslmode=require&schema=june")
    assert same.lock() == place.lock()
    assert same.digest() == place.digest()
    assert place.lock() != Place.of("postgresql:///?schema=july").lock()


def test_what_gdal_is_told() -> None:
    told = Place.of("postgresql:///it's%20here?service=g\\s&schema=june").for_gdal()
    assert told == (
        r"PG:schemas='june' dbname='it\'s here' service='g\\s' application_name='mosaic://june'"
    )


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hush@host/db",
        "postgresql://me:hush@host:port/db",
        "postgresql://host/db?password=hush",
        "postgresql://host/db?sslpassword=hush",
        "postgresql://host/db?pass%77ord=hush",
        "postgresql://host/db?oauth_client_secret=hush",
        "postgresql://host/db?scram_client_key=hush",
        "postgresql://me%3Ahush@host/db",
        "PostgreSQL://me:hush@host/db",
        "postgresql://me:hu/sh@host/db",
        "postgresql://me:hu#sh@host/db",
        "postgresql://me:hu?sh@host/db",
        "postgresql://me:hush@[host/db",
    ],
)
def test_a_password_is_refused_and_not_shown(url: str, tmp_path: Path) -> None:
    for verb in (
        lambda: mosaic.open(url),
        lambda: mosaic.build([], url),
        lambda: mosaic.build(url, tmp_path / "m"),
        lambda: mosaic.info(url),
        lambda: mosaic.check(url),
        lambda: mosaic.update(url),
        lambda: mosaic.doors(url, tmp_path),
    ):
        with pytest.raises(MosaicError) as caught:
            verb()
        assert "hu" not in str(caught.value)
    if "[" in url:
        assert "hush" not in redact(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql:///db?schema=a.b", "letters, digits and _"),
        ("postgresql:///db?schema=pg_x", "not pg_"),
        ("postgresql:///db?colour=red", r"libpq doesn't take it \(colour\)"),
        ("postgresql://host:x/db", "no URL of a database"),
    ],
)
def test_what_cannot_be_meant(url: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        mosaic.build([], url)


@pytest.mark.parametrize("verb", ["check", "info", "relocate", "update"])
def test_a_url_of_something_else_is_refused_without_its_secrets(verb: str) -> None:
    with pytest.raises(UsageError) as caught:
        getattr(mosaic, verb)("https://me:hush@host/june?sig=hush")
    told = f"mosaic {verb} works on folders of this machine, not on https://host/june"
    assert str(caught.value) == told


def test_a_mosaic_is_built_in_no_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"^s3://bucket/june: .*folder of this machine.*relocate"):
        mosaic.build([], "s3://bucket/june")
    assert not list(tmp_path.iterdir())


def test_names_of_tables() -> None:
    assert named("tiles_", "B04") == "tiles_B04"
    odd = [named("tiles_", name) for name in ("a.b", "a b", 'a"b', "é" * 40, "x" * 80, "y" * 80)]
    assert len(set(odd)) == len(odd)
    assert all(len(name) <= 63 and name.isascii() and "." not in name for name in odd)


def test_without_psycopg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(DatabaseError, match=r"pip install 'virtual-mosaic\[postgis\]'"):
        mosaic.open("postgresql://host/db")
