"""NASA's Earthdata: tokens and temporary S3 keys, found where earthaccess looks."""

import base64
from collections.abc import Callable
from pathlib import Path

import pytest

from mosaic.errors import CredentialsError
from mosaic.storage import Gate
from mosaic.storage.address import Places, address
from mosaic.storage.credentials import EarthdataSigner, S3Signer
from mosaic.storage.signers import Signers
from tests.storage.signing import BODY, SECRET, Service, in_an_hour
from tests.support.range_server import RangeServer

MakeGate = Callable[..., Gate]
pytestmark = pytest.mark.usefixtures("no_real_credentials")


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
