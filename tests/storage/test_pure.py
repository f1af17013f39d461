"""The pure parts: what is planned, limited, retried and read from answers."""

import asyncio
import itertools
import math
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mosaic.errors import MosaicError, StorageError, ThrottledError, UsageError
from mosaic.settings import Limits, Retry, limits_of
from mosaic.storage.address import Places, address
from mosaic.storage.answer import Meta, promised, retry_after
from mosaic.storage.inward import is_inward, lies_inside
from mosaic.storage.limiter import PACKED, Grant, Limiter, Outcome, State, fresh_state
from mosaic.storage.ranges import Span, coalesce, cut
from mosaic.storage.retry import Budget, Failure, GiveUp, Kind, decide, pause

spans = st.lists(
    st.builds(lambda a, n: Span(a, a + n), st.integers(0, 5000), st.integers(1, 700)), max_size=40
)


# ------------------------------------------------------------------------------------- ranges


@given(spans, st.integers(0, 300), st.integers(0, 3000))
def test_coalescing_serves_every_span_once_and_wastes_no_more_than_gaps(
    asked: list[Span], gap: int, longest: int
) -> None:
    data = bytes(random.Random(0).randbytes(6000))
    groups = coalesce(asked, gap=gap, longest=longest)
    assert sorted(i for group in groups for i in group.members) == list(range(len(asked)))
    for group in groups:
        answer = memoryview(data)[group.span.start : group.span.stop]
        inside = sorted(asked[i] for i in group.members)
        for index in group.members:
            got = cut(answer, group.span.start, asked[index])
            assert got == data[asked[index].start : asked[index].stop]
            assert got.obj is answer.obj
        assert group.span.start == inside[0].start
        assert group.span.stop == max(span.stop for span in inside)
        reach = inside[0].stop
        for before, after in itertools.pairwise(inside):
            reach = max(reach, before.stop)
            assert after.start - reach <= gap
            # longer than allowed only where spans overlap, or one alone is longer
            assert after.start < reach or after.stop - group.span.start <= longest
    for one, two in itertools.pairwise(groups):
        assert one.span.stop <= two.span.start  # no byte is asked for twice


# ------------------------------------------------------------------------------------ limiter

steps = st.lists(
    st.tuples(
        st.sampled_from(["start", "start", "start", "finish", "wait", "hold"]),
        st.sampled_from(list(Outcome)),
        st.floats(0, 2),
    ),
    max_size=200,
)
limits = st.builds(
    Limits,
    concurrency=st.integers(1, 20),
    start=st.integers(1, 20),
    requests_per_minute=st.none() | st.floats(60, 60_000),
    bytes_per_second=st.none() | st.floats(1e4, 1e9),
)


@settings(max_examples=300)
@example(
    Limits(1, 1, bytes_per_second=30944863.0),
    [("wait", Outcome.OK, 1.0), ("start", Outcome.OK, 0.0)],
)
@given(limits, steps)
def test_a_limiter_never_exceeds_its_cap_nor_starves(
    given_limits: Limits, moves: list[tuple[str, Outcome, float]]
) -> None:
    limiter, now, running = Limiter(given_limits), 0.0, list[Grant]()
    started: list[float] = []
    for move, outcome, seconds in moves:
        if move == "wait":
            now += seconds
        elif move == "hold":
            limiter.hold(now, seconds)
        elif move == "finish" and running:
            limiter.finish(running.pop(0), outcome, now, 1000)
        elif move == "start":
            got = limiter.try_start(now, 1000)
            if isinstance(got, Grant):
                running.append(got)
                started.append(now)
                assert now >= limiter.held_until()
            else:
                assert got > 0
        assert limiter.in_flight == len(running) <= given_limits.concurrency
        assert 1 <= limiter.limit <= given_limits.concurrency
    rate = given_limits.requests_per_minute
    if rate is not None and started:
        span = started[-1] - started[0]
        assert len(started) <= span * rate / 60 + max(1, rate / 60 * 0.05) + 1.001
    # when all have ended, time alone brings leave
    for grant in running:
        limiter.finish(grant, Outcome.NEUTRAL, now, 0)
    for _ in range(1000):
        got = limiter.try_start(now, 1000)
        if isinstance(got, Grant):
            return
        assert got < math.inf
        now += got
    raise AssertionError("starved")


