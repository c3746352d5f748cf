"""Scaling policies: pure functions from what is known of a pool to how many replicas it should have, and why.

A later policy is one more entry of `SCALING`. The simulator applies what a policy wants within the pool's bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import TypeAlias

from fairlead.simulator.fleet.config import ScalingSpec, ScenarioError


@dataclass(frozen=True, slots=True)
class PoolSnapshot:
    """A pool at the moment of a decision. Counts of requests are those of all its replicas."""

    pool: str
    now_s: float
    ready: int
    starting: int
    """Replicas that wait for accelerators or start."""
    draining: int
    down: int
    """Replicas that crashed and will come back."""
    running_requests: int
    waiting_requests: int
    """Waiting in the engines."""
    held_requests: int
    """Waiting at the gateway, because no replica is ready."""
    kv_cache_usage_ratio: float | None
    """Mean of the ready replicas; None while there are none."""
    arrivals_per_s: float
    """Since the decision before."""

    @property
    def planned(self) -> int:
        """Replicas that serve or will."""
        return self.ready + self.starting + self.down


@dataclass(frozen=True, slots=True)
class ScalingDecision:
    """How many replicas the pool should have, and why, for people."""

    replicas: int
    reason: str


ScalingPolicy: TypeAlias = Callable[[PoolSnapshot, ScalingSpec], ScalingDecision]


def keep_fixed(snapshot: PoolSnapshot, spec: ScalingSpec) -> ScalingDecision:
    """What there is."""
    return ScalingDecision(snapshot.planned, "fixed")


def scale_by_queue(snapshot: PoolSnapshot, spec: ScalingSpec) -> ScalingDecision:
    """ceil(requests / target) replicas, with a tenth of tolerance before any is given up."""
    requests = snapshot.running_requests + snapshot.waiting_requests + snapshot.held_requests
    wanted = ceil(requests / spec.target)
    if wanted < snapshot.planned and ceil(1.1 * requests / spec.target) >= snapshot.planned:
        return ScalingDecision(
            snapshot.planned, f"{requests} requests are within a tenth of {spec.target:g} per replica"
        )
    return ScalingDecision(wanted, f"{requests} requests at {spec.target:g} per replica")


SCALING: dict[str, ScalingPolicy] = {"fixed": keep_fixed, "queue": scale_by_queue}
"""Name -> policy."""


def scaling_named(name: str) -> ScalingPolicy:
    """The policy. Raises ScenarioError for an unknown name."""
    try:
        return SCALING[name]
    except KeyError:
        raise ScenarioError(f"unknown scaling policy {name!r}; known are {', '.join(SCALING)}") from None


def bounded(decision: ScalingDecision, spec: ScalingSpec) -> int:
    """The decision within the pool's bounds."""
    return min(spec.max_replicas, max(spec.min_replicas, decision.replicas))
