"""S3 over a real connection: keys of AWS's own places, anonymous, requester pays; CDSE."""

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from mosaic.errors import AccessError
from mosaic.storage import Gate
from mosaic.storage.address import Address, Places, address
from mosaic.storage.signers import Signers
from tests.storage.signing import BODY, SECRET
from tests.support.range_server import RangeServer

MakeGate = Callable[..., Gate]
pytestmark = pytest.mark.usefixtures("no_real_credentials")


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