@given(limits, steps)
def test_a_limiter_goes_on_from_its_packed_state(
    given_limits: Limits, moves: list[tuple[str, Outcome, float]]
) -> None:
    one, two, now = Limiter(given_limits), Limiter(given_limits), 0.0
    running: list[Grant] = []
    for move, outcome, seconds in moves:
        packed = two.state.pack()
        assert len(packed) == PACKED
        two.state = State.unpack(packed)
        if move == "wait":
            now += seconds
        elif move == "hold":
            one.hold(now, seconds)
            two.hold(now, seconds)
        elif move == "finish" and running:
            grant = running.pop()
            one.finish(grant, outcome, now, 10)
            two.finish(grant, outcome, now, 10)
        elif move == "start":
            got = one.try_start(now, 10)
            assert two.try_start(now, 10) == got
            if isinstance(got, Grant):
                running.append(got)
    assert one.state == two.state


def filled(limiter: Limiter, now: float) -> list[Grant]:
    """As many grants as there are."""
    got, grants = limiter.try_start(now, 0), []
    while isinstance(got, Grant):
        grants.append(got)
        got = limiter.try_start(now, 0)
    return grants


def test_success_grows_and_the_cap_holds() -> None:
    limiter = Limiter(Limits(concurrency=20, start=6))
    for turn in range(20):
        grants = filled(limiter, turn * 0.1)
        for grant in grants:
            limiter.finish(grant, Outcome.OK, turn * 0.1 + 0.05, 100)
    assert limiter.limit == 20


@pytest.mark.parametrize("bad", [Outcome.REFUSED, Outcome.BROKEN])
def test_a_refusal_halves_once_for_all_that_were_under_way(bad: Outcome) -> None:
    limiter = Limiter(Limits(concurrency=16, start=8))
    grants = filled(limiter, 0.0)
    assert len(grants) == 8
    limiter.finish(grants[-1], bad, 0.1, 0)
    assert limiter.limit == 4
    for grant in grants[:-1]:
        limiter.finish(grant, bad, 0.1, 0)  # old news
    assert limiter.limit == 4
    # a rate that was refused is halved too; a reset says nothing of rates
    assert (limiter.state.requests.rate < math.inf) == (bad is Outcome.REFUSED)


def test_a_given_rate_is_halved_and_grows_back_no_further() -> None:
    limiter = Limiter(Limits(concurrency=4, start=4, requests_per_minute=6000))
    now, sent = 0.0, 0
    while now < 2:
        got = limiter.try_start(now, 0)
        if isinstance(got, Grant):
            sent += 1
            refused = sent == 150
            limiter.finish(got, Outcome.REFUSED if refused else Outcome.OK, now, 0)
            if refused:
                assert limiter.state.requests.rate == pytest.approx(50, rel=0.2)
        now += 0.001
    while now < 60:
        got = limiter.try_start(now, 0)
        if isinstance(got, Grant):
            limiter.finish(got, Outcome.OK, now, 0)
        now += 0.001
    assert limiter.state.requests.rate == pytest.approx(100)


def test_bytes_a_second_are_limited() -> None:
    limiter, now, sent = Limiter(Limits(concurrency=4, bytes_per_second=1e6)), 0.0, 0
    while now < 10:
        got = limiter.try_start(now, 100_000)
        if isinstance(got, Grant):
            sent += 100_000
            limiter.finish(got, Outcome.OK, now, 100_000)
        now += 0.01
    assert 9e6 <= sent <= 10.3e6


# -------------------------------------------------------------------------------------- retry


def test_pauses_are_drawn_from_a_growing_range_with_retry_after_as_floor() -> None:
    calm, told = Failure(Kind.SERVER, "x"), Failure(Kind.REFUSED, "x", retry_after=7)
    retry = Retry(base=0.1, longest=5)
    assert [pause(retry, n, calm, 1.0) for n in (1, 2, 3, 10, 999)] == [0.1, 0.2, 0.4, 5, 5]
    assert pause(retry, 9, calm, 0.0) == 0
    assert pause(retry, 1, told, 0.5) == 7


