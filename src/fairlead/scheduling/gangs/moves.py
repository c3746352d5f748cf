"""The decisions of the search: which domain a part goes to and how many of its pods, and which row a pod goes to."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from fairlead.scheduling.fleet.options import NOWHERE
from fairlead.scheduling.gangs.arrange import arrange
from fairlead.scheduling.gangs.bounds import Bounds
from fairlead.scheduling.gangs.joint import mates, place_jointly
from fairlead.scheduling.gangs.parts import Batch, Part
from fairlead.scheduling.gangs.places import candidate_places, levels_of
from fairlead.scheduling.gangs.prospects import Prospects, counts_of
from fairlead.scheduling.gangs.rooms import depends_on_pods, may_gain
from fairlead.scheduling.gangs.splits import Slot, Split, splits
from fairlead.scheduling.gangs.totals import Totals
from fairlead.scheduling.gangs.trial import Agenda, Decision, Must, Place, Trial
from fairlead.scheduling.gangs.twins import Twins
from fairlead.scheduling.snapshot import PodView

_SWIFT_SPLITS: Final = 4
"""Ways to share out the pods of a part that a search that is not thorough looks at."""
_SETTLE_STEPS: Final = 20
"""What counting the room of all domains counts for."""
_RUN_STEPS: Final = 10
"""What arranging pods counts for, beside the pods."""
_PUT_STEPS: Final = 50
"""What putting a pod somewhere in a thorough search counts for, beside the rows looked at."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the decisions of one gang share."""

    bounds: Bounds
    twins: Twins
    totals: Totals
    prospects: Prospects

    def look(self) -> None:
        """Remembers what the fleet is like before a thorough search changes it."""
        self.twins.look()
        self.totals.look()


@dataclass(frozen=True, slots=True, eq=False)
class Settle:
    """Where a part goes, with `target` of its pods or a few more."""

    rules: Rules
    part: Part
    within: Place
    target: int

    @property
    def key(self) -> Hashable:
        return "settle", self.part.kind, self.within.key, self.target

    def must(self) -> Must:
        return Must(counts_of(self.part, self.target), self.within, self.part)

    def ways(self, trial: Trial, rest: Agenda | None) -> Iterator[tuple[Decision, ...]]:
        part, rules = self.part, self.rules
        for levels in levels_of(trial, part):
            trial.budget.spend(_SETTLE_STEPS)
            tried: set[Hashable] = set()
            for place in candidate_places(trial, rules.bounds, part, self.within, levels, self.target):
                trial.budget.spend(1)
                if trial.is_thorough and rules.twins.apply and levels and not part.bound:
                    likeness = rules.twins.domain(trial, place.rows, levels)
                    if likeness in tried:
                        continue
                    tried.add(likeness)
                yield from self._shared_out(trial, place, rest)

    def _shared_out(self, trial: Trial, place: Place, rest: Agenda | None) -> Iterator[tuple[Decision, ...]]:
        part = self.part
        ways = splits(slots_of(part), self.target, part.least_parts)
        for split in ways if trial.is_thorough else itertools.islice(ways, _SWIFT_SPLITS):
            trial.budget.spend(1)
            decisions = self._decisions(place, split)
            if trial.is_thorough and not self.rules.prospects.are_open(trial, (*decisions, *(rest or ()))):
                continue
            trial.settled.append((part.number, place))
            yield decisions

    def first_way(self, place: Place) -> tuple[Decision, ...]:
        """What has to be decided if the part goes to a place with the obvious ones of its pods; nothing where not as
        many can go anywhere."""
        split = next(splits(slots_of(self.part), self.target, self.part.least_parts), None)
        return () if split is None else self._decisions(place, split)

    def _decisions(self, place: Place, split: Split) -> tuple[Decision, ...]:
        """Parts before pods of no part, those with levels and many pods first; last those that wait for others."""
        part, rules = self.part, self.rules
        counts = zip(part.parts, split[: len(part.parts)], strict=True)
        parts = [Settle(rules, each, place, count) for each, count in counts if count > 0]
        parts.sort(key=lambda each: (not each.part.topology.required, -each.target))
        batches = zip(part.batches, split[len(part.parts) :], strict=True)
        runs = [Run(rules, part, place, batch, 0, count) for batch, count in batches if count > 0]
        runs.sort(key=lambda run: may_gain(run.batch.shape))
        return *parts, *runs


