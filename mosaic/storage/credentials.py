"""Credentials, found where the providers' own tools look, and the ways to sign with them.

One step at most for the user: a variable, a file that the provider's tool wrote, or ``sign=``.
Sources: the variables of botocore, GDAL, planetary-computer and earthaccess.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import netrc
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson

from mosaic.errors import CredentialsError, UsageError
from mosaic.settings import bucket_provider, providers
from mosaic.storage.address import Address, Places
from mosaic.storage.sign import (
    Ask,
    CallableSigner,
    Request,
    Signer,
    Token,
    attach,
    parse_time,
)

_SAS_URL = "https://planetarycomputer.microsoft.com/api/sas/v1/token"
_EARTHDATA = "urs.earthdata.nasa.gov"
_STORED_LIFE = 900.0  # seconds after which stored keys are looked up again: a tool may renew them
_HALF_HOUR = 1800.0  # a bearer token lives 60 days; a renewed one is soon seen

SignFunction = Callable[[str], "str | Token | Awaitable[str | Token]"]
SignChoice = Mapping[str, "str | Signer | SignFunction"] | str | Signer | SignFunction | None


def places_from_env() -> Places:
    """Endpoints and accounts, from the variables of AWS's tools and GDAL."""
    env = os.environ.get
    endpoint = env("AWS_ENDPOINT_URL_S3") or env("AWS_ENDPOINT_URL") or env("AWS_S3_ENDPOINT") or ""
    if endpoint and "://" not in endpoint:
        endpoint = f"{'http' if env('AWS_HTTPS', 'YES').upper() in _NO else 'https'}://{endpoint}"
    virtual = env("AWS_VIRTUAL_HOSTING")
    return Places(
        s3_endpoint=endpoint,
        s3_region=env("AWS_REGION") or env("AWS_DEFAULT_REGION") or "",
        s3_virtual=None if virtual is None else virtual.upper() not in _NO,
        gs_endpoint=env("STORAGE_EMULATOR_HOST") or Places().gs_endpoint,
        azure_account=env("AZURE_STORAGE_ACCOUNT") or env("AZURE_STORAGE_ACCOUNT_NAME") or "",
        azure_endpoint=env("AZURE_STORAGE_BLOB_ENDPOINT") or "",
    )


_NO = ("NO", "FALSE", "0", "OFF")


def _on(variable: str) -> bool:
    return os.environ.get(variable, "").upper() in ("YES", "TRUE", "1", "ON")


class S3Signer:
    """SigV4 by botocore, with the keys it finds: environment, profile, SSO, container, instance.

    Without any, or with AWS_NO_SIGN_REQUEST=YES, requests go unsigned. ``profile``, ``anonymous``
    and ``requester_pays`` say otherwise. Source: AWS Signature Version 4.
    """

    def __init__(
        self,
        *,
        profile: str | None = None,
        anonymous: bool | None = None,
        requester_pays: bool | None = None,
        keys: Callable[[Ask], Awaitable[tuple[Any, float]]] | None = None,
    ) -> None:
        self._profile = profile
        self._anonymous = _on("AWS_NO_SIGN_REQUEST") if anonymous is None else anonymous
        pays = os.environ.get("AWS_REQUEST_PAYER") == "requester"
        self._pays = pays if requester_pays is None else requester_pays
        self._keys = keys

    def scope(self, address: Address) -> str:
        """One set of keys serves all buckets."""
        return "s3"

    async def issue(self, address: Address, ask: Ask) -> Token:
        """Look the keys up; botocore renews those that expire."""
        if self._anonymous:
            return Token()
        if self._keys is not None:
            secret, expires = await self._keys(ask)
            return Token(expires, secret=secret)
        secret, life = await asyncio.to_thread(_stored_keys, self._profile)
        return Token(expires=life, secret=secret)

    def sign(self, address: Address, token: Token, headers: Mapping[str, str]) -> Request:
        """The request with its Authorization header."""
        extra = {"x-amz-request-payer": "requester"} if self._pays else {}
        if token.secret is None:
            return attach(address, token, {**headers, **extra})
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest

        request = AWSRequest("GET", address.url, headers={**headers, **extra})
        S3SigV4Auth(token.secret, "s3", address.region).add_auth(request)
        return Request(address.url, dict(request.headers.items()))


