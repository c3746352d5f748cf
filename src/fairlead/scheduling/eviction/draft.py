"""A choice of victims in the making, on a trial of the fleet: taken one by one, and given back in reverse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fairlead.scheduling.eviction.budgets import BudgetTally
from fairlead.scheduling.eviction.bystanders import Bystander, stands_without
from fairlead.scheduling.eviction.cost import Rank
from fairlead.scheduling.eviction.reasons import Reasons
from fairlead.scheduling.eviction.rights import Denial, Ledger
from fairlead.scheduling.eviction.units import Unit, Units
from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.snapshot import PodView


class Draft:
    """What rights, budgets and the gangs' own minimums allow together."""

    def __init__(self, fleet: Fleet, units: Units, ledger: Ledger, tally: BudgetTally, reasons: Reasons) -> None:
        self.fleet = fleet
        self._units = units
        self.tally = tally
        self._ledger = ledger
        self._reasons = reasons
        self._order: list[tuple[Unit, tuple[PodView, ...]]] = []
        self._gone: dict[Bystander, set[str]] = {}

    @property
    def taken(self) -> tuple[tuple[Unit, tuple[PodView, ...]], ...]:
        """Units, with the pods that went with each."""
        return tuple(self._order)

    @property
    def units(self) -> tuple[Unit, ...]:
        return tuple(unit for unit, _ in self._order)

    def may(self, unit: Unit) -> bool:
        """Whether it may be taken, as far as can be told without trying."""
        return self._units.may(unit, alone=not self._order)

    def has_taken(self, unit: Unit, pod: PodView) -> bool:
        gone = self._gone.get(unit.of)
        return gone is not None and pod.uid in gone

    def take(self, unit: Unit, row: int = -1) -> bool:
        """Takes a unit, if that is allowed with what has been taken before: its pods are lifted off the fleet.

        With a row only those that stand there, to see what that frees; all of them count as taken all the same.
        """
        gone = self._gone.setdefault(unit.of, set())
        pods = tuple(pod for pod in unit.pods if pod.uid not in gone)
        if not pods or not self.may(unit) or not self._is_whole_after(unit, gone):
            return False
        denial = self._ledger.take(unit.of, pods)
        if denial is None:
            denial = self.tally.take(pods)
            if denial is not None:
                self._ledger.give_back(unit.of, pods)
        if denial is not None:
            self._deny(unit, denial)
            return False
        gone.update(pod.uid for pod in pods)
        self._order.append((unit, pods))
        for pod in pods:
            standing = self.fleet.pods.get(pod.uid)
            if standing is not None and row in (-1, standing.row):
                self.fleet.lift(pod.uid, frees_claims=True)
        return True

    @contextmanager
    def trial(self) -> Iterator[None]:
        """Whatever is taken inside is given back at the end."""
        taken = len(self._order)
        try:
            with self.fleet.trial():
                yield
        finally:
            while len(self._order) > taken:
                unit, pods = self._order.pop()
                self._gone[unit.of].difference_update(pod.uid for pod in pods)
                self.tally.give_back(pods)
                self._ledger.give_back(unit.of, pods)

    def rank(self) -> Rank:
        """How bad it would be to evict all that has been taken."""
        gangs = {unit.of: unit.level for unit, _ in self._order}
        return Rank(
            self.tally.violations,
            max(gangs.values(), default=float("-inf")),
            sum(len(pods) for _, pods in self._order),
            len(gangs),
            sum(gangs.values()),
            sum(unit.cost * len(pods) / len(unit.pods) for unit, pods in self._order),
        )

    def _is_whole_after(self, unit: Unit, gone: set[str]) -> bool:
        if unit.is_whole or not gone:
            return True
        return stands_without(unit.of.gang, gone | {pod.uid for pod in unit.pods})

    def _deny(self, unit: Unit, denial: Denial) -> None:
        self._reasons.add(unit.of, denial)
        self._reasons.is_limited = True
