"""Making room for a gang: whose leaving, or moving, lets it fit. A pure decision, proven on the fleet and undone.

In this order, the first that helps is the answer:

1. pods that are leaving anyway: the gang waits for them, and nobody else is evicted, as in kube-scheduler;
2. consolidation: small work is moved elsewhere and loses nothing but its start;
3. eviction of those whose place the gang has a right to: the fewest and cheapest.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from fairlead.scheduling.eviction.budgets import Budgets
from fairlead.scheduling.eviction.bystanders import Bystander
from fairlead.scheduling.eviction.case import Case, Plan, Question
from fairlead.scheduling.eviction.consolidation import consolidate
from fairlead.scheduling.eviction.leaving import leaving_pods, staying
from fairlead.scheduling.eviction.needs import need_of
from fairlead.scheduling.eviction.outcome import cleared_by, cleared_by_waiting
from fairlead.scheduling.eviction.reasons import NoRoom, Reasons
from fairlead.scheduling.eviction.reservations import stand_ins
from fairlead.scheduling.eviction.rights import SYSTEM_CRITICAL, Rights
from fairlead.scheduling.eviction.search import find_plan
from fairlead.scheduling.eviction.steps import OutOfSteps, Steps
from fairlead.scheduling.eviction.units import Units, units_to_evict
from fairlead.scheduling.fleet.options import Outlook
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.gangs.search import Limits, place_gang
from fairlead.scheduling.snapshot import PodView
from fairlead.scheduling.verdict import Assignment, Cleared, Placed

DEFAULT_BUDGET: Final = 400_000
"""Steps of one search: a look at a node, or a pod put somewhere."""


@dataclass(frozen=True, slots=True)
class EvictionLimits:
    """What bounds a search for room."""

    budget: int = DEFAULT_BUDGET
    moves: bool = True
    """Whether work may be moved (consolidation)."""
    evicts: bool = True
    """Whether work may be evicted without a new place."""


def find_room(
    outlook: Outlook,
    gang: Gang,
    candidates: Sequence[Bystander],
    rights: Rights,
    budgets: Budgets,
    now_s: float,
    limits: EvictionLimits = EvictionLimits(),
    told: AbstractSet[str] = frozenset(),
    moving: Sequence[Assignment] = (),
) -> Cleared | NoRoom:
    """Whose leaving makes room for a gang that has none; call it once `place_gang` has refused it.

    `told`: uids of pods that were told to leave though the API does not show it yet (`Reservations.told`).
    `moving`: where some of them were promised a new place (`Reservations.moving`).
    The fleet is as before afterwards; `Reservations` holds the room for as long as the victims take to leave.
    """
    reasons, steps = Reasons(), Steps(limits.budget)
    if gang.waits_for:
        return NoRoom(f"{gang.key} {gang.waits_for}")
    fleet = outlook.fleet
    candidates = staying(candidates, told)
    leaving = leaving_pods(fleet, candidates, told, now_s)
    standing = (fleet.pods[uid].pod for uid in told if uid in fleet.pods)
    disrupted = budgets.counted(pod for pod in standing if not pod.is_leaving)
    try:
        with fleet.trial():
            for pod in leaving:
                fleet.lift(pod.uid, frees_claims=True)
            found = _wait(outlook, gang, leaving, steps) if leaving else None
            if found is None and not all(pod.may_preempt for pod in gang.pods):
                return NoRoom(f"{gang.key} evicts nobody: its preemptionPolicy is Never", steps=steps.spent)
            question = Question(outlook, gang, need_of(gang), candidates, rights, budgets, disrupted, steps, now_s)
            if found is None and limits.moves:
                with stand_ins(fleet, moving):
                    found = consolidate(question)
            if found is None and limits.evicts:
                found = _evict(question, reasons)
            return found or reasons.verdict(_sentence(gang, candidates), steps.spent)
    except OutOfSteps:
        sentence = f"the search for room for {gang.key} was cut off after {limits.budget} steps: raise its budget"
        return reasons.verdict(sentence, steps.spent, is_cut_off=True)


def _wait(outlook: Outlook, gang: Gang, leaving: Sequence[PodView], steps: Steps) -> Cleared | None:
    """The gang fits once those are gone that are leaving."""
    with outlook.fleet.trial():
        verdict = place_gang(outlook, gang, Limits(budget=max(1, steps.left), explains=False))
        if isinstance(verdict, Placed):
            return cleared_by_waiting(gang, verdict, leaving)
        steps.spend(max(1, verdict.explanation.steps))
        return None


def _evict(question: Question, reasons: Reasons) -> Cleared | None:
    gang = question.gang
    units = units_to_evict(question, reasons)
    case = Case(question, units, reasons, partial(question.rights.ledger, gang))
    plan = _plan(case, units)
    if plan is None and gang.priority >= SYSTEM_CRITICAL and question.budgets.all:
        plan = _plan(replace(case, binds=False), units)
    if plan is None:
        units.ask_all()
        return None
    return cleared_by(gang, plan, units)


def _plan(case: Case, units: Units) -> Plan | None:
    return find_plan(case) if units.all else None


def _sentence(gang: Gang, candidates: Sequence[Bystander]) -> str:
    if not candidates:
        return f"nobody else runs who could make room for {gang.key}"
    return f"{gang.key} would not fit even if all left that may be evicted for it"
