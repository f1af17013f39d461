"""The map page's files: the package's own, and Leaflet's as another distribution brings them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path

LEAFLET = "XStatic-Leaflet"
"""The distribution that brings Leaflet's built files."""
_OF_LEAFLET = ("leaflet-src.esm.js", "leaflet.css")
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Page:
    """The page's files, as they are sent."""

    files: Mapping[str, tuple[bytes, str, str]]
    """Body, media type and ETag by path."""
    complete: bool
    """Whether Leaflet is installed."""

    @classmethod
    def load(cls) -> Page:
        """The package's own files and Leaflet's; no other file can be asked for."""
        found: dict[str, bytes] = {}
        for one in resources.files("mosaic.gateway").joinpath("page").iterdir():
            if Path(one.name).suffix in _TYPES:
                found[one.name] = one.read_bytes()
        try:
            packed = metadata.files(LEAFLET) or []
        except metadata.PackageNotFoundError:
            packed = []
        for path in packed:
            if path.name in _OF_LEAFLET and Path(str(path.locate())).is_file():
                found[f"leaflet/{path.name}"] = path.read_binary()
        files = {
            name: (body, _TYPES[Path(name).suffix], f'"{hashlib.sha1(body).hexdigest()}"')
            for name, body in found.items()
        }
        return cls(files, all(f"leaflet/{name}" in files for name in _OF_LEAFLET))
