"""What whoever runs a gateway can choose, checked."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass, field, fields
from urllib.parse import urlsplit

from mosaic.errors import UsageError, redact
from mosaic.gateway.origins import origin

_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "a text"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "tuple[str, ...]": ((tuple,), "a list of texts"),
}


@dataclass(frozen=True, slots=True)
class Options:
    """How a gateway listens, and how much it takes upon itself."""

    host: str = "127.0.0.1"
    """Address it listens on."""
    port: int = 8790
    """Port; 0 for any that is free."""
    url: str = ""
    """URL under which clients reach it, or empty for that of ``host`` and ``port``."""
    token: str = field(default="", repr=False)
    """What clients must show; empty for nobody to be asked, on this machine only."""
    redirects: tuple[str, ...] = ()
    """Patterns of hosts to which storage may redirect, besides those that the catalogs name."""
    origins: tuple[str, ...] = ()
    """Origins of pages elsewhere whose scripts may read, as browsers write them."""
    busy: int = 64
    """Requests worked on at once; half of them for chunks of Zarr stores at most."""
    queue: int = 1024
    """Requests that wait for that; more are answered 503."""
    connections: int = 4096
    """Connections held open, if the system allows as many files; more are answered 503."""
    head: float = 30.0
    """Seconds until a new connection has sent its first request."""
    stall: float = 60.0
    """Seconds a client may take for a piece of an answer."""
    grace: float = 10.0
    """Seconds that requests under way are given at the end."""

    def __post_init__(self) -> None:
        for one in fields(self):
            kinds, what = _KINDS[str(one.type)]
            value = getattr(self, one.name)
            is_text = type(value) is not tuple or all(type(text) is str for text in value)
            if type(value) not in kinds or not is_text:  # a bool is no number
                raise UsageError(f"the gateway's {one.name} must be {what}")
        if not 0 <= self.port < 65536:
            raise UsageError(f"there is no port {self.port}")
        if min(self.busy, self.connections) < 1 or self.queue < 0:
            raise UsageError(f"the gateway's limits can't be meant: {self.busy}, {self.queue}")
        if not all(0 < one < math.inf for one in (self.head, self.stall, self.grace)):
            raise UsageError("the gateway's times must be positive")
        if not is_loopback(self.host) and not self.token:
            raise UsageError(
                f"whoever reaches {self.host} could read through the gateway: give a --token-file"
            )
        if self.host in ("0.0.0.0", "::", "") and not self.url:
            raise UsageError(f"clients can't reach {self.host or '::'}: give their URL as --url")
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # of a port, or of brackets
            usable = False
        if self.url and not usable:
            raise UsageError(f"--url {redact(self.url)!r} is no http:// or https:// URL")
        if parts.query or parts.fragment or parts.username is not None:
            raise UsageError("--url is a host and a path at most: no user, no query")
        object.__setattr__(self, "origins", tuple(map(origin, self.origins)))
        if self.token and not (self.token.isascii() and self.token.isprintable()):
            raise UsageError("the token must be of printable ASCII")

    def base(self, port: int) -> str:
        """The gateway's URL without a slash at its end; ``port`` is where it listens."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.url.rstrip("/") or f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
