"""The plan of a read: headers are fetched, nothing is decoded."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np

from mosaic.engine.cover import Bools, Cover, wave
from mosaic.engine.known import Known, all_of, planned
from mosaic.engine.plan import Cost, Plan, blocks_cost, header_cost, least_seconds, ready
from mosaic.engine.scene import Layer, Request, Scene
from mosaic.settings import limits_of
from mosaic.storage import Gate


@dataclass(slots=True)
class _Sum:
    """Costs by origin, and the items that have a part in them."""

    costs: dict[str, Cost] = field(default_factory=dict)
    items: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)

    def add(self, scene: Scene, cost: Cost) -> None:
        """Count what one scene takes."""
        host = urlsplit(scene.href).netloc if "://" in scene.href else ""
        self.costs[host] = self.costs.get(host, Cost()) + cost
        self.items.add(scene.item)

    @property
    def total(self) -> Cost:
        """Of all origins."""
        return sum(self.costs.values(), Cost())


async def survey(request: Request, gate: Gate) -> Plan:
    """What a request will take, were nothing of it at hand; its headers are read for that.

    Raises what reading a header raises: StorageError, TiffError, SourceMismatchError.
    """
    known = Known(request, gate)
    try:
        return await _survey(known, request)
    finally:
        known.close()


async def _survey(known: Known, request: Request) -> Plan:
    least, most = _Sum(), _Sum()
    for layer in request.layers:
        covers = await all_of([known.cover(scene, layer) for scene in layer.scenes])
        cells = known.cells.shape[0] * known.cells.shape[1]
        nothing = [np.zeros(cells, bool) for _ in covers]
        first = wave(covers, np.ones(cells, bool), nothing)
        await all_of(
            [
                _scene(known, layer, scene, one, part, least, most)
                for scene, one, part in zip(layer.scenes, covers, first, strict=True)
                if one.touched.any()
            ]
        )
    hosts = [(limits_of(host), cost) for host, cost in least.costs.items() if host]
    bands = sum(len(layer.bands) for layer in request.layers)
    return Plan(
        (len(least.items), len(most.items)),
        least.total,
        most.total,
        least_seconds(hosts),
        bands * request.shape[0] * request.shape[1],
    )


async def _scene(
    known: Known, layer: Layer, scene: Scene, one: Cover, part: Bools, least: _Sum, most: _Sum
) -> None:
    """What a scene takes: in the first wave, and if all it may show is needed.

    Waves after the first may ask for one block at a time, so at most each is a request.
    """
    head = await known.head(scene.href)
    first = Cost()
    taken: set[tuple[int, ...]] = set()
    if part.any():
        lattice = one.lattice.take(part[one.cell])
        made = await planned(lambda: ready(known.request, known.cells, layer, scene, lattice, head))
        where = await known.locate(head, made.draw)
        first = blocks_cost(head, made.draw, where, known.settings)
        taken = {span for span in where if span is not None}
        least.add(scene, _once(least, scene, header_cost(head)) + first)
        most.add(scene, first)
    most.add(scene, _once(most, scene, header_cost(head)))
    if (one.touched & ~part).any():
        lattice = one.lattice.take(~part[one.cell])
        made = await planned(lambda: ready(known.request, known.cells, layer, scene, lattice, head))
        where = await known.locate(head, made.draw)
        fresh = [span for span in where if span and span.stop > head.ready and span not in taken]
        later = blocks_cost(head, made.draw, where, known.settings)
        travel = sum(span.stop - span.start for span in fresh)
        most.add(scene, Cost(0, len(fresh), max(travel, later.bytes if fresh else 0), later.used))


def _once(total: _Sum, scene: Scene, cost: Cost) -> Cost:
    """A header's cost, counted once however many layers lie in a file."""
    if scene.href in total.seen:
        return Cost()
    total.seen.add(scene.href)
    return cost
