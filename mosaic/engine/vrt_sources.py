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

# all in lower case: GDAL doesn't mind how a name is written
_SOURCES = ("sourcefilename", "sourcedataset")
_SUBCLASSES = {
    "vrtdataset": ("", "vrtwarpeddataset", "vrtpansharpeneddataset"),
    "vrtrasterband": (
        "",
        "vrtsourcedrasterband",
        "vrtwarpedrasterband",
        "vrtderivedrasterband",
        "vrtpansharpenedrasterband",
    ),
}
_REFUSED = {
    "pixelfunctioncode": "a pixel function in Python",
    "group": "multidimensional arrays",
    "processingsteps": "processing steps",
    "openoptions": "open options of a source",
    "dempath": "a digital elevation model",
    "geoloctransformer": "geolocation arrays",
    "subclass": "an element subClass",
}
_NO_ATTRIBUTES = (*_SOURCES, *(_REFUSED.keys() - {"subclass"}), "pixelfunctionlanguage")
_KEYS = ("x_dataset", "y_dataset", "rpc_dem", "cutline")
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
        told = {key.lower(): value for key, value in element.attrib.items()}
        tag = element.tag.lower()
        _check(tag, (element.text or "").strip(), told, href)
        if tag not in _SOURCES:
            continue
        if len(element):
            raise ForeignError(f"a VRT with elements in a {tag}", href=href, advice=_FLAT)
        if element.text:
            relative = told.pop("relativetovrt", "0").strip() not in ("", "0")
            element.attrib = told
            element.text = _named(element.text.strip(), relative, href, name, sources)
    return Rewritten(ET.tostring(root), tuple(sources))


_FLAT = "make a GeoTIFF of it (gdal_translate)"


def _check(tag: str, text: str, told: dict[str, str], href: str) -> None:
    """Raise ForeignError for what may make GDAL open, or run, what isn't a source.

    GDAL takes an attribute for an element of its name.
    """
    what = _REFUSED.get(tag, "") or next((key for key in told if key in _NO_ATTRIBUTES), "")
    kind, known = told.get("subclass", "").lower(), _SUBCLASSES.get(tag)
    if known is not None and kind not in known:
        what = kind
    elif tag == "pixelfunctionlanguage" and text.upper() != "C":
        what = "a pixel function in Python"
    elif tag in ("mdi", "option"):
        key = told.get("key", told.get("name", "")).lower()
        what = key if key.startswith(_KEYS) else what
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
        own = ""
    elif _SCHEME.match(found) or found.startswith("/"):
        own = found
    elif not relative:  # to the working directory, which may be another one each time
        own = ""
    elif remote:
        own = urljoin(href, found)
    else:
        own = os.path.normpath(Path(href).parent / found)
    # last, for what joining may have made of it
    scheme = own.partition("://")[0].lower() if _SCHEME.match(own) else ""
    reached = scheme in _GOVERNED or (own.startswith("/") and not remote)
    if not reached or own.partition("?")[0].lower().endswith(".vrt"):
        raise _refused(text, href)
    return own


def _refused(text: str, href: str) -> ForeignError:
    what = f"a VRT that reads {text[:120]}, which mosaic can't reach for it"
    return ForeignError(what, href=href, advice=_FLAT)
