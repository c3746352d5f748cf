"""PodDisruptionBudget status: how many pods may be disrupted now. Pure; the disruption controller's formulas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fairlead.clock import format_time, parse_time
from fairlead.embedded.controllers.pods import Object, is_deleting, is_ready, set_condition
from fairlead.embedded.controllers.rolling import resolve_count

DELETION_TIMEOUT_S = 120.0
"""An eviction that the API server recorded counts against the budget this long if its pod is still there."""


def compute_budget(budget: Object, pods: Sequence[Object], expected: int, now_s: float) -> Object:
    """The status. `pods` match the selector; `expected` is the sum of their controllers' scales."""
    spec = budget["spec"]
    disrupted = _still_disrupted(budget, pods, now_s)
    healthy = sum(1 for p in pods if is_ready(p) and not is_deleting(p) and p["metadata"]["name"] not in disrupted)
    total = expected
    if spec.get("maxUnavailable") is not None:
        desired = max(0, total - resolve_count(spec["maxUnavailable"], total, up=True))
    elif isinstance(spec.get("minAvailable"), int):
        desired = spec["minAvailable"]
        total = len(pods)
    else:
        desired = resolve_count(spec.get("minAvailable", 0), total, up=True)
    allowed = max(0, healthy - desired) if total > 0 else 0
    enough = allowed > 0
    generation = budget["metadata"].get("generation", 1)
    made = {
        "type": "DisruptionAllowed",
        "status": "True" if enough else "False",
        "reason": "SufficientPods" if enough else "InsufficientPods",
        "message": "",
        "observedGeneration": generation,
    }
    conditions = list((budget.get("status") or {}).get("conditions") or ())
    status: Object = {
        "disruptionsAllowed": allowed,
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "expectedPods": total,
        "observedGeneration": generation,
        "conditions": set_condition(conditions, made, format_time(now_s)),
    }
    return status | ({"disruptedPods": disrupted} if disrupted else {})


def failed_budget(budget: Object, message: str, now_s: float) -> Object:
    """The status when the expected pods cannot be told: nothing may be disrupted until they can."""
    generation = budget["metadata"].get("generation", 1)
    made = {
        "type": "DisruptionAllowed",
        "status": "False",
        "reason": "SyncFailed",
        "message": message,
        "observedGeneration": generation,
    }
    old = budget.get("status") or {}
    conditions = set_condition(list(old.get("conditions") or ()), made, format_time(now_s))
    zero = {"currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}
    return {**zero, **old, "disruptionsAllowed": 0, "observedGeneration": generation, "conditions": conditions}


def _still_disrupted(budget: Mapping[str, Object], pods: Sequence[Object], now_s: float) -> dict[str, str]:
    recorded = (budget.get("status") or {}).get("disruptedPods") or {}
    waiting = {p["metadata"]["name"] for p in pods if not is_deleting(p)}
    return {n: t for n, t in recorded.items() if n in waiting and parse_time(t) + DELETION_TIMEOUT_S > now_s}