@given(
    st.sampled_from(list(Kind)),
    st.integers(1, 12),
    st.floats(0, 200),
    st.floats(0, 0.999),
    st.none() | st.floats(0, 300),
)
def test_no_decision_passes_the_deadline_or_the_attempts(
    kind: Kind, attempts: int, now: float, chance: float, after: float | None
) -> None:
    retry, budget = Retry(), Budget(10)
    got = decide(
        retry,
        budget,
        Failure(kind, "x", retry_after=after),
        attempts=attempts,
        now=now,
        deadline=150,
        chance=chance,
    )
    if isinstance(got, GiveUp):
        assert budget.left == 10
        return
    assert kind.value.again
    assert attempts < retry.attempts
    assert now + got < 150
    assert got >= (after or 0)
    assert budget.left == 9


def test_a_budget_is_spent_by_retries_and_earned_by_successes() -> None:
    budget = Budget(3)
    assert [budget.spend() for _ in range(5)] == [True, True, True, False, False]
    budget.earn()
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    for _ in range(50):
        budget.earn()
    assert budget.left == 3


# ------------------------------------------------------------------------------------- answers


@given(
    st.sampled_from([200, 204, 206, 301, 304, 400, 403, 404, 416, 429, 500, 503]) | st.integers(),
    st.dictionaries(
        st.sampled_from(
            ["content-range", "content-length", "etag", "retry-after", "content-encoding"]
        ),
        st.text(st.characters(max_codepoint=255), max_size=30)
        | st.builds(
            "bytes {}-{}/{}".format,
            st.integers(0, 200),
            st.integers(0, 200),
            st.integers(0, 200) | st.just("*"),
        )
        | st.integers(0, 300).map(str),
    ),
)
def test_whatever_a_server_says_is_a_promise_or_a_failure(
    status: int, headers: dict[str, str]
) -> None:
    asked = Span(10, 110)
    try:
        promise = promised(status, headers, asked, 0.0)
    except Failure:
        return
    if promise.whole or promise.unchanged:
        assert status in (200, 304)
        return
    assert status == 206
    assert promise.length is not None
    assert 0 < promise.length <= 100
    short = promise.length < 100
    assert not short or promise.meta.size == 10 + promise.length


@pytest.mark.parametrize("status", [301, 400])
def test_a_bucket_of_another_region_says_so(status: int) -> None:
    with pytest.raises(Failure) as caught:
        promised(status, {"x-amz-bucket-region": "us-west-2"}, Span(0, 1), 0.0)
    assert "AWS_REGION=us-west-2" in caught.value.advice


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 5),
        ("0", 0),
        ("1.5", 1.5),
        (" 7 ", 7),
        ("999999999", 300),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 40),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 300),
        ("soon", None),
        ("-5", None),
        ("", None),
        (None, None),
        ("²", None),
    ],
)
def test_retry_after_as_number_and_date(text: str | None, seconds: float | None) -> None:
    assert retry_after(text, 60.0) == seconds


@pytest.mark.parametrize(
    ("one", "two", "conflict"),
    [
        (Meta(5, "a"), Meta(5, "a"), False),
        (Meta(5, "a"), Meta(5, "b"), True),
        (Meta(5), Meta(6), True),
        (Meta(None, "a"), Meta(6, "a"), False),
        (Meta(5, modified="x"), Meta(5, modified="y"), True),
        (Meta(5, "a"), Meta(5, "", "y"), False),
        (Meta(), Meta(1, "a", "b"), False),
    ],
)
def test_what_makes_two_versions(one: Meta, two: Meta, conflict: bool) -> None:
    assert one.conflicts(two) is two.conflicts(one) is conflict
    if not conflict:
        assert one.filled(two) == two.filled(one)


# ------------------------------------------------------------------------ addresses and settings


@pytest.mark.parametrize(
    ("href", "key"),
    [
        ("https://a.b/x.tif?sig=S&se=1&id=7", "https://a.b/x.tif?id=7"),
        ("HTTPS://User:Pass@A.B:443/x", "https://a.b:443/x"),
        ("https://a.b/x?X-Amz-Signature=S&X-Amz-Date=D", "https://a.b/x"),
        ("https://a.b/x y?q=1#frag", "https://a.b/x%20y?q=1"),
        ("https://a.b", "https://a.b/"),
        ("/data/x y.tif", "file:///data/x%20y.tif"),
        ("s3://b/k?v#1", "s3://b/k?v#1"),
    ],
)
def test_the_identity_of_an_href(href: str, key: str) -> None:
    place = address(href, Places())
    assert place.key == key
    assert "Pass" not in repr(place)


