"""An origin as a seed invents it: hidden limits that change, outages, slow drains, lies."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from mosaic.storage.retry import Failure, Kind

SIZE = 1 << 20
BODIES = (random.Random(0).randbytes(SIZE), random.Random(1).randbytes(SIZE))
"""The object's two versions."""


@dataclass(frozen=True)
class Weather:
    """What holds for a while."""

    most: int = 1000
    """Requests in flight beyond which it refuses."""
    rps: float = 1e9
    """Requests a second beyond which it refuses."""
    down: str = ""
    """An outage: refuse, reset or hang."""
    latency: float = 0.03
    """Median seconds to the head of an answer."""
    drain: float = 0.0
    """Seconds that a body takes, at times."""
    flaky: float = 0.0
    """Share of 503, resets and truncated bodies at random."""
    lies: float = 0.0
    """Share of false answers."""
    retry_after: str = ""
    """Retry-After of a refusal."""
    version: int = 0
    """Which of the object's versions is served."""


CALM = Weather()
KINDS = (
    "steady limit",
    "steady rate",
    "changing limit",
    "changing rate",
    "bursts",
    "outages",
    "slow drains",
    "liar",
    "flaky",
    "new version",
    "everything",
)


def forecast(kind: str, chance: random.Random) -> list[tuple[float, Weather]]:
    """(from second, weather), in order; the last is without outage, for the recovery."""
    limit, rate = chance.choice([2, 3, 4, 8, 16, 40]), chance.choice([20.0, 60.0, 200.0, 600.0])
    latency = chance.choice([0.005, 0.03, 0.1])
    after = chance.choice(["", "", "1", "3"])
    base = dict[str, object](latency=latency, retry_after=after)

    def weather(**more: object) -> Weather:
        return Weather(**{**base, **more})  # type: ignore[arg-type]

    longest = chance.choice([0.5, 4, 90])  # outages that retries outlast, and such that they don't

    def times(count: int, until: float) -> list[float]:
        return sorted(chance.uniform(0.1, until) for _ in range(count))

    match kind:
        case "steady limit":
            return [(0, weather(most=limit))]
        case "steady rate":
            return [(0, weather(rps=rate))]
        case "changing limit":
            steps = [(t, weather(most=chance.choice([1, 2, 4, 8, 16]))) for t in times(4, 8)]
            return [(0, weather(most=limit)), *steps]
        case "changing rate":
            steps = [(t, weather(rps=chance.choice([15.0, 50.0, 300.0]))) for t in times(4, 8)]
            return [(0, weather(rps=rate)), *steps]
        case "bursts":  # somebody else's load takes most of the limit, briefly
            plan = [(0.0, weather(most=16))]
            for t in times(6, 6):
                plan += [(t, weather(most=chance.choice([1, 2]))), (t + 0.3, weather(most=16))]
            return sorted(plan, key=lambda step: step[0])
        case "outages":
            plan, t = [(0.0, weather())], 0.0
            for _ in range(2):
                t += chance.uniform(0.3, 2)
                plan.append((t, weather(down=chance.choice(["refuse", "reset", "hang"]))))
                t += chance.uniform(0.3, longest)
                plan.append((t, weather()))
            return plan
        case "slow drains":
            return [(0, weather(drain=chance.choice([0.2, 1.0]), most=limit))]
        case "liar":
            return [(0, weather(lies=0.05))]
        case "flaky":
            return [(0, weather(flaky=0.2))]
        case "new version":
            return [
                (0, weather()),
                *((t, weather(version=i % 2)) for i, t in enumerate(times(4, 2))),
            ]
    return [
        (0, weather(most=max(4, limit), flaky=0.05, lies=0.02)),
        (chance.uniform(1, 3), weather(down=chance.choice(["refuse", "reset", "hang"]))),
        (3 + longest, weather(rps=max(60.0, rate), drain=0.2)),
    ]


