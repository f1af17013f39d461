"""Keys of AWS and of the Earth observation archives, found where their own tools look.

One step at most for the user: a variable, a file that the provider's tool wrote, or ``sign=``.
Sources: the variables of botocore, GDAL, planetary-computer and earthaccess.
"""

from __future__ import annotations

import asyncio
import base64
import netrc
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from mosaic.errors import CredentialsError
from mosaic.storage.address import Address
from mosaic.storage.sign import Ask, Request, Token, attach, parse_time

STORED_LIFE = 900.0
"""Seconds after which stored keys are looked up again, because a tool may have renewed them."""
_SAS_URL = "https://planetarycomputer.microsoft.com/api/sas/v1/token"
_EARTHDATA = "urs.earthdata.nasa.gov"
_HALF_HOUR = 1800.0  # a bearer token lives 60 days; a renewed one is soon seen


def switched_on(variable: str) -> bool:
    """Whether one of GDAL's yes-or-no variables says yes."""
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
        self._anonymous = switched_on("AWS_NO_SIGN_REQUEST") if anonymous is None else anonymous
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
        return None, time.time() + STORED_LIFE
    # a refreshable set is renewed by asking it again, which it does in good time
    return found.get_frozen_credentials(), time.time() + STORED_LIFE


def netrc_logins() -> dict[str, tuple[str, str]]:
    """User and password by host, of NETRC or ~/.netrc; its ``default`` is for nobody."""
    path = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    try:
        hosts = netrc.netrc(path).hosts
    except (OSError, netrc.NetrcParseError):
        return {}
    hosts.pop("default", None)
    return {host: (told[0], told[2]) for host, told in hosts.items() if told[0] and told[2]}


class NetrcSigner:
    """Basic authentication of a host that the netrc file names, as curl and GDAL have it."""

    def scope(self, address: Address) -> str:
        """One login serves a host."""
        return bare(address.host)

    async def issue(self, address: Address, ask: Ask) -> Token:
        """Look the login up."""
        login = (await asyncio.to_thread(netrc_logins)).get(bare(address.host))
        headers = {"Authorization": basic(*login)} if login else {}
        return Token(time.time() + STORED_LIFE, headers=headers)

    def sign(self, address: Address, token: Token, headers: Mapping[str, str]) -> Request:
        """The request with its Authorization header."""
        return attach(address, token, headers)


def bare(host: str) -> str:
    """A host without its port."""
    return host.partition(":")[0]


def basic(user: str, password: str) -> str:
    """The Authorization header of a login. Source: RFC 7617."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


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
            answer = await ask(
                f"{self._url}/api/users/find_or_create_token",
                {"Authorization": basic(user, password)},
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
    login = netrc_logins().get(_EARTHDATA)
    if login:
        return login
    raise CredentialsError(
        "no Earthdata credentials",
        advice="set EARTHDATA_TOKEN, or put urs.earthdata.nasa.gov into ~/.netrc",
    )


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
