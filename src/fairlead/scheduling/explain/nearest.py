"""The nearest miss of a refusal: the domain in which the gang came furthest, with what is free there and who holds the
rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from fairlead.scheduling.explain.neighbours import GangOf, Holder, Spared, holders, in_domain, wanted_classes
from fairlead.scheduling.explain.words import counted, domain_name, listed
from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.fragmentation import MOST, class_claim
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.verdict import DomainReport, Explanation


@dataclass(frozen=True, slots=True)
class Shortage:
    """One device class in a domain."""

    name: str
    wanted: int
    """By the gang in all."""
    free: int
    total: int
    held: int


@dataclass(frozen=True, slots=True)
class NearestMiss:
    """How near the gang came."""

    report: DomainReport
    shortages: tuple[Shortage, ...] = ()
    """Of the classes that the gang wants, those with less free than it wants first."""
    holders: tuple[Holder, ...] = field(default=())

    @property
    def place(self) -> str:
        return domain_name(self.report.level, self.report.value)

    @property
    def sentence(self) -> str:
        """`rack r7 has 6 free gpu.nvidia.com of the 8 wanted; 2 held by batch/job (queue b), not reclaimable: …`."""
        short = [each for each in self.shortages if each.free < each.wanted]
        if not short:
            found = self.report.found
            head = f"{self.place} has room for {found} of {counted(self.report.wanted, 'pod')}"
            return f"{head}: {self._first_reason()}" if self.report.reasons else head
        return "; ".join(self._short(each) for each in short)

    def _first_reason(self) -> str:
        reasons = sorted(self.report.reasons.items(), key=lambda each: (-each[1], each[0]))
        return listed([f"{count} {reason}" for reason, count in reasons], 2)

    def _short(self, shortage: Shortage) -> str:
        head = f"{self.place} has {shortage.free} free {shortage.name} of the {shortage.wanted} wanted"
        holding = [each for each in self.holders if each.amounts.get(shortage.name)]
        if not holding:
            missing = shortage.wanted - shortage.total
            return f"{head}; it has {shortage.total} in all, {missing} too few" if missing > 0 else head
        told = [f"{each.amounts[shortage.name]} held by {each}{_fate(each)}" for each in holding]
        return f"{head}; {listed(told, 3)}"

    @property
    def filled(self) -> DomainReport:
        """The search's report with who holds the rest."""
        held_by = {str(each): each.total for each in self.holders}
        return replace(self.report, held_by=held_by, note=self.sentence)


def _fate(holder: Holder) -> str:
    return f", {holder.spared}" if holder.spared else ""


def nearest_miss(
    fleet: Fleet, gang: Gang, explanation: Explanation, gang_of: GangOf, spared: Spared = lambda _: ""
) -> NearestMiss | None:
    """The first domain of the explanation looked at closely; None where it tells of none."""
    if not explanation.domains:
        return None
    report = explanation.domains[0]
    rows = in_domain(fleet, report.level, report.value)
    wanted = wanted_classes(fleet, gang)
    shortages = [_shortage(fleet, rows, name, count) for name, count in wanted.items()]
    shortages.sort(key=lambda each: (each.free >= each.wanted, each.name))
    return NearestMiss(report, tuple(shortages), _who(fleet, rows, wanted, gang_of, spared))


def fleet_wide(fleet: Fleet, gang: Gang, gang_of: GangOf, spared: Spared = lambda _: "") -> tuple[Holder, ...]:
    """Who holds what the gang wants anywhere: for gangs that no domain binds."""
    rows = [row for row, node in enumerate(fleet.nodes) if node is not None]
    return _who(fleet, rows, wanted_classes(fleet, gang), gang_of, spared)


def _who(
    fleet: Fleet, rows: Sequence[int], wanted: Mapping[str, int], gang_of: GangOf, spared: Spared
) -> tuple[Holder, ...]:
    return holders(fleet, rows, wanted or ("cpu", "memory"), gang_of, spared)


def _shortage(fleet: Fleet, rows: Sequence[int], name: str, wanted: int) -> Shortage:
    one = fleet.devices.wants((class_claim(name, 1),))
    nodes = [node.name for row in rows if (node := fleet.nodes[row]) is not None]
    free = sum(fleet.devices.room(one, node, MOST) for node in nodes)
    total = sum(fleet.devices.idle_room(one, node, MOST) for node in nodes)
    return Shortage(name, wanted, free, total, max(0, total - free))
