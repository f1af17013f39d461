"""Credentials of Google Cloud and Azure, by their own libraries where those are installed."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import time
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from mosaic.storage.address import Address
from mosaic.storage.credentials import STORED_LIFE, switched_on
from mosaic.storage.sign import Ask, Request, Token, attach, parse_time

_GOOGLE_SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"


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
        return Token(time.time() + STORED_LIFE, headers={"Authorization": f"Bearer {given}"})
    if switched_on("GS_NO_SIGN_REQUEST"):
        return Token()
    try:
        import google.auth
        import google.auth.exceptions
        import google.auth.transport.requests
    except ImportError:
        return Token()
    try:
        found: Any = google.auth.default(scopes=[_GOOGLE_SCOPE])[0]
    except google.auth.exceptions.DefaultCredentialsError:
        return Token()
    found.refresh(google.auth.transport.requests.Request())
    expiry = parse_time(found.expiry.isoformat()) if found.expiry else time.time() + STORED_LIFE
    return Token(expiry, headers={"Authorization": f"Bearer {found.token}"})


class AzureSigner:
    """A SAS token or an account key from the environment, else azure-identity, else unsigned.

    AZURE_STORAGE_SAS_TOKEN, AZURE_STORAGE_ACCESS_KEY (or _KEY), AZURE_STORAGE_CONNECTION_STRING,
    AZURE_NO_SIGN_REQUEST.
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
    parts = urlsplit(address.url)
    # the path as it is sent, encoded; the query's values decoded
    lines.append(f"/{address.account}{parts.path}")
    query = {k.lower(): v for k, v in parse_qsl(parts.query, keep_blank_values=True)}
    return "\n".join([*lines, *(f"{k}:{query[k]}" for k in sorted(query))])


def connection_string() -> dict[str, str]:
    """The fields of AZURE_STORAGE_CONNECTION_STRING, names in lower case."""
    text = os.environ.get("AZURE_STORAGE_CONNECTION_STRING", "")
    parts = (part.partition("=") for part in text.split(";"))
    return {name.strip().lower(): value.strip() for name, _, value in parts if value}


def _azure_token() -> Token:
    env, told = os.environ.get, connection_string()
    sas = env("AZURE_STORAGE_SAS_TOKEN") or told.get("sharedaccesssignature", "")
    key = env("AZURE_STORAGE_ACCESS_KEY") or env("AZURE_STORAGE_KEY") or told.get("accountkey", "")
    if switched_on("AZURE_NO_SIGN_REQUEST"):
        return Token()
    if sas:
        return Token(time.time() + STORED_LIFE, query=sas.lstrip("?"))
    if key:
        return Token(time.time() + STORED_LIFE, secret=key)
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
