"""Which victims: nodes and domains are chosen by what their cheapest victims cost for each pod that gets a place.

Everything is tried out on the fleet, so that what a choice rests on are the scheduler's own filters and devices.
Groups are seen to in order: what one gets is taken before the next one looks. The choice need not be the best; it is
proven and pruned elsewhere.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from fairlead.scheduling.eviction.draft import Draft
from fairlead.scheduling.eviction.needs import Need
from fairlead.scheduling.eviction.offers import NOTHING, Key, Measure, Offer, Row, key_of
from fairlead.scheduling.eviction.steps import Steps
from fairlead.scheduling.eviction.units import Units
from fairlead.scheduling.fleet.options import Outlook
from fairlead.scheduling.snapshot import PodView, Shape

_MOST_REGIONS: Final = 12
"""Domains that are tried out, the most promising ones by amounts alone."""

Rows = Sequence[int]


@dataclass(slots=True)
class _Candidate:
    row: Row
    offers: list[Offer] | None = None
    """None: not asked yet."""
    version: int = 0


class Chooser:
    """Chooses victims for a gang into a draft."""

    def __init__(self, outlook: Outlook, units: Units, draft: Draft, steps: Steps) -> None:
        self._outlook = outlook
        self._fleet = outlook.fleet
        self._units = units
        self._draft = draft
        self._steps = steps

    def choose(self, need: Need, rows: Rows) -> bool:
        """Takes victims so that the pods of the need should fit on the rows. False: not found; the draft may then hold
        some all the same."""
        regions = self._regions(need, rows)
        if len(regions) > 1:
            regions = self._order(need, regions)
        best: tuple[tuple[float, ...], Rows] | None = None
        for region in regions[:_MOST_REGIONS]:
            if len(regions) == 1:
                return self._choose_in(need, region)
            with self._draft.trial():
                if self._choose_in(need, region):
                    rank = tuple(self._draft.rank())
                    if best is None or rank < best[0]:
                        best = rank, region
        return best is not None and self._choose_in(need, best[1])

    def _choose_in(self, need: Need, rows: Rows) -> bool:
        """The same, inside a domain."""
        batches = need.shapes()
        for number, (shape, pods) in enumerate(batches):
            if not self._make_slots(shape, len(pods), rows):
                return False
            is_last = number == len(batches) - 1 and not need.parts
            if not is_last and not self._occupy(pods, rows):
                return False
        for number, part in enumerate(need.parts):
            if not self.choose(part, rows):
                return False
            # Pods of the part's own last shape are not on the fleet yet, and others come after it.
            if number < len(need.parts) - 1 and not self._occupy(self._waiting(part), rows):
                return False
        return True

    def _make_slots(self, shape: Shape, wanted: int, rows: Rows) -> bool:
        """Takes victims until there is room for `wanted` pods of a shape on the rows."""
        rooms = self._outlook.of(shape).rooms(rows, wanted)
        wanted -= int(rooms.sum())
        if wanted <= 0:
            return True
        self._steps.spend(len(rows))
        heap: list[tuple[Key, int, int]] = []
        candidates: dict[int, _Candidate] = {}
        measure = Measure(shape)
        for row, room in zip(rows, rooms.tolist(), strict=True):
            if row not in self._units.on:
                continue
            candidate = candidates[row] = _Candidate(Row(self._outlook, self._units, self._draft, measure, row))
            candidate.row.counted = room
            guess = candidate.row.guess(wanted)
            if guess is not None:
                heap.append((guess, row, 0))
        heapq.heapify(heap)
        while wanted > 0 and heap:
            key, number, version = heapq.heappop(heap)
            candidate = candidates[number]
            if version != candidate.version:
                continue
            if candidate.offers is None:
                self._steps.spend(1)
                candidate.offers = candidate.row.offers(wanted)
                candidate.version += 1
            place, now = _best(candidate.offers, wanted)
            if place < 0:
                continue
            if now > key and heap and now > heap[0][0]:
                candidate.version += 1
                heapq.heappush(heap, (now, number, candidate.version))
                continue
            offer = _widest(candidate.offers[place:], wanted, heap[0][0] if heap else None)
            wanted = self._accept(offer, wanted, candidates, heap)
        return wanted <= 0

    def _accept(
        self,
        offer: Offer,
        wanted: int,
        candidates: dict[int, _Candidate],
        heap: list[tuple[Key, int, int]],
    ) -> int:
        """Takes an offer. How many pods still want a place."""
        touched: dict[int, None] = {}
        for part in offer.parts:
            touched |= dict.fromkeys(row for row in self._units.rows_of(part.unit) if row in candidates)
        for part in offer.parts:
            self._draft.take(part.unit)
        left = wanted
        for row in touched:
            candidate = candidates[row]
            left -= candidate.row.gain(left)
            candidate.offers = None
            candidate.version += 1
        if left > 0:
            for row in touched:
                guess = candidates[row].row.guess(left)
                if guess is not None:
                    heapq.heappush(heap, (guess, row, candidates[row].version))
        return left

    def _occupy(self, pods: Iterable[PodView], rows: Rows) -> bool:
        """Puts pods on the rows with their devices, as nobody else may have that room."""
        mask = np.zeros(len(self._fleet.nodes), dtype=np.bool_)
        mask[list(rows)] = True
        for pod in pods:
            self._steps.spend(1)
            row = self._outlook.of(pod.shape).best(mask)
            if row is None:
                return False
            self._fleet.place(pod, row)
        return True

    def _waiting(self, need: Need) -> tuple[PodView, ...]:
        return tuple(pod for pod in need.all_pods if pod.uid not in self._fleet.pods)

    def _regions(self, need: Need, rows: Rows) -> list[Rows]:
        """The rows by domain, of all levels that the need names at once; only where its anchors are, if it has any."""
        if not need.levels:
            return [rows]
        by_domain: dict[tuple[str, ...], list[int]] = {}
        for row in rows:
            domain = self._domain(row, need.levels)
            if domain is not None:
                by_domain.setdefault(domain, []).append(row)
        standing = (self._fleet.pods.get(pod.uid) for pod in need.anchors)
        anchored = {self._domain(each.row, need.levels) for each in standing if each is not None}
        if anchored:
            return [found for domain, found in by_domain.items() if {domain} == anchored]
        return list(by_domain.values())

    def _domain(self, row: int, levels: Sequence[str]) -> tuple[str, ...] | None:
        node = self._fleet.nodes[row]
        if node is None:
            return None
        values = [node.value(level) for level in levels]
        return None if None in values else tuple(value for value in values if value is not None)

    def _order(self, need: Need, regions: list[Rows]) -> list[Rows]:
        """Regions by what they would cost if amounts were all that mattered; those that cannot do are left out."""
        pods = need.all_pods
        if not pods:
            return regions
        shape = max((pod.shape for pod in pods), key=lambda each: sum(each.devices.values()))
        wanted = sum(1 for pod in pods if pod.shape is shape)
        options = self._outlook.of(shape)
        guessed = []
        for number, rows in enumerate(regions):
            self._steps.spend(len(rows))
            free = int(options.rooms(rows, wanted).sum())
            guess = self._guess(shape, wanted - free, rows)
            if guess is not None:
                guessed.append((guess, number))
        return [regions[number] for _, number in sorted(guessed)]

    def _guess(self, shape: Shape, wanted: int, rows: Rows) -> Key | None:
        """Highest level, then sums, over the cheapest rows of a region."""
        if wanted <= 0:
            return NOTHING
        keys, measure = [], Measure(shape)
        for row in rows:
            if row in self._units.on:
                key = Row(self._outlook, self._units, self._draft, measure, row).guess(wanted)
                if key is not None:
                    keys.append(key)
        if not keys:
            return None
        keys.sort()
        chosen = keys[:wanted]
        sums = [sum(key[place] for key in chosen) / len(chosen) for place in range(1, 5)]
        return (max(key[0] for key in chosen), sums[0], sums[1], sums[2], sums[3])


def _best(offers: Sequence[Offer], wanted: int) -> tuple[int, Key]:
    """The place of the cheapest, the widest of equals; -1 where there is none."""
    best, least = -1, NOTHING
    for place, offer in enumerate(offers):
        key = offer.key(wanted)
        if best < 0 or key < least or (key == least and offer.slots > offers[best].slots):
            best, least = place, key
    return best, least


def _widest(offers: Sequence[Offer], wanted: int, elsewhere: Key | None) -> Offer:
    """The first, or one that adds to it what costs no more than it does elsewhere: it need not be asked again."""
    best = offers[0]
    for offer in offers[1:]:
        if best.slots >= wanted or offer.parts[: len(best.parts)] != best.parts:
            break
        added = key_of(offer.parts[len(best.parts) :], offer.slots - best.slots, wanted - best.slots)
        if elsewhere is not None and added > elsewhere:
            break
        best = offer
    return best
