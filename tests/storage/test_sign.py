"""Signing: late, once for all who wait, renewed before it expires, never shown, never passed on."""

import asyncio
import base64
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mosaic.errors import AccessError, CredentialsError, ServerError, StorageError, UsageError
from mosaic.settings import CacheSettings, Limits
from mosaic.storage import CallableSigner, Gate, Token
from mosaic.storage.sign import expiry_of
from mosaic.storage.signers import Signers
from tests.storage.signing import SECRET
from tests.support.range_server import RangeServer

MakeGate = Callable[..., Gate]
pytestmark = pytest.mark.usefixtures("no_real_credentials")


class Tokens:
    """A server's book of tokens, each valid for ``life`` seconds."""

    def __init__(self, life: float) -> None:
        self.life = life
        self.made: dict[str, float] = {}

    def issue(self) -> tuple[str, float]:
        name = f"{SECRET}{len(self.made)}"
        self.made[name] = time.time() + self.life
        return name, self.made[name]

    def good(self, token: str) -> bool:
        return self.made.get(token, 0) > time.time()


def test_tokens_of_two_seconds_and_a_read_of_twenty(
    server: RangeServer, gate: MakeGate, data: bytes
) -> None:
    book = Tokens(2.0)
    server.behaviour.token, server.behaviour.latency = book.good, 0.02

    def sign(href: str) -> Token:
        name, expires = book.issue()
        return Token(expires, query=f"sig={name}")

    one = gate(sign=CallableSigner(sign, scope=lambda href: "all"), cache=CacheSettings(memory=0))
    href, began, reads = server.url("a.bin"), time.time(), 0

    async def read_for(seconds: float) -> int:
        count = 0
        while time.time() - began < seconds:
            starts = [count * 1000 % 4_000_000 + i * 10 for i in range(8)]
            got = await asyncio.gather(
                *(one.get_range_async(href, start=s, length=9) for s in starts)
            )
            assert got == [data[s : s + 9] for s in starts]
            count += 8
        return count

    reads = asyncio.run(read_for(20))
    expiries = int((time.time() - began) / book.life)
    print(f"{reads} reads, {len(book.made)} tokens, {expiries} expiries")
    assert reads > 500
    assert one.stats().origins[0].failed == 0
    assert len(book.made) <= expiries + 1


def test_one_refresh_for_a_thousand_waiters(
    server: RangeServer, gate: MakeGate, data: bytes
) -> None:
    book, calls = Tokens(60), []
    server.behaviour.token = book.good

    async def slow(href: str) -> Token:
        calls.append(href)
        await asyncio.sleep(0.2)
        name, expires = book.issue()
        return Token(expires, headers={"Authorization": f"Bearer {name}"})

    one = gate(sign=CallableSigner(slow, scope=lambda href: "all"), cache=CacheSettings(gap=0))

    async def ask() -> list[memoryview]:
        return await asyncio.gather(
            *(
                one.get_range_async(server.url("a.bin"), start=i * 100, length=9)
                for i in range(1000)
            )
        )

    assert asyncio.run(ask()) == [data[i * 100 : i * 100 + 9] for i in range(1000)]
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("denial", "kind"), [(403, AccessError), (401, AccessError), (400, ServerError)]
)
def test_a_token_that_is_revoked_is_replaced_once(
    server: RangeServer, gate: MakeGate, data: bytes, denial: int, kind: type[StorageError]
) -> None:
    book = Tokens(3600)
    server.behaviour.token, server.behaviour.denial = book.good, denial

    def sign(href: str) -> str:
        name, expires = book.issue()
        return f"{href}?se={time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(expires))}&sig={name}"

    one, href = gate(sign=sign), server.url("a.bin")
    assert one.get_range(href, start=0, length=9) == data[:9]
    book.made = dict.fromkeys(book.made, 0.0)  # revoked, though it claims to be valid
    assert one.get_range(href, start=100, length=9) == data[100:109]
    assert len(book.made) == 2
    book.made = dict.fromkeys(book.made, 0.0)
    book.life = -1  # whatever it issues now is worth nothing
    for start in range(1000, 1010):
        with pytest.raises(kind):
            one.get_range(href, start=start, length=9)
    assert len(book.made) <= 3  # ten refusals, not ten refreshes


def test_a_signed_href_is_cached_without_its_signature(
    server: RangeServer, gate: MakeGate, data: bytes
) -> None:
    one = gate()
    assert one.get_range(server.url(f"a.bin?sig={SECRET}"), start=0, length=9) == data[:9]
    assert one.get_range(server.url("a.bin?sig=Another&se=2030"), start=0, length=9) == data[:9]
    assert server.counts.requests == 1


def test_a_signer_that_fails_is_a_credentials_error(server: RangeServer, gate: MakeGate) -> None:
    def broken(href: str) -> str:
        raise RuntimeError(f"could not log in with {SECRET}")

    for sign in (broken, lambda href: 42):
        with pytest.raises(CredentialsError) as caught:
            gate(sign=sign).get_range(server.url("a.bin"), start=0, length=9)
        assert SECRET not in str(caught.value)
    with pytest.raises(UsageError):
        gate(sign="no-such-provider").get_range(server.url("a.bin"), start=0, length=9)


