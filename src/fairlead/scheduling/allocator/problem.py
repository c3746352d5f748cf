"""A plan held against the devices of a node: who may have what, as masks and numbers. Equal for nodes that are alike.

What depends on names (selectors, node selectors, attribute values) is asked once per node and plan; all that a search
needs is then in the `Judgement`, whose equality says that nodes are alike for the plan.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from fairlead.scheduling.allocator.capacity import NOTHING, misfit
from fairlead.scheduling.allocator.constraints import UNKNOWN, AttributeValue, Constraint
from fairlead.scheduling.allocator.devices import PreparedDevice
from fairlead.scheduling.allocator.errors import AllocationError
from fairlead.scheduling.allocator.held import bits, share_of
from fairlead.scheduling.allocator.layout import Layout
from fairlead.scheduling.allocator.pools import NodePools
from fairlead.scheduling.allocator.requests import Alternative, Plan, PlannedRequest
from fairlead.scheduling.allocator.taints import untolerated

Values = tuple[AttributeValue | None, ...]
"""By candidate, the value of one attribute; names in it are replaced by numbers in the order of their appearance."""


class Judgement(NamedTuple):
    """What selectors, taints and attributes say. Bits stand for candidates."""

    chosen: tuple[int, ...]
    """By alternative, in the plan's order: chosen by the selectors, for this node, and large enough when idle."""
    eligible: tuple[int, ...]
    """Chosen, and nothing but what is held or granted can speak against it."""
    values: tuple[tuple[Values, ...], ...]
    """By claim and constraint."""
    is_clear: bool
    """Whether all pools are usable and no selector failed: then the answer names no device, and holds for all alike."""


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """One alternative of one request."""

    claim: int
    request: int
    """Its place in the claim."""
    choice: int
    """Its place among the alternatives."""
    alternative: Alternative
    chosen: int
    eligible: int
    constraints: tuple[int, ...]
    """Which of the claim's constraints it is under."""
    shares: dict[int, tuple[int, ...]]
    """By candidate that is given out in shares: what it would take of each capacity, in billionths."""
    has_company: bool
    """Whether its claim can have several devices, so that distances matter."""


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """One request."""

    claim: int
    trials: tuple[Trial, ...]
    is_prioritized: bool


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """All that a search for the best devices needs, but for what is held."""

    layout: Layout
    asks: tuple[Ask, ...]
    constraints: tuple[tuple[Constraint, ...], ...]
    """By claim."""
    values: tuple[tuple[Values, ...], ...]
    kinds: tuple[int, ...]
    """By component: equal for those that can be exchanged, also as far as the plan goes."""
    knows_all: bool
    """Whether requests for all devices can be served: no pool is incomplete or invalid."""


def judge(plan: Plan, view: NodePools) -> Judgement:
    """Asks the selectors and reads the attributes. A selector that fails on a device does not choose it."""
    chosen: list[int] = []
    eligible: list[int] = []
    is_clear = all(pool.is_usable for pool in view.pools)
    for claim in plan.claims:
        for request in claim.requests:
            for alternative in request.alternatives:
                mask, failed = _choose(plan, view, alternative)
                is_clear = is_clear and not failed
                chosen.append(mask)
                eligible.append(_exclude(plan, view, alternative, mask))
    for candidate in view.candidates:
        candidate.device.subject.release()
    values = tuple(tuple(_values(view, constraint) for constraint in claim.constraints) for claim in plan.claims)
    return Judgement(tuple(chosen), tuple(eligible), values, is_clear)


def pose(plan: Plan, view: NodePools, layout: Layout, judgement: Judgement) -> Problem:
    """The problem of a plan on a node, of which `layout` and `judgement` are."""
    asks: list[Ask] = []
    place = 0
    for i, claim in enumerate(plan.claims):
        has_company = _takes_several(claim.requests)
        for j, request in enumerate(claim.requests):
            trials: list[Trial] = []
            for k, alternative in enumerate(request.alternatives):
                under = tuple(
                    c
                    for c, each in enumerate(claim.constraints)
                    if each.concerns(alternative.request, alternative.subrequest)
                )
                mask = judgement.eligible[place]
                shares = _shares(plan, view, alternative, mask)
                trials.append(Trial(i, j, k, alternative, judgement.chosen[place], mask, under, shares, has_company))
                place += 1
            asks.append(Ask(i, tuple(trials), request.is_prioritized))
    return Problem(
        layout,
        tuple(asks),
        tuple(claim.constraints for claim in plan.claims),
        judgement.values,
        _kinds(layout, judgement),
        all(pool.is_usable for pool in view.pools),
    )


