"""A gate that asks those hosts alone that it may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mosaic.errors import AccessError
from mosaic.storage import Gate
from mosaic.storage.address import Address, host_of
from mosaic.storage.parts import Parts


class FencedGate(Gate):
    """A gate for what others ask, and what files of others name, such as a VRT's sources.

    ``may`` tells of a host, with its port, whether to read there. The rest is :class:`Gate`'s;
    signing services are asked wherever they are.
    """

    def __init__(self, may: Callable[[str], bool], **told: Any) -> None:
        self._may = may
        super().__init__(**told)

    def _address(self, inner: Parts, href: str) -> Address:
        place = super()._address(inner, href)
        if place.service not in ("file", "memory"):
            host = host_of(place.url)
            if not self._may(host):
                raise AccessError(
                    "no served catalog names its host",
                    href=place.key,
                    advice=f"serve with --allow-redirect {host} if it is to be trusted",
                )
        return place