def test_a_key_that_can_not_sign_frees_its_permit(
    gate: MakeGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCESS_KEY", f"no base64 {SECRET}")
    one = gate(limits=Limits(concurrency=1))
    for _ in range(3):
        with pytest.raises(CredentialsError) as caught:
            one.get_range("abfs://c@acc/x", start=0, length=9)
        assert SECRET not in str(caught.value)
    assert one.stats().origins[0].in_flight == 0


def test_credentials_stay_with_their_host(server: RangeServer, gate: MakeGate, data: bytes) -> None:
    with RangeServer({}, redirect=server.url("a.bin")) as first:
        sign = CallableSigner(
            lambda href: Token(headers={"Authorization": f"Bearer {SECRET}", "X-Key": SECRET})
        )
        one = gate(sign={"127.0.0.1:" + str(first.port): sign})
        assert one.get_range(first.url("a.bin"), start=0, length=9) == data[:9]
        assert first.counts.headers[0]["authorization"] == f"Bearer {SECRET}"
        assert SECRET not in str(server.counts.headers)
        assert SECRET not in str(server.counts.targets)
        # on one host they stay
        first.objects["b.bin"] = data
        first.behaviour.redirect = first.url("c.bin")
        with pytest.raises(StorageError):
            one.get_range(first.url("b.bin"), start=0, length=9)
        assert all("authorization" in headers for headers in first.counts.headers)


def test_a_login_of_the_netrc_file_goes_to_its_host_only(
    server: RangeServer, gate: MakeGate, data: bytes, tmp_path: Path
) -> None:
    path = tmp_path / ".netrc"
    path.write_text(f"machine 127.0.0.1 login me password {SECRET}\ndefault login a password b\n")
    path.chmod(0o600)
    one = gate()
    assert one.get_range(server.url("a.bin"), start=0, length=9) == data[:9]
    sent = server.counts.headers[0]["authorization"].removeprefix("Basic ")
    assert base64.b64decode(sent).decode() == f"me:{SECRET}"
    other = server.url("b.bin").replace("127.0.0.1", "localhost")
    assert one.get_range(other, start=0, length=9) == data[::-1][:9]
    assert "authorization" not in server.counts.headers[1]


def test_nothing_secret_in_caches_logs_errors_reprs(
    server: RangeServer, gate: MakeGate, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "cache"
    caplog.set_level(logging.DEBUG)
    book = Tokens(3600)
    server.behaviour.token = lambda token: SECRET in token

    def sign(href: str) -> Token:
        name, expires = book.issue()
        return Token(expires, query=f"sig={name}", headers={"X-Key": SECRET}, secret=SECRET)

    one = gate(sign=sign, cache=CacheSettings(disk=folder), shared_limits=tmp_path / "shared")
    href = server.url(f"a.bin?token={SECRET}")
    one.get_range(href, start=0, length=99)
    one.flush()
    told: list[object] = [one, one.stats(), one.stats()._repr_html_(), sign("x"), one.meta(href)]
    inner: Any = one._inner
    told += [inner.fetcher.keyring, inner.core, inner.memory, *inner.addresses.values()]
    told += list(inner.origins.values())
    user = f"http://user:{SECRET}@127.0.0.1:{server.port}/b.bin?sig={SECRET}"
    for status in (403, 404, 500, 503):
        server.behaviour.status = status
        for bad in (href.replace("a.bin", f"{status}.bin"), user):
            with pytest.raises(StorageError) as caught:
                one.get_range(bad, start=5, length=1)
            error: BaseException | None = caught.value
            while error is not None:  # the causes too
                told += [error, str(error)]
                error = error.__cause__
    server.behaviour.status = 0
    for fault in ("resets", "truncated"):
        setattr(server.behaviour, fault, 1.0)
        with pytest.raises(StorageError) as caught:
            gate(sign=sign).get_range(href, start=5000, length=9)
        told += [caught.value, caught.value.__cause__]
        setattr(server.behaviour, fault, 0.0)
    for one_place in told:
        assert SECRET not in repr(one_place) + str(one_place), one_place
    assert SECRET not in caplog.text
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 3
    for path in files:
        assert SECRET.encode() not in path.read_bytes()
        assert SECRET not in str(path)


@pytest.mark.parametrize(
    ("url", "expires"),
    [
        ("https://a/x?se=2026-01-02T03%3A04%3A05Z&sig=s", 1767323045),
        ("https://a/x?X-Amz-Date=20260102T030405Z&X-Amz-Expires=60", 1767323105),
        ("https://a/x?Expires=1767323045&Signature=s", 1767323045),
        ("https://a/x", float("inf")),
        ("https://a/x?se=rubbish", float("inf")),
    ],
)
def test_when_a_signed_href_expires(url: str, expires: float) -> None:
    assert expiry_of(url) == expires


def test_the_presets_name_signers_that_exist() -> None:
    from mosaic.settings import limits_of, providers

    for provider in providers():
        if provider.sign:
            Signers(provider.sign)
        assert provider.limits.start <= provider.limits.concurrency
    assert limits_of("eodata.dataspace.copernicus.eu") == Limits(4, 4, 2000, 80_000_000)


def test_a_queue_longer_than_a_token_lives(server: RangeServer, gate: MakeGate) -> None:
    """Each object has a token of its own, and each waits for leave until it has expired."""
    life = 0.4

    def good(token: str) -> bool:
        return token.startswith("t") and time.time() - float(token[1:]) < life

    async def issue(href: str) -> Token:
        now = time.time()
        return Token(expires=now + life, query=f"sig=t{now}")

    names = [f"{number}.bin" for number in range(24)]
    server.objects.update(dict.fromkeys(names, b"x" * 100))
    server.behaviour.token, server.behaviour.latency = good, 0.06
    slow = gate(limits=Limits(concurrency=1, start=1), sign=issue)

    async def all_of_them() -> list[memoryview]:
        asked = (slow.get_range_async(server.url(name), start=0, length=100) for name in names)
        return list(await asyncio.gather(*asked))

    assert all(bytes(got) == b"x" * 100 for got in asyncio.run(all_of_them()))
    assert server.counts.statuses[206] == len(names)
