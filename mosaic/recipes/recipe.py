"""A recipe: what is known of a collection at a provider. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mosaic.settings import Limits

Json = dict[str, Any]

SIGNING = ("none", "planetary-computer", "earthdata", "cdse", "s3", "s3-requester-pays")
"""How files may be signed when they are read: names that a gate's ``sign=`` knows."""
ENCODINGS = ("item", "fixed", "sentinel-2")
"""Who tells scale and offset: the item; the recipe, where the item doesn't; the baseline's rule."""


@dataclass(frozen=True, slots=True)
class BandRule:
    """One band of an index: where it lies, and what items may leave unsaid."""

    name: str
    """Name of the index; the asset's key, unless ``asset`` tells another."""
    asset: tuple[tuple[str, str], ...] = ()
    """(collection, key of the asset) where collections name it differently."""
    common_name: str = ""
    """STAC's common name, or empty."""
    dtype: str = ""
    """STAC data type, or empty."""
    nodata: float | None = None
    """Value that means no data, or None."""
    undeclared: bool = False
    """Whether the files themselves don't declare it: each tile then gets a small VRT that does."""
    encoding: str = "item"
    """One of ``ENCODINGS``."""
    scale: float | None = None
    """Factor, for ``fixed``."""
    offset: float = 0.0
    """Added after ``scale``, for ``fixed``."""
    unit: str = ""
    """Unit of the values, or empty."""
    resampling: str = "nearest"
    """rasterio's name of the method."""
    names: tuple[str, ...] = ()
    """Names of the bands of a file that has several."""
    default: bool = True
    """Whether it is built when no bands are named."""

    def key(self, collection: str) -> str:
        """Key of its asset in items of a collection."""
        return dict(self.asset).get(collection, self.name)


@dataclass(frozen=True, slots=True)
class Mask:
    """Which band tells clouds and the like, and how."""

    band: str
    """Name of the band."""
    classes: tuple[tuple[str, int], ...] = ()
    """(name, number) of classes."""
    bits: tuple[tuple[str, int, int], ...] = ()
    """(name, first bit, last bit) of fields, where the numbers are made of bits."""
    bad: tuple[str, ...] = ()
    """Names of classes, or of fields that aren't zero, below which no ground is seen."""

    def as_dict(self) -> Json:
        """As ``collection.json`` tells it."""
        told: Json = {"asset": self.band, "bad": list(self.bad)}
        if self.classes:
            told["classes"] = dict(self.classes)
        if self.bits:
            told["bits"] = {name: [first, last] for name, first, last in self.bits}
        return told


@dataclass(frozen=True, slots=True)
class HostLimits:
    """What some hosts may be asked at most."""

    hosts: tuple[str, ...]
    """Patterns of host names."""
    limits: Limits
    """What each may be asked."""
    source: str = ""
    """Where that is published."""

    def as_dict(self) -> Json:
        """As ``collection.json`` tells it."""
        told = {
            "hosts": list(self.hosts),
            "concurrency": self.limits.concurrency,
            "requests_per_minute": self.limits.requests_per_minute,
            "bytes_per_second": self.limits.bytes_per_second,
            "source": self.source,
        }
        return {key: value for key, value in told.items() if value}


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is known of a collection at a provider."""

    name: str
    """Name of its file, without ``.toml``."""
    title: str
    """What it is, in a line."""
    endpoint: str
    """Root of the STAC API."""
    collections: tuple[str, ...]
    """Collections that are searched."""
    source: str
    """Where the provider documents it."""
    bands: tuple[BandRule, ...]
    """Bands, in the order of the file."""
    sort: str = "-datetime"
    """Which scene lies on top."""
    stacks: tuple[tuple[str, ...], ...] = ()
    """Stacks that are built when no bands are named."""
    query: tuple[str, ...] = ()
    """Conditions that every search has."""
    signing: str = "none"
    """One of ``SIGNING``."""
    mask: Mask | None = None
    """Which band tells clouds, or None."""
    limits: tuple[HostLimits, ...] = ()
    """What the API and the storage may be asked."""

    def band(self, name: str) -> BandRule | None:
        """The band of a name or common name."""
        for rule in self.bands:
            if name in (rule.name, rule.common_name):
                return rule
        return None

    def as_dict(self) -> Json:
        """As ``collection.json`` and ``mosaic recipes --json`` tell it."""
        return {
            "name": self.name,
            "title": self.title,
            "endpoint": self.endpoint,
            "collections": list(self.collections),
            "source": self.source,
        }
