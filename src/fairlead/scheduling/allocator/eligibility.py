"""Whether a device may be given to a request now: the checks of a search, in their order.

In use, selectors and node, capacity, counters, taints, constraints: cheap and final answers first. What does not change
during a search is remembered per request and device.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from fairlead.scheduling.allocator.capacity import NOTHING, consumed_by, misfit
from fairlead.scheduling.allocator.constraints import State
from fairlead.scheduling.allocator.devices import PreparedDevice
from fairlead.scheduling.allocator.errors import AllocationError, Fault
from fairlead.scheduling.allocator.in_use import InUse
from fairlead.scheduling.allocator.pools import Candidate, Consumption, NodePools
from fairlead.scheduling.allocator.requests import Alternative, Plan
from fairlead.scheduling.allocator.state import Grant, SearchState
from fairlead.scheduling.allocator.taints import untolerated
from fairlead.scheduling.allocator.verdict import Reason

_CHOSEN: Final = 255


@dataclass(slots=True)
class Trial:
    """One alternative of one request in a search on one node."""

    claim: int
    request: int
    subrequest: int
    """Its place among the alternatives."""
    alternative: Alternative
    chosen: bytearray
    """By candidate: 0 where not asked, 255 where chosen, else one more than the reason against it."""
    needed: int = 0
    everything: tuple[int, ...] = ()
    """The candidates that a request for all devices must have."""
    fits_idle: dict[int, bool] = field(default_factory=dict)
    """By candidate: whether the request's capacity fits the device when nothing else uses it."""


