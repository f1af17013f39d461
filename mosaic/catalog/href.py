"""Hrefs: resolved, relative to a catalog, and as GDAL wants them."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qsl, quote, unquote, urljoin, urlsplit

from mosaic.errors import UsageError
from mosaic.secret import unsigned

VSICURL = "/vsicurl?empty_dir=yes&use_head=no&max_retry=5&retry_delay=0.1&url="
"""GDAL's HTTP reader with its tuning in the name: no sidecar probes, no HEAD, five retries."""

_VSI_SCHEMES = {"s3": "/vsis3/", "gs": "/vsigs/", "oss": "/vsioss/"}


def is_remote(href: str) -> bool:
    """Whether an href needs a network."""
    return "://" in href or (href.startswith("/vsi") and not href.startswith("/vsizip"))


def resolve(href: str, base: str) -> str:
    """An absolute, unsigned href: URLs as they are, paths against the folder or URL ``base``."""
    if href.startswith("file://"):
        return unquote(urlsplit(href).path)
    if href.startswith("/vsicurl/"):
        return resolve(href.removeprefix("/vsicurl/"), base)
    if href.startswith("/vsicurl?"):  # what GDAL would sign, or be told, is told anew
        return resolve(dict(parse_qsl(href.partition("?")[2])).get("url", ""), base)
    if href.startswith("/vsi"):
        return href
    if "://" in href:
        return unsigned(href)
    if "://" in base:
        return unsigned(urljoin(base if base.endswith("/") else base + "/", href))
    if "\\" in href and not (Path(base) / href).exists():
        href = href.replace("\\", "/")
    return os.path.normpath(Path(base) / href)


def relative(href: str, folder: Path) -> str:
    """An href as a catalog in ``folder`` keeps it: relative when it lies inside, else absolute."""
    if "://" in href or href.startswith("/vsi"):
        return href
    path = PurePosixPath(href)
    return f"./{path.relative_to(folder)}" if path.is_relative_to(folder) else href


def location(href: str) -> str:
    """An absolute href, or one relative to the index, as a GDAL tile index keeps it.

    HTTP(S) becomes a tuned ``/vsicurl?``, ``s3://``, ``gs://``, ``az://`` and ``abfs://``
    their ``/vsi`` names; paths and ``/vsi`` names stay. Source: GDAL's virtual file systems
    documentation. Raises :class:`~mosaic.errors.UsageError` for a scheme that GDAL can't read.
    """
    if "://" not in href:
        return href.removeprefix("./")
    bare = unsigned(href)
    scheme = bare.partition("://")[0].lower()
    if scheme in ("http", "https"):
        # all but slashes are encoded: an index has no "://" that GDAL might take for a URL
        return f"{VSICURL}{scheme}%3A{quote(bare[len(scheme) + 1 :], safe='/')}"
    parts = urlsplit(bare)
    key = unquote(parts.path)
    if scheme in _VSI_SCHEMES:
        return f"{_VSI_SCHEMES[scheme]}{parts.netloc}{key}"
    if scheme in ("az", "abfs", "abfss"):
        # abfs://container@account.dfs.core.windows.net/key: the account comes from the
        # reader's own configuration; the container is what /vsiaz/ wants first
        container = urlsplit(href).netloc.partition("@")[0]
        return f"/vsiaz/{container}{key}"
    raise UsageError(f"GDAL can't read {scheme}:// ({href.split('?')[0]})")
