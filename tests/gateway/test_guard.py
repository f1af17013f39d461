"""Who may ask, for what, and how much at once."""

from __future__ import annotations

import base64
import http.client
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mosaic.errors import UsageError
from mosaic.gateway.app import Gateway
from mosaic.gateway.options import Options
from mosaic.settings import Retry
from tests.gateway.conftest import Serve
from tests.gateway.test_raw import NAME, raw
from tests.support.range_server import RangeServer
from tests.support.upstream import ask


def bytes_of(gateway: Gateway, sent: bytes, wait: float = 5.0) -> bytes:
    """What comes back for these very bytes, until the connection is closed or rests."""
    parts = urlsplit(gateway.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=wait) as end:
        end.sendall(sent)
        came = b""
        try:
            while piece := end.recv(65536):
                came += piece
        except (TimeoutError, ConnectionResetError):
            pass
        return came


def status_of(came: bytes) -> int:
    found = re.match(rb"HTTP/1\.[01] (\d{3}) ", came)
    return int(found[1]) if found else 0


def test_names_of_others_are_refused(serve: Serve, remote: Path, server: RangeServer) -> None:
    """DNS rebinding: a page of evil.example whose name leads to 127.0.0.1 sends that name."""
    gateway = serve(remote)
    port = urlsplit(gateway.url).port
    good = ("127.0.0.1", f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}")
    bad = (
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1.evil.example",
        "",
        "a@127.0.0.1@b",
        "[",
    )
    for names, status in ((good, 200), (bad, 421)):
        for host in names:
            for path in ("/healthz", "/catalogs", "/metrics"):
                assert ask(gateway.url + path, Host=host)[0] == status, (host, path)
    assert ask(raw(gateway, server.url(NAME)), Host="evil.example")[0] == 421
    assert server.counts.requests == 0
    named = serve(remote, url="http://gate.example:8790")
    here = f"http://127.0.0.1:{named._port}"
    assert ask(f"{here}/catalogs", Host="gate.example:8790")[0] == 200
    assert ask(f"{here}/catalogs", Host="other.example")[0] == 421
    assert b"http://gate.example:8790/catalogs/mosaic" in ask(f"{here}/catalogs")[2]


def test_a_token_is_needed_where_others_reach(
    serve: Serve, remote: Path, server: RangeServer
) -> None:
    for host in ("0.0.0.0", "192.0.2.1", "::", "gate.example"):
        with pytest.raises(UsageError, match="token"):
            Options(host=host, url="http://gate.example")
    with pytest.raises(UsageError, match="--url"):
        Options(host="0.0.0.0", token="x")
    gateway = serve(remote, host="0.0.0.0", token="s3cret", url="http://gate.example:1")
    here = f"http://127.0.0.1:{gateway._port}"
    url = f"{here}/raw/http/127.0.0.1:{server.port}/{NAME}"

    def basic(text: str) -> str:
        return "Basic " + base64.b64encode(text.encode()).decode()

    for shown in (
        "",
        "Bearer",
        "Bearer x",
        "Bearer s3cret2",
        "s3cret",
        basic("s3cret:"),
        "Basic é!",
    ):
        for target in (url, f"{here}/catalogs", f"{here}/metrics"):
            status, told, body = ask(target, Authorization=shown)
            assert (status, "www-authenticate" in told) == (401, True), shown
            assert b"s3cret" not in body
    assert server.counts.requests == 0
    assert ask(f"{here}/healthz")[0] == 200
    for shown in ("Bearer s3cret", "bearer s3cret", basic("anybody:s3cret")):
        assert ask(url, Authorization=shown)[2] == server.objects[NAME]
    assert all("authorization" not in sent for sent in server.counts.headers)


