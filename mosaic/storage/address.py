"""Where an href points: its identity in caches, the URL to ask, and whose limits hold. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from mosaic.errors import UnknownSchemeError, UnreachableError, UsageError, redact
from mosaic.secret import unsigned
from mosaic.settings import bucket_provider, provider_of

# query fields of the signatures of AWS, Google, Azure, CloudFront, and common tokens
_SIGNATURE = re.compile(
    r"x-amz-.*|x-goog-.*|awsaccesskeyid|googleaccessid|signature|expires|policy|key-pair-id"
    r"|sig|sv|se|sp|sr|st|spr|sip|skoid|sktid|skt|ske|sks|skv|saoid|suoid|scid|sdd|ss|srt"
    r"|token|access_token|auth|apikey|api_key|subscription-key",
    re.IGNORECASE,
)
_SAFE = "/~!$&'()*+,;=:@-._%"
_PLAIN = _SAFE.removesuffix("%")


@dataclass(frozen=True, slots=True)
class Places:
    """Where the schemes of clouds lead, as the standard variables of their tools say."""

    s3_endpoint: str = ""
    """URL of an S3 server other than AWS, or empty."""
    s3_region: str = ""
    """Region of S3 buckets, or empty."""
    s3_virtual: bool | None = None
    """The bucket stands in the host's name; None: at AWS only."""
    gs_endpoint: str = "https://storage.googleapis.com"
    """URL of Google Cloud Storage."""
    azure_account: str = ""
    """Storage account of ``az://container/...``, or empty."""
    azure_endpoint: str = ""
    """URL of an account served elsewhere (an emulator), or empty."""


@dataclass(frozen=True, slots=True)
class Address:
    """One object: who it is, and where to ask for it."""

    key: str
    """The unsigned href: its identity in caches."""
    url: str
    """What is asked, before signing; may hold a signature that came with the href."""
    origin: str
    """Scheme, host and port: the limiter's unit."""
    host: str
    """Host and port, or ``(file)``, ``(memory)``."""
    service: str
    """``http``, ``s3``, ``gs``, ``az``, ``file`` or ``memory``."""
    provider: str
    """Name of the provider's preset."""
    bucket: str = ""
    """Bucket, or container, of a cloud's own scheme."""
    account: str = ""
    """Storage account, for Azure."""
    region: str = ""
    """Region that signs, for S3."""
    signed: bool = False
    """The href came with a signature of its own."""

    def __repr__(self) -> str:
        return f"Address({self.key!r})"


def address(href: str, places: Places) -> Address:
    """The address of an href: a path, or a URL of http, https, file, memory, s3, gs, az or abfs.

    Raises UnknownSchemeError, and UnreachableError for a URL without a host.
    """
    scheme, mark, _ = href.partition("://")
    scheme = scheme.lower() if mark else ""
    try:
        match scheme:
            case "" | "file":
                return _file(href if not mark else urlsplit(href).path, quoted=bool(mark))
            case "http" | "https":
                return _http(href)
            case "memory":
                return Address(href, href, "memory:", "(memory)", "memory", "file")
            case "s3" | "s3a":
                return _s3(href, places)
            case "gs" | "gcs":
                return _gs(href, places)
            case "az" | "abfs" | "abfss" | "azure":
                return _azure(href, places)
    except UnreachableError:
        raise
    except ValueError:
        raise _no_host(href) from None
    known = "http, https, file, memory, s3, gs, az, abfs"
    raise UnknownSchemeError(
        f"no transport for the scheme {scheme[:40]!r}", href=href, advice=f"use one of {known}"
    )


def host_of(url: str) -> str:
    """Host and port that a URL names, without a user, to be compared with another's."""
    return urlsplit(url).netloc.rpartition("@")[2].lower()


def url_path(href: str) -> str:
    """``scheme/host/path`` of an href, to stand behind a server's address.

    The path is kept, so that a VRT finds its sources beside it; a percent sign is encoded too, so
    that one decoding gives the href back as it was.
    """
    scheme, mark, rest = href.partition("://")
    if not mark:
        scheme, rest = "file", href
    rest = rest.lstrip("/") if scheme == "file" else rest
    return f"{scheme}/{quote(rest, safe=_PLAIN)}"


def behind(gateway: str, href: str) -> str:
    """An href as a gateway serves it; what lies on this machine, or there already, stays.

    ``gateway`` may hold a token, which goes with all that is asked of it.
    """
    scheme, mark, _ = href.partition("://")
    if not mark or scheme.lower() in ("file", "memory"):
        return href
    bare, own = unsigned(href), unsigned(gateway)  # a gateway knows hrefs as catalogs keep them
    if bare.startswith(f"{own}/"):
        return gateway + bare.removeprefix(own)
    return f"{gateway}/raw/{url_path(bare)}"


