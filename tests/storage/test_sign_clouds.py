"""Planetary Computer, Azure and Google: tokens of their own services and libraries."""

import base64
import hashlib
import hmac
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from mosaic.errors import CredentialsError
from mosaic.storage import Gate
from mosaic.storage.address import Places, address
from mosaic.storage.clouds import azure_string_to_sign
from mosaic.storage.signers import Signers
from tests.storage.signing import BODY, SECRET, Service, in_an_hour
from tests.support.range_server import RangeServer

MakeGate = Callable[..., Gate]
pytestmark = pytest.mark.usefixtures("no_real_credentials")


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


@pytest.mark.parametrize(
    ("href", "signature"),  # as azure-storage-blob 12.31 signs the same requests
    [
        ("abfs://c@acc/x.tif", "OgtKBkGRf+7rIl1FVmoQrmQQditEayP0x5YX3rOi4Ps="),
        ("abfs://c@acc/x y/é.tif", "hhbHnySmpeb1VDcXF0h6s/eb9IprgXhPs1JnNqqNkGc="),
        (
            "https://acc.blob.core.windows.net/c/x.tif?versionid=2026-01-01T00%3A00%3A00Z&Comp=a",
            "Nn81zaRMamMg8DOMKpWdni6Du3h90UXjPBZsQbx99JM=",
        ),
    ],
)
def test_an_azure_account_key_signs_as_azures_own_library_does(href: str, signature: str) -> None:
    sent = {
        "Range": "bytes=0-9",
        "If-None-Match": '"e"',
        "x-ms-date": "Mon, 23 Nov 2026 15:00:00 GMT",
        "x-ms-version": "2021-12-02",
    }
    text = azure_string_to_sign(address(href, Places()), sent)
    digest = hmac.new(b"k" * 32, text.encode(), hashlib.sha256).digest()
    assert base64.b64encode(digest).decode() == signature


@pytest.mark.parametrize("secret", [f"SharedAccessSignature=?sv=1&sig={SECRET}", "AccountKey=a2V5"])
def test_azure_by_a_connection_string(
    gate: MakeGate, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    with RangeServer({"c/x": BODY}) as server:
        place = f"BlobEndpoint=http://127.0.0.1:{server.port}/;AccountName=acc"
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", f"{place};{secret}")
        assert gate().get_range("az://c/x", start=0, length=9) == BODY[:9]
        if "sig" in secret:
            assert server.counts.targets[0] == f"/c/x?sv=1&sig={SECRET}"
        else:
            assert server.counts.headers[0]["authorization"].startswith("SharedKey acc:")


def test_google_by_token(gate: MakeGate, monkeypatch: pytest.MonkeyPatch) -> None:
    with RangeServer({"bucket/x": BODY}) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.port}")
        monkeypatch.setenv("GOOGLE_OAUTH_ACCESS_TOKEN", SECRET)
        assert gate().get_range("gs://bucket/x", start=0, length=9) == BODY[:9]
        assert server.counts.headers[0]["authorization"] == f"Bearer {SECRET}"


def bearer(token: str) -> dict[str, object]:
    return {"access_token": token, "expires_in": 3600, "token_type": "Bearer"}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[RangeServer]:
    """Google's and Azure's storage, which takes one bearer token only."""
    with RangeServer({"bucket/x": BODY}) as server:
        server.behaviour.token = lambda token: token == SECRET
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.port}")
        monkeypatch.setenv("AZURE_STORAGE_BLOB_ENDPOINT", f"http://127.0.0.1:{server.port}")
        yield server


@pytest.mark.parametrize("kind", ["service account", "gcloud login"])
def test_google_by_credentials_of_a_file(
    gate: MakeGate,
    bucket: RangeServer,
    monkeypatch: pytest.MonkeyPatch,
    service: Callable[..., Service],
    tmp_path: Path,
    kind: str,
) -> None:
    pytest.importorskip("google.auth")
    tokens = service({"/token": lambda: bearer(SECRET)})
    if kind == "service account":
        path = tmp_path / "key.json"
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
        told = {
            "type": "service_account",
            "client_email": "me@project.iam.gserviceaccount.com",
            "private_key": private_key(),
            "private_key_id": "1",
            "project_id": "project",
        }
    else:  # where `gcloud auth application-default login` leaves them
        path = tmp_path / ".config" / "gcloud" / "application_default_credentials.json"
        path.parent.mkdir(parents=True)
        told = {
            "type": "authorized_user",
            "client_id": "me",
            "client_secret": "hush",
            "refresh_token": "again",
        }
        # the library's own constant: it hears no other place for these
        monkeypatch.setattr(
            "google.oauth2.credentials._GOOGLE_OAUTH2_TOKEN_ENDPOINT", f"{tokens.url}/token"
        )
    path.write_text(json.dumps({**told, "token_uri": f"{tokens.url}/token"}))
    one = gate()
    for start in (0, 9000):
        assert one.get_range("gs://bucket/x", start=start, length=9) == BODY[start : start + 9]
    assert len(tokens.asked) == 1  # kept, not asked for each request
    assert ("jwt-bearer" if kind == "service account" else "refresh_token") in tokens.bodies[0]