def slots_of(part: Part) -> list[Slot]:
    """The pieces of a part: its parts, then its batches."""
    slots = [Slot(each.need, each.size, not each.is_slice) for each in part.parts]
    return [*slots, *(Slot(0, len(batch.pods), False) for batch in part.batches)]


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Which rows so many pods of a batch go to, from `start` on."""

    rules: Rules
    part: Part
    place: Place
    batch: Batch
    start: int
    count: int

    @property
    def key(self) -> Hashable:
        return "run", self.part.kind, self.place.key, self.batch.shape, self.count

    @property
    def pods(self) -> tuple[PodView, ...]:
        return self.batch.pods[self.start : self.start + self.count]

    def must(self) -> Must:
        return Must({self.batch.shape: self.count}, self.place)

    def ways(self, trial: Trial, rest: Agenda | None) -> Iterator[tuple[Decision, ...]]:
        if trial.is_thorough:
            yield from self._one(trial, rest)
        elif any(trial.outlook.fleet.is_lacking(key) for key in self.batch.shape.shared_claims):
            yield from self._anchored(trial)
        else:
            trial.budget.spend(_RUN_STEPS + self.count)
            if put_down(trial, self.part, self.place, self.pods):
                yield ()

    def _anchored(self, trial: Trial) -> Iterator[tuple[Decision, ...]]:
        """The first pod decides which devices all share: each row is tried for it, those with room for most of the
        others first."""
        first, *others = self.pods
        options = trial.options(first.shape)
        rows = self.place.rows[options.scores[self.place.rows] > NOWHERE]
        rooms = options.rooms(rows.tolist(), self.count)
        order = np.lexsort((-options.scores[rows], -rooms))
        for row in rows[order].tolist():
            trial.budget.spend(1)

            def both(row: int = row) -> bool:
                return trial.place(first, row) and put_down(trial, self.part, self.place, others)

            if trial.attempt(both):
                yield ()

    def _one(self, trial: Trial, rest: Agenda | None) -> Iterator[tuple[Decision, ...]]:
        """Row after row for the first pod; rows like one that led nowhere are left out."""
        pod, twins, prospects = self.pods[0], self.rules.twins, self.rules.prospects
        after = (
            ()
            if self.count == 1
            else (Run(self.rules, self.part, self.place, self.batch, self.start + 1, self.count - 1),)
        )
        tried: set[Hashable] = set()
        for row in self._rows(trial):
            if twins.apply:
                likeness = twins.row(trial, row)
                if likeness in tried:
                    continue
                tried.add(likeness)
            trial.budget.spend(_PUT_STEPS + len(trial.put) // 2)

            def there(row: int = row) -> bool:
                is_put = trial.options(pod.shape).fits(row) and trial.place(pod, row)
                return (is_put or place_jointly(trial, pod, row)) and prospects.are_open(trial, (*after, *(rest or ())))

            if trial.attempt(there):
                yield after

    def _rows(self, trial: Trial) -> list[int]:
        """Rows where the pod may go, the best first: those that a whole arrangement would use, then by score. Where
        others of the gang have the devices, too."""
        shape = self.batch.shape
        options = trial.options(shape)
        rows = self.place.rows[options.scores[self.place.rows] > NOWHERE]
        trial.budget.spend(_RUN_STEPS + len(rows) // 16)
        used: list[int] = []
        if self.rules.bounds.is_countable(shape):
            used = [row for row, _ in arrange(trial, self.part, self.place, shape, self.count)]
        rest = rows[np.argsort(-options.scores[rows], kind="stable")].tolist()
        crowded: list[int] = []
        if shape.own_claims:
            inside = set(self.place.rows.tolist())
            crowded = [row for row in trial.on if row in inside and not options.fits(row)]
            crowded = [row for row in crowded if options.refusal(row) is not None and mates(trial, row)]
        return list(dict.fromkeys((*used, *rest, *crowded)))


def put_down(trial: Trial, part: Part, place: Place, pods: tuple[PodView, ...] | list[PodView]) -> bool:
    """Puts pods of one shape on the rows of a place in the arrangement that the part wishes; False, and nothing is
    changed, where not all fit one after the other."""
    if not pods:
        return True
    if depends_on_pods(pods[0].shape):
        return trial.attempt(lambda: all(_put_best(trial, place, pod) for pod in pods))
    ways = arrange(trial, part, place, pods[0].shape, len(pods))
    if sum(count for _, count in ways) < len(pods):
        return False
    rows = [row for row, count in ways for _ in range(count)]
    return trial.attempt(lambda: all(trial.place(pod, row) for pod, row in zip(pods, rows, strict=True)))


def _put_best(trial: Trial, place: Place, pod: PodView) -> bool:
    options = trial.options(pod.shape)
    row = options.best(place.mask(len(options.scores)))
    return row is not None and trial.place(pod, row)