def gateway_of(url: str) -> str:
    """A gateway's URL as hrefs are put behind it; empty for none. Raises UsageError."""
    base = url.rstrip("/").removesuffix("/catalogs")
    try:
        parts = urlsplit(base)
        odd = parts.port == 0 or parts.query or parts.fragment or "@" in parts.path
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and not odd
    except ValueError:
        good = False
    if url and not good and "@" in url:  # which part of it is a token can't be told
        example = "http://me:TOKEN@host:8790, a slash in TOKEN written %2F, ? %3F, # %23, @ %40"
        raise UsageError(f"via= is no URL of a gateway, such as {example}")
    if url and not good:
        raise UsageError(f"via={redact(url)!r} is no URL of a gateway, such as http://host:8790")
    return base


def _file(path: str, *, quoted: bool) -> Address:
    if not quoted:
        path = quote(str(Path(path).absolute()))
    return Address(f"file://{path}", f"file://{path}", "file:", "(file)", "file", "file")


def _http(href: str) -> Address:
    parts = urlsplit(href)
    port = parts.port  # raises ValueError for a bad one
    if not parts.hostname or not re.fullmatch(r"[\w.:\[\]-]+", parts.hostname):
        raise _no_host(href)
    host = parts.hostname if port is None else f"{parts.hostname}:{port}"
    scheme, path = parts.scheme.lower(), quote(parts.path or "/", safe=_SAFE)
    fields = parts.query.split("&") if parts.query else []
    kept = [f for f in fields if not _SIGNATURE.fullmatch(f.partition("=")[0])]
    key = urlunsplit((scheme, host, path, "&".join(kept), ""))
    query = quote(parts.query, safe=_SAFE + "?")
    url = urlunsplit((scheme, parts.netloc, path, query, ""))
    names = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    signed = bool(names & {"sig", "signature", "x-amz-signature", "x-goog-signature"})
    account, _, rest = host.partition(".blob.core.windows.net")
    azure = bool(account) and host != account and not rest
    return Address(
        key,
        url,
        f"{scheme}://{host}",
        host,
        "http",
        provider_of(host).name,
        bucket=path.split("/")[1] if azure else "",
        account=account if azure else "",
        signed=signed,
    )


def _s3(href: str, places: Places) -> Address:
    bucket, name = _bucket(href)
    preset = bucket_provider(bucket)
    endpoint = (preset.endpoint if preset else "") or places.s3_endpoint
    region = (preset.region if preset else "") or places.s3_region or "us-east-1"
    path = quote(name, safe="/~-._")
    virtual = places.s3_virtual if places.s3_virtual is not None else not endpoint
    if preset and preset.endpoint:
        virtual = False
    base = endpoint.rstrip("/") or f"https://s3.{region}.amazonaws.com"
    if virtual and "." not in bucket:
        parts = urlsplit(base)
        url = f"{parts.scheme}://{bucket}.{parts.netloc}{parts.path}/{path}"
    else:
        url = f"{base}/{bucket}/{path}"
    host = urlsplit(url).netloc
    provider = preset.name if preset else provider_of(host).name
    return Address(
        f"s3://{bucket}/{name}", url, _origin(url), host, "s3", provider, bucket, region=region
    )


def _gs(href: str, places: Places) -> Address:
    bucket, name = _bucket(href)
    url = f"{places.gs_endpoint.rstrip('/')}/{bucket}/{quote(name, safe='/~-._')}"
    host = urlsplit(url).netloc
    key = f"gs://{bucket}/{name}"
    return Address(key, url, _origin(url), host, "gs", provider_of(host).name, bucket)


def _azure(href: str, places: Places) -> Address:
    parts = urlsplit(href)
    container, at, host = parts.netloc.rpartition("@")
    account = host.partition(".")[0] if at else places.azure_account
    container = container if at else parts.netloc
    if not container or not account:
        raise UnreachableError(
            "no storage account",
            href=href,
            advice="set AZURE_STORAGE_ACCOUNT, or write abfs://container@account/path",
        )
    name = parts.path.lstrip("/")
    base = places.azure_endpoint.rstrip("/") or f"https://{account}.blob.core.windows.net"
    url = f"{base}/{container}/{quote(name, safe='/~-._')}"
    host = urlsplit(url).netloc
    return Address(
        f"az://{account}/{container}/{name}",
        url,
        _origin(url),
        host,
        "az",
        provider_of(host).name,
        container,
        account,
    )


def _bucket(href: str) -> tuple[str, str]:
    # not urlsplit: a key may hold ? and #
    bucket, _, name = href.partition("://")[2].partition("/")
    if not bucket or not name:
        raise UnreachableError("a bucket and a key are needed", href=href)
    return bucket, name


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _no_host(href: str) -> UnreachableError:
    return UnreachableError("no usable host in the URL", href=href, advice="check the href")
