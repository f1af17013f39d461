"""Addresses of the inside: this machine's, and those of networks that aren't everybody's.

A server outside that redirects there would have this machine fetch for it what it can't reach.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket


class InwardError(OSError):
    """A host that was to lie outside has addresses of the inside only."""


def is_inward(address: str) -> bool:
    """Whether an IP address is of the inside; a name is none."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return not found.is_global or found.is_multicast


async def lies_inside(host: str) -> bool:
    """Whether all addresses that a host has are of the inside. Asks the name server."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return all(is_inward(str(one[4][0])) for one in found)
