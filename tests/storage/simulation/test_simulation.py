"""Hundreds of seeds in a minute: never above the cap, every byte right or a typed error."""

import time

import pytest

from tests.storage.simulation import run
from tests.storage.simulation.clock import ForgottenError, VirtualLoop

SEEDS = 330
REQUESTS = 300_000


def test_three_hundred_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    began = time.perf_counter()
    results = run.play_all(range(SEEDS))
    seconds = time.perf_counter() - began
    total = sum(result.attempts for result in results)
    with capsys.disabled():
        print(f"\n{run.table(results)}, {seconds:.1f} s")
    assert total >= REQUESTS
    assert sum(result.cpu for result in results) < 60  # on one core; wall time is the machine's
    for kind in ("steady limit", "steady rate"):
        rows = [result for result in results if result.kind == kind]
        assert sum(r.refused for r in rows) < 0.05 * sum(r.attempts for r in rows)
    # the weather was bad enough to be worth a test
    assert sum(result.refused for result in results) > 3000
    assert {"DeadlineError", "ThrottledError", "UnreachableError", "SourceChanged"} <= {
        name for result in results for name in result.errors
    }


@pytest.mark.parametrize("seed", range(11))
def test_a_seed_plays_the_same_every_time(seed: int) -> None:
    assert run.simulate(seed) == run.simulate(seed)


def test_a_failing_seed_prints_its_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    from mosaic.storage.limiter import Limiter

    monkeypatch.setattr(Limiter, "limit", property(lambda self: self.limits.concurrency + 1))
    with pytest.raises(
        AssertionError, match=r"replay: python -m .*simulation.run --seed [0-9]+"
    ) as told:
        run.play(range(20))
    assert "in flight, cap" in str(told.value)


def test_a_forgotten_waiter_is_noticed() -> None:
    loop = VirtualLoop()
    with pytest.raises(ForgottenError):
        loop.run_until_complete(loop.create_future())
    loop.close()
