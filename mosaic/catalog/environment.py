"""What GDAL has to be told to open a mosaic's scenes: settings by origin, as text. Pure.

Nothing here is a secret: settings name where GDAL finds what signs (a netrc file, a profile, a
signing service), never what signs. Source: GDAL's documentation of virtual file systems.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow.compute as pc

from mosaic.catalog.columns import Columns
from mosaic.catalog.href import location
from mosaic.secret import unsigned
from mosaic.settings import Provider, bucket_provider, provider_of

COOKIES = "~/.urs_cookies"
"""Where GDAL keeps the cookies of NASA's login between files."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What the files of one host or bucket need."""

    path: str
    """Beginning of its files' locations in an index."""
    settings: Mapping[str, str]
    """GDAL's configuration options; empty for what is public."""
    advice: str = ""
    """What the user has to have beside."""


def roots(columns: Columns, keys: Iterable[str]) -> list[str]:
    """Scheme and host, or bucket, of the files that items have under some keys."""
    found: dict[str, None] = {}
    for path in (f"assets.{key}.href" for key in keys):
        parts = pc.extract_regex(columns.read(path), r"^(?P<root>[A-Za-z0-9+.-]+://[^/]+/)")
        known = pc.struct_field(parts, "root").unique().drop_null()
        found |= dict.fromkeys(known.to_pylist())
    return list(found)


def origins(hrefs: Iterable[str], signing: str) -> list[Origin]:
    """The origins of files that need settings, or all that is known of them.

    ``signing``: what the mosaic's recipe says, for hosts of which nothing else is known.
    """
    found: dict[str, Origin] = {}
    for href in hrefs:
        parts = urlsplit(unsigned(href))
        if parts.scheme not in ("http", "https", "s3", "gs", "az", "abfs", "abfss"):
            continue
        root = f"{parts.scheme}://{parts.netloc}/"
        if root in found:
            continue
        remote = parts.scheme in ("http", "https")
        preset = provider_of(parts.netloc) if remote else bucket_provider(parts.netloc)
        known = preset.sign if preset else ""
        settings, advice = _told(known or signing, parts.scheme, preset)
        found[root] = Origin(location(root), settings, advice)
    return list(found.values())


def _told(sign: str, scheme: str, preset: Provider | None) -> tuple[dict[str, str], str]:
    if scheme in ("http", "https"):
        if sign == "planetary-computer":
            return {"VSICURL_PC_URL_SIGNING": "YES"}, ""
        if sign == "earthdata":
            cookies = str(Path(COOKIES).expanduser())
            told = {"GDAL_HTTP_COOKIEFILE": cookies, "GDAL_HTTP_COOKIEJAR": cookies}
            return {**told, "GDAL_HTTP_NETRC": "YES"}, "machine urs.earthdata.nasa.gov in ~/.netrc"
        return {}, ""
    if scheme != "s3":
        return {}, "credentials of its provider, as GDAL finds them"
    region = {"AWS_REGION": preset.region} if preset and preset.region else {}
    endpoint = _endpoint(preset)
    if sign == "s3-requester-pays":
        told = {"AWS_REQUEST_PAYER": "requester"}
        return {**told, **region}, "AWS credentials that pay, in ~/.aws or AWS_PROFILE"
    if sign == "s3-anonymous":
        return {"AWS_NO_SIGN_REQUEST": "YES", **region}, ""
    if sign == "earthdata" or (preset and preset.credentials):
        where = preset.credentials if preset else ""
        return region, f"temporary keys in AWS_ACCESS_KEY_ID and the like, from {where}".rstrip()
    return {**endpoint, **region}, "AWS credentials, in ~/.aws or AWS_PROFILE"


def _endpoint(preset: Provider | None) -> dict[str, str]:
    if preset is None or not preset.endpoint:
        return {}
    parts = urlsplit(preset.endpoint if "://" in preset.endpoint else f"https://{preset.endpoint}")
    return {
        "AWS_S3_ENDPOINT": parts.netloc,
        "AWS_HTTPS": "NO" if parts.scheme == "http" else "YES",
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }


def _lines(told: Iterable[Origin], comment: str, line: Callable[[str, str], str]) -> list[str]:
    """Settings for all that GDAL opens: its lines, each with where it is from."""
    found: list[str] = []
    for one in told:
        if one.settings or one.advice:
            found.append(f"{comment} {one.path}" + (f": {one.advice}" if one.advice else ""))
        found += [line(name, value) for name, value in one.settings.items()]
    return list(dict.fromkeys(found))


def shell(told: Iterable[Origin]) -> str:
    """Lines for a POSIX shell."""
    lines = _lines(told, "#", lambda name, value: f"export {name}={shlex.quote(value)}")
    return "\n".join(lines)


def r(told: Iterable[Origin]) -> str:
    """Lines for R, to be run before terra or stars open a file."""
    lines = _lines(told, "#", lambda name, value: f"Sys.setenv({name} = {json.dumps(value)})")
    return "\n".join(lines)


def qgis(told: Iterable[Origin]) -> str:
    """Lines for the Python console of QGIS (and any Python with GDAL's bindings)."""
    lines = _lines(told, "#", lambda name, value: f"gdal.SetConfigOption({name!r}, {value!r})")
    return "\n".join(["from osgeo import gdal", *lines])


def gdal(told: Iterable[Origin]) -> str:
    """A configuration file of GDAL's, whose settings hold for their own origins alone.

    To be named by ``GDAL_CONFIG_FILE``; GDAL 3.5 and newer.
    """
    lines = ["[credentials]"]
    for number, one in enumerate(told, 1):
        if one.advice:
            lines.append(f"# {one.path}: {one.advice}")
        if one.settings:
            lines += [f"[.origin{number}]", f"path={one.path}"]
            lines += [f"{name}={value}" for name, value in one.settings.items()]
    return "\n".join(lines)


FORMATS: dict[str, Callable[[Iterable[Origin]], str]] = {
    "sh": shell,
    "gdal": gdal,
    "qgis": qgis,
    "r": r,
}
"""By name."""
