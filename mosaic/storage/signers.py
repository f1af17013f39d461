"""Which signer an object needs: the argument's, else that of its scheme or provider."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from mosaic.errors import UsageError
from mosaic.settings import bucket_provider, providers
from mosaic.storage.address import Address, Places
from mosaic.storage.clouds import AzureSigner, GoogleSigner, connection_string
from mosaic.storage.credentials import (
    EarthdataSigner,
    NetrcSigner,
    PlanetaryComputerSigner,
    S3Signer,
    bare,
    netrc_logins,
)
from mosaic.storage.sign import CallableSigner, Signer, Token

SignFunction = Callable[[str], "str | Token | Awaitable[str | Token]"]
SignChoice = Mapping[str, "str | Signer | SignFunction"] | str | Signer | SignFunction | None


def places_from_env() -> Places:
    """Endpoints and accounts, from the variables of AWS's tools and GDAL."""
    env = os.environ.get
    endpoint = env("AWS_ENDPOINT_URL_S3") or env("AWS_ENDPOINT_URL") or env("AWS_S3_ENDPOINT") or ""
    if endpoint and "://" not in endpoint:
        endpoint = f"{'http' if env('AWS_HTTPS', 'YES').upper() in _NO else 'https'}://{endpoint}"
    virtual, azure = env("AWS_VIRTUAL_HOSTING"), connection_string()
    return Places(
        s3_endpoint=endpoint,
        s3_region=env("AWS_REGION") or env("AWS_DEFAULT_REGION") or "",
        s3_virtual=None if virtual is None else virtual.upper() not in _NO,
        gs_endpoint=env("STORAGE_EMULATOR_HOST") or Places().gs_endpoint,
        azure_account=env("AZURE_STORAGE_ACCOUNT")
        or env("AZURE_STORAGE_ACCOUNT_NAME")
        or azure.get("accountname", ""),
        azure_endpoint=env("AZURE_STORAGE_BLOB_ENDPOINT") or azure.get("blobendpoint", ""),
    )


_NO = ("NO", "FALSE", "0", "OFF")


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
        self._logins = frozenset(netrc_logins())

    def of(self, address: Address) -> Signer | None:
        """The signer of an object, or None where it is public or came signed."""
        if address.service in ("file", "memory"):
            return None
        host = bare(address.host)
        for pattern, signer in self._rules:
            if fnmatchcase(address.host, pattern) or fnmatchcase(host, pattern):
                return signer
        if address.service == "s3":
            return self._s3(address)
        preset = self._preset.get(address.provider, "")
        if preset and not address.signed:
            return self._by_name(preset)
        if address.service in ("gs", "az") and not address.signed:
            return self._by_name(address.service)
        if host in self._logins and not address.signed:
            return self._by_name("netrc")
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
    "netrc": NetrcSigner,
    "gs": GoogleSigner,
    "az": AzureSigner,
}