def _stored_keys(profile: str | None) -> tuple[Any, float]:
    try:
        from botocore.session import Session
    except ImportError:
        raise CredentialsError(
            "s3:// needs botocore", advice="pip install 'virtual-mosaic[s3]'"
        ) from None
    found = Session(profile=profile).get_credentials()
    if found is None:
        return None, time.time() + _STORED_LIFE
    # a refreshable set is renewed by asking it again, which it does in good time
    return found.get_frozen_credentials(), time.time() + _STORED_LIFE


class PlanetaryComputerSigner:
    """SAS tokens of Microsoft's Planetary Computer, one per container, about 45 minutes each.

    PC_SDK_SAS_URL and PC_SDK_SUBSCRIPTION_KEY are heard, as by the planetary-computer package.
    """

    def scope(self, address: Address) -> str:
        """Storage account and container."""
        return f"{address.account}/{address.bucket}"

    async def issue(self, address: Address, ask: Ask) -> Token:
        """Ask the token service."""
        base = os.environ.get("PC_SDK_SAS_URL") or _SAS_URL
        key = os.environ.get("PC_SDK_SUBSCRIPTION_KEY")
        headers = {"Ocp-Apim-Subscription-Key": key} if key else {}
        told = _document(await ask(f"{base.rstrip('/')}/{self.scope(address)}", headers, "GET"))
        return Token(parse_time(str(told["msft:expiry"])), query=str(told["token"]))

    def sign(self, address: Address, token: Token, headers: Mapping[str, str]) -> Request:
        """The request with the token in its query."""
        return attach(address, token, headers)


class EarthdataSigner:
    """Bearer tokens of NASA's Earthdata Login.

    From EARTHDATA_TOKEN, else made with EARTHDATA_USERNAME and EARTHDATA_PASSWORD, or with the
    entry ``urs.earthdata.nasa.gov`` of a netrc file (NETRC, or ~/.netrc), as earthaccess does.
    """

    def __init__(self, url: str = f"https://{_EARTHDATA}") -> None:
        self._url = url

    def scope(self, address: Address) -> str:
        """One token serves all archives."""
        return "earthdata"

    async def issue(self, address: Address, ask: Ask) -> Token:
        """Find a token, or have one made."""
        return Token(headers=await self._headers(ask), expires=time.time() + _HALF_HOUR)

    async def _headers(self, ask: Ask) -> dict[str, str]:
        token = os.environ.get("EARTHDATA_TOKEN")
        if not token:
            user, password = await asyncio.to_thread(_earthdata_login)
            basic = base64.b64encode(f"{user}:{password}".encode()).decode()
            answer = await ask(
                f"{self._url}/api/users/find_or_create_token",
                {"Authorization": f"Basic {basic}"},
                "POST",
            )
            token = str(_document(answer)["access_token"])
        return {"Authorization": f"Bearer {token}"}

    def sign(self, address: Address, token: Token, headers: Mapping[str, str]) -> Request:
        """The request with its bearer token."""
        return attach(address, token, headers)

    def s3_keys(self, url: str) -> Callable[[Ask], Awaitable[tuple[Any, float]]]:
        """A source of temporary S3 keys, valid for an hour in us-west-2, from an archive's URL."""

        async def keys(ask: Ask) -> tuple[Any, float]:
            from botocore.credentials import Credentials

            told = _document(await ask(url, await self._headers(ask), "GET"))
            found = Credentials(
                str(told["accessKeyId"]), str(told["secretAccessKey"]), str(told["sessionToken"])
            )
            return found, parse_time(str(told["expiration"]))

        return keys


def _earthdata_login() -> tuple[str, str]:
    user, password = os.environ.get("EARTHDATA_USERNAME"), os.environ.get("EARTHDATA_PASSWORD")
    if user and password:
        return user, password
    path = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    try:
        entry = netrc.netrc(path).authenticators(_EARTHDATA)
    except (OSError, netrc.NetrcParseError):
        entry = None
    if entry and entry[0] and entry[2]:
        return entry[0], entry[2]
    raise CredentialsError(
        "no Earthdata credentials",
        advice="set EARTHDATA_TOKEN, or put urs.earthdata.nasa.gov into ~/.netrc",
    )


