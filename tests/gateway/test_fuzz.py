"""Any method, path, query and header: never an answer of 500, never a thing that isn't served."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, urlsplit

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway.conftest import Serve
from tests.gateway.test_guard import bytes_of, status_of
from tests.gateway.test_raw import NAME, raw
from tests.support.range_server import RangeServer
from tests.support.upstream import ask

TEXT = st.text(max_size=30).map(lambda text: quote(text.encode("utf-8", "surrogatepass")))
ODD = st.sampled_from(
    ["", ".", "..", "%2e%2e", "%2f", "%00", "%ff", "%0d%0aX-Evil:%201", "-1", "0", "9" * 40, "%",
     "*",
     "http:%2f%2f169.254.169.254", "\\", ";", "?", "&", "=", "\x7f", "%25", "c"]
)  # fmt: skip
NUMBER = st.one_of(st.integers(-2, 20).map(str), st.integers(0, 10**12).map(str), ODD)
BANDS = st.sampled_from(
    ["B04", "B03", "B02", "B99", "x", "time", "spatial_ref", "levels", "B04,B03"]
)
WORDS = st.sampled_from(
    ["all", "month", "id", "median", "first", "magic", "percentile:101", "percentile:50", "nearest",
     "2025-06", "2025..", "a..b", "B04:1,2", "B04", "EPSG:4326", "EPSG:99999", "30", "1e308", "nan",
     "inf", "-5", "0", "1,2", "1,2,3,4", "11.9,47.4,12.1,47.6", "float32", "object", "uint8", "256"]
)  # fmt: skip
ASKED = st.sampled_from(
    ["bands", "datetime", "groupby", "method", "over", "best", "mask", "mask_dilate", "resampling",
     "dtype", "crs", "resolution", "bbox", "chunk", "build", "no"]
)  # fmt: skip
SHOWN = st.sampled_from(
    ["bands", "expression", "rescale", "colormap", "datetime", "resampling", "size", "no"]
)
CHOICE = st.lists(st.tuples(ASKED, st.one_of(WORDS, BANDS, TEXT)), max_size=3).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)
)
QUERY = st.lists(
    st.tuples(
        SHOWN, st.one_of(WORDS, BANDS, TEXT, st.sampled_from(["0,3000", "B04/B03", "viridis"]))
    ),
    max_size=3,
).map(lambda pairs: "&".join(f"{name}={value}" for name, value in pairs))


FILES = ("collection.json", "B04.gti.gpkg", "items.parquet", "items/x")


def joined(*parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map("/".join)


MOSAIC = st.sampled_from(["mosaic", "mosaic", "mosaic", "other", ".."])
CHUNK = joined(BANDS, st.just("c"), NUMBER, NUMBER, NUMBER)
KEY = st.one_of(
    st.just("zarr.json"),
    CHUNK,
    BANDS.map(lambda name: f"{name}/zarr.json"),
    joined(st.just("levels"), NUMBER, CHUNK),
    joined(ODD, ODD),
)
PATHS = st.one_of(
    joined(st.just("/zarr"), MOSAIC, KEY),
    joined(st.just("/zarr"), MOSAIC, CHOICE, KEY),
    joined(st.just("/tiles"), MOSAIC, NUMBER, NUMBER,
           st.tuples(NUMBER, st.sampled_from(["png", "jpg", "webp", "tif", "x"])).map(".".join)),
    joined(st.just("/tiles"), MOSAIC, st.sampled_from(["tilejson.json", "WMTSCapabilities.xml"])),
    joined(st.just("/catalogs"), MOSAIC, st.one_of(ODD, TEXT, st.sampled_from(FILES))),
    joined(st.just("/raw"), st.sampled_from(["http", "https", "file", "s3"]), ODD, TEXT),
    st.sampled_from(["/", "/map/mosaic", "/healthz", "/metrics", "/catalogs", "*", "//", "/%"]),
    st.lists(st.one_of(ODD, TEXT), max_size=5).map(lambda parts: "/" + "/".join(parts)),
)  # fmt: skip
RANGES = st.one_of(
    st.tuples(st.integers(-1, 10**20), st.integers(-1, 10**20)).map(
        lambda p: f"bytes={p[0]}-{p[1]}"
    ),
    st.sampled_from(
        ["bytes=-0", "bytes=-1", "bytes=0-", "bytes=,", "bytes=" + "0-0," * 500, "x=1-2"]
    ),
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Range": RANGES,
        "If-Range": st.one_of(TEXT, st.sampled_from(['"v1"', "W/", "Mon, 1 Jan 2024"])),
        "If-None-Match": st.one_of(TEXT, st.sampled_from(["*", '"', 'W/"v1", x', ","])),
        "User-Agent": st.sampled_from(["GDAL/3.13.3", "QGIS/34000", ""]),
        "Authorization": st.one_of(TEXT, st.sampled_from(["Basic !", "Bearer", "Digest x"])),
        "Accept-Encoding": st.sampled_from(["gzip", "br, *;q=0", "\t"]),
        "Expect": st.just("100-continue"),
        "Upgrade": st.just("websocket"),
        "X-Forwarded-Host": st.just("evil.example"),
    },
)
METHODS = st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
ALLOWED = {200, 206, 302, 304, 400, 404, 405, 410, 414, 416, 417, 421}


def test_nothing_makes_the_gateway_fail(serve: Serve, remote: Path, server: RangeServer) -> None:
    gateway = serve(remote)
    known = urlsplit(raw(gateway, server.url(NAME))).path

    @settings(
        max_examples=500,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        database=None,
        derandomize=True,
    )
    @given(METHODS, st.one_of(PATHS, st.just(known)), st.one_of(st.just(""), QUERY, TEXT), HEADERS)
    def check(method: str, path: str, query: str, headers: dict[str, str]) -> None:
        lines = [f"{method} {path}{'?' if query else ''}{query} HTTP/1.1", "Host: 127.0.0.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        came = bytes_of(
            gateway, "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")
        )
        came = came.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
        status = status_of(came)
        assert status in ALLOWED, (method, path, query, headers, came[:300])
        head = came.partition(b"\r\n\r\n")[0]
        assert status != 302 or b"\r\nLocation: map/mosaic\r\n" in head, (path, head)
        assert b"X-Evil" not in head
        assert b"Traceback" not in came
        assert b"root:" not in came

    check()
    assert ask(f"{gateway.url}/healthz")[0] == 200
    served = {path for _, path, _, _ in server.counts.log}
    assert {path.rpartition(".")[2] for path in served} <= {"tif"}  # nobody else was asked
