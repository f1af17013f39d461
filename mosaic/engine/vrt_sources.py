"""The files that a VRT reads, brought behind the gate. Pure.

GDAL opens whatever a VRT names: other hosts without limits, files of this machine, code. So every
name is rewritten, and what can't be is refused. Source: GDAL's VRT driver documentation.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urljoin
from xml.etree import ElementTree as ET

from mosaic.engine.formats import governed, is_archive, is_vrt
from mosaic.errors import ForeignError

LONGEST = 8 << 20
"""Bytes that a VRT may have."""

_SOURCES = ("SourceFilename", "SourceDataset")
_KINDS = ("", "VRTWarpedDataset", "VRTPansharpenedDataset")
_BANDS = (
    "",
    "VRTSourcedRasterBand",
    "VRTWarpedRasterBand",
    "VRTDerivedRasterBand",
    "VRTPansharpenedRasterBand",
)
_REFUSED = {
    "PixelFunctionCode": "a pixel function in Python",
    "Group": "multidimensional arrays",
    "ProcessingSteps": "processing steps",
    "OpenOptions": "open options of a source",
    "DEMPath": "a digital elevation model",
    "GeoLocTransformer": "geolocation arrays",
}
_KEYS = ("X_DATASET", "Y_DATASET", "RPC_DEM", "RPC_DEMPATH", "CUTLINE")
_SUBDATASET = re.compile(r'(NETCDF|HDF5|ZARR):(?:"([^"]+)"|((?:[a-z0-9]+://)?[^":]+))(:.*)?', re.I)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_GOVERNED = ("http", "https", "s3", "gs", "az", "abfs", "abfss")


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A VRT that names no file as it was."""

    text: bytes
    """Its XML."""
    sources: tuple[str, ...]
    """Hrefs that it reads, each once."""


def rewritten(data: bytes, href: str, name: Callable[[str], str]) -> Rewritten:
    """A VRT with its sources' names replaced: ``name`` tells what GDAL is to open for an href.

    Relative names are read against ``href``, an absolute path or URL. A VRT of this machine may
    name files of this machine; one from elsewhere may not. Raises ForeignError.
    """
    if len(data) > LONGEST:
        raise ForeignError(f"a VRT of {len(data)} bytes", href=href, advice=_FLAT)
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise ForeignError(
            "a VRT with a document type of its own", href=href, advice="leave it out"
        )
    try:
        root = ET.fromstring(data)
    except (ET.ParseError, LookupError, ValueError) as error:
        what = f"a VRT that is no XML ({str(error)[:80]})"
        raise ForeignError(what, href=href, advice="mend it, or leave it out") from error
    sources: dict[str, str] = {}
    for element in root.iter():
        _check(element, href)
        if element.tag in _SOURCES and element.text:
            relative = element.attrib.pop("relativeToVRT", "0") == "1"
            element.text = _named(element.text.strip(), relative, href, name, sources)
    return Rewritten(ET.tostring(root), tuple(sources))


_FLAT = "make a GeoTIFF of it (gdal_translate)"


def _check(element: ET.Element, href: str) -> None:
    """Raise ForeignError for what may make GDAL open, or run, what isn't a source."""
    what = _REFUSED.get(element.tag, "")
    kind = element.get("subClass", "")
    if (element.tag == "VRTDataset" and kind not in _KINDS) or (
        element.tag == "VRTRasterBand" and kind not in _BANDS
    ):
        what = kind
    elif element.tag == "PixelFunctionLanguage" and (element.text or "").strip().upper() != "C":
        what = "a pixel function in Python"
    elif element.tag in ("MDI", "Option"):
        key = element.get("key", element.get("name", "")).upper()
        what = key if key.startswith(_KEYS) else ""
    if what:
        raise ForeignError(f"a VRT with {what}", href=href, advice=_FLAT)


def _named(
    text: str, relative: bool, href: str, name: Callable[[str], str], sources: dict[str, str]
) -> str:
    """What GDAL is to open for one source."""
    match = _SUBDATASET.fullmatch(text)
    if match:
        inner = _named(match[2] or match[3], relative, href, name, sources)
        return f'{match[1]}:"{inner}"{match[4] or ""}'
    own = _source(text, relative, href)
    if own not in sources:
        sources[own] = name(own)
    return sources[own]


def _source(text: str, relative: bool, href: str) -> str:
    """The href of a source."""
    remote = "://" in href
    if is_vrt(text.encode()):
        raise ForeignError("a VRT within a VRT", href=href, advice=_FLAT)
    if text.startswith("/vsicurl?"):
        text = dict(parse_qsl(text.partition("?")[2])).get("url", "")
    found = governed(text)
    if found is None and not remote and is_archive(text):
        return text
    if found is None:
        raise _refused(text, href)
    if _SCHEME.match(found):
        if found.partition("://")[0].lower() not in _GOVERNED:
            raise _refused(text, href)
        return found
    if found.startswith("/"):
        if remote:
            raise _refused(text, href)
        own = found
    elif remote:
        own = urljoin(href, found) if relative else ""
    else:  # else against the working directory, which may be another one each time
        own = os.path.normpath(Path(href).parent / found) if relative else ""
    if not own or own.partition("?")[0].lower().endswith(".vrt"):
        raise _refused(text, href)
    return own


def _refused(text: str, href: str) -> ForeignError:
    what = f"a VRT that reads {text[:120]}, which mosaic can't reach for it"
    return ForeignError(what, href=href, advice=_FLAT)