PATHS = (
    "/catalogs/mosaic/../../../../etc/passwd",
    "/catalogs/mosaic/%2e%2e/%2e%2e/etc/passwd",
    "/catalogs/mosaic/..%2f..%2fetc%2fpasswd",
    "/catalogs/mosaic/items/../collection.json",
    "/catalogs/mosaic/items%2f..%2fcollection.json",
    "/catalogs/mosaic//etc/passwd",
    "/catalogs/mosaic/%00",
    "/catalogs/mosaic/collection.json%00",
    "/catalogs/mosaic/collection.json%0d%0aX-Evil:%201",
    "/catalogs/..%2fmosaic/collection.json",
    "/raw/file/etc/passwd",
    "/raw/file//etc/passwd",
    "/raw/FILE/etc/passwd",
    "/raw/http/169.254.169.254/latest/meta-data/",
    "/raw/http://169.254.169.254/",
    "/raw/https/example.com/%0d%0aX-Evil:%201",
    "/raw/memory/x",
    "/raw/%ff/%fe",
    "//example.com/catalogs",
    "http://example.com/catalogs",
    "*",
)


@pytest.mark.parametrize("path", PATHS)
def test_paths_that_lead_elsewhere(
    serve: Serve, remote: Path, server: RangeServer, path: str
) -> None:
    gateway = serve(remote)
    sent = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode("latin-1")
    came = bytes_of(gateway, sent)
    assert 400 <= status_of(came) < 500
    assert b"aiohttp" not in came or path == "*"  # what is no HTTP never gets to us
    assert b"root:" not in came
    assert b"X-Evil" not in came.partition(b"\r\n\r\n")[0]
    assert server.counts.requests == 0


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /catalogs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n\r\nhello",
        b"GET /catalogs HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /" + b"a" * 5_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
        b"GET /catalogs HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil\r\n\r\n",
        b"GET /catalogs HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n",
        b"GET /catalogs HTTP/1.1\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_requests_that_cant_be_meant(serve: Serve, remote: Path, sent: bytes) -> None:
    gateway = serve(remote, head=2.0)
    came = bytes_of(gateway, sent, 4)
    assert status_of(came) == 0 or 400 <= status_of(came) < 500, came[:200]
    assert ask(f"{gateway.url}/healthz")[0] == 200


def test_too_many_wait(serve: Serve, remote: Path, server: RangeServer) -> None:
    gateway = serve(remote, busy=2, queue=3)
    server.behaviour.latency = 1.0
    names = [name for name in server.objects if name.endswith("B04.tif")]
    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(ask, raw(gateway, server.url(name))) for name in names * 2]
        time.sleep(0.5)
        for path in ("healthz", "metrics", "metrics.json"):  # whoever looks after it gets in
            assert ask(f"{gateway.url}/{path}")[0] == 200
        answers = [one.result() for one in asked]
    statuses = [status for status, _, _ in answers]
    assert set(statuses) == {200, 503}
    assert statuses.count(200) >= 5
    assert all(told["retry-after"] == "1" for status, told, _ in answers if status == 503)
    server.behaviour.latency = 0.0
    text = ask(f"{gateway.url}/metrics")[2].decode()
    assert f"mosaic_gateway_refused_total {statuses.count(503)}\n" in text
    assert "mosaic_gateway_waiting 0\n" in text


def test_chunks_that_wait_leave_room_for_others(
    serve: Serve, remote: Path, server: RangeServer
) -> None:
    """However many a Zarr client asks for, half of what is worked on is for all else."""
    gateway = serve(remote, busy=8)
    store = f"{gateway.url}/zarr/mosaic"
    assert ask(f"{store}/zarr.json")[0] == 200
    server.behaviour.latency = 2.0
    choices = [f"groupby=all&method={name}" for name in ("mean", "median", "min", "max", "std")]
    keys = [f"{choice}/{band}/c/0/0/0" for choice in choices for band in ("B04", "B03", "B02")]
    with ThreadPoolExecutor(len(keys)) as pool:
        asked = [pool.submit(ask, f"{store}/{key}") for key in keys]
        for _ in range(60):
            figures = ask(f"{gateway.url}/metrics")[2].decode()
            if "mosaic_gateway_busy 4\n" in figures and "mosaic_gateway_waiting 11\n" in figures:
                break
            time.sleep(0.05)
        else:
            pytest.fail(figures)
        began = time.monotonic()
        assert ask(f"{store}/zarr.json")[0] == 200
        assert time.monotonic() - began < 1
        server.behaviour.latency = 0.0
        assert {one.result()[0] for one in asked} == {200}
    assert "mosaic_gateway_waiting 0\n" in ask(f"{gateway.url}/metrics")[2].decode()


