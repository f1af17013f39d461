"""The layers under each layer that is returned: which are drawn, and which of them are one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from mosaic.catalog.columns import Longs
from mosaic.cube.composite import Composite
from mosaic.cube.groups import Times, items, parted
from mosaic.cube.scenes import Scenes, longitude


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Layers that are drawn, each in one group, and observations that some of them make up.

    Where pixels may be hidden, every item is drawn by itself: what a cloud hides in one shows in
    the next of its day. Else the scenes of an observation are drawn on each other.
    """

    scenes: Scenes
    """By layer that is drawn."""
    group: Longs
    """(L,) layer of the result."""
    observation: Longs
    """(L,) which observation."""
    z: Longs
    """(L,) drawing order: the highest lies on top."""
    time: Times
    """(N,) UTC of the earliest item of each observation."""
    told: dict[int, dict[str, Any]] = field(default_factory=dict, repr=False)
    """Ids and properties of items by row, once somebody has asked for some."""

    def of(self, group: int, assets: Sequence[str], box: GeoBox) -> list[int]:
        """Layers of a group that may show in a window, in order of time."""
        there = self.scenes.there(assets, box)
        return np.flatnonzero(there & (self.group == group)).tolist()

    def observations(self, layers: Sequence[int], ranked: bool) -> list[list[int]]:
        """Layers by the observation they make up, each from the topmost down.

        ``ranked``: from the topmost down too, else in the order of time.
        """
        z = self.z
        found: dict[int, list[int]] = {}
        for layer in sorted(layers, key=lambda layer: -z[layer]):
            found.setdefault(int(self.observation[layer]), []).append(layer)
        return list(found.values()) if ranked else [found[key] for key in sorted(found)]

    def items(self, layers: Sequence[int], assets: Sequence[str]) -> list[dict[str, Any]]:
        """Ids and properties of the items of some layers, those that lie on top first.

        For the planner's thread: a file's columns aren't read by two at a time.
        """
        scenes = self.scenes
        if not self.told:
            every = np.flatnonzero(scenes.groups.of >= 0)
            self.told.update(zip(every.tolist(), items(scenes.mosaic, every), strict=True))
        mine = np.isin(scenes.groups.of, layers)
        there = np.zeros(len(mine), bool)
        for asset in assets:
            there[scenes.mosaic.assets[asset].item[scenes.parts[asset].rows]] = True
        rows = np.flatnonzero(mine & there)
        rows = rows[np.argsort(-scenes.mosaic.z[rows], kind="stable")]
        return [dict(self.told[row]) for row in rows.tolist()]


def stacked(found: Scenes, target: GeoBox, made: Composite) -> Stack:
    """The layers of a composite's groups. Raises UsageError for what makes none."""
    where = longitude(target)
    drawn, group = parted(found.mosaic, found.groups, made.over, where)
    observation, time = np.arange(len(drawn)), drawn.time
    if made.rules and made.over not in (None, "id"):
        seen = drawn
        drawn, group = parted(found.mosaic, found.groups, "id", where)
        rows = np.flatnonzero(drawn.of >= 0)
        observation = np.empty(len(drawn), np.int64)
        observation[drawn.of[rows]] = seen.of[rows]
    z = np.full(len(drawn), np.iinfo(np.int64).min)
    parts = {}
    for name, part in found.parts.items():
        of = drawn.of[part.asset.item[part.rows]]
        np.maximum.at(z, of[of >= 0], part.z[of >= 0])
        parts[name] = replace(part, group=of, known={})
    return Stack(Scenes(found.mosaic, drawn, parts, found.raw), group, observation, z, time)


def deepest(stack: Stack) -> int:
    """Most observations of one group."""
    pairs = np.unique(np.stack([stack.group, stack.observation]), axis=1)
    return int(np.bincount(pairs[0]).max(initial=0))
