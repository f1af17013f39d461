"""One seed, or many:  python -m tests.storage.simulation.run [--seed N | --seeds FROM TO]"""

import argparse
import asyncio
import multiprocessing
import os
import random
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace

from mosaic.errors import SourceChanged, StorageError
from mosaic.settings import CacheSettings, Limits, Retry
from mosaic.storage.address import Address, Places, address
from mosaic.storage.cache import MemoryCache
from mosaic.storage.core import Core
from mosaic.storage.fetch import Fetcher
from mosaic.storage.limiter import Limiter
from mosaic.storage.origin import Origin
from mosaic.storage.ranges import Span
from mosaic.storage.retry import Budget
from tests.storage.simulation.clock import VirtualLoop
from tests.storage.simulation.world import BODIES, CALM, KINDS, SIZE, World, forecast

RETRY = Retry(attempts=8, deadline=60, attempt=10, stall=5)
ASKS = 520
"""Reads of a seed in bad weather; a fifth as many follow in calm weather."""
CLEAN = ("steady limit", "steady rate", "changing limit", "changing rate", "slow drains")
"""Kinds of weather in which no read may fail."""


@dataclass
class Result:
    """What became of one seed."""

    seed: int
    kind: str
    attempts: int = 0
    refused: int = 0
    right: int = 0
    cancelled: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    """Virtual time it took."""
    recovery: float = 0.0
    """Virtual time of the reads in calm weather at its end."""
    digest: int = 0
    cpu: float = field(default=0.0, compare=False)
    """CPU seconds it took, which a busy machine does not change much."""


def simulate(seed: int) -> Result:
    """Play one seed; AssertionError when something that must hold doesn't."""
    chance = random.Random(seed)
    kind = KINDS[seed % len(KINDS)]
    world = World(forecast(kind, chance), random.Random(seed + 1))
    began = time.process_time()
    loop = VirtualLoop()
    result = Result(seed, kind)
    try:
        loop.run_until_complete(_play(loop, world, chance, result))
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left))
        loop.close()
    result.attempts, result.refused, result.digest = world.attempts, world.refused, world.digest
    result.cpu = time.process_time() - began
    return result


async def _play(loop: VirtualLoop, world: World, chance: random.Random, result: Result) -> None:
    cap = chance.choice([1, 4, 8, 16, 32])
    limiter = Limiter(Limits(concurrency=cap, start=6))
    origin = Origin("sim", "default", limiter, Budget(RETRY.budget))
    place = address("http://sim/a", Places())

    def origin_of(_: Address) -> Origin:
        return origin

    memory = MemoryCache(200_000)
    fetcher = Fetcher(
        RETRY, {"http": world}, origin_of, random.Random(chance.random()), loop.time, 1 << 20
    )
    cache = CacheSettings(memory=200_000, gap=512, span=16_384, whole=1 << 20)
    core = Core(cache, fetcher, origin_of, lambda _: None, memory, None)
    workers = chance.choice([1, 8, 40])

    async def one(strict: bool) -> None:
        starts = [chance.randrange(SIZE - 2000) for _ in range(chance.choice([1, 1, 1, 3]))]
        spans = [Span(start, start + 100 + start % 900) for start in starts]
        impatient = not strict and chance.random() < 0.03
        try:
            if impatient:
                async with asyncio.timeout(chance.random() * 0.2):
                    blocks = await core.get(place, spans)
            else:
                blocks = await core.get(place, spans)
        except SourceChanged as error:
            assert result.kind == "new version", "nothing changed"
            result.errors[type(error).__name__] += 1
            return
        except StorageError as error:
            result.errors[type(error).__name__] += 1
            if strict:
                raise AssertionError(f"failed in calm weather: {error}") from error
            return
        except TimeoutError:
            result.cancelled += 1
            return
        assert any(
            all(b.data == body[s.start : s.stop] for b, s in zip(blocks, spans, strict=True))
            for body in BODIES
        ), "wrong bytes, or two versions mixed"
        result.right += 1

    async def work(count: int, strict: bool) -> None:
        for _ in range(count):
            await one(strict)
            assert world.peak <= cap, f"{world.peak} in flight, cap {cap}"

    await asyncio.gather(*(work(ASKS // workers, result.kind in CLEAN) for _ in range(workers)))
    result.seconds = loop.time()
    # calm weather: whatever came before, reads succeed again, and soon
    world.plan, world.weather = [], replace(CALM, version=world.weather.version)
    await asyncio.sleep(4)
    before = loop.time()
    await asyncio.gather(*(work(ASKS // 5 // workers, True) for _ in range(workers)))
    result.recovery = loop.time() - before
    alone = ASKS // 5 * 0.03 * 1.5  # one after the other
    assert result.recovery < alone + 60, f"{result.recovery:.0f} s to recover"
    await asyncio.sleep(1)
    assert core.waiting == 0, "a flight was left behind"
    assert limiter.in_flight == world.in_flight == 0, "a permit was left behind"
    assert len(asyncio.all_tasks()) == 1, "a task was left behind"


def play(seeds: range) -> list[Result]:
    """Play many; the first that fails names its replay."""
    results = []
    for seed in seeds:
        try:
            results.append(simulate(seed))
        except BaseException as error:
            raise AssertionError(
                f"seed {seed} ({KINDS[seed % len(KINDS)]}): {type(error).__name__}: {error}\n"
                f"replay: python -m tests.storage.simulation.run --seed {seed}"
            ) from error
    return results


def play_all(seeds: range) -> list[Result]:
    """Play many on all cores."""
    cores = min(4, os.cpu_count() or 1)
    parts = [seeds[i::cores] for i in range(cores)]
    with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn")) as pool:
        return [result for part in pool.map(play, parts) for result in part]


def table(results: list[Result]) -> str:
    """What happened, by kind of weather."""
    lines = [f"{'weather':16}{'seeds':>6}{'attempts':>10}{'refused':>9}{'right':>9}  errors"]
    for kind in KINDS:
        rows = [r for r in results if r.kind == kind]
        errors = sum((r.errors for r in rows), Counter[str]())
        attempts = sum(r.attempts for r in rows)
        share = sum(r.refused for r in rows) / max(1, attempts)
        lines.append(
            f"{kind:16}{len(rows):6}{attempts:10,}{share:9.1%}{sum(r.right for r in rows):9,}"
            f"  {dict(errors) or '-'}"
            f"  recovery <= {max((r.recovery for r in rows), default=0):.1f} s"
        )
    cpu = sum(r.cpu for r in results)
    total = sum(r.attempts for r in results)
    lines.append(f"{len(results)} seeds, {total:,} requests, {cpu:.1f} CPU s")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, 300))
    given = parser.parse_args()
    if given.seed is not None:
        print(simulate(given.seed))
        return
    began = time.perf_counter()
    results = play_all(range(*given.seeds))
    print(table(results))
    print(f"{time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
