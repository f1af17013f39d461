"""Hrefs lose their secrets, and become names that GDAL reads."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaic.catalog.href import VSICURL, is_remote, location, relative, resolve
from mosaic.errors import UsageError
from mosaic.secret import SECRET_PARAMETERS, unsigned

SECRET = "hush-hush+/="
NAMES = st.sampled_from(
    sorted({*SECRET_PARAMETERS, "X-Amz-Signature", "x-amz-foo", "X-Goog-Date", "x-ms-version"})
).flatmap(lambda name: st.sampled_from([name, name.upper(), name.title()]))
WORDS = st.text("abcXYZ019-_.~ é/", min_size=1, max_size=8)
SAFE = st.sampled_from(["version", "v", "collection", "f", "size"])


@st.composite
def urls(draw: st.DrawFn) -> tuple[str, list[tuple[str, str]]]:
    """A URL with secrets in it, and the parameters that are none."""
    safe = draw(st.lists(st.tuples(SAFE, WORDS), max_size=3))
    secret = draw(st.lists(NAMES, max_size=4))
    query = [f"{n}={quote(v)}" for n, v in safe] + [f"{n}={quote(SECRET)}" for n in secret]
    draw(st.randoms()).shuffle(query)
    scheme = draw(st.sampled_from(["https", "http", "s3", "gs"]))
    user = draw(
        st.sampled_from(["", f"me:{quote(SECRET, safe='')}@", f"{quote(SECRET, safe='')}@"])
    )
    path = quote("/".join(draw(st.lists(WORDS, min_size=1, max_size=3))))
    fragment = draw(st.sampled_from(["", f"#{quote(SECRET)}"]))
    return f"{scheme}://{user}host.org/{path}{'?' * bool(query)}{'&'.join(query)}{fragment}", safe


def shows_secret(text: str) -> bool:
    return "hush" in unquote(unquote(text))


def test_a_container_of_azure_is_no_user() -> None:
    for scheme in ("abfs", "abfss"):
        bare = f"{scheme}://container@account.dfs.core.windows.net/a/b.tif"
        assert unsigned(bare) == unsigned(f"{bare}?sig=hush&sv=1") == resolve(bare, "/any") == bare
        assert location(unsigned(bare)) == "/vsiaz/container/a/b.tif"
    assert unsigned("abfs://me:hush@account/a.tif") == "abfs://account/a.tif"


def test_what_stays_of_a_url_is_spelt_as_it_was() -> None:
    url = "https://host.org/preview.png?bidx=1,2,3&sig=hush&flag&name=a+b;c&empty=#hush"
    assert unsigned(url) == "https://host.org/preview.png?bidx=1,2,3&flag&name=a+b;c&empty="


@given(urls())
def test_unsigned_keeps_no_secret_and_all_else(case: tuple[str, list[tuple[str, str]]]) -> None:
    url, safe = case
    plain = unsigned(url)
    assert not shows_secret(plain)
    assert unsigned(plain) == plain
    one, other = urlsplit(url), urlsplit(plain)
    assert (one.scheme, one.hostname, one.path) == (other.scheme, other.hostname, other.path)
    assert sorted(parse_qsl(other.query)) == sorted(safe)
    assert resolve(url, "/any") == plain


@given(urls())
def test_location_keeps_no_secret(case: tuple[str, list[tuple[str, str]]]) -> None:
    name = location(case[0])
    assert not shows_secret(name)
    assert "://" not in name
    assert location(name) == name
    assert location(unsigned(case[0])) == name
    if name.startswith(VSICURL):
        assert unquote(name.removeprefix(VSICURL)) == unsigned(case[0])
    else:
        assert name.startswith(("/vsis3/host.org/", "/vsigs/host.org/"))


@pytest.mark.parametrize("broken", ["https://[bad/x.tif?sig=hush", "http://[::1/x?token=hush"])
def test_what_is_no_url_loses_its_query_all_the_same(broken: str) -> None:
    assert unsigned(broken) == broken.split("?")[0]


@pytest.mark.parametrize(
    ("href", "name"),
    [
        ("s3://bucket/a/b c.tif", "/vsis3/bucket/a/b c.tif"),
        ("s3://bucket/a%20b.tif", "/vsis3/bucket/a b.tif"),
        ("gs://bucket/k.tif", "/vsigs/bucket/k.tif"),
        ("az://container/k.tif", "/vsiaz/container/k.tif"),
        ("abfs://container@acc.dfs.core.windows.net/k.tif", "/vsiaz/container/k.tif"),
        ("https://a.b/c d.tif", f"{VSICURL}https%3A//a.b/c%20d.tif"),
        ("/data/x.tif", "/data/x.tif"),
        ("./x.tif", "x.tif"),
        ("/vsizip/a.zip/x.tif", "/vsizip/a.zip/x.tif"),
    ],
)
def test_location(href: str, name: str) -> None:
    assert location(href) == name


@pytest.mark.parametrize("href", ["ftp://a/b.tif", "hdfs://a/b.tif", "magnet://x"])
def test_schemes_that_gdal_can_not_read(href: str) -> None:
    with pytest.raises(UsageError, match=f"GDAL can't read {href.split(':')[0]}://"):
        location(f"{href}?sig=hush")


@pytest.mark.parametrize(
    ("href", "base", "found"),
    [
        ("./a.tif", "/x/y", "/x/y/a.tif"),
        ("../a.tif", "/x/y", "/x/a.tif"),
        ("a b#c?.tif", "/x", "/x/a b#c?.tif"),
        ("/abs/a.tif", "/x", "/abs/a.tif"),
        ("file:///abs/a%20b.tif", "/x", "/abs/a b.tif"),
        ("sub\\a.tif", "/x", "/x/sub/a.tif"),
        ("../a.tif", "https://h.org/x/y", "https://h.org/x/a.tif"),
        ("a.tif", "https://h.org/x/y/", "https://h.org/x/y/a.tif"),
        ("/vsis3/b/k", "/x", "/vsis3/b/k"),
        ("s3://b/k", "/x", "s3://b/k"),
    ],
)
def test_resolve(href: str, base: str, found: str) -> None:
    assert resolve(href, base) == found


PARTS = st.lists(st.text("abc.-_ é", min_size=1, max_size=6), min_size=1, max_size=4).filter(
    lambda parts: not {".", ".."} & set(parts)
)


@given(PARTS, PARTS)
def test_relative_leads_back(folder: list[str], inside: list[str]) -> None:
    place = Path("/", *folder)
    href = str(place.joinpath(*inside))
    kept = relative(href, place)
    assert kept.startswith("./")
    assert resolve(kept, str(place)) == href
    assert location(kept) == kept[2:]
    sibling = f"{place}x/{inside[0]}"
    assert relative(sibling, place) == sibling  # the same beginning is not the same folder


@pytest.mark.parametrize(
    ("href", "remote"),
    [
        ("https://a/b", True), ("s3://a/b", True), ("/vsicurl/https://a/b", True),
        ("/vsis3/a/b", True), ("/data/x.tif", False), ("/vsizip/a.zip/x.tif", False),
    ],
)  # fmt: skip
def test_is_remote(href: str, remote: bool) -> None:
    assert is_remote(href) == remote
