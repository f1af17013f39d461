"""Pages of other origins: whose scripts may read a gateway, and what a browser is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from mosaic.errors import UsageError
from mosaic.gateway.options import Options
from tests.gateway.conftest import Serve
from tests.gateway.test_guard import bytes_of, status_of
from tests.gateway.test_raw import NAME, raw
from tests.support.range_server import RangeServer
from tests.support.upstream import ask

VIEWER = "https://maps.example.org"
OTHERS = (
    "https://evil.example",
    "http://maps.example.org",
    "https://maps.example.org:8443",
    "https://maps.example.org.evil.example",
    "https://evilmaps.example.org",
    "HTTPS://MAPS.EXAMPLE.ORG",
    "null",
    "*",
    "",
)
PATHS = (
    "/catalogs",
    "/catalogs/mosaic/collection.json",
    "/zarr/mosaic/zarr.json",
    "/zarr/mosaic/B04/c/0/0/0",
    "/tiles/mosaic/tilejson.json?bands=B04",
    "/tiles/mosaic/11/1092/715.png?bands=B04&rescale=0,60000",
)


@pytest.mark.parametrize("token", ["", "s3cret"])
def test_nobody_elses_page_reads_unless_told(serve: Serve, remote: Path, token: str) -> None:
    gateway = serve(remote, token=token)
    question = {"Origin": VIEWER, "Access-Control-Request-Method": "GET"}
    for path in PATHS:
        status, told, _ = ask(gateway.url + path, Origin=VIEWER, Authorization=f"Bearer {token}")
        assert status == 200
        assert not [name for name in told if name.startswith("access-control")]
        status, told, _ = ask(gateway.url + path, "OPTIONS", **question)
        assert (status, told["allow"]) == (405, "GET, HEAD")
        assert not [name for name in told if name.startswith("access-control")]


def test_pages_of_named_origins_read(serve: Serve, remote: Path, server: RangeServer) -> None:
    """Whole answers, pieces, unchanged ones, refusals: all can be seen; others' see none."""
    gateway = serve(remote, origins=(VIEWER, "http://localhost:3000"))
    asset = raw(gateway, server.url(NAME))
    etag = ask(asset)[1]["etag"]
    asked = [(gateway.url + path, {}, 200) for path in PATHS]
    asked += [(asset, {"Range": "bytes=0-9"}, 206), (asset, {"If-None-Match": etag}, 304)]
    asked += [(asset, {"Range": "bytes=999999999-"}, 416)]
    asked += [(gateway.url + "/zarr/mosaic/B99/zarr.json", {}, 404)]
    for url, headers, status in asked:
        for origin in (VIEWER, "http://localhost:3000"):
            got, told, _ = ask(url, Origin=origin, **headers)
            assert (got, told["access-control-allow-origin"]) == (status, origin), url
            assert {"ETag", "Content-Range"} <= set(
                told["access-control-expose-headers"].split(", ")
            )
            assert "access-control-allow-credentials" not in told
            assert told["vary"] == "Origin"
        for origin in OTHERS:
            got, told, _ = ask(url, Origin=origin, **headers)
            assert got == status
            assert not [name for name in told if name.startswith("access-control")], origin
            assert told["vary"] == "Origin"  # a cache must not give one's answer to another
        assert "access-control-allow-origin" not in ask(url, **headers)[1]


def test_a_browsers_question_is_answered_without_the_token(serve: Serve, remote: Path) -> None:
    """A question never shows it; the request itself must. No other name, no other method."""
    gateway = serve(remote, origins=(VIEWER,), token="s3cret")
    url = f"{gateway.url}/zarr/mosaic/zarr.json"
    question = {
        "Origin": VIEWER,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization,if-none-match,range",
    }
    status, told, body = ask(url, "OPTIONS", **question)
    assert (status, body, told["access-control-allow-origin"]) == (204, b"", VIEWER)
    assert told["access-control-allow-methods"] == "GET, HEAD"
    allowed = {name.strip().lower() for name in told["access-control-allow-headers"].split(",")}
    assert {"authorization", "if-none-match", "range"} <= allowed
    assert "access-control-allow-private-network" not in told
    near = {**question, "Access-Control-Request-Private-Network": "true"}
    assert ask(url, "OPTIONS", **near)[1]["access-control-allow-private-network"] == "true"
    for wrong in (
        {"Origin": "https://evil.example"},
        {"Access-Control-Request-Method": "PUT"},
        {"Host": "evil.example"},
    ):
        status, told, _ = ask(url, "OPTIONS", **{**question, **wrong})
        assert status == 405
        assert "access-control-allow-methods" not in told
    sent = f"OPTIONS /zarr HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: {VIEWER}\r\n\r\n".encode()
    assert status_of(bytes_of(gateway, sent, 1.0)) == 405
    status, told, _ = ask(url, Origin=VIEWER)
    assert (status, told["access-control-allow-origin"]) == (401, VIEWER)
    assert ask(url, Origin=VIEWER, Authorization="Bearer s3cret")[0] == 200


def test_origins_are_checked() -> None:
    told = Options(origins=("HTTPS://Maps.Example.org/", "http://a:80", "http://[::1]:3000"))
    assert told.origins == (VIEWER, "http://a", "http://[::1]:3000")
    for wrong in (
        *("*", "null", "maps.example.org", "https://*.example.org", "https://a/x", "http://"),
        *("file:///", "https://me@a", "https://a b", "http://[", "http://a:x"),
    ):
        with pytest.raises(UsageError, match="origin"):
            Options(origins=(wrong,))
