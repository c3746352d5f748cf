"""What a node could give: how many more pods of a shape fit there if some of those on it leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        share = here / min(total, max(wanted, here))
        return float(unit.level), total * share, share, unit.level * share, unit.cost * share


@dataclass(frozen=True, slots=True)
class Offer:
    """If these leave, this many more pods fit on the row."""

    slots: int
    parts: tuple[Part, ...]

    def key(self, wanted: int) -> Key:
        return key_of(self.parts, self.slots, wanted)


def key_of(parts: Sequence[Part], slots: int, wanted: int) -> Key:
    """What each of the pods that get a place costs; no more than `wanted` do."""
    used = min(slots, wanted) or 1
    level, pods, gangs, levels, cost = NOTHING
    for part in parts:
        weight = part.weight(wanted)
        level = max(level, weight[0])
        pods += weight[1]
        gangs += weight[2]
        levels += weight[3]
        cost += weight[4]
    return level, pods / used, gangs / used, levels / used, cost / used


class Row:
    """One row, for one shape."""

    def __init__(self, outlook: Outlook, units: Units, draft: Draft, shape: Shape, row: int) -> None:
        self.number = row
        self._outlook = outlook
        self._draft = draft
        self._shape = shape
        self._on: list[tuple[Unit, PodView]] = units.on.get(row, [])

    def parts(self, wanted: int) -> list[Part]:
        """What is there to take, the cheapest first."""
        by_unit: dict[Unit, list[PodView]] = {}
        for unit, pod in self._on:
            if not self._draft.has_taken(unit, pod):
                by_unit.setdefault(unit, []).append(pod)
        found = [Part(unit, tuple(pods)) for unit, pods in by_unit.items()]
        return sorted(found, key=lambda part: (part.weight(wanted), part.unit.order))

    def guess(self, wanted: int) -> Key | None:
        """The cost per pod if amounts were all that mattered; None where nothing could be taken.

        Devices are told by the quota names of their classes. No answer, only an order in which to ask.
        """
        needs = self._shape.demand
        free = self._free(needs)
        best: Key | None = None
        taken: list[Part] = []
        for part in self.parts(wanted):
            taken.append(part)
            for pod in part.pods:
                demand = pod.shape.demand
                for name in needs:
                    free[name] += demand.get(name, 0)
            slots = min((free[name] // amount for name, amount in needs.items() if amount), default=0)
            if slots <= 0:
                continue
            key = key_of(taken, slots, wanted)
            if best is None or key < best:
                best = key
            if slots >= wanted:
                break
        if best is None and taken:
            # Another class may be for the same devices.
            return key_of(taken, 1, wanted)
        return best

    def room(self, limit: int) -> int:
        """How many pods fit there now."""
        return self._outlook.of(self._shape).room(self.number, limit)

    def offers(self, wanted: int) -> list[Offer]:
        """What it gives for ever more of what stands there, the cheapest first, as tried out on the fleet."""
        parts = self.parts(wanted)
        before = best = self.room(wanted)
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

    def _free(self, needs: Mapping[str, int]) -> dict[str, int]:
        fleet, row = self._draft.fleet, self.number
        node = fleet.nodes[row]
        if node is None:
            return dict.fromkeys(needs, 0)
        used, requests = fleet.used[row], self._shape.requests
        room = None
        free = {}
        for name in needs:
            if name in requests:
                free[name] = node.allocatable.get(name, 0) - used.get(name, 0)
            else:
                if room is None:
                    room = self.room(1)
                free[name] = room * needs[name]
        return free
