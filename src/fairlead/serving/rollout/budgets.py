"""How far the number of replicas may stray during a rollout: `maxSurge` and `maxUnavailable` as numbers of each role.

Rounding as Kubernetes' Deployments (`ResolveFenceposts` in pkg/controller/deployment/util): surge up, unavailable down,
never both 0. The unit of a service with roles is the set: one of the service's `replicas` with its share of each role.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fairlead.api.model_service import RoleName
from fairlead.serving.rollout.ratio import set_count, share


@dataclass(frozen=True, slots=True)
class Budget:
    """Replicas beyond the desired, and replicas that may be missing."""

    surge: int
    unavailable: int


def resolve_count(value: int | str, total: int, *, up: bool) -> int:
    """An int-or-percent (`3`, `"3"`, `"25%"`) of a total. Raises ValueError for anything else."""
    text = str(value)
    if not text.endswith("%"):
        return max(0, int(text))
    part = int(text[:-1]) * total
    return -(-part // 100) if up else part // 100


def resolve_budget(max_surge: int | str, max_unavailable: int | str, total: int) -> Budget:
    """Both budgets of `total` replicas. Both zero becomes one unavailable, or nothing could ever move."""
    surge = resolve_count(max_surge, total, up=True)
    unavailable = min(resolve_count(max_unavailable, total, up=False), total)
    if surge == 0 and unavailable == 0:
        return Budget(0, 1)
    return Budget(surge, unavailable)


def role_budgets(
    max_surge: int | str, max_unavailable: int | str, desired: Mapping[RoleName, int]
) -> dict[RoleName, Budget]:
    """Both budgets of each role, taken of the number of sets and given in the role's replicas."""
    sets = set_count(desired.values())
    whole = resolve_budget(max_surge, max_unavailable, sets)
    return {
        role: Budget(share(number, sets, whole.surge), share(number, sets, whole.unavailable))
        for role, number in desired.items()
    }
