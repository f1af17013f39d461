"""Signing: late, once for all who wait, renewed before it expires, never shown, never passed on."""

import asyncio
import base64
import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from mosaic.errors import AccessError, CredentialsError, StorageError, UsageError
from mosaic.settings import CacheSettings, Limits
from mosaic.storage import CallableSigner, Gate, Token
from mosaic.storage.address import Address, Places, address
from mosaic.storage.clouds import AzureSigner, azure_string_to_sign
from mosaic.storage.credentials import EarthdataSigner, S3Signer
from mosaic.storage.sign import expiry_of
from mosaic.storage.signers import Signers
from tests.support.range_server import RangeServer

MakeGate = Callable[..., Gate]
SECRET = "TopSecret0123456789"


@pytest.fixture(autouse=True)
def no_real_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_", "GS_", "EARTHDATA_", "PC_SDK_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.delenv("NETRC", raising=False)


class Tokens:
    """A server's book of tokens, each valid for ``life`` seconds."""

    def __init__(self, life: float) -> None:
        self.life = life
        self.made: dict[str, float] = {}

    def issue(self) -> tuple[str, float]:
        name = f"{SECRET}{len(self.made)}"
        self.made[name] = time.time() + self.life
        return name, self.made[name]

    def good(self, token: str) -> bool:
        return self.made.get(token, 0) > time.time()


def test_tokens_of_two_seconds_and_a_read_of_twenty(
    server: RangeServer, gate: MakeGate, data: bytes
) -> None:
    book = Tokens(2.0)
    server.behaviour.token, server.behaviour.latency = book.good, 0.02

    def sign(href: str) -> Token:
        name, expires = book.issue()
        return Token(expires, query=f"sig={name}")

    one = gate(sign=CallableSigner(sign, scope=lambda href: "all"), cache=CacheSettings(memory=0))
    href, began, reads = server.url("a.bin"), time.time(), 0

    async def read_for(seconds: float) -> int:
        count = 0
        while time.time() - began < seconds:
            starts = [count * 1000 % 4_000_000 + i * 10 for i in range(8)]
            got = await asyncio.gather(
                *(one.get_range_async(href, start=s, length=9) for s in starts)
            )
            assert got == [data[s : s + 9] for s in starts]
            count += 8
        return count

    reads = asyncio.run(read_for(20))
    expiries = int((time.time() - began) / book.life)
    print(f"{reads} reads, {len(book.made)} tokens, {expiries} expiries")
    assert reads > 500
    assert one.stats().origins[0].failed == 0
    assert len(book.made) <= expiries + 1


def test_one_refresh_for_a_thousand_waiters(
    server: RangeServer, gate: MakeGate, data: bytes
) -> None:
    book, calls = Tokens(60), []
    server.behaviour.token = book.good

    async def slow(href: str) -> Token:
        calls.append(href)
        await asyncio.sleep(0.2)
        name, expires = book.issue()
        return Token(expires, headers={"Authorization": f"Bearer {name}"})

    one = gate(sign=CallableSigner(slow, scope=lambda href: "all"), cache=CacheSettings(gap=0))

    async def ask() -> list[memoryview]:
        return await asyncio.gather(
            *(
                one.get_range_async(server.url("a.bin"), start=i * 100, length=9)
                for i in range(1000)
            )
        )

    assert asyncio.run(ask()) == [data[i * 100 : i * 100 + 9] for i in range(1000)]
    assert len(calls) == 1


def test_a_token_that_is_revoked_is_replaced_once(
    server: RangeServer, gate: MakeGate, data: bytes
) -> None:
    book = Tokens(3600)
    server.behaviour.token = book.good

    def sign(href: str) -> str:
        name, expires = book.issue()
        return f"{href}?se={time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(expires))}&sig={name}"

    one, href = gate(sign=sign), server.url("a.bin")
    assert one.get_range(href, start=0, length=9) == data[:9]
    book.made = dict.fromkeys(book.made, 0.0)  # revoked, though it claims to be valid
    assert one.get_range(href, start=100, length=9) == data[100:109]
    assert len(book.made) == 2
    book.made = dict.fromkeys(book.made, 0.0)
    book.life = -1  # whatever it issues now is worth nothing
    for start in range(1000, 1010):
        with pytest.raises(AccessError):
            one.get_range(href, start=start, length=9)
    assert len(book.made) <= 3  # ten refusals, not ten refreshes


