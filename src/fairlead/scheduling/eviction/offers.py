"""What a node could give: how many more pods of a shape fit there if some of those on it leave."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from fairlead.scheduling.eviction.draft import Draft
from fairlead.scheduling.eviction.units import Unit, Units
from fairlead.scheduling.fleet.options import Outlook
from fairlead.scheduling.snapshot import PodView, Shape

_MOST_REPRIEVED: Final = 16
"""Units of one row that are given back one by one; with more it is the cheapest that go."""

Key = tuple[float, float, float, float, float]
"""For one pod that gets a place: highest level, pods, gangs, level and pod-hours evicted."""

NOTHING: Final[Key] = (float("-inf"), 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Part:
    """A unit as far as it stands on one row."""

    unit: Unit
    pods: tuple[PodView, ...]

    def weight(self, wanted: int) -> Key:
        """What taking it counts for on this row: all of it, unless its other rows are of use too.

        With `wanted` pods to place, a gang of no more pods than that is charged row by row, as every row of it may be
        used. Of a larger one only `wanted` are; the rest are taken for nothing and charged to these.
        """
        unit, here = self.unit, len(self.pods)
        total = len(unit.pods)
        if here == total:
            return unit.level, here, 1.0, unit.level, unit.cost
        share = here / min(total, max(wanted, here))
        return unit.level, total * share, share, unit.level * share, unit.cost * share


@dataclass(frozen=True, slots=True)
class Offer:
    """If these leave, this many more pods fit on the row."""

    slots: int
    parts: tuple[Part, ...]

    def key(self, wanted: int) -> Key:
        return key_of(self.parts, self.slots, wanted)


def key_of(parts: Iterable[Part], slots: int, wanted: int) -> Key:
    """What each of the pods that get a place costs; no more than `wanted` do."""
    total = NOTHING
    for part in parts:
        total = _plus(total, part.weight(wanted))
    return _each(total, slots, wanted)


def _plus(total: Key, weight: Key) -> Key:
    """Highest level, and sums."""
    return (
        total[0] if total[0] > weight[0] else weight[0],
        total[1] + weight[1],
        total[2] + weight[2],
        total[3] + weight[3],
        total[4] + weight[4],
    )


def _each(total: Key, slots: int, wanted: int) -> Key:
    used = min(slots, wanted) or 1
    level, pods, gangs, levels, cost = total
    # What costs the same for each is to be the same, however it was divided.
    return level, round(pods / used, 9), round(gangs / used, 9), round(levels / used, 9), round(cost / used, 6)


class Measure:
    """What a shape needs, and how much of that others hold: amounts by name, as lists in one order."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        needs = {name: amount for name, amount in shape.demand.items() if amount}
        self.names = tuple(needs)
        self.amounts = tuple(needs.values())
        self._held: dict[Shape, tuple[int, ...]] = {}

    def held(self, shape: Shape) -> tuple[int, ...]:
        """What a pod of another shape holds of it. Devices are told by the quota names of their classes."""
        known = self._held.get(shape)
        if known is None:
            demand = shape.demand
            known = self._held[shape] = tuple(demand.get(name, 0) for name in self.names)
        return known