@given(st.text(max_size=60) | st.text(max_size=40).map("http://{}".format))
def test_any_text_is_an_address_or_a_typed_error(href: str) -> None:
    try:
        address(href, Places())
    except MosaicError:
        return


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("eodata.dataspace.copernicus.eu", "cdse"),
        ("sentinel-cogs.s3.us-west-2.amazonaws.com", "s3"),
        ("usgs-landsat.s3.us-west-2.amazonaws.com", "usgs"),
        ("storage.googleapis.com", "gcs"),
        ("someone.blob.core.windows.net", "azure"),
        ("sentinel2l2a01.blob.core.windows.net", "planetary-computer"),
        ("data.lpdaac.earthdatacloud.nasa.gov", "earthdata"),
        ("lp-prod-protected.s3.us-west-2.amazonaws.com", "lpdaac"),
        ("example.org:8080", "default"),
    ],
)
def test_presets_by_host(host: str, name: str) -> None:
    from mosaic.settings import provider_of

    assert provider_of(host).name == name


def test_arguments_and_variables_override_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    host = "eodata.dataspace.copernicus.eu"
    assert limits_of(host).requests_per_minute == 2000
    monkeypatch.setenv("MOSAIC_CONCURRENCY", "3")
    monkeypatch.setenv("MOSAIC_REQUESTS_PER_MINUTE_CDSE", "100")
    assert limits_of(host).concurrency == 3
    assert limits_of(host).requests_per_minute == 100
    assert limits_of("example.org") == Limits(concurrency=3, start=6)
    assert limits_of(host, {"*.copernicus.eu": Limits(2)}) == Limits(2)
    assert limits_of(host, Limits(1)) == Limits(1)
    monkeypatch.setenv("MOSAIC_CONCURRENCY", "many")
    with pytest.raises(UsageError, match="MOSAIC_CONCURRENCY"):
        limits_of(host)
    for bad in ({"concurrency": 0}, {"start": 0}, {"requests_per_minute": 0.0}):
        with pytest.raises(UsageError):
            Limits(**bad)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        Retry(attempts=0)


def test_an_error_tells_all_and_survives_a_pickle() -> None:
    import pickle

    error = ThrottledError(
        "can't be read",
        href="https://u:SECRET@a.b/x?sig=SECRET",
        status=429,
        attempts=3,
        cause="5 of 9 bytes came",
        advice="try later",
    )
    want = (
        "https://a.b/x: can't be read (status 429, 3 attempts, last cause: 5 of 9 bytes came); "
        "try later"
    )
    for one in (error, error.again(), pickle.loads(pickle.dumps(error))):
        assert type(one) is ThrottledError
        assert str(one) == want
    assert isinstance(error, StorageError)
    plain = ThrottledError("can't be read", status=429, attempts=3, cause="status 429")
    assert str(plain) == "can't be read (status 429, 3 attempts)"  # what is the cause is said once


def test_a_fresh_state_begins_cautiously() -> None:
    assert fresh_state(Limits(concurrency=4, start=8)).limit == 4
    assert 4 <= Limits().start <= 8


@pytest.mark.parametrize("share", [0.03, 0.1, 0.2, 0.3])
def test_refusals_that_do_not_depend_on_load_do_not_starve(share: float) -> None:
    for seed in range(5):
        limiter, now, chance, done = Limiter(Limits(concurrency=16)), 0.0, random.Random(seed), 0
        running: list[tuple[float, Grant]] = []
        while now < 60:
            running.sort()
            while running and running[0][0] <= now:
                bad = chance.random() < share
                limiter.finish(running.pop(0)[1], Outcome.REFUSED if bad else Outcome.OK, now, 0)
                done += not bad
            running += [(now + 0.03, grant) for grant in filled(limiter, now)]
            now += 0.005
        assert done / 60 > 50, seed  # 4/s would be the floor, 530/s the most


def test_addresses_of_the_inside() -> None:
    for one in (
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        *("0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0"),
        *("fd00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"),
    ):
        assert is_inward(one), one
    for one in ("8.8.8.8", "52.218.0.1", "2606:4700::1111", "example.org", ""):
        assert not is_inward(one), one
    assert asyncio.run(lies_inside("localhost"))
    assert not asyncio.run(lies_inside("a" * 300))
