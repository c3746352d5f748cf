"""The allocator: a node's devices, what is in use and the claims of a pod in; allocations or the reason against out.

Pure: slices are prepared once (`prepare_slice`, `build_catalogue`), a node's view and a pod's plan are made once, and
`allocate` decides from them. Answers are those of Kubernetes' own allocator, device by device, save where that hands
out more than exists or refuses what is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fairlead.scheduling.allocator.eligibility import Eligibility, Trial
from fairlead.scheduling.allocator.errors import AllocationError, Fault
from fairlead.scheduling.allocator.in_use import InUse
from fairlead.scheduling.allocator.pools import NodePools
from fairlead.scheduling.allocator.requests import MAX_RESULTS, Plan
from fairlead.scheduling.allocator.result import ShareIds, build_result, derive_share_id
from fairlead.scheduling.allocator.search import Search
from fairlead.scheduling.allocator.state import Grant, SearchState
from fairlead.scheduling.allocator.verdict import Allocated, Decision, DoesNotFit, Failed, Pick

DEFAULT_BUDGET: Final = 250_000
"""Steps of one search, each a look at one device or a move to the next one wanted: about a quarter of a second."""


@dataclass(frozen=True, slots=True)
class Found:
    """Devices for all claims, by their places among the node's candidates."""

    grants: tuple[tuple[Grant, ...], ...]
    """By claim."""
    alternatives: Mapping[tuple[int, int], int]
    """Which alternative each prioritized request got, by claim and request."""
    steps: int


def allocate(
    plan: Plan, view: NodePools, in_use: InUse, *, budget: int = DEFAULT_BUDGET, share_ids: ShareIds = derive_share_id
) -> Decision:
    """Devices for all claims of the plan on one node, the first that do; or what stands in the way."""
    found = find_first(plan, view, in_use, budget=budget)
    if not isinstance(found, Found):
        return found
    try:
        allocations = tuple(
            build_result(plan, i, grants, found.alternatives, view, share_ids) for i, grants in enumerate(found.grants)
        )
    except AllocationError as error:
        return Failed(error.fault, str(error), error.on_this_node, found.steps)
    picks = tuple(
        Pick(i, grant.alternative.name, view.candidates[grant.position].device.id)
        for i, grants in enumerate(found.grants)
        for grant in grants
    )
    return Allocated(allocations, picks, found.steps)


def find_first(
    plan: Plan, view: NodePools, in_use: InUse, *, budget: int = DEFAULT_BUDGET, is_hopeless: bool = False
) -> Found | DoesNotFit | Failed:
    """The search of `allocate` alone.

    `is_hopeless` says that it is known that nothing fits, and only asked what stands in the way: then what was seen
    until the budget is used up is an answer, too.
    """
    search: Search | None = None
    try:
        eligibility = Eligibility(plan, view, in_use, SearchState.empty(plan))
        trials = _prepare_trials(plan, eligibility)
        search = Search(plan, view, in_use, trials, eligibility, budget)
        if search.run():
            grants = tuple(map(tuple, eligibility.state.grants))
            return Found(grants, search.chosen_alternatives(), search.steps)
    except AllocationError as error:
        if search is None or not is_hopeless or error.fault is not Fault.BUDGET:
            return Failed(error.fault, str(error), error.on_this_node, search.steps if search is not None else 0)
    invalid = view.invalid
    if invalid:
        reasons = ", ".join(f"{pool.id}: {pool.defect}" for pool in invalid)
        return Failed(
            Fault.POOL, f"invalid resource pools were encountered ({reasons})", on_this_node=True, steps=search.steps
        )
    flat = [trial for claim in trials for request in claim for trial in request]
    return DoesNotFit(search.progress.obstacles(flat), search.steps)


def _prepare_trials(plan: Plan, eligibility: Eligibility) -> list[list[list[Trial]]]:
    """Every alternative of every request, by claim and request. Raises the errors of the plan in upstream's order."""
    trials: list[list[list[Trial]]] = []
    for i, claim in enumerate(plan.claims):
        of_claim = [
            [eligibility.trial(i, j, k, alternative) for k, alternative in enumerate(request.alternatives)]
            for j, request in enumerate(claim.requests)
        ]
        if claim.request_error is not None:
            raise claim.request_error
        least = sum(min(trial.needed for trial in request) for request in of_claim)
        if least > MAX_RESULTS:
            raise AllocationError(
                Fault.CLAIM,
                f"claim {claim.key}: number of requested devices {least} exceeds the claim limit of {MAX_RESULTS}",
            )
        if claim.constraint_error is not None:
            raise claim.constraint_error
        trials.append(of_claim)
    return trials
