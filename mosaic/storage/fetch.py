"""One range from its origin: sign, wait for leave, send, judge, and perhaps again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from mosaic.errors import BodyError, CredentialsError, DeadlineError, StorageError
from mosaic.settings import Retry
from mosaic.storage.address import Address, Places, address
from mosaic.storage.answer import Meta, Promise, promised, too_large
from mosaic.storage.limiter import Grant, Outcome
from mosaic.storage.origin import Origin
from mosaic.storage.ranges import Span
from mosaic.storage.retry import Failure, GiveUp, Kind, decide
from mosaic.storage.sign import Keyring, Request, Signer, Token, attach
from mosaic.storage.transport import Exchange, Transport

T = TypeVar("T")
_DOCUMENT = 1 << 20  # bytes of a signing service's answer at most
_UNSIGNED = Token()


@dataclass(frozen=True, slots=True)
class Fetched:
    """What one fetch brought."""

    data: memoryview
    """The bytes; none for an unchanged version."""
    base: int
    """Offset of the first."""
    meta: Meta
    """The version they come from."""
    whole: bool = False
    """They are the whole object: its server knows no ranges."""
    unchanged: bool = False
    """The version that was asked about still holds (304)."""


class WholeTaken(Exception):  # noqa: N818 - a signal
    """The server ignores ranges, and somebody reads the whole object already."""


Read = Callable[[Exchange], Awaitable[tuple[T, int]]]


@dataclass(slots=True)
class _Job:
    """A fetch with all its attempts."""

    address: Address
    origin: Origin
    signer: Signer | None
    headers: Mapping[str, str]
    size: int
    method: str
    deadline: float
    attempts: int = 0
    resigned: bool = False
    last: Failure | None = None


class Fetcher:
    """Retry, limiter and transport of the waist; ``wall`` gives seconds since the epoch."""

    def __init__(
        self,
        retry: Retry,
        transports: Mapping[str, Transport],
        origin_of: Callable[[Address], Origin],
        chance: random.Random,
        wall: Callable[[], float],
        whole: int,
    ) -> None:
        self._retry = retry
        self._transports = transports
        self._origin_of = origin_of
        self._chance = chance
        self._wall = wall
        self._whole = whole
        self.keyring = Keyring(self.document, wall)

    async def fetch(
        self,
        place: Address,
        span: Span,
        signer: Signer | None,
        take_whole: Callable[[], bool],
        verify: Meta | None = None,
    ) -> Fetched:
        """The bytes of ``span``, fewer where the object ends earlier.

        ``verify`` asks whether that version still holds; ``take_whole`` is asked, should the
        server ignore the range, whether this fetch may read the whole object. Raises StorageError
        and WholeTaken.
        """
        headers = {"Range": f"bytes={span.start}-{span.stop - 1}"}
        if verify is not None and verify.etag:
            headers["If-None-Match"] = verify.etag
        elif verify is not None and verify.modified:
            headers["If-Modified-Since"] = verify.modified

        async def read(exchange: Exchange) -> tuple[Fetched, int]:
            promise = promised(exchange.status, exchange.headers, span, self._wall())
            if promise.unchanged:
                empty = memoryview(b"")
                return Fetched(empty, span.start, promise.meta, unchanged=True), 0
            if promise.whole:
                data = await self._read_whole(exchange, promise, take_whole)
            else:
                data = await exchange.read(promise.length, promise.length or 0)
            base = 0 if promise.whole else span.start
            return Fetched(data, base, promise.meta, promise.whole), len(data)

        return await self._persist(place, signer, headers, span.stop - span.start, "GET", read)

    async def _read_whole(
        self, exchange: Exchange, promise: Promise, take_whole: Callable[[], bool]
    ) -> memoryview:
        if promise.length is not None and promise.length > self._whole:
            raise too_large(exchange.status, self._whole)
        if not take_whole():
            raise WholeTaken
        try:
            return await exchange.read(promise.length, self._whole)
        except Failure as failure:
            if failure.error is BodyError and failure.kind is Kind.FINAL:
                raise too_large(exchange.status, self._whole) from failure
            raise

    async def document(self, url: str, headers: Mapping[str, str], method: str = "GET") -> bytes:
        """A signing service's small answer: governed like everything else, and never cached.

        Raises StorageError.
        """

        async def read(exchange: Exchange) -> tuple[bytes, int]:
            if not 200 <= exchange.status < 300:
                promised(exchange.status, exchange.headers, Span(0, 1), self._wall())
            data = bytes(await exchange.read(None, _DOCUMENT))
            return data, len(data)

        return await self._persist(address(url, Places()), None, headers, 0, method, read)

    async def _persist(
        self,
        place: Address,
        signer: Signer | None,
        headers: Mapping[str, str],
        size: int,
        method: str,
        read: Read[T],
    ) -> T:
        origin = self._origin_of(place)
        deadline = asyncio.get_running_loop().time() + self._retry.deadline
        job = _Job(place, origin, signer, headers, size, method, deadline)
        try:
            while True:
                try:
                    return await self._attempt(job, read)
                except Failure as failure:
                    await self._recover(job, failure)
        except StorageError:
            origin.counts.failed += 1
            raise
        except TimeoutError:
            origin.counts.failed += 1
            raise DeadlineError(
                f"no answer within {self._retry.deadline:g} s",
                href=place.key,
                status=job.last.status if job.last else None,
                attempts=job.attempts,
                cause=job.last.cause if job.last else "waiting for leave",
                advice="try later, or raise Retry.deadline",
            ) from None

    async def _attempt(self, job: _Job, read: Read[T]) -> T:
        origin = job.origin
        grant, token = await self._leave(job)
        job.attempts += 1
        origin.counts.requests += 1
        origin.counts.retries += job.attempts > 1
        try:
            value, got = await self._exchange(job, _signed(job, token), read)
        except Failure as failure:
            origin.counts.throttled += failure.kind is Kind.REFUSED
            if failure.retry_after:
                origin.hold(failure.retry_after)
            if failure.kind is Kind.TIMEOUT:  # we left first: the server may still be at it
                origin.release_late(grant, failure.kind.value.load)
            else:
                origin.release(grant, failure.kind.value.load)
            if failure.kind is Kind.FORBIDDEN and await self._sign_anew(job, token):
                return await self._attempt(job, read)
            raise
        except asyncio.CancelledError:
            origin.release_late(grant)
            raise
        except BaseException:
            origin.release(grant, Outcome.NEUTRAL)
            raise
        origin.release(grant, Outcome.OK, got)
        origin.counts.bytes += got
        origin.budget.earn()
        return value

    async def _leave(self, job: _Job) -> tuple[Grant, Token]:
        # the token is looked at again after the wait for leave: it may have grown old meanwhile
        signer, token = job.signer, _UNSIGNED
        if signer:
            token = await self._token(job, signer)
        grant = await job.origin.acquire(job.size, job.deadline)
        if signer:
            fresh = self.keyring.at_hand(signer, job.address)
            if fresh is None and self._wall() >= token.expires:
                job.origin.release(grant, Outcome.NEUTRAL)
                token = await self._token(job, signer)
                grant = await job.origin.acquire(job.size, job.deadline)
                fresh = self.keyring.at_hand(signer, job.address)
                if fresh is None and self._wall() >= token.expires:
                    # the queue is longer than a token lives: this one is had with leave in hand
                    try:
                        token = await self._token(job, signer)
                    except BaseException:
                        job.origin.release(grant, Outcome.NEUTRAL)
                        raise
            token = fresh or token
        return grant, token

    async def _token(self, job: _Job, signer: Signer) -> Token:
        token = self.keyring.at_hand(signer, job.address)
        if token is None:
            async with asyncio.timeout_at(job.deadline):
                token = await self.keyring.token(signer, job.address)
        return token

    async def _sign_anew(self, job: _Job, refused: Token) -> bool:
        if job.signer is None:
            return False
        if self._wall() >= refused.expires and job.attempts < self._retry.attempts:
            return True  # it grew old on its way: the next attempt takes another by itself
        if job.resigned:
            return False
        job.resigned = True
        return await self.keyring.anew(job.signer, job.address, refused)

    async def _exchange(self, job: _Job, request: Request, read: Read[T]) -> tuple[T, int]:
        until = min(job.deadline, asyncio.get_running_loop().time() + self._retry.attempt)
        transport = self._transports[_TRANSPORT.get(job.address.service, "http")]
        try:
            async with asyncio.timeout_at(until):
                began = asyncio.get_running_loop().time()
                exchange = await transport.send(request.url, request.headers, job.method)
                took = asyncio.get_running_loop().time() - began
                job.origin.counts.quickest = min(job.origin.counts.quickest, took)
                try:
                    return await read(exchange)
                finally:
                    exchange.close()
        except TimeoutError:
            raise Failure(Kind.TIMEOUT, "no complete answer in time") from None

    async def _recover(self, job: _Job, failure: Failure) -> None:
        job.last = failure
        loop = asyncio.get_running_loop()
        verdict = decide(
            self._retry,
            job.origin.budget,
            failure,
            attempts=max(1, job.attempts),
            now=loop.time(),
            deadline=job.deadline,
            chance=self._chance.random(),
        )
        if isinstance(verdict, GiveUp):
            raise failure.error(
                f"can't be read: {verdict.why}" if verdict.why else "can't be read",
                href=job.address.key,
                status=failure.status,
                attempts=job.attempts,
                cause=failure.cause,
                advice=failure.advice or _ADVICE.get(failure.kind, ""),
            ) from failure
        await asyncio.sleep(verdict)


def _signed(job: _Job, token: Token) -> Request:
    if job.signer is None:
        return attach(job.address, token, job.headers)
    try:
        return job.signer.sign(job.address, token, job.headers)
    except StorageError:
        raise
    except Exception as error:  # whatever a provider's library raises; its text may show a secret
        raise CredentialsError(
            "the request can't be signed", href=job.address.key, cause=type(error).__name__
        ) from None


_TRANSPORT = {"file": "file", "memory": "memory"}
_ADVICE = {
    Kind.REFUSED: "try later, or ask for less with MOSAIC_CONCURRENCY, MOSAIC_REQUESTS_PER_MINUTE",
    Kind.RESET: "check that the host is up and reachable from here",
    Kind.TIMEOUT: "try later, or raise Retry.stall and Retry.attempt",
    Kind.SERVER: "try later",
}
