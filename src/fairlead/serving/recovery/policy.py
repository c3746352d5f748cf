"""What a service wants done about replicas that do not serve, in numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from fairlead.api.model_service import Recovery, RoleName

Mode = Literal["Gang", "Member", "None"]


@dataclass(frozen=True, slots=True)
class RecoveryPolicy:
    """`spec.recovery`, resolved. Times in seconds."""

    mode: Mode = "Gang"
    hang_s: float = 120.0
    """0: an engine never counts as hung."""
    node_lost_s: float = 40.0
    start_s: float = 0.0
    """0: as long as its probes let it."""
    startup_s: float = 60.0
    """How long the runtime's start-up probe lets an engine load."""
    max_restarts: int = 3
    budget: int | str = "25%"
    desired: Mapping[RoleName, int] = field(default_factory=dict)
    """How many replicas each role is to have."""
    memory_limit: Mapping[RoleName, str] = field(default_factory=dict)
    """Memory limit of an engine's container, as in the pod; roles without one have none."""

    def budget_of(self, role: RoleName) -> int:
        """Replicas of a role that may be replaced at the same time: at least one, or nothing would ever be."""
        return resolve_budget(self.budget, self.desired.get(role, 0))


def resolve_budget(budget: int | str, desired: int) -> int:
    """Whole replicas of a number or a percentage, which is rounded up. 0 where 0 is written, else at least 1."""
    if isinstance(budget, int):
        return budget
    percent = float(budget.removesuffix("%"))
    return 0 if percent == 0 else max(1, math.ceil(desired * percent / 100))


def recovery_policy(
    recovery: Recovery,
    desired: Mapping[RoleName, int],
    *,
    startup_s: float,
    memory_limit: Mapping[RoleName, str] | None = None,
) -> RecoveryPolicy:
    """Of a service. `startup_s`: what its start-up probes allow."""
    return RecoveryPolicy(
        mode=recovery.policy,
        hang_s=float(recovery.hang_seconds),
        node_lost_s=float(recovery.node_lost_seconds),
        start_s=float(recovery.start_seconds),
        startup_s=startup_s,
        max_restarts=recovery.max_restarts,
        budget=recovery.budget,
        desired=dict(desired),
        memory_limit=dict(memory_limit or {}),
    )
