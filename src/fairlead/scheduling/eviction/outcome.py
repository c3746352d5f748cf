"""A plan as the verdict that is told, carried out and explained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fairlead.scheduling.eviction.bystanders import Bystander
from fairlead.scheduling.eviction.case import Plan
from fairlead.scheduling.eviction.units import Unit, Units
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.snapshot import PodView
from fairlead.scheduling.verdict import Assignment, Cleared, Placed, Victims


def cleared_by(gang: Gang, plan: Plan, units: Units) -> Cleared:
    """Evictions, or moves."""
    kinds = {units.right(unit).kind for unit in plan.units}
    kind = next((each for each in ("reclaim", "preemption", "consolidation") if each in kinds), "leaving")
    victims = _victims(gang, plan, units)
    one, many = ("moves", "move") if kind == "consolidation" else ("gives way", "give way")
    count, pods = len(victims), plan.rank.pods
    why = f"{count} gang{_s(count)} ({pods} pod{_s(pods)}) {one if count == 1 else many} for {gang.key}"
    return Cleared(gang, victims, nominations_of(plan.assignments), kind, plan.moves, why, plan.assignments)


def cleared_by_waiting(gang: Gang, placed: Placed, leaving: Sequence[PodView]) -> Cleared:
    """Nobody has to go who is not going already."""
    nodes = {assignment.node for assignment in placed.assignments}
    count = sum(1 for pod in leaving if pod.node in nodes)
    why = f"waits for {count} pod{_s(count)} that {'is' if count == 1 else 'are'} leaving"
    return Cleared(gang, (), nominations_of(placed.assignments), "leaving", (), why, placed.assignments)


def _victims(gang: Gang, plan: Plan, units: Units) -> tuple[Victims, ...]:
    by_gang: dict[Bystander, list[tuple[Unit, tuple[PodView, ...]]]] = {}
    for unit, pods in plan.taken:
        by_gang.setdefault(unit.of, []).append((unit, pods))
    return tuple(
        Victims(
            other.gang,
            tuple(pod for _, pods in taken for pod in pods),
            any(unit.is_whole for unit, _ in taken),
            sum(unit.cost * len(pods) / len(unit.pods) for unit, pods in taken),
            f"makes room for {gang.key}: {units.right(taken[0][0]).why}",
        )
        for other, taken in by_gang.items()
    )


def nominations_of(assignments: Iterable[Assignment]) -> dict[str, str]:
    """Pod uid -> node."""
    return {assignment.pod.uid: assignment.node for assignment in assignments}


def _s(count: int) -> str:
    return "" if count == 1 else "s"
