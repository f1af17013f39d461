"""`/raw`: what HTTP says of ranges and versions, for the assets of the mosaics and nothing else."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, urlsplit

import orjson
import pyarrow.parquet as pq
import pytest

import mosaic
from mosaic.gateway.app import Gateway
from mosaic.gateway.members import Members
from mosaic.settings import CacheSettings, Retry
from mosaic.storage import Gate, transport
from mosaic.storage.address import url_path
from tests.gateway.conftest import Serve
from tests.support.range_server import RangeServer
from tests.support.scenes import seam_scenes
from tests.support.upstream import ask, publish

NAME = "S2_32_0_0/B04.tif"


def raw(gateway: Gateway, href: str) -> str:
    return f"{gateway.url}/raw/{url_path(href)}"


def test_ranges_and_versions(serve: Serve, remote: Path, server: RangeServer) -> None:
    url = raw(serve(remote), server.url(NAME))
    data = server.objects[NAME]
    size = len(data)
    status, told, body = ask(url, "HEAD")
    assert (status, told["content-length"], body) == (200, str(size), b"")
    assert (told["etag"], told["accept-ranges"]) == ('"v1"', "bytes")
    for text, start, stop in (
        ("bytes=0-99", 0, 100),
        (f"bytes={size // 3}-{size // 2}", size // 3, size // 2 + 1),
        (f"bytes={size - 5}-", size - 5, size),
        ("bytes=-10", size - 10, size),
        (f"bytes=-{10 * size}", 0, size),
        (f"bytes=0-{size + 999}", 0, size),
    ):
        status, told, body = ask(url, Range=text)
        assert (status, body) == (206, data[start:stop])
        assert told["content-range"] == f"bytes {start}-{stop - 1}/{size}"
    assert ask(url)[::2] == (200, data)
    for text in (f"bytes={size}-", "bytes=-0", "bytes=5-4"):
        status, told, _ = ask(url, Range=text)
        assert (status, told["content-range"]) == (416, f"bytes */{size}")
    for text in ("lines=1-2", "lines=1-2,5-6", "bytes=", "bytes=,", "bytes=x", "Range"):
        assert ask(url, Range=text)[::2] == (200, data)  # one that may be, or must be, ignored
    for text in ("bytes=0-9,", "bytes=, 0-9", "Bytes=0-9"):
        assert ask(url, Range=text)[::2] == (206, data[:10])
    # one range at a time: ten thousand would cost more than they look
    assert ask(url, Range="bytes=0-1,5-6")[0] == 416
    assert ask(url, Range="bytes=" + ",".join(f"{i}-{i}" for i in range(800)))[0] == 416
    assert ask(url, Range="bytes=" + ",".join(f"{i}-{i}" for i in range(10_000)))[0] == 400
    for text, want in (('"v1"', 206), ('"v0"', 200), ('W/"v1"', 200), ("Mon, 1 Jan 2024", 200)):
        status, _, body = ask(url, Range="bytes=0-9", If_Range=text)
        assert (status, len(body)) == (want, 10 if want == 206 else size)
    for text, want in (('"v1"', 304), ('"v0", W/"v1"', 304), ("*", 304), ('"v0"', 200)):
        assert ask(url, If_None_Match=text)[0] == want
    for text, want in (('"v0", "v1"', 200), ("*", 200), ('"v0"', 412), ('W/"v1"', 412)):
        assert ask(url, If_Match=text)[0] == want
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND"):
        assert ask(url, method)[0] == 405
    assert server.counts.heads == 0
    assert server.counts.bytes == size  # every byte once, however often it was read here


def test_what_a_reader_has_or_wants(serve: Serve, remote: Path, server: RangeServer) -> None:
    """RFC 9110, 13.2.2: the stronger of two conditions decides, and of dates, the day."""
    day, before, after = (f"Fri, {n:02} Mar 2024 10:00:00 GMT" for n in (15, 8, 22))
    server.behaviour.modified, server.behaviour.etag = day, "a,b"
    url = raw(serve(remote), server.url(NAME))
    assert ask(url)[1]["last-modified"] == day
    for headers, want in (
        ({"If_None_Match": '"x", "a,b"'}, 304),
        ({"If_None_Match": '"a'}, 200),
        ({"If_Match": 'W/"x","a,b"'}, 200),
        ({"If_Match": '"a'}, 412),
        ({"If_Modified_Since": before}, 200),
        ({"If_Modified_Since": day}, 304),
        ({"If_Modified_Since": after}, 304),
        ({"If_Modified_Since": "yesterday"}, 200),
        ({"If_Modified_Since": "Fri, 15 Mar 99999999999 10:00:00 GMT"}, 200),
        ({"If_Modified_Since": after, "If_None_Match": '"x"'}, 200),
        ({"If_Modified_Since": before, "If_None_Match": '"a,b"'}, 304),
        ({"If_Unmodified_Since": before}, 412),
        ({"If_Unmodified_Since": day}, 200),
        ({"If_Unmodified_Since": before, "If_Match": '"a,b"'}, 200),
        ({"If_Unmodified_Since": after, "If_Match": '"x"'}, 412),
        ({"If_Unmodified_Since": before, "If_None_Match": '"a,b"'}, 412),
    ):
        assert ask(url, **headers)[0] == want, headers
        assert ask(url, "HEAD", **headers)[0] == want, headers
    server.behaviour.etag = ""
    url = raw(serve(remote), server.url(NAME))
    assert "etag" not in ask(url)[1]
    assert ask(url, If_None_Match="*")[0] == 304
    assert ask(url, If_None_Match='""')[0] == 200
    assert ask(url, Range="bytes=0-9", If_Range=day)[0] == 206
    assert ask(url, Range="bytes=0-9", If_Range=before)[0] == 200


def test_versions_by_odd_names(
    serve: Serve, remote: Path, server: RangeServer, tmp_path: Path
) -> None:
    """Whatever a server calls a version: it can be told, kept on disk, and told from another."""
    tags = set()
    for odd in ("é", "ü", "\x7f", "a\tb", 'a"b'):
        server.behaviour.etag = odd
        url = raw(serve(remote), server.url(NAME))
        status, told, body = ask(url)
        assert (status, body) == (200, server.objects[NAME])
        assert told["etag"].isascii()
        tags.add(told["etag"])
        for _ in range(2):
            gate = Gate(cache=CacheSettings(disk=tmp_path))
            assert gate.get_range(server.url(NAME), start=0, length=4) == body[:4]
            gate.flush()
            gate.close()
    assert len(tags) == 5


def test_only_assets_of_the_catalogs(serve: Serve, remote: Path, server: RangeServer) -> None:
    """Neither other objects of the same host, nor other hosts, nor files; and nobody is asked."""
    gateway = serve(remote)
    server.objects["secret.tif"] = server.objects[NAME]
    for href in (
        server.url("secret.tif"),
        server.url(NAME + ".ovr"),
        server.url(NAME + ".aux.xml"),
        server.url(NAME + "?x=1"),
        server.url("/" + NAME),
        server.url("x/../" + NAME),
        f"http://localhost:{server.port}/{NAME}",
        f"https://127.0.0.1:{server.port}/{NAME}",
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
        str(remote / "collection.json"),
        "s3://bucket/key.tif",
        "memory://x",
    ):
        assert ask(raw(gateway, href))[0] == 404, href
        assert ask(raw(gateway, href), "HEAD")[0] == 404, href
    for path in ("/raw", "/raw/", "/raw/http", "/raw/http/", "/raw//", "/raw/file/etc/passwd"):
        assert ask(gateway.url + path)[0] == 404
    assert server.counts.requests == 0
    assert ask(raw(gateway, server.url(NAME)))[0] == 200


def test_a_second_read_asks_nobody(serve: Serve, remote: Path, server: RangeServer) -> None:
    url = raw(serve(remote), server.url(NAME))
    first = ask(url)
    asked = server.counts.requests
    assert asked >= 1
    assert ask(url) == first or ask(url)[2] == first[2]
    assert server.counts.requests == asked


def test_refusals_are_absorbed(serve: Serve, remote: Path, server: RangeServer) -> None:
    gateway = serve(remote)
    server.behaviour.flaky = 0.4
    server.behaviour.most = 4
    for name, data in list(server.objects.items())[:8]:
        assert ask(raw(gateway, server.url(name)))[::2] == (200, data)
    assert server.counts.statuses[503] > 0
    assert server.counts.peak <= 4


@pytest.mark.parametrize(("upstream_says", "status"), [(503, 503), (500, 502), (404, 404)])
def test_what_fails_is_told(
    serve: Serve, remote: Path, server: RangeServer, upstream_says: int, status: int
) -> None:
    gateway = serve(remote, retry=Retry(attempts=2, base=0.01, longest=0.05))
    server.behaviour.status = upstream_says
    got, told, body = ask(raw(gateway, server.url(NAME)))
    assert got == status
    assert b"S2_32_0_0" in body
    assert ("retry-after" in told) == (status == 503)
    server.behaviour.status = 0
    assert ask(raw(gateway, server.url(NAME)))[0] == 200  # no failure is kept


def test_an_object_that_became_shorter(serve: Serve, remote: Path, server: RangeServer) -> None:
    """It is read anew, also where only its end was asked for."""
    url = raw(serve(remote), server.url(NAME))
    server.objects[NAME] = bytes(range(256)) * 4000
    end = {"Range": "bytes=900000-900009"}
    assert ask(url, Range="bytes=0-9")[0] == 206
    server.objects[NAME], server.behaviour.etag = server.objects[NAME][:300_000], "v2"
    status, _, body = ask(url, **end)
    assert (status, b"changed" in body) == (502, True)
    status, told, _ = ask(url, **end)
    assert (status, told["content-range"], told["etag"]) == (416, "bytes */300000", '"v2"')
    assert ask(url)[::2] == (200, server.objects[NAME])


def test_an_object_without_bytes(serve: Serve, tmp_path: Path, server: RangeServer) -> None:
    built = publish(tmp_path, seam_scenes(64, 60.0, ("B04",), dates=1), server)
    server.objects[NAME] = b""
    own = tmp_path / "own"
    mosaic.build(tmp_path / "scenes/items.json", own)
    (tmp_path / "scenes" / NAME).write_bytes(b"")
    for ranges in (True, False):
        server.behaviour.ranges = ranges
        gateway = serve(built, own)
        for url in (
            raw(gateway, server.url(NAME)),
            raw(gateway, str(tmp_path / "scenes" / NAME)),
        ):
            for method in ("HEAD", "GET"):
                status, told, body = ask(url, method)
                assert (status, told["content-length"], body) == (200, "0", b"")
            status, told, _ = ask(url, Range="bytes=0-9")
            assert (status, told["content-range"]) == (416, "bytes */0")


def test_a_redirect_elsewhere_is_refused(serve: Serve, remote: Path, server: RangeServer) -> None:
    data = server.objects[NAME]
    with RangeServer({NAME: data, f"internal/{NAME}": b"secret" * 1000}) as internal:
        server.behaviour.redirect = f"http://127.0.0.1:{internal.port}/internal{{path}}"
        status, _, body = ask(raw(serve(remote), server.url(NAME)))
        assert status == 502
        assert b"secret" not in body
        assert internal.counts.requests == 0
        for target in ("http://169.254.169.254/", "file:///etc/passwd", "http://[::1]:1/"):
            server.behaviour.redirect = target
            assert ask(raw(serve(remote), server.url(NAME)))[0] == 502
        # but to hosts that whoever runs the gateway allows
        server.behaviour.redirect = f"http://127.0.0.1:{internal.port}{{path}}"
        allowing = serve(remote, redirects=(f"127.0.0.1:{internal.port}",))
        assert ask(raw(allowing, server.url(NAME)))[::2] == (200, data)
        assert internal.counts.requests > 0


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_a_redirect_from_outside_leads_not_inside(
    serve: Serve,
    tmp_path: Path,
    server: RangeServer,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """Nor to a host that a catalog names, which may be whatever its name server says."""
    built = publish(tmp_path, seam_scenes(64, 60.0, ("B04",), dates=1), server)
    with RangeServer(dict(server.objects)) as internal:
        host = f"{name}:{internal.port}"
        items = [orjson.loads(path.read_bytes()) for path in sorted(built.glob("items/*.json"))]
        items[-1]["assets"]["B04"]["href"] = own = f"http://{host}/S2_33_1_0/B04.tif"
        mosaic.build(items, tmp_path / "both")
        server.behaviour.redirect = f"http://{host}{{path}}"
        url = server.url(NAME)
        assert ask(raw(serve(tmp_path / "both"), url))[0] == 200  # all of it lies inside
        internal.reset()

        async def outside(host: str) -> bool:
            return False

        monkeypatch.setattr(transport, "lies_inside", outside)
        for redirects, want in (((), 502), (("*",), 502), ((host,), 200), ((name,), 200)):
            gateway = serve(tmp_path / "both", redirects=redirects)
            status, _, body = ask(raw(gateway, url))
            assert (status, b"address of the inside" in body) == (want, want == 502), body
            assert (internal.counts.requests > 0) == (want == 200)
            assert ask(raw(gateway, own))[0] == 200  # the catalog's own word
            internal.reset()


VRT = """<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>{crs}</SRS>
<GeoTransform>{c},{a},{b},{f},{d},{e}</GeoTransform><VRTRasterBand dataType="UInt16" band="1">
<NoDataValue>0</NoDataValue><SimpleSource><SourceFilename>/vsicurl/{source}</SourceFilename>
<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"""


def test_a_vrt_leads_nowhere_else(serve: Serve, tmp_path: Path, server: RangeServer) -> None:
    """What a scene's file names is asked for only where the catalogs, or the operator, lead."""
    built = publish(tmp_path, seam_scenes(64, 60.0, ("B04",), dates=1), server)
    with RangeServer(dict(server.objects)) as internal:
        items = [orjson.loads(path.read_bytes()) for path in sorted(built.glob("items/*.json"))]
        for item in items:
            asset = item["assets"]["B04"]
            told = {**item["properties"], **asset}
            height, width = told["proj:shape"]
            name = urlsplit(asset["href"]).path.removeprefix("/")
            text = VRT.format(
                crs=told["proj:code"],
                source=internal.url(name),
                height=height,
                width=width,
                **dict(zip("abcdef", told["proj:transform"], strict=False)),
            )
            server.objects[f"{name}.vrt"] = text.encode()
            asset["href"] += ".vrt"
        mosaic.build(items, tmp_path / "vrts", bands=["B04"])
        internal.reset()
        tile = "tiles/vrts/11/1092/715.tif?bands=B04"
        status, _, body = ask(f"{serve(tmp_path / 'vrts').url}/{tile}")
        assert (status, b"no served catalog names its host" in body) == (502, True), body
        assert internal.counts.requests == 0
        allowing = serve(tmp_path / "vrts", redirects=(f"127.0.0.1:{internal.port}",))
        assert ask(f"{allowing.url}/{tile}")[0] == 200
        assert internal.counts.requests > 0
        internal.behaviour.redirect = "http://localhost:1/{path}"  # nor from there anywhere
        allowing = serve(tmp_path / "vrts", redirects=(f"127.0.0.1:{internal.port}",))
        status, _, body = ask(f"{allowing.url}/{tile}")
        assert (status, b"isn't allowed" in body) == (502, True)