class Row:
    """One row, for one shape."""

    def __init__(self, outlook: Outlook, units: Units, draft: Draft, measure: Measure, row: int) -> None:
        self.number = row
        self.counted = 0
        """Places on it that are counted on already."""
        self._outlook = outlook
        self._draft = draft
        self._measure = measure
        self._shape = measure.shape
        self._on: list[tuple[Unit, PodView]] = units.on.get(row, [])

    def parts(self, wanted: int) -> list[Part]:
        """What is there to take, the cheapest first."""
        by_unit: dict[Unit, list[PodView]] = {}
        for unit, pod in self._on:
            if not self._draft.has_taken(unit, pod):
                if unit in by_unit:
                    by_unit[unit].append(pod)
                else:
                    by_unit[unit] = [pod]
        found = [Part(unit, tuple(pods)) for unit, pods in by_unit.items()]
        found.sort(key=lambda part: (part.weight(wanted), part.unit.order))
        return found

    def guess(self, wanted: int) -> Key | None:
        """The cost per pod if amounts were all that mattered; None where nothing could be taken.

        No answer, only an order in which to ask.
        """
        measure = self._measure
        free, amounts = self._free(), measure.amounts
        total, best = NOTHING, None
        parts = self.parts(wanted)
        for part in parts:
            total = _plus(total, part.weight(wanted))
            for pod in part.pods:
                for place, held in enumerate(measure.held(pod.shape)):
                    free[place] += held
            slots = wanted
            for left, amount in zip(free, amounts, strict=True):
                if left < slots * amount:
                    slots = left // amount
            if slots > 0:
                key = _each(total, slots, wanted)
                if best is None or key < best:
                    best = key
                if slots >= wanted:
                    break
        if best is None and parts:
            # Another class may be for the same devices.
            return _each(total, 1, wanted)
        return best

    def gain(self, wanted: int) -> int:
        """How many more fit there now than were counted on, at most `wanted`; these are counted on from now on."""
        more = max(0, self.room(self.counted + wanted) - self.counted)
        self.counted += more
        return more

    def room(self, limit: int) -> int:
        """How many pods fit there now."""
        return self._outlook.of(self._shape).room(self.number, limit)

    def offers(self, wanted: int) -> list[Offer]:
        """What it gives for ever more of what stands there, the cheapest first, as tried out on the fleet."""
        parts = [part for part in self.parts(wanted) if self._draft.may(part.unit)]
        before = best = self.counted
        limit = before + wanted
        found: list[Offer] = []
        taken: list[Part] = []
        denied = False
        with self._draft.trial():
            for part in parts:
                if not self._draft.take(part.unit, self.number):
                    denied = True
                    continue
                taken.append(part)
                room = self.room(limit)
                if room > best:
                    best = room
                    found.append(Offer(room - before, tuple(taken)))
                if room >= limit:
                    break
        if len({pod.shape for part in taken for pod in part.pods}) > 1:
            found = [self._reprieved(offer, before, wanted) for offer in found]
        if denied:
            # A cheap one may have used up what is allowed, where another would have been of use.
            found += self._alone(parts, before, limit)
        return found

    def _alone(self, parts: Sequence[Part], before: int, limit: int) -> list[Offer]:
        """What each gives by itself."""
        found = []
        for part in parts:
            with self._draft.trial():
                if self._draft.take(part.unit, self.number) and (room := self.room(limit)) > before:
                    found.append(Offer(room - before, (part,)))
        return found

    def _reprieved(self, offer: Offer, before: int, wanted: int) -> Offer:
        """The same slots without those who need not leave for them, the dearest spared first."""
        if not 1 < len(offer.parts) <= _MOST_REPRIEVED:
            return offer
        needed = list(offer.parts)
        for part in sorted(offer.parts, key=lambda part: part.weight(wanted), reverse=True):
            rest = [each for each in needed if each is not part]
            if not rest:
                break
            with self._draft.trial():
                taken = all(self._draft.take(each.unit, self.number) for each in rest)
                is_enough = taken and self.room(before + offer.slots) >= before + offer.slots
            if is_enough:
                needed = rest
        return Offer(offer.slots, tuple(needed))

    def _free(self) -> list[int]:
        """What is free of what the shape needs; of devices, what is counted on already."""
        fleet, row, measure = self._draft.fleet, self.number, self._measure
        node = fleet.nodes[row]
        if node is None:
            return [0] * len(measure.names)
        used, allocatable, requests = fleet.used[row], node.allocatable, self._shape.requests
        return [
            allocatable.get(name, 0) - used.get(name, 0) if name in requests else self.counted * amount
            for name, amount in zip(measure.names, measure.amounts, strict=True)
        ]