def test_a_signed_href_is_cached_without_its_signature(
    server: RangeServer, gate: MakeGate, data: bytes
) -> None:
    one = gate()
    assert one.get_range(server.url(f"a.bin?sig={SECRET}"), start=0, length=9) == data[:9]
    assert one.get_range(server.url("a.bin?sig=Another&se=2030"), start=0, length=9) == data[:9]
    assert server.counts.requests == 1


def test_a_signer_that_fails_is_a_credentials_error(server: RangeServer, gate: MakeGate) -> None:
    def broken(href: str) -> str:
        raise RuntimeError(f"could not log in with {SECRET}")

    for sign in (broken, lambda href: 42):
        with pytest.raises(CredentialsError) as caught:
            gate(sign=sign).get_range(server.url("a.bin"), start=0, length=9)
        assert SECRET not in str(caught.value)
    with pytest.raises(UsageError):
        gate(sign="no-such-provider").get_range(server.url("a.bin"), start=0, length=9)


def test_a_key_that_can_not_sign_frees_its_permit(
    gate: MakeGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCESS_KEY", f"no base64 {SECRET}")
    one = gate(limits=Limits(concurrency=1))
    for _ in range(3):
        with pytest.raises(CredentialsError) as caught:
            one.get_range("abfs://c@acc/x", start=0, length=9)
        assert SECRET not in str(caught.value)
    assert one.stats().origins[0].in_flight == 0


def test_credentials_stay_with_their_host(server: RangeServer, gate: MakeGate, data: bytes) -> None:
    with RangeServer({}, redirect=server.url("a.bin")) as first:
        sign = CallableSigner(
            lambda href: Token(headers={"Authorization": f"Bearer {SECRET}", "X-Key": SECRET})
        )
        one = gate(sign={"127.0.0.1:" + str(first.port): sign})
        assert one.get_range(first.url("a.bin"), start=0, length=9) == data[:9]
        assert first.counts.headers[0]["authorization"] == f"Bearer {SECRET}"
        assert SECRET not in str(server.counts.headers)
        assert SECRET not in str(server.counts.targets)
        # on one host they stay
        first.objects["b.bin"] = data
        first.behaviour.redirect = first.url("c.bin")
        with pytest.raises(StorageError):
            one.get_range(first.url("b.bin"), start=0, length=9)
        assert all("authorization" in headers for headers in first.counts.headers)


def test_nothing_secret_in_caches_logs_errors_reprs(
    server: RangeServer, gate: MakeGate, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "cache"
    caplog.set_level(logging.DEBUG)
    book = Tokens(3600)
    server.behaviour.token = lambda token: SECRET in token

    def sign(href: str) -> Token:
        name, expires = book.issue()
        return Token(expires, query=f"sig={name}", headers={"X-Key": SECRET}, secret=SECRET)

    one = gate(sign=sign, cache=CacheSettings(disk=folder), shared_limits=tmp_path / "shared")
    href = server.url(f"a.bin?token={SECRET}")
    one.get_range(href, start=0, length=99)
    one.flush()
    told: list[object] = [one, one.stats(), one.stats()._repr_html_(), sign("x"), one.meta(href)]
    inner: Any = one._inner
    told += [inner.fetcher.keyring, inner.core, inner.memory, *inner.addresses.values()]
    told += list(inner.origins.values())
    user = f"http://user:{SECRET}@127.0.0.1:{server.port}/b.bin?sig={SECRET}"
    for status in (403, 404, 500, 503):
        server.behaviour.status = status
        for bad in (href.replace("a.bin", f"{status}.bin"), user):
            with pytest.raises(StorageError) as caught:
                one.get_range(bad, start=5, length=1)
            error: BaseException | None = caught.value
            while error is not None:  # the causes too
                told += [error, str(error)]
                error = error.__cause__
    server.behaviour.status = 0
    for fault in ("resets", "truncated"):
        setattr(server.behaviour, fault, 1.0)
        with pytest.raises(StorageError) as caught:
            gate(sign=sign).get_range(href, start=5000, length=9)
        told += [caught.value, caught.value.__cause__]
        setattr(server.behaviour, fault, 0.0)
    for one_place in told:
        assert SECRET not in repr(one_place) + str(one_place), one_place
    assert SECRET not in caplog.text
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 3
    for path in files:
        assert SECRET.encode() not in path.read_bytes()
        assert SECRET not in str(path)


# ------------------------------------------------------------------ S3, over a real connection


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="AKIATEST",
        aws_secret_access_key=SECRET,
    )
    client.create_bucket(Bucket="scenes")
    client.put_object(Bucket="scenes", Key="a b/é?.bin", Body=bytes(range(256)) * 100)
    yield url
    moto.stop()


@pytest.fixture
def s3_env(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3)
    return s3


BODY = bytes(range(256)) * 100
HREF = "s3://scenes/a b/é?.bin"


def test_s3_with_keys_of_the_environment(
    s3_env: str, gate: MakeGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    one = gate()
    assert one.get_range(HREF, start=300, length=1000) == BODY[300:1300]
    meta = one.meta(HREF)
    assert meta is not None
    assert meta.size == len(BODY)
    assert meta.etag


def test_s3_anonymous(s3_env: str, gate: MakeGate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    one = gate()
    with pytest.raises(AccessError):  # a private bucket, and the error says so
        one.get_range(HREF, start=0, length=9)
    client = boto3.client(
        "s3",
        endpoint_url=s3_env,
        aws_access_key_id="x",
        aws_secret_access_key="y",
        region_name="us-east-1",
    )
    client.put_object_acl(Bucket="scenes", Key="a b/é?.bin", ACL="public-read")
    assert one.get_range(HREF, start=0, length=9) == BODY[:9]


def test_s3_with_a_profile_and_requester_pays(
    gate: MakeGate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        f"[work]\naws_access_key_id = AKIAWORK\naws_secret_access_key = {SECRET}\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "work")
    monkeypatch.setenv("AWS_REQUEST_PAYER", "requester")
    with RangeServer({"scenes/x": BODY}) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
        monkeypatch.setenv("AWS_REGION", "eu-central-1")
        assert gate().get_range("s3://scenes/x", start=5, length=9) == BODY[5:14]
        (sent,) = server.counts.headers
    assert sent["x-amz-request-payer"] == "requester"
    assert sent["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIAWORK/")
    assert "/eu-central-1/s3/aws4_request" in sent["authorization"]
    signed = re.search(r"SignedHeaders=([^,]+)", sent["authorization"])
    assert signed is not None
    assert "x-amz-request-payer" in signed[1]
    assert SECRET not in str(sent)


def test_s3_hrefs_are_addressed_as_aws_and_cdse_want_it() -> None:
    plain = address("s3://sentinel-cogs/x/y.tif", Places(s3_region="us-west-2"))
    assert plain.url == "https://sentinel-cogs.s3.us-west-2.amazonaws.com/x/y.tif"
    dotted = address("s3://with.dots/x", Places())
    assert dotted.url == "https://s3.us-east-1.amazonaws.com/with.dots/x"
    cdse = address("s3://eodata/Sentinel-2/x.jp2", Places(s3_region="us-west-2"))
    assert cdse.url == "https://eodata.dataspace.copernicus.eu/eodata/Sentinel-2/x.jp2"
    assert (cdse.provider, cdse.region) == ("cdse", "default")
    assert address("gs://b/o p", Places()).url == "https://storage.googleapis.com/b/o%20p"
    for href in ("abfs://c@acc.dfs.core.windows.net/p/q", "az://c/p/q"):
        place = address(href, Places(azure_account="acc"))
        assert place.url == "https://acc.blob.core.windows.net/c/p/q"
        assert place.key == "az://acc/c/p/q"


# -------------------------------------------------------------- the services that hand out tokens


class Service:
    """A token service on a real port: answers by path, remembers what it was sent."""

    def __init__(self, answers: dict[str, Callable[[], object]]) -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                service.asked.append((self.command, self.path, dict(self.headers.items())))
                answer = answers.get(self.path)
                body = json.dumps(answer() if answer else {}).encode()
                self.send_response(200 if answer else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = _answer  # noqa: N815 - names that http.server looks for

            def log_message(self, *given: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def service() -> Iterator[Callable[..., Service]]:
    made: list[Service] = []

    def make(answers: dict[str, Callable[[], object]]) -> Service:
        made.append(Service(answers))
        return made[-1]

    yield make
    for one in made:
        one.server.shutdown()
        one.server.server_close()


def in_an_hour() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))


def test_planetary_computer_tokens_one_per_container(
    gate: MakeGate, monkeypatch: pytest.MonkeyPatch, service: Callable[..., Service]
) -> None:
    tokens = service(
        {
            "/token/acc/one": lambda: {"token": f"sig={SECRET}1", "msft:expiry": in_an_hour()},
            "/token/acc/two": lambda: {"token": f"sig={SECRET}2", "msft:expiry": in_an_hour()},
        }
    )
    monkeypatch.setenv("PC_SDK_SAS_URL", f"{tokens.url}/token")
    monkeypatch.setenv("PC_SDK_SUBSCRIPTION_KEY", "key-of-mine")
    with RangeServer({"one/x": BODY, "one/y": BODY, "two/x": BODY}) as server:
        monkeypatch.setenv("AZURE_STORAGE_BLOB_ENDPOINT", f"http://127.0.0.1:{server.port}")
        server.behaviour.token = lambda token: SECRET in token
        one = gate(sign="planetary-computer")
        for name in ("one/x", "one/y", "two/x"):
            container, _, rest = name.partition("/")
            got = one.get_range(f"abfs://{container}@acc/{rest}", start=0, length=9)
            assert got == BODY[:9]
    assert [path for _, path, _ in tokens.asked] == ["/token/acc/one", "/token/acc/two"]
    assert tokens.asked[0][2]["Ocp-Apim-Subscription-Key"] == "key-of-mine"


def test_planetary_computer_blobs_are_recognised() -> None:
    signers = Signers(None)
    ours = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/x.tif"
    place = address(ours, Places())
    assert type(signers.of(place)).__name__ == "PlanetaryComputerSigner"
    assert (place.account, place.bucket) == ("sentinel2l2a01", "sentinel2-l2")
    assert signers.of(address(f"{ours}?sig=abc&se=2030", Places())) is None
    assert signers.of(address("https://example.org/x.tif", Places())) is None


@pytest.mark.parametrize("where", ["token", "environment", "netrc"])
def test_earthdata_is_found_where_earthaccess_looks(
    gate: MakeGate,
    monkeypatch: pytest.MonkeyPatch,
    service: Callable[..., Service],
    tmp_path: Path,
    where: str,
) -> None:
    login = service({"/api/users/find_or_create_token": lambda: {"access_token": SECRET}})
    if where == "token":
        monkeypatch.setenv("EARTHDATA_TOKEN", SECRET)
    elif where == "environment":
        monkeypatch.setenv("EARTHDATA_USERNAME", "me")
        monkeypatch.setenv("EARTHDATA_PASSWORD", "pass")
    else:
        path = tmp_path / ".netrc"
        path.write_text("machine urs.earthdata.nasa.gov login me password pass\n")
        path.chmod(0o600)
    with RangeServer({"x": BODY}) as server:
        server.behaviour.token = lambda token: token == SECRET
        one = gate(sign=EarthdataSigner(login.url))
        assert one.get_range(server.url("x"), start=0, length=9) == BODY[:9]
        assert one.get_range(server.url("x"), start=99, length=9) == BODY[99:108]
    assert len(login.asked) == (0 if where == "token" else 1)
    if where != "token":
        method, _, headers = login.asked[0]
        assert method == "POST"
        basic = base64.b64decode(headers["Authorization"].removeprefix("Basic "))
        assert basic == b"me:pass"


def test_earthdata_without_credentials_says_what_to_do(gate: MakeGate, server: RangeServer) -> None:
    with pytest.raises(CredentialsError, match="EARTHDATA_TOKEN"):
        gate(sign="earthdata").get_range(server.url("a.bin"), start=0, length=9)
    signers = Signers(None)
    place = address("https://data.lpdaac.earthdatacloud.nasa.gov/lp-prod/x.tif", Places())
    assert type(signers.of(place)).__name__ == "EarthdataSigner"


def test_temporary_s3_keys_of_an_archive(
    gate: MakeGate, monkeypatch: pytest.MonkeyPatch, service: Callable[..., Service]
) -> None:
    keys = {
        "accessKeyId": "ASIATEMP",
        "secretAccessKey": SECRET,
        "sessionToken": "SESSION",
        "expiration": in_an_hour(),
    }
    archive = service({"/s3credentials": lambda: keys})
    monkeypatch.setenv("EARTHDATA_TOKEN", "mine")
    signer = S3Signer(keys=EarthdataSigner().s3_keys(f"{archive.url}/s3credentials"))
    with RangeServer({"lp/x": BODY}) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
        one = gate(sign=signer)
        for start in (0, 1000, 20_000):
            assert one.get_range("s3://lp/x", start=start, length=9) == BODY[start : start + 9]
        sent = server.counts.headers[0]
    assert sent["x-amz-security-token"] == "SESSION"
    assert "Credential=ASIATEMP/" in sent["authorization"]
    assert len(archive.asked) == 1
    assert archive.asked[0][2]["Authorization"] == "Bearer mine"
    place = address("s3://lp-prod-protected/x", Places())
    assert place.region == "us-west-2"
    assert isinstance(Signers(None).of(place), S3Signer)


def test_azure_by_sas_and_by_account_key(gate: MakeGate, monkeypatch: pytest.MonkeyPatch) -> None:
    with RangeServer({"c/x": BODY}) as server:
        monkeypatch.setenv("AZURE_STORAGE_BLOB_ENDPOINT", f"http://127.0.0.1:{server.port}")
        monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", f"?sv=2021&sig={SECRET}")
        assert gate().get_range("abfs://c@acc/x", start=0, length=9) == BODY[:9]
        assert server.counts.targets[-1] == f"/c/x?sv=2021&sig={SECRET}"
        monkeypatch.delenv("AZURE_STORAGE_SAS_TOKEN")
        monkeypatch.setenv("AZURE_STORAGE_ACCESS_KEY", base64.b64encode(b"key").decode())
        assert gate().get_range("abfs://c@acc/x", start=9, length=9) == BODY[9:18]
        sent = server.counts.headers[-1]
        assert sent["authorization"].startswith("SharedKey acc:")
        assert sent["range"] == "bytes=9-17"
    place = address("abfs://c@acc/x", Places())
    text = azure_string_to_sign(place, {"Range": "bytes=0-1", "x-ms-date": "now"})
    assert text == "GET" + "\n" * 11 + "bytes=0-1\nx-ms-date:now\n/acc/c/x"
    assert isinstance(AzureSigner().scope(place), str)


def test_google_by_token(gate: MakeGate, monkeypatch: pytest.MonkeyPatch) -> None:
    with RangeServer({"bucket/x": BODY}) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.port}")
        monkeypatch.setenv("GOOGLE_OAUTH_ACCESS_TOKEN", SECRET)
        assert gate().get_range("gs://bucket/x", start=0, length=9) == BODY[:9]
        assert server.counts.headers[0]["authorization"] == f"Bearer {SECRET}"


def test_cdse_keys_of_their_profile(
    gate: MakeGate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        f"[default]\naws_access_key_id = A\naws_secret_access_key = B\n"
        f"[cdse]\naws_access_key_id = CDSEKEY\naws_secret_access_key = {SECRET}\n"
    )
    signer = Signers(None).of(address("s3://eodata/x", Places()))
    assert signer is not None

    async def signed() -> Address:
        place = address("s3://eodata/x", Places())
        token = await signer.issue(place, None)  # type: ignore[arg-type]
        request = signer.sign(place, token, {"Range": "bytes=0-1"})
        assert "Credential=CDSEKEY/" in request.headers["Authorization"]
        assert "/default/s3/" in request.headers["Authorization"]
        return place

    assert asyncio.run(signed()).host == "eodata.dataspace.copernicus.eu"


@pytest.mark.parametrize(
    ("url", "expires"),
    [
        ("https://a/x?se=2026-01-02T03%3A04%3A05Z&sig=s", 1767323045),
        ("https://a/x?X-Amz-Date=20260102T030405Z&X-Amz-Expires=60", 1767323105),
        ("https://a/x?Expires=1767323045&Signature=s", 1767323045),
        ("https://a/x", float("inf")),
        ("https://a/x?se=rubbish", float("inf")),
    ],
)
def test_when_a_signed_href_expires(url: str, expires: float) -> None:
    assert expiry_of(url) == expires


def test_the_presets_name_signers_that_exist() -> None:
    from mosaic.settings import limits_of, providers

    for provider in providers():
        if provider.sign:
            Signers(provider.sign)
        assert provider.limits.start <= provider.limits.concurrency
    assert limits_of("eodata.dataspace.copernicus.eu") == Limits(4, 4, 2000, 80_000_000)
