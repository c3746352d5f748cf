"""Deployment: rollouts of replica sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, forbidden, invalid, not_supported, required
from fairlead.embedded.apiserver.kinds.errors import Errors, check_not_negative
from fairlead.embedded.apiserver.kinds.workload import (
    WorkloadStrategy,
    check_selector_immutable,
    int_or_percent,
    validate_always_template,
    validate_at_most,
    validate_at_most_all,
    validate_collision_count,
    validate_counts,
    validate_int_or_percent,
    validate_selector,
)
from fairlead.embedded.apiserver.registry import Object, RequestContext

_COUNTS = (
    "observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas",
    "terminatingReplicas", "collisionCount",
)  # fmt: skip


class DeploymentStrategy(WorkloadStrategy):
    def default_spec(self, spec: Object) -> None:
        if spec.get("replicas") is None:
            spec["replicas"] = 1
        strategy = spec.setdefault("strategy", {})
        if not strategy.get("type"):
            strategy["type"] = "RollingUpdate"
        if strategy["type"] == "RollingUpdate":
            rolling = strategy.get("rollingUpdate") or {}
            rolling.setdefault("maxUnavailable", "25%")
            rolling.setdefault("maxSurge", "25%")
            strategy["rollingUpdate"] = rolling
        if spec.get("revisionHistoryLimit") is None:
            spec["revisionHistoryLimit"] = 10
        if spec.get("progressDeadlineSeconds") is None:
            spec["progressDeadlineSeconds"] = 600

    def validate_spec(self, errors: Errors, spec: Object) -> None:
        check_not_negative(errors, spec.get("replicas"), "spec.replicas")
        validate_selector(errors, spec.get("selector"), "deployment")
        validate_always_template(errors, spec, "ReplicaSet")
        _validate_strategy(errors, spec.get("strategy") or {})
        for key in ("minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"):
            check_not_negative(errors, spec.get(key), f"spec.{key}")
        deadline_s = spec.get("progressDeadlineSeconds")
        if deadline_s is not None and deadline_s <= spec.get("minReadySeconds", 0):
            detail = "must be greater than minReadySeconds"
            errors.append(invalid("spec.progressDeadlineSeconds", deadline_s, detail))

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = list(self.validate(new, context))
        check_selector_immutable(errors, new, old)
        return errors

    def validate_status(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        status = new.get("status") or {}
        validate_counts(errors, status, _COUNTS)
        counted = ("updatedReplicas", "readyReplicas", "availableReplicas")
        validate_at_most(errors, status, counted, "replicas", "status.replicas")
        validate_at_most(errors, status, ("availableReplicas",), "readyReplicas", "readyReplicas")
        validate_collision_count(errors, new, old)
        return errors

    def generation_changed(self, new: Object, old: Object) -> bool:
        # Annotations are copied to replica sets, so a change of them has to be observed as well.
        if (new["metadata"].get("annotations") or {}) != (old["metadata"].get("annotations") or {}):
            return True
        return super().generation_changed(new, old)


def _validate_strategy(errors: Errors, strategy: Mapping[str, Any]) -> None:
    path, kind, rolling = "spec.strategy", strategy.get("type", ""), strategy.get("rollingUpdate")
    if kind == "Recreate":
        if rolling is not None:
            detail = "may not be specified when strategy `type` is 'Recreate'"
            errors.append(forbidden(f"{path}.rollingUpdate", detail))
    elif kind == "RollingUpdate":
        if rolling is None:
            errors.append(required(f"{path}.rollingUpdate", "this should be defaulted and never be nil"))
        else:
            _validate_rolling(errors, rolling, f"{path}.rollingUpdate")
    else:
        shown = {"Type": kind, "RollingUpdate": _shown_rolling(rolling)}
        errors.append(not_supported(path, shown, ("Recreate", "RollingUpdate")))


def _shown_rolling(rolling: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if rolling is None:
        return None
    return {"MaxUnavailable": rolling.get("maxUnavailable", 0), "MaxSurge": rolling.get("maxSurge", 0)}


def _validate_rolling(errors: Errors, rolling: Mapping[str, Any], path: str) -> None:
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    validate_int_or_percent(errors, unavailable, f"{path}.maxUnavailable")
    validate_int_or_percent(errors, surge, f"{path}.maxSurge")
    if int_or_percent(unavailable) == 0 and int_or_percent(surge) == 0:
        errors.append(invalid(f"{path}.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0"))
    validate_at_most_all(errors, unavailable, f"{path}.maxUnavailable")
