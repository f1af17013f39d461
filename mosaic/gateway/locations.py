"""Where a served mosaic's files are found: hrefs and GDAL's locations, led to the gateway. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import quote
from xml.etree import ElementTree as ET

from mosaic.catalog.href import is_remote, location, resolve
from mosaic.errors import CatalogError
from mosaic.storage.address import url_path

WEB_MAP_LINKS = "https://stac-extensions.github.io/web-map-links/v1.2.0/schema.json"
"""The STAC extension that knows links to tiles."""
_BUCKETS = {"/vsis3/": "s3://", "/vsigs/": "gs://"}


@dataclass(frozen=True, slots=True)
class Site:
    """One mosaic behind the gateway."""

    base: str
    """URL of the gateway, without a slash at its end."""
    name: str
    """Name of the mosaic in it."""
    folder: str
    """Absolute path of the mosaic."""
    azure: Mapping[str, str] = field(default_factory=dict)
    """hrefs by GDAL's name for them, which doesn't tell the storage account."""

    @property
    def root(self) -> str:
        """URL of the mosaic, without a slash at its end."""
        return f"{self.base}/catalogs/{quote(self.name)}"

    def links(self, plain: bool) -> list[dict[str, str]]:
        """STAC links to what else the gateway makes of the mosaic.

        ``plain``: its numbers are colours; tiles of others are given as numbers, since a picture
        needs to be told which of them are darkest and brightest.
        """
        name = quote(self.name)
        end, kind = ("png", "image/png") if plain else ("tif", "image/tiff; application=geotiff")
        return [
            {
                "rel": "alternate",
                "href": f"{self.base}/map/{name}",
                "type": "text/html",
                "title": "Map",
            },
            {
                "rel": "xyz",
                "href": f"{self.base}/tiles/{name}/{{z}}/{{x}}/{{y}}.{end}",
                "type": kind,
                "title": "Tiles in EPSG:3857",
            },
            {
                "rel": "store",
                "href": f"{self.base}/zarr/{name}",
                "type": "application/vnd.zarr; version=3",
                "title": "Zarr store",
            },
        ]

    def url(self, href: str) -> str:
        """The gateway's URL of an absolute path or a URL."""
        inside = f"{self.folder}/"
        if href.startswith(inside):
            return f"{self.root}/{quote(href.removeprefix(inside), safe='/')}"
        return f"{self.base}/raw/{url_path(href)}"

    def href(self, where: str, folder: str) -> str:
        """The absolute path or URL behind a GDAL location that is relative to ``folder``."""
        if where in self.azure:
            return self.azure[where]
        for prefix, scheme in _BUCKETS.items():
            if where.startswith(prefix):
                return scheme + where.removeprefix(prefix)
        return resolve(where, folder)

    def location(self, where: str, folder: str) -> str:
        """A GDAL location, or a VRT's text, whose files come from the gateway.

        Raises :class:`~mosaic.errors.CatalogError` for what the gateway can't read.
        """
        if where.startswith("<"):
            return self.vrt(where, folder)
        href = self.href(where, folder)
        if href.startswith("/vsi") or (not href.startswith("/") and not is_remote(href)):
            raise CatalogError(f"{self.folder}: the gateway can't read {where.split('?')[0]}")
        return location(self.url(href))

    def vrt(self, text: str, folder: str) -> str:
        """A VRT's text with all that it names led to the gateway. Raises CatalogError."""
        try:
            tree = ET.fromstring(text)
        except ET.ParseError as error:
            raise CatalogError(f"{self.folder}: a VRT can't be read ({error})") from error
        for element in tree.iter():
            if element.tag in ("SourceFilename", "SourceDataset") and element.text:
                relative = element.get("relativeToVRT") == "1"
                element.text = self.location(element.text, folder if relative else self.folder)
                element.set("relativeToVRT", "0")
        return ET.tostring(tree, encoding="unicode")

    def slice(self, text: str) -> str:
        """A ``.gti`` with its index led to the gateway. Raises CatalogError."""
        try:
            tree = ET.fromstring(text)
        except ET.ParseError as error:
            raise CatalogError(f"{self.folder}: a slice can't be read ({error})") from error
        element = tree.find("IndexDataset")
        if element is None or not element.text:
            raise CatalogError(f"{self.folder}: a slice names no index: build the mosaic again")
        index = PurePosixPath(element.text.replace("%2F", "/")).name
        element.text = location(f"{self.root}/{quote(index)}")
        return ET.tostring(tree, encoding="unicode")
