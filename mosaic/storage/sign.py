"""Late signing: tokens kept until shortly before they expire, one refresh for all who wait.

A request is signed when it is sent, not when it is planned, so that a long read outlives its token.
Tokens live in memory only, and no repr shows them.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol, runtime_checkable
from urllib.parse import parse_qs, urlsplit

from mosaic.errors import CredentialsError, StorageError
from mosaic.storage.address import Address

_MARGIN = 60.0  # seconds before its expiry that a token counts as old, or 5 % of a short life
_MOST = 4096  # tokens kept; a callable signs object by object
_AWS_DATE = "%Y%m%dT%H%M%SZ"

Ask = Callable[[str, Mapping[str, str], str], Awaitable[bytes]]
"""Fetches a small document of the signing service through the gate: (url, headers, method)."""


@dataclass(frozen=True, slots=True)
class Token:
    """What signs requests until it expires."""

    expires: float = math.inf
    """Seconds since the epoch."""
    query: str = field(default="", repr=False)
    """Appended to the URL, or empty."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Added to the request."""
    url: str = field(default="", repr=False)
    """The signed URL itself, where a callable returned one."""
    secret: object = field(default=None, repr=False)
    """Whatever else the signer needs, such as an S3 key."""


@dataclass(frozen=True, slots=True)
class Request:
    """A signed request, never shown."""

    url: str = field(repr=False)
    """URL with its signature."""
    headers: Mapping[str, str] = field(repr=False)
    """Header fields."""


@runtime_checkable
class Signer(Protocol):
    """One way of signing."""

    def scope(self, address: Address) -> str:
        """What one token is good for: objects of equal scope share it."""

    async def issue(self, address: Address, ask: Ask) -> Token:
        """A new token. Raises StorageError."""

    def sign(self, address: Address, token: Token, headers: Mapping[str, str]) -> Request:
        """The request with its signature."""


def attach(address: Address, token: Token, headers: Mapping[str, str]) -> Request:
    """The request with a token's query and headers: all that most providers need."""
    url = token.url or address.url
    if token.query:
        url = f"{url}{'&' if '?' in url else '?'}{token.query}"
    return Request(url, {**headers, **token.headers})


class CallableSigner:
    """Any function of the user's, sync or async: href in, signed href or Token out.

    It is called once per object (or per ``scope(href)``) and again when the expiry, read from the
    signature (``se``, ``X-Amz-Expires``, ``Expires``) or given in the Token, draws near.
    """

    def __init__(
        self,
        function: Callable[[str], str | Token | Awaitable[str | Token]],
        scope: Callable[[str], str] | None = None,
    ) -> None:
        self._function = function
        self._scope = scope

    def scope(self, address: Address) -> str:
        """The object itself, unless a wider scope was given."""
        return self._scope(address.key) if self._scope else address.key

    async def issue(self, address: Address, ask: Ask) -> Token:
        """Call the function, a blocking one in a thread."""
        if inspect.iscoroutinefunction(self._function):
            made = await self._function(address.url)
        else:
            made = await asyncio.to_thread(self._function, address.url)
            if inspect.isawaitable(made):
                made = await made
        if isinstance(made, Token):
            return made
        if isinstance(made, str):
            if self._scope:
                query = urlsplit(made).query
                return Token(expires=expiry_of(made), query=query)
            return Token(expires=expiry_of(made), url=made)
        raise CredentialsError(f"sign returned {type(made).__name__}, not an href or a Token")

    def sign(self, address: Address, token: Token, headers: Mapping[str, str]) -> Request:
        """The request to the signed href."""
        return attach(address, token, headers)


def expiry_of(url: str) -> float:
    """When a signed URL expires, in seconds since the epoch; infinite where it doesn't tell."""
    fields = {name.lower(): values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    try:
        if "se" in fields:
            return parse_time(fields["se"])
        for cloud in ("amz", "goog"):
            if f"x-{cloud}-expires" in fields:
                at = datetime.strptime(fields[f"x-{cloud}-date"], _AWS_DATE).replace(tzinfo=UTC)
                return at.timestamp() + float(fields[f"x-{cloud}-expires"])
        if "expires" in fields:
            return float(fields["expires"])
    except (ValueError, KeyError):
        pass
    return math.inf


def parse_time(text: str) -> float:
    """Seconds since the epoch of an ISO 8601 time; one without a zone is UTC.

    Raises ValueError.
    """
    text = re.sub(r"\s*(\+00:00|UTC)$", "+00:00", text.strip())
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@dataclass(slots=True)
class _Kept:
    token: Token
    old_at: float
    forced: bool = False


class Keyring:
    """The tokens at hand; ``wall`` gives seconds since the epoch."""

    def __init__(self, ask: Ask, wall: Callable[[], float]) -> None:
        self._ask = ask
        self._wall = wall
        self._kept: dict[tuple[int, str], _Kept] = {}
        self._coming: dict[tuple[int, str], asyncio.Task[Token]] = {}
        self.issued = 0

    def __repr__(self) -> str:
        return f"Keyring({len(self._kept)} tokens)"

    def at_hand(self, signer: Signer, address: Address) -> Token | None:
        """A token that is good for now, without waiting."""
        kept = self._kept.get((id(signer), signer.scope(address)))
        return kept.token if kept and self._wall() < kept.old_at else None

    async def token(self, signer: Signer, address: Address) -> Token:
        """A token that is good for now; a thousand who wait share one refresh.

        Raises StorageError.
        """
        return self.at_hand(signer, address) or await self._refresh(signer, address, forced=False)

    async def anew(self, signer: Signer, address: Address, refused: Token) -> bool:
        """Replace a token that was refused; False when that can't help.

        At most one in a token's natural life: a thousand objects that are forbidden don't cause a
        thousand refreshes.
        """
        kept = self._kept.get((id(signer), signer.scope(address)))
        if kept and kept.token is not refused:
            return True  # somebody replaced it already
        if kept and kept.forced:
            return False
        await self._refresh(signer, address, forced=True)
        return True

    async def _refresh(self, signer: Signer, address: Address, *, forced: bool) -> Token:
        place = (id(signer), signer.scope(address))
        task = self._coming.get(place)
        if task is None:
            task = asyncio.create_task(self._issue(signer, address, place, forced))
            self._coming[place] = task
            task.add_done_callback(lambda _: self._coming.pop(place, None))
            task.add_done_callback(lambda t: t.cancelled() or t.exception())
        try:
            return await asyncio.shield(task)
        except StorageError as error:
            raise error.again() from error

    async def _issue(
        self, signer: Signer, address: Address, place: tuple[int, str], forced: bool
    ) -> Token:
        self.issued += 1
        try:
            token = await signer.issue(address, self._ask)
        except StorageError:
            raise
        except Exception as error:  # whatever a user's function or a provider's library raises
            raise CredentialsError(
                "the request can't be signed", href=address.key, cause=type(error).__name__
            ) from None  # its text may show a secret
        now = self._wall()
        life = max(0.0, token.expires - now)
        if len(self._kept) >= _MOST:
            self._kept.pop(next(iter(self._kept)))
        self._kept[place] = _Kept(token, token.expires - min(_MARGIN, 0.05 * life), forced)
        return token