def _takes_several(requests: Sequence[PlannedRequest]) -> bool:
    ways = [alternative for request in requests for alternative in request.alternatives]
    return len(requests) > 1 or any(alternative.takes_all or alternative.count > 1 for alternative in ways)


def _choose(plan: Plan, view: NodePools, alternative: Alternative) -> tuple[int, bool]:
    """The devices that the selectors choose, and whether one of them failed."""
    mask, failed = 0, False
    features = plan.features
    fits: dict[int, bool] = {}
    for position, candidate in enumerate(view.candidates):
        device = candidate.device
        if device.spec.binding_conditions and not features.binding_conditions:
            continue
        try:
            is_chosen = alternative.choice.accepts(device) and (
                not device.reach_is_own or device.reach.includes(view.node)
            )
        except AllocationError:
            failed = True
            continue
        if not is_chosen:
            continue
        if features.consumable_capacity:
            key = id(device.capacities)
            if key not in fits:
                fits[key] = misfit(device.capacities, alternative.capacity, NOTHING) is None
            if not fits[key]:
                continue
        mask |= 1 << position
    return mask, failed


def _exclude(plan: Plan, view: NodePools, alternative: Alternative, chosen: int) -> int:
    """Without those that the alternative cannot have as long as slices and taints stay as they are."""
    features = plan.features
    mask = 0
    for position in bits(chosen):
        device = view.candidates[position].device
        if device.taints and features.device_taints and untolerated(device.taints, alternative.tolerations):
            continue
        if device.spec.consumes_counters and not features.partitionable_devices:
            continue
        if not _has_unusable_reach(device):
            mask |= 1 << position
    return mask


def _has_unusable_reach(device: PreparedDevice) -> bool:
    """An allocation has one node selector term: a device with more terms of its own is given only where it binds."""
    selector = device.reach.selector
    if device.reach.node_name or selector is None or device.spec.binds_to_node:
        return False
    return len(selector.node_selector_terms) > 1


def _values(view: NodePools, constraint: Constraint) -> Values:
    numbers: dict[Hashable, int] = {}
    local: dict[AttributeValue, AttributeValue] = {}
    found: list[AttributeValue | None] = []
    for candidate in view.candidates:
        value = candidate.device.attribute(constraint.attribute, lists=constraint.lists)
        if value is None or value == UNKNOWN:
            found.append(value)
            continue
        if value not in local:
            kind, items = value
            local[value] = (kind, frozenset(numbers.setdefault((kind, item), len(numbers)) for item in _ordered(items)))
        found.append(local[value])
    return tuple(found)


def _ordered(items: frozenset[int] | frozenset[bool] | frozenset[str]) -> list[Any]:
    return sorted(items)


def _shares(plan: Plan, view: NodePools, alternative: Alternative, mask: int) -> dict[int, tuple[int, ...]]:
    if not plan.features.consumable_capacity:
        return {}
    return {
        position: share_of(candidate.device, alternative)
        for position, candidate in enumerate(view.candidates)
        if mask >> position & 1 and candidate.device.is_shared
    }


def _kinds(layout: Layout, judgement: Judgement) -> tuple[int, ...]:
    numbers: dict[Hashable, int] = {}
    kinds: list[int] = []
    for component in layout.components:
        alike = (
            component.kind,
            tuple(
                (
                    tuple(mask >> p & 1 for mask in judgement.chosen),
                    tuple(mask >> p & 1 for mask in judgement.eligible),
                    tuple(values[p] for claim in judgement.values for values in claim),
                )
                for p in component.positions
            ),
        )
        kinds.append(numbers.setdefault(alike, len(numbers)))
    return tuple(kinds)