@dataclass
class World:
    """A transport, and the origin behind it."""

    plan: list[tuple[float, Weather]]
    chance: random.Random
    in_flight: int = 0
    peak: int = 0
    attempts: int = 0
    refused: int = 0
    digest: int = 0
    """Of all that happened, in order: equal for equal seeds."""
    _tokens: float = 4.0
    _stamp: float = 0.0
    _next: int = 0
    weather: Weather = field(default_factory=Weather)

    async def send(
        self, url: str, headers: Mapping[str, str], method: str = "GET"
    ) -> "SimulatedExchange":
        now = asyncio.get_running_loop().time()
        while self._next < len(self.plan) and self.plan[self._next][0] <= now:
            self.weather = self.plan[self._next][1]
            self._next += 1
        weather, roll = self.weather, self.chance.random()
        self.attempts += 1
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        first, _, last = headers["Range"][6:].partition("-")
        start, stop = int(first), min(SIZE, int(last) + 1)
        self.digest = hash((self.digest, now, start, stop, self.in_flight, roll))
        try:
            if weather.down == "hang":
                await asyncio.sleep(1e6)
            if weather.down == "reset" or roll < weather.flaky / 3:
                await asyncio.sleep(0.001)
                raise Failure(Kind.RESET, "simulated")
            full = self.in_flight > weather.most or not self._token(now, weather)
            if weather.down == "refuse" or full or roll < weather.flaky * 2 / 3:
                self.refused += 1
                await asyncio.sleep(0.001)
                told = {"retry-after": weather.retry_after} if weather.retry_after else {}
                return SimulatedExchange(self, 503, told, b"", 0)
            await asyncio.sleep(weather.latency * (0.5 + self.chance.random()))
        except BaseException:
            self.in_flight -= 1
            raise
        return self._answer(start, stop, roll, weather)

    async def close(self) -> None:
        pass

    def _token(self, now: float, weather: Weather) -> bool:
        grown = self._tokens + (now - self._stamp) * weather.rps
        self._tokens, self._stamp = min(max(1.0, weather.rps / 4), grown), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _answer(self, start: int, stop: int, roll: float, weather: Weather) -> "SimulatedExchange":
        body: bytes | memoryview = memoryview(BODIES[weather.version])[start:stop]
        told = {"etag": f'"{weather.version}"', "content-range": f"bytes {start}-{stop - 1}/{SIZE}"}
        if roll < weather.lies:
            match self.chance.randrange(5):
                case 0:
                    told["content-range"] = f"bytes {start + 1}-{stop}/{SIZE}"
                case 1:
                    del told["content-range"]
                case 2:
                    told["content-encoding"] = "gzip"
                case 3:
                    body = bytes(body) + b"more"
                case 4:
                    return SimulatedExchange(self, 200, {"content-length": "9" * 15}, b"", 0)
        elif roll < weather.flaky:
            body = body[: len(body) // 2]
        drain = weather.drain if self.chance.random() < 0.2 else 0.0
        return SimulatedExchange(self, 206, told, body, drain)


class SimulatedExchange:
    """An answer of the simulated origin; its request counts as in flight until closed."""

    def __init__(
        self,
        world: World,
        status: int,
        headers: Mapping[str, str],
        body: bytes | memoryview,
        drain: float,
    ) -> None:
        self.world, self.status, self.headers = world, status, headers
        self.body, self.drain, self.open = memoryview(body), drain, True

    async def read(self, length: int | None, most: int) -> memoryview:
        if self.drain:
            await asyncio.sleep(self.drain)
        if len(self.body) > (most if length is None else length):
            from mosaic.errors import BodyError

            raise Failure(Kind.FINAL, "longer than announced", error=BodyError)
        if length is not None and len(self.body) < length:
            raise Failure(Kind.TRUNCATED, "simulated")
        return self.body

    def close(self) -> None:
        if self.open:
            self.open = False
            self.world.in_flight -= 1