def test_hrefs_with_queries_and_letters(serve: Serve, tmp_path: Path, server: RangeServer) -> None:
    """An href comes back as it was, through the paths of the gateway."""
    built = publish(tmp_path, seam_scenes(64, 60.0, ("B04",), dates=1), server)
    table = pq.read_table(built / "items.parquet").to_pylist()
    one = table[0]["assets"]["B04"]["href"]
    data = server.objects[one.rpartition("/")[0].rpartition("/")[2] + "/B04.tif"]
    items = []
    for name in ("with space é.tif", "a%20b.tif", "q.tif?id=4&x=%20y", "semi;colon,a=b@c~.tif"):
        plain = name.partition("?")[0].replace("%20", " ")
        server.objects[plain] = data
        items.append(server.url(quote(name) if "é" in name else name))
    documents = []
    for number, href in enumerate(items):
        path = next(built.glob("items/*.json"))
        item = orjson.loads(path.read_bytes())
        item["id"] = f"i{number}"
        item["assets"]["B04"]["href"] = href
        documents.append(item)
    mosaic.build(documents, tmp_path / "other")
    gateway = serve(tmp_path / "other")
    served = pq.read_table(tmp_path / "other" / "items.parquet").to_pylist()
    for row in served:
        href = row["assets"]["B04"]["href"]
        assert ask(raw(gateway, href))[::2] == (200, data), href


def test_members_hold_what_they_were_given() -> None:
    hrefs = [f"https://example.com/{i}.tif" for i in range(5000)]
    members = Members(hrefs)
    assert len(members) == 5000
    assert all(href in members for href in hrefs)
    assert not any(f"{href}.ovr" in members for href in hrefs)
    assert "" not in Members([])