def private_key() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return made.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def test_google_by_the_metadata_server_of_a_machine(
    bucket: RangeServer, monkeypatch: pytest.MonkeyPatch, service: Callable[..., Service]
) -> None:
    pytest.importorskip("google.auth")
    account = "/computeMetadata/v1/instance/service-accounts/default"
    machine = service(
        {
            "/": lambda: "computeMetadata/",
            "/computeMetadata/v1/project/project-id": lambda: "project",
            "/computeMetadata/v1/universe/universe-domain": lambda: "googleapis.com",
            "/computeMetadata/v1/universe/universe_domain": lambda: "googleapis.com",
            f"{account}/": lambda: {"email": "me@x", "scopes": [], "aliases": ["default"]},
            f"{account}/token": lambda: bearer(SECRET),
        }
    )
    monkeypatch.delenv("NO_GCE_CHECK")
    for name in ("GCE_METADATA_HOST", "GCE_METADATA_IP"):
        monkeypatch.setenv(name, machine.url.removeprefix("http://"))
    # google-auth reads those when it is imported, so a process of its own is needed
    script = (
        "from mosaic.storage import Gate; "
        "print(bytes(Gate().get_range('gs://bucket/x', start=5, length=9)).hex())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.strip() == BODY[5:14].hex()
    assert any(path.startswith(f"{account}/token") for _, path, _ in machine.asked)


def test_google_without_credentials_is_public(gate: MakeGate, bucket: RangeServer) -> None:
    pytest.importorskip("google.auth")
    bucket.behaviour.token = None
    assert gate().get_range("gs://bucket/x", start=0, length=9) == BODY[:9]
    assert "authorization" not in bucket.counts.headers[0]


def test_azure_by_a_managed_identity(
    gate: MakeGate,
    bucket: RangeServer,
    monkeypatch: pytest.MonkeyPatch,
    service: Callable[..., Service],
) -> None:
    pytest.importorskip("azure.identity")
    expires = str(int(time.time()) + 3600)
    identity = service(
        {
            "/msi": lambda: {
                "access_token": SECRET,
                "expires_on": expires,
                "resource": "https://storage.azure.com",
                "token_type": "Bearer",
            }
        }
    )
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{identity.url}/msi")
    monkeypatch.setenv("IDENTITY_HEADER", "of-this-app")
    one = gate()
    for start in (0, 9000):
        got = one.get_range("abfs://bucket@acc/x", start=start, length=9)
        assert got == BODY[start : start + 9]
    assert bucket.counts.headers[0]["x-ms-version"] == "2021-12-02"
    assert len(identity.asked) == 1
    _, path, headers = identity.asked[0]
    assert "resource=https://storage.azure.com" in unquote(path)
    assert {k.lower(): v for k, v in headers.items()}["x-identity-header"] == "of-this-app"


def test_a_google_account_that_is_refused_is_told(
    gate: MakeGate,
    bucket: RangeServer,
    monkeypatch: pytest.MonkeyPatch,
    service: Callable[..., Service],
    tmp_path: Path,
) -> None:
    pytest.importorskip("google.auth")
    tokens = service({})  # 404 for whatever is asked
    path = tmp_path / "key.json"
    told = {
        "type": "service_account",
        "client_email": f"{SECRET}@project.iam.gserviceaccount.com",
        "private_key": private_key(),
        "private_key_id": SECRET,
        "token_uri": f"{tokens.url}/token?{SECRET}",
    }
    path.write_text(json.dumps(told))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    with pytest.raises(CredentialsError) as caught:
        gate().get_range("gs://bucket/x", start=0, length=9)
    assert "RefreshError" in str(caught.value)
    assert SECRET not in str(caught.value)