class Eligibility:
    """The checks against one node's devices and one state of a search, which it also changes."""

    def __init__(self, plan: Plan, view: NodePools, in_use: InUse, state: SearchState) -> None:
        self._plan = plan
        self._features = plan.features
        self._exact = plan.exact
        self._view = view
        self._in_use = in_use
        self._candidates = view.candidates
        self.state = state
        self.held = bytearray(candidate.device.id in in_use.devices for candidate in view.candidates)
        self.detail = ""
        """What the last refusal for a taint or a constraint was about."""

    def trial(self, claim: int, request: int, subrequest: int, alternative: Alternative) -> Trial:
        """Prepares one alternative. Raises AllocationError where it asks for all devices and they are not known."""
        trial = Trial(claim, request, subrequest, alternative, bytearray(len(self._candidates)), alternative.count)
        if alternative.takes_all:
            trial.everything = self._find_all(trial)
            trial.needed = len(trial.everything)
        return trial

    def refusal(self, trial: Trial, position: int) -> Reason | None:
        """Why the request may not have the device before counters, taints and constraints are asked; None if it may."""
        busy = self._is_busy(trial, position)
        if busy is not None:
            return busy
        chosen = trial.chosen[position] or self._choose(trial, position)
        if chosen != _CHOSEN:
            return Reason(chosen - 1)
        if self._features.consumable_capacity and not self._has_capacity(trial, position):
            return Reason.CAPACITY
        return None

    def grant(self, trial: Trial, position: int, *, must: bool = False) -> Reason | None:
        """Gives the device to the request, or says why not and changes nothing that upstream would not change.

        Raises AllocationError where the device `must` be had and a constraint is against it.
        """
        candidate = self._candidates[position]
        device = candidate.device
        alternative = trial.alternative
        if must and (busy := self._is_busy(trial, position)) is not None:
            return busy
        if device.spec.consumes_counters and not self._features.partitionable_devices:
            return Reason.PARTITIONED
        is_share = self._features.consumable_capacity and device.is_shared
        counters = self._counters(candidate, position, is_share, alternative.admin_access)
        if counters is None:
            return Reason.COUNTERS
        if self.is_tainted(trial, device):
            return Reason.TAINT
        before = tuple(self.state.constraints[trial.claim])
        if not self._constrain(trial, device):
            if must:
                raise AllocationError(
                    Fault.CONSTRAINT,
                    f"claim {alternative.claim}, request {alternative.own_name}: cannot add device {device.id} because "
                    "a claim constraint would not be satisfied",
                )
            return Reason.CONSTRAINT
        # Shares that the attempt has given out itself come last: a constraint against the device is the graver news.
        if must and self._features.consumable_capacity and not self._has_capacity(trial, position):
            self._release(trial, before, len(before))
            return Reason.CAPACITY
        consumed = consumed_by(device.capacities, alternative.capacity) if is_share else NOTHING
        grant = Grant(alternative, position, is_share, consumed, counters, before)
        self.state.add(trial.claim, grant, self._view.pool_of[position], holds=self._holds(alternative))
        return None

    def take_back(self, trial: Trial, position: int) -> None:
        """Undoes the claim's last grant, of this device to this request."""
        grant = self.state.take_back(trial.claim, self._view.pool_of[position], holds=self._holds(trial.alternative))
        self._release(trial, grant.before, len(grant.before))

    def is_for(self, trial: Trial, position: int) -> bool:
        """Whether the request could have the device if no other request of the search took anything."""
        if self.held[position] and not trial.alternative.admin_access:
            return False
        return self.is_chosen(trial, position) and not self.is_tainted(trial, self._candidates[position].device)

    def is_open(self, trial: Trial, position: int) -> bool:
        """Whether nothing but counters, constraints and shares may speak against the device now."""
        if self._is_busy(trial, position) is not None or not self.is_chosen(trial, position):
            return False
        return not self.is_tainted(trial, self._candidates[position].device)

    def is_tainted(self, trial: Trial, device: PreparedDevice) -> bool:
        if not device.taints or not self._features.device_taints:
            return False
        taint = untolerated(device.taints, trial.alternative.tolerations)
        if taint is None:
            return False
        self.detail = f"{taint.key}={taint.value}:{taint.effect}"
        return True

    def is_chosen(self, trial: Trial, position: int) -> bool:
        """Whether selectors and node are for it, and its capacity would do if nothing else used it."""
        if (trial.chosen[position] or self._choose(trial, position)) != _CHOSEN:
            return False
        return not self._features.consumable_capacity or self._fits_idle(trial, position)

    def _is_busy(self, trial: Trial, position: int) -> Reason | None:
        state = self.state
        if trial.alternative.admin_access:
            bits = state.holders.get(position, 0) | state.watchers.get(position, 0)
            return Reason.TAKEN if bits >> trial.claim & 1 else None
        if self.held[position]:
            return Reason.IN_USE
        return Reason.TAKEN if position in state.holders else None

    def _choose(self, trial: Trial, position: int) -> int:
        device = self._candidates[position].device
        chosen = _CHOSEN
        if device.spec.binding_conditions and not self._features.binding_conditions:
            chosen = Reason.BINDING_CONDITIONS + 1
        elif not trial.alternative.choice.accepts(device):
            chosen = Reason.SELECTOR + 1
        elif device.reach_is_own and not device.reach.includes(self._view.node):
            chosen = Reason.NODE + 1
        trial.chosen[position] = chosen
        return chosen

    def _has_capacity(self, trial: Trial, position: int) -> bool:
        device = self._candidates[position].device
        if not device.capacities and not trial.alternative.capacity:
            return True
        used = self._in_use.capacity.get(device.id)
        allocating = self.state.capacity.get(position)
        if used is None and allocating is None:
            return self._fits_idle(trial, position)
        return misfit(device.capacities, trial.alternative.capacity, used or NOTHING, allocating or NOTHING) is None

    def _fits_idle(self, trial: Trial, position: int) -> bool:
        fits = trial.fits_idle.get(position)
        if fits is None:
            device = self._candidates[position].device
            fits = misfit(device.capacities, trial.alternative.capacity, NOTHING) is None
            trial.fits_idle[position] = fits
        return fits

    def _counters(self, candidate: Candidate, position: int, is_share: bool, admin: bool) -> Consumption | None:
        """The counters that the device would take, None where there is too little left of one."""
        if not candidate.consumes or (admin and self._exact):
            return ()
        if is_share and (position in self.state.shares or self._in_use.is_partly_held(candidate.device.id)):
            return ()
        place = self._view.pool_of[position]
        left = self.state.counters.get(place)
        if left is None:
            left = self.state.counters[place] = self._view.pools[place].remaining_counters(self._in_use)
        if any(amount > left[slot] for slot, amount in candidate.consumes):
            return None
        if not self._exact and min(left) < 0:
            # A pool with an overdrawn counter, whichever it is: upstream gives nothing out that consumes counters.
            return None
        return candidate.consumes

    def _constrain(self, trial: Trial, device: PreparedDevice) -> bool:
        """Puts the device under the claim's constraints, all or none."""
        alternative = trial.alternative
        states = self.state.constraints[trial.claim]
        before = tuple(states)
        for i, constraint in enumerate(self._plan.claims[trial.claim].constraints):
            if not constraint.concerns(alternative.request, alternative.subrequest):
                continue
            value = device.attribute(constraint.attribute, lists=constraint.lists)
            after = constraint.add(states[i], alternative.request, value)
            if after is None:
                self.detail = f"{constraint.kind} {constraint.attribute}"
                self._release(trial, before, i)
                return False
            states[i] = after
        return True

    def _release(self, trial: Trial, before: tuple[State, ...], end: int) -> None:
        """Takes a device from under the first `end` constraints of the claim."""
        states = self.state.constraints[trial.claim]
        if self._exact:
            states[:end] = before[:end]
            return
        alternative = trial.alternative
        for i, constraint in enumerate(self._plan.claims[trial.claim].constraints[:end]):
            if constraint.concerns(alternative.request, alternative.subrequest):
                states[i] = constraint.remove(states[i], alternative.request)

    def _holds(self, alternative: Alternative) -> bool:
        return not (alternative.admin_access and self._exact)

    def _find_all(self, trial: Trial) -> tuple[int, ...]:
        alternative = trial.alternative
        asks = f"claim {alternative.claim}, request {alternative.own_name}: asks for all devices, but resource pool"
        found: list[int] = []
        start = 0
        for pool in self._view.pools:
            if pool.is_incomplete:
                raise AllocationError(Fault.POOL, f"{asks} {pool.id} is currently being updated")
            if pool.defect:
                raise AllocationError(Fault.POOL, f"{asks} {pool.id} is currently invalid: {pool.defect}")
            end = start + len(pool.candidates)
            found.extend(position for position in range(start, end) if self._is_wanted(trial, position))
            start = end
        return tuple(found)

    def _is_wanted(self, trial: Trial, position: int) -> bool:
        if (trial.chosen[position] or self._choose(trial, position)) != _CHOSEN:
            return False
        return not self._features.consumable_capacity or self._has_capacity(trial, position)