class GoogleSigner:
    """Bearer tokens of Google Cloud by google-auth, where it is installed and finds some.

    Without, or with GS_NO_SIGN_REQUEST=YES, requests go unsigned.
    """

    def scope(self, address: Address) -> str:
        """One token serves all buckets."""
        return "gs"

    async def issue(self, address: Address, ask: Ask) -> Token:
        """Look the application default credentials up."""
        return await asyncio.to_thread(_google_token)

    def sign(self, address: Address, token: Token, headers: Mapping[str, str]) -> Request:
        """The request with its bearer token."""
        return attach(address, token, headers)


def _google_token() -> Token:
    given = os.environ.get("GOOGLE_OAUTH_ACCESS_TOKEN")
    if given:
        return Token(time.time() + _STORED_LIFE, headers={"Authorization": f"Bearer {given}"})
    if _on("GS_NO_SIGN_REQUEST"):
        return Token()
    try:
        import google.auth
        import google.auth.exceptions
        import google.auth.transport.requests
    except ImportError:
        return Token()
    try:
        found, _ = google.auth.default(
            scopes=["https://www.googleapis.com/auth/devstorage.read_only"]
        )
    except google.auth.exceptions.DefaultCredentialsError:
        return Token()
    found.refresh(google.auth.transport.requests.Request())
    expiry = parse_time(found.expiry.isoformat()) if found.expiry else time.time() + _STORED_LIFE
    return Token(expiry, headers={"Authorization": f"Bearer {found.token}"})


class AzureSigner:
    """A SAS token or an account key from the environment, else azure-identity, else unsigned.

    AZURE_STORAGE_SAS_TOKEN, AZURE_STORAGE_ACCESS_KEY (or _KEY), AZURE_NO_SIGN_REQUEST.
    Source: "Authorize with Shared Key", Azure Storage REST reference.
    """

    def scope(self, address: Address) -> str:
        """The storage account."""
        return address.account

    async def issue(self, address: Address, ask: Ask) -> Token:
        """Look the credentials up."""
        return await asyncio.to_thread(_azure_token)

    def sign(self, address: Address, token: Token, headers: Mapping[str, str]) -> Request:
        """The request, signed as the credentials at hand demand."""
        if not isinstance(token.secret, str):
            return attach(address, token, headers)
        dated = {**headers, "x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-12-02"}
        text = azure_string_to_sign(address, dated)
        digest = hmac.new(base64.b64decode(token.secret), text.encode(), hashlib.sha256).digest()
        mac = base64.b64encode(digest).decode()
        return Request(
            address.url, {**dated, "Authorization": f"SharedKey {address.account}:{mac}"}
        )


_AZURE_FIELDS = (
    "Content-Encoding",
    "Content-Language",
    "Content-Length",
    "Content-MD5",
    "Content-Type",
    "Date",
    "If-Modified-Since",
    "If-Match",
    "If-None-Match",
    "If-Unmodified-Since",
    "Range",
)


def azure_string_to_sign(address: Address, headers: Mapping[str, str]) -> str:
    """What a Shared Key signs for a GET. Source: Azure Storage REST reference."""
    lines = ["GET", *(headers.get(name, "") for name in _AZURE_FIELDS)]
    lines += [f"{k.lower()}:{v}" for k, v in sorted(headers.items()) if k.lower()[:5] == "x-ms-"]
    return "\n".join([*lines, f"/{address.account}{unquote(urlsplit(address.url).path)}"])


