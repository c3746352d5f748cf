"""The group policy, v1: PodDisruptionBudget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, invalid, not_supported
from fairlead.embedded.apiserver.kinds.conditions import validate_conditions
from fairlead.embedded.apiserver.kinds.definition import STATUS, resource_type
from fairlead.embedded.apiserver.kinds.errors import Errors, Layout, add_each, check_not_negative, internal_form
from fairlead.embedded.apiserver.kinds.names import percent
from fairlead.embedded.apiserver.kinds.selectors import validate_label_selector
from fairlead.embedded.apiserver.kinds.strategy import StatusStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext, ResourceType

_EVICTION_POLICIES = ("AlwaysAllow", "IfHealthyBudget")
_COUNTS = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
_SPEC: Layout = (
    ("MinAvailable", "minAvailable", None),
    ("Selector", "selector", None),
    ("MaxUnavailable", "maxUnavailable", None),
    ("UnhealthyPodEvictionPolicy", "unhealthyPodEvictionPolicy", None),
)


class DisruptionBudgetStrategy(StatusStrategy):
    """PodDisruptionBudget."""

    def initial_status(self, obj: Object) -> Object | None:
        return {"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0}

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        spec = obj.get("spec") or {}
        if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
            detail = "minAvailable and maxUnavailable cannot be both set"
            errors.append(invalid("spec", internal_form(spec, _SPEC), detail))
        for key in ("minAvailable", "maxUnavailable"):
            if spec.get(key) is not None:
                check_count_or_percent(errors, spec[key], f"spec.{key}")
        validate_label_selector(errors, spec.get("selector"), "spec.selector")
        policy = spec.get("unhealthyPodEvictionPolicy")
        if policy is not None and policy not in _EVICTION_POLICIES:
            errors.append(not_supported("spec.unhealthyPodEvictionPolicy", policy, _EVICTION_POLICIES))
        return errors

    def validate_status(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        status = new.get("status") or {}
        validate_conditions(errors, status.get("conditions"), "status.conditions")
        for key in _COUNTS:
            check_not_negative(errors, status.get(key), f"status.{key}")
        return errors


def check_count_or_percent(errors: Errors, value: Any, path: str) -> None:
    """A number of pods, or a share of them between 0 % and 100 %."""
    if isinstance(value, int):
        check_not_negative(errors, value, path)
        return
    messages = percent(value)
    add_each(errors, path, value, messages)
    if not messages and int(value[:-1]) > 100:
        errors.append(invalid(path, value, "must not be greater than 100%"))


def types() -> list[ResourceType]:
    """The kinds of policy/v1."""
    return [
        resource_type(
            "policy/v1",
            "poddisruptionbudgets",
            "PodDisruptionBudget",
            strategy=DisruptionBudgetStrategy(),
            short_names=("pdb",),
            has_status=True,
            has_generation=True,
            reset_fields=STATUS,
            allow_unconditional_update=False,
        ),
    ]
