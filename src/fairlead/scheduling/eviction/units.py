"""What can be taken of others in one piece: a gang, or one pod that it can spare."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fairlead.scheduling.eviction.bystanders import Bystander
from fairlead.scheduling.eviction.cost import Price, price_of
from fairlead.scheduling.eviction.reasons import Reasons
from fairlead.scheduling.eviction.rights import Denial, Right, Rights, objection
from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.snapshot import PodView


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """Pods of one gang that go together."""

    of: Bystander
    right: Right
    pods: tuple[PodView, ...]
    is_whole: bool
    cost: float
    """Pod-hours."""
    order: int
    """By which ties are broken."""

    @property
    def level(self) -> int:
        return self.right.level


class Units:
    """All that may be taken for a gang, and where it stands."""

    def __init__(self, fleet: Fleet) -> None:
        self.all: list[Unit] = []
        self.on: dict[int, list[tuple[Unit, PodView]]] = {}
        """By row: the pods that stand there."""
        self._fleet = fleet

    def add(self, of: Bystander, right: Right, now_s: float) -> None:
        """A gang may be taken: all of it, or pods that it can spare."""
        for pod in of.surplus:
            self._add(of, right, (pod,), False, price_of((pod,)), now_s)
        self._add(of, right, of.pods, True, of.price, now_s)

    def _add(
        self, of: Bystander, right: Right, pods: tuple[PodView, ...], is_whole: bool, price: Price, now_s: float
    ) -> None:
        unit = Unit(of, right, pods, is_whole, price.at(now_s), len(self.all))
        standing, on = self._fleet.pods, self.on
        rows = [(standing[pod.uid].row, pod) for pod in pods if pod.uid in standing]
        if not rows:
            return
        self.all.append(unit)
        for row, pod in rows:
            if row in on:
                on[row].append((unit, pod))
            else:
                on[row] = [(unit, pod)]

    def rows_of(self, unit: Unit) -> dict[int, list[PodView]]:
        """Its pods by row."""
        found: dict[int, list[PodView]] = {}
        for pod in unit.pods:
            standing = self._fleet.pods.get(pod.uid)
            if standing is not None:
                found.setdefault(standing.row, []).append(pod)
        return found


def units_to_evict(
    fleet: Fleet, gang: Gang, candidates: Iterable[Bystander], rights: Rights, reasons: Reasons, now_s: float
) -> Units:
    """What may be evicted for a gang. Why others may not goes to the reasons."""
    units = Units(fleet)
    for other in candidates:
        if other.gang is gang or not other.pods:
            continue
        answer = objection(gang, other) or rights.to_evict(gang, other, now_s)
        if isinstance(answer, Denial):
            reasons.add(other, answer)
        else:
            units.add(other, answer, now_s)
    return units


def units_to_move(
    fleet: Fleet, gang: Gang, candidates: Sequence[Bystander], rights: Rights, reasons: Reasons, now_s: float
) -> Units:
    """What may be restarted elsewhere for a gang: whole gangs that are no larger than it."""
    units = Units(fleet)
    most = len(gang.pods)
    for other in candidates:
        if other.gang is gang or not other.pods or len(other.pods) > most:
            continue
        answer = objection(gang, other) or rights.to_move(gang, other, now_s)
        if isinstance(answer, Denial):
            reasons.add(other, answer)
        else:
            units.add(other, answer, now_s)
    return units