def _azure_token() -> Token:
    sas = os.environ.get("AZURE_STORAGE_SAS_TOKEN", "").lstrip("?")
    key = os.environ.get("AZURE_STORAGE_ACCESS_KEY") or os.environ.get("AZURE_STORAGE_KEY")
    if _on("AZURE_NO_SIGN_REQUEST"):
        return Token()
    if sas:
        return Token(time.time() + _STORED_LIFE, query=sas)
    if key:
        return Token(time.time() + _STORED_LIFE, secret=key)
    try:
        from azure.core.exceptions import ClientAuthenticationError
        from azure.identity import DefaultAzureCredential
    except ImportError:
        return Token()
    try:
        made = DefaultAzureCredential().get_token("https://storage.azure.com/.default")
    except ClientAuthenticationError:
        return Token()
    headers = {"Authorization": f"Bearer {made.token}", "x-ms-version": "2021-12-02"}
    return Token(float(made.expires_on), headers=headers)


def _document(data: bytes) -> dict[str, Any]:
    try:
        told = orjson.loads(data)
    except orjson.JSONDecodeError:
        told = None
    if not isinstance(told, dict):
        # a login page in place of JSON: the credentials were not accepted
        raise CredentialsError(
            "the signing service's answer is no JSON", advice="check the credentials"
        )
    return told


class Signers:
    """Which signer an object needs: the argument's, else that of its scheme or provider."""

    def __init__(self, choice: SignChoice) -> None:
        self._named: dict[str, Signer] = {}
        self._rules: list[tuple[str, Signer]] = []
        if isinstance(choice, Mapping):
            self._rules = [(pattern, self._signer(one)) for pattern, one in choice.items()]
        elif choice is not None:
            self._rules = [("*", self._signer(choice))]
        self._preset = {provider.name: provider.sign for provider in providers()}

    def of(self, address: Address) -> Signer | None:
        """The signer of an object, or None where it is public or came signed."""
        if address.service in ("file", "memory"):
            return None
        bare = address.host.partition(":")[0]
        for pattern, signer in self._rules:
            if fnmatchcase(address.host, pattern) or fnmatchcase(bare, pattern):
                return signer
        if address.service == "s3":
            return self._s3(address)
        preset = self._preset.get(address.provider, "")
        if preset and not address.signed:
            return self._by_name(preset)
        if address.service in ("gs", "az") and not address.signed:
            return self._by_name(address.service)
        return None

    def _s3(self, address: Address) -> Signer:
        preset = bucket_provider(address.bucket)
        if preset and preset.credentials and not _own_keys():
            name = f"s3:{preset.name}"
            if name not in self._named:
                keys = EarthdataSigner().s3_keys(preset.credentials)
                self._named[name] = S3Signer(keys=keys)
            return self._named[name]
        if preset and preset.sign:
            return self._by_name(preset.sign)
        return self._by_name("cdse" if preset and preset.name == "cdse" else "s3")

    def _signer(self, one: str | Signer | SignFunction) -> Signer:
        if isinstance(one, str):
            return self._by_name(one)
        if isinstance(one, Signer):
            return one
        if callable(one):
            return CallableSigner(one)
        raise UsageError(f"sign: {type(one).__name__} is neither a name, a signer nor a function")

    def _by_name(self, name: str) -> Signer:
        if name not in self._named:
            if name not in _SIGNERS:
                raise UsageError(f"sign: {name!r} is unknown; use one of {', '.join(_SIGNERS)}")
            self._named[name] = _SIGNERS[name]()
        return self._named[name]


def _own_keys() -> bool:
    # temporary keys of an archive that the user fetched already
    return bool(os.environ.get("AWS_SESSION_TOKEN"))


def _cdse() -> Signer:
    """CDSE's keys: the profile ``cdse`` if there is one, else the usual places."""
    path = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials").expanduser()
    try:
        has = "[cdse]" in path.read_text("utf-8")
    except OSError:
        has = False
    return S3Signer(profile="cdse" if has else None)


_SIGNERS: dict[str, Callable[[], Signer]] = {
    "s3": S3Signer,
    "s3-anonymous": lambda: S3Signer(anonymous=True),
    "s3-requester-pays": lambda: S3Signer(requester_pays=True),
    "cdse": _cdse,
    "earthdata": EarthdataSigner,
    "planetary-computer": PlanetaryComputerSigner,
    "gs": GoogleSigner,
    "az": AzureSigner,
}
