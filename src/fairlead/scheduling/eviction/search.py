"""The search for a plan: choose, spare, prove; and where that fails, begin with everybody."""

from __future__ import annotations

from fairlead.scheduling.eviction.case import Case, Plan
from fairlead.scheduling.eviction.choice import Chooser
from fairlead.scheduling.eviction.pruning import best_of_all_sets, can_count, spare_by_count, spare_by_proof
from fairlead.scheduling.eviction.units import Unit


def find_plan(case: Case) -> Plan | None:
    """The best plan that is found: of few units the best there is, of many one from which nobody can be spared."""
    chosen = _choose(case)
    plan = None
    if chosen is not None:
        kept = spare_by_count(case, chosen)
        plan = case.prove(kept)
        if plan is not None and can_count(case):
            # Whoever is left is needed: there is nobody to spare.
            return best_of_all_sets(case, plan)
        if plan is None and len(kept) < len(chosen):
            plan = case.prove(chosen)
    if plan is None:
        plan = _of_everybody(case)
    if plan is not None:
        plan = spare_by_proof(case, plan)
    elif not case.reasons.is_limited:
        # Not even with all of them gone, and nothing but the gang's own needs was in the way.
        return None
    return best_of_all_sets(case, plan)


def _choose(case: Case) -> tuple[Unit, ...] | None:
    draft = case.draft()
    rows = [row for row, node in enumerate(case.outlook.fleet.nodes) if node is not None]
    with draft.trial():
        is_enough = Chooser(case.outlook, case.units, draft, case.steps).choose(case.need, rows)
        return draft.units if is_enough else None


def _of_everybody(case: Case) -> Plan | None:
    """With all gone of the lowest levels that are enough; then without those who stand where the gang does not go."""
    levels = sorted({unit.level for unit in case.units.all if case.units.may(unit)})
    if not levels:
        return None
    plan = _up_to(case, levels[-1])
    if plan is None:
        return None
    for level in levels[:-1]:
        lower = _up_to(case, level)
        if lower is not None:
            plan = lower
            break
    nodes = {assignment.node for assignment in plan.assignments}
    fleet = case.outlook.fleet
    rows = {fleet.row_of[name] for name in nodes}
    near = [unit for unit in plan.units if not rows.isdisjoint(case.units.rows_of(unit))]
    near = spare_by_count(case, near)
    return case.prove(near) or plan


def _up_to(case: Case, level: int) -> Plan | None:
    """All that may go together, the cheapest first."""
    draft = case.draft()
    allowed: list[Unit] = []
    wholes = (unit for unit in case.units.all if unit.is_whole and unit.level <= level)
    with draft.trial():
        for unit in sorted(wholes, key=lambda unit: (unit.level, len(unit.pods), unit.cost, unit.order)):
            case.steps.spend(1)
            if draft.take(unit):
                allowed.append(unit)
    return case.prove(allowed) if allowed else None