def test_slow_clients_are_let_go(serve: Serve, remote: Path, server: RangeServer) -> None:
    """One that never ends its request, one that never reads its answer."""
    gateway = serve(remote, head=0.5, stall=0.5, connections=20)
    began = time.monotonic()
    assert bytes_of(gateway, b"GET /catalogs HTTP/1.1\r\nHost: 127.0", 10) == b""
    assert time.monotonic() - began < 5
    server.objects[NAME] = bytes(64 << 20)
    parts = urlsplit(raw(gateway, server.url(NAME)))
    with socket.create_connection((parts.hostname or "", parts.port or 0)) as end:
        end.sendall(f"GET {parts.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        was_written = False
        for _ in range(200):
            time.sleep(0.05)
            is_written = "mosaic_gateway_busy 1\n" in ask(f"{gateway.url}/metrics")[2].decode()
            if was_written and not is_written:
                break
            was_written |= is_written
        else:
            pytest.fail("the answer is still being written")
    assert server.counts.bytes < 64 << 20


def test_too_many_connections(serve: Serve, remote: Path) -> None:
    gateway = serve(remote, connections=8)
    parts = urlsplit(gateway.url)
    ends = [socket.create_connection((parts.hostname or "", parts.port or 0)) for _ in range(8)]
    time.sleep(0.2)
    assert status_of(bytes_of(gateway, b"", 2)) == 503
    for end in ends:
        end.close()
    time.sleep(0.2)
    for _ in range(100):
        assert ask(f"{gateway.url}/healthz")[0] == 200


def test_figures_are_prometheus(serve: Serve, remote: Path, server: RangeServer) -> None:
    gateway = serve(remote)
    ask(raw(gateway, server.url(NAME)))
    ask(raw(gateway, server.url(NAME)))
    ask(f"{gateway.url}/raw/http/example.com/no.tif")
    status, told, body = ask(f"{gateway.url}/metrics")
    assert status == 200
    assert told["content-type"].startswith("text/plain; version=0.0.4")
    lines = body.decode().splitlines()
    sample = re.compile(r'[a-z_]+(\{[a-z]+="[^"\n]*"(,[a-z]+="[^"\n]*")*\})? [0-9.e+]+')
    assert all(line.startswith("# ") or sample.fullmatch(line) for line in lines)
    assert len({line for line in lines if line.startswith("# TYPE")}) == sum(
        line.startswith("# TYPE") for line in lines
    )
    figures = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    origin = f'{{origin="http://127.0.0.1:{server.port}"}}'
    assert figures[f"mosaic_origin_requests_total{origin}"] == str(server.counts.requests)
    assert figures[f"mosaic_origin_bytes_total{origin}"] == str(server.counts.bytes)
    assert figures["mosaic_gateway_unknown_total"] == "1"
    assert figures['mosaic_gateway_answers_total{route="raw",status="200"}'] == "2"


def test_the_log_shows_no_query(
    serve: Serve, remote: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = serve(remote)
    with caplog.at_level("INFO", "mosaic.gateway"):
        ask(f"{gateway.url}/catalogs?token=s3cret")
        ask(f"{gateway.url}/no%0aline", Authorization="Bearer s3cret")
        ask(f"{gateway.url}/healthz")
        for line in (b"GET /?q=s3cret\x00 HTTP/1.1", b"GET / HTTP/1.1\r\nAuthorization : s3cret"):
            assert status_of(bytes_of(gateway, line + b"\r\n\r\n")) == 400
    assert "127.0.0.1 sent what is no HTTP" in caplog.text
    assert "GET /catalogs 200" in caplog.text
    assert "s3cret" not in caplog.text
    assert "GET /no%0aline 404" in caplog.text


def test_the_log_tells_why_what_failed(
    serve: Serve, remote: Path, server: RangeServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Also of a body that had begun, of which no status tells."""
    gateway = serve(remote, retry=Retry(attempts=2, base=0.01, longest=0.05))
    server.objects[NAME] = bytes(4 << 20)
    url = raw(gateway, server.url(NAME))
    assert ask(url, Range="bytes=0-9")[0] == 206
    server.behaviour.status = 500
    with pytest.raises(http.client.IncompleteRead):
        ask(url)
    assert re.search(rf"failed: \S+{NAME}: can't be read.*status 500", caplog.text)
    caplog.clear()
    assert ask(f"{gateway.url}/tiles/mosaic/11/1092/715.tif?bands=B04")[0] == 502
    assert re.search(r"failed: item S2_32_0_0 asset B04 .*no TIFF", caplog.text)


def test_the_log_tells_why_a_scene_cant_be_read(
    serve: Serve, remote: Path, server: RangeServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Readers show a status at most."""
    gateway = serve(remote)
    server.behaviour.forbidden = NAME
    for path in (urlsplit(raw(gateway, server.url(NAME))).path, "/zarr/mosaic/B04/c/0/0/0"):
        caplog.clear()
        assert ask(gateway.url + path)[0] in (403, 502)
        (why,) = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
        assert server.url(NAME) in why
        assert "status 403" in why
        assert "\n" not in why


def test_requests_under_way_are_finished(serve: Serve, remote: Path, server: RangeServer) -> None:
    gateway = serve(remote, grace=5.0)
    server.behaviour.latency = 0.6
    with ThreadPoolExecutor(2) as pool:
        asked = pool.submit(ask, raw(gateway, server.url(NAME)))
        time.sleep(0.3)
        closing = threading.Thread(target=gateway.close)
        closing.start()
        assert asked.result()[2] == server.objects[NAME]
        closing.join(10)
    assert not closing.is_alive()
    with pytest.raises(OSError):
        ask(f"{gateway.url}/healthz")


@pytest.mark.parametrize(
    "what", ["tiles/mosaic/9/273/178.tif?bands=B04", "zarr/mosaic/B04/c/0/0/0"]
)
def test_what_hangs_is_given_up(serve: Serve, remote: Path, server: RangeServer, what: str) -> None:
    """A scene that is still read when the gateway ends doesn't keep it from ending."""
    gateway = serve(remote, grace=1.0, retry=Retry(attempt=30, stall=30))
    server.behaviour.latency = 20.0
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, f"{gateway.url}/{what}")
        while not server.counts.requests:
            time.sleep(0.05)
        closing = threading.Thread(target=gateway.close, daemon=True)
        closing.start()
        closing.join(8)
        assert not closing.is_alive()
        with pytest.raises(OSError):
            asked.result()


TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40)
SEGMENTS = st.sampled_from(
    ["", "raw", "catalogs", "mosaic", "http", "file", "..", "%2e%2e", "collection.json", "items",
     "B04.gti.gpkg", "metrics", "healthz", "tiles", "%00", "%ff", "0", "-1", "tile.png"]
)  # fmt: skip
HEADERS = st.dictionaries(
    st.sampled_from(
        ["Range", "If-Range", "If-None-Match", "If-Modified-Since", "Accept", "Cookie"]
    ),
    st.one_of(TEXT, st.sampled_from(["bytes=0-", "bytes=-1", "bytes=9-1", "*", '"v1"', "bytes=,"])),
    max_size=3,
)


def test_nothing_makes_it_fail(serve: Serve, remote: Path, server: RangeServer) -> None:
    gateway = serve(remote)
    known = urlsplit(raw(gateway, server.url(NAME))).path

    @settings(
        max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
    )
    @given(
        st.sampled_from(["GET", "HEAD", "POST", "OPTIONS"]),
        st.one_of(st.just(known), st.lists(st.one_of(SEGMENTS, TEXT.map(quote)), max_size=6)),
        TEXT.map(quote),
        HEADERS,
    )
    def check(method: str, path: str | list[str], query: str, headers: dict[str, str]) -> None:
        target = path if isinstance(path, str) else "/" + "/".join(path)
        lines = [f"{method} {target}?{query} HTTP/1.1", "Host: 127.0.0.1", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        status = status_of(bytes_of(gateway, "\r\n".join([*lines, "", ""]).encode("latin-1")))
        assert 200 <= status < 500, (method, target, headers)

    check()
