"""The allocator in `best` mode: the same in and out as `allocate`, but the cheapest devices instead of the first.

Where upstream is merely odd, this is not: constraints mean what the API promises, a request for all devices that breaks
a constraint leaves the alternatives, admin access takes nothing, and a selector that fails on a device passes it over
as long as others do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fairlead.scheduling.allocator.allocate import DEFAULT_BUDGET, Found, find_first
from fairlead.scheduling.allocator.best import BEST_BUDGET, Best, cost_of, find_best
from fairlead.scheduling.allocator.cost import Cost
from fairlead.scheduling.allocator.errors import AllocationError
from fairlead.scheduling.allocator.held import NOTHING_HELD, Given, Held, in_use_of
from fairlead.scheduling.allocator.layout import build_layout
from fairlead.scheduling.allocator.pools import NodePools
from fairlead.scheduling.allocator.problem import Problem, judge, pose
from fairlead.scheduling.allocator.requests import Plan, find_error
from fairlead.scheduling.allocator.result import ShareIds, derive_share_id, write_results
from fairlead.scheduling.allocator.state import Grant
from fairlead.scheduling.allocator.verdict import Allocated, Decision, DoesNotFit, Failed, Pick

_EXPLAIN_BUDGET: Final = 5_000
"""Steps for finding out what stands in the way once it is known that nothing fits."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Devices by place, and what they cost."""

    given: tuple[Given, ...]
    cost: Cost
    is_best: bool
    """Whether it is known that nothing cheaper exists; not where the search was cut off or takes the first that do."""
    steps: int


def allocate_best(
    plan: Plan,
    view: NodePools,
    held: Held = NOTHING_HELD,
    *,
    budget: int = BEST_BUDGET,
    share_ids: ShareIds = derive_share_id,
) -> Decision:
    """The cheapest devices for all claims of the plan on one node; or what stands in the way.

    Plans made with `exact=True` are meant. A search that uses up its budget gives the best it has found.
    """
    error = find_error(plan)
    if error is not None:
        return Failed(error.fault, str(error), error.on_this_node, 0)
    problem = pose(plan, view, build_layout(view, plan.features), judge(plan, view))
    choice = choose_best(plan, view, problem, held, budget=budget)
    if not isinstance(choice, Choice):
        return choice
    try:
        owners = [claim.claim for claim in plan.claims]
        allocations = write_results(plan, choice.given, view, owners, share_ids)
    except AllocationError as failure:
        return Failed(failure.fault, str(failure), failure.on_this_node, choice.steps)
    picks = tuple(
        Pick(claim, plan.claims[claim].requests[request].alternatives[way].name, view.candidates[position].device.id)
        for claim, request, way, position in choice.given
    )
    return Allocated(allocations, picks, choice.steps)


def choose_best(
    plan: Plan, view: NodePools, problem: Problem, held: Held, *, budget: int = BEST_BUDGET
) -> Choice | DoesNotFit | Failed:
    """The search of `allocate_best` alone."""
    best = find_best(problem, held, budget=budget)
    if isinstance(best, Best):
        return Choice(best.given, best.cost, best.is_proven, best.steps)
    # To be told what stands in the way; or in case the first fit finds what the cut-off search has not come to.
    return choose_first(
        plan,
        view,
        problem,
        held,
        budget=_EXPLAIN_BUDGET if best.is_proven else budget // 3,
        before=best.steps,
        is_hopeless=best.is_proven,
    )


def choose_first(
    plan: Plan,
    view: NodePools,
    problem: Problem,
    held: Held,
    *,
    budget: int = DEFAULT_BUDGET,
    before: int = 0,
    is_hopeless: bool = False,
) -> Choice | DoesNotFit | Failed:
    """The first devices that do, with what they cost. `before` steps were made already."""
    found = find_first(plan, view, in_use_of(view, held), budget=budget, is_hopeless=is_hopeless)
    if not isinstance(found, Found):
        return found
    given = tuple(
        Given(claim, *_place(plan, claim, grant), grant.position)
        for claim, grants in enumerate(found.grants)
        for grant in grants
    )
    return Choice(given, cost_of(problem, held, given), is_best=False, steps=before + found.steps)


def _place(plan: Plan, claim: int, grant: Grant) -> tuple[int, int]:
    for i, request in enumerate(plan.claims[claim].requests):
        for k, alternative in enumerate(request.alternatives):
            if alternative is grant.alternative:
                return i, k
    raise LookupError(f"claim {plan.claims[claim].key} has no request {grant.alternative.name}")
