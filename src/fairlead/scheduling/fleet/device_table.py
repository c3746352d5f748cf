"""The devices of a node as a table, for explanations and for counting what is free."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.scheduling.allocator import AllocationError, DeviceId, NodePools, Plan
from fairlead.scheduling.allocator.eligibility import Eligibility
from fairlead.scheduling.allocator.held import Held, bits, in_use_of
from fairlead.scheduling.allocator.state import SearchState
from fairlead.scheduling.allocator.taints import untolerated
from fairlead.scheduling.fleet.device_holdings import Holdings


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """One device of a node."""

    id: DeviceId
    holders: tuple[str, ...]
    """Uids of the claims that hold it or shares of it."""
    is_open: bool
    """Whether a claim that nothing speaks against could get it, or a share of it, now: it is not held, its counters are
    not used up, and it is not tainted."""
    taint: str
    """The first taint that keeps claims away, as `key=value:effect`; "" for none."""
    consumes_counters: bool
    """Whether it is a partition of something, or something that can be partitioned."""


@dataclass(frozen=True, slots=True)
class Supply:
    """What a node has for one way to serve a request."""

    claim: str
    request: str
    """`request`, or `request/subrequest`."""
    wanted: int
    """Devices; 0 for all."""
    matching: tuple[DeviceId, ...]
    """Devices that its selectors choose and whose taints it tolerates."""
    open: tuple[DeviceId, ...]
    """Those of them that it could get now, each for itself: "6 of 8 free" is `len(open)` of `len(matching)`."""


def list_devices(view: NodePools, held: Held, holdings: Holdings) -> tuple[DeviceRow, ...]:
    """A row for each device that the node reaches, in the order of search."""
    open_ = _open(view, held)
    rows: list[DeviceRow] = []
    for position, candidate in enumerate(view.candidates):
        device = candidate.device
        use = holdings.use_of(view.pools[view.pool_of[position]].id)
        used = use.devices.get(device.id.device) if use is not None else None
        taint = untolerated(device.taints, ())
        rows.append(
            DeviceRow(
                device.id,
                used.holders if used is not None else (),
                open_[position] and taint is None,
                f"{taint.key}={taint.value}:{taint.effect}" if taint is not None else "",
                bool(candidate.consumes),
            )
        )
    return tuple(rows)


def list_supply(plan: Plan, view: NodePools, held: Held) -> tuple[Supply, ...]:
    """A line for each alternative of each request. Devices on which a selector fails match nothing."""
    eligibility = Eligibility(plan, view, in_use_of(view, held), SearchState.empty(plan))
    open_ = _open(view, held)
    lines: list[Supply] = []
    for i, claim in enumerate(plan.claims):
        for j, request in enumerate(claim.requests):
            for k, alternative in enumerate(request.alternatives):
                matching: list[int] = []
                try:
                    trial = eligibility.trial(i, j, k, alternative)
                except AllocationError:
                    continue
                for position, candidate in enumerate(view.candidates):
                    try:
                        if eligibility.is_chosen(trial, position) and not eligibility.is_tainted(
                            trial, candidate.device
                        ):
                            matching.append(position)
                    except AllocationError:
                        continue
                ids = [view.candidates[position].device.id for position in matching]
                free = [view.candidates[p].device.id for p in matching if open_[p] or alternative.admin_access]
                lines.append(Supply(claim.key, alternative.name, trial.needed, tuple(ids), tuple(free)))
    return tuple(lines)


def _open(view: NodePools, held: Held) -> list[bool]:
    """By candidate: not held whole, and enough left of its counters."""
    in_use = in_use_of(view, held)
    left = [pool.remaining_counters(in_use) for pool in view.pools]
    whole, shared = set(bits(held.mask)), {position for position, _ in held.shares}
    return [
        position not in whole
        and (
            position in shared
            or all(amount <= left[view.pool_of[position]][slot] for slot, amount in candidate.consumes)
        )
        for position, candidate in enumerate(view.candidates)
    ]
