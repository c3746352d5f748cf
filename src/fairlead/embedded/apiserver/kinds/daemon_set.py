"""DaemonSet: one pod on every node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, invalid, not_supported, required
from fairlead.embedded.apiserver.kinds.errors import Errors, check_not_negative
from fairlead.embedded.apiserver.kinds.pod_spec import validate_pod_template
from fairlead.embedded.apiserver.kinds.selectors import is_empty, validate_label_selector
from fairlead.embedded.apiserver.kinds.workload import (
    WorkloadStrategy,
    check_selector_immutable,
    int_or_percent,
    validate_always_running,
    validate_at_most_all,
    validate_collision_count,
    validate_counts,
    validate_int_or_percent,
    validate_template_labels,
)
from fairlead.embedded.apiserver.registry import Object, RequestContext

TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
_INITIAL = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
_COUNTS = (
    *_INITIAL, "observedGeneration", "updatedNumberScheduled", "numberAvailable", "numberUnavailable", "collisionCount",
)  # fmt: skip


class DaemonSetStrategy(WorkloadStrategy):
    """The generation of the template is kept in an annotation, where the API's first version had a field."""

    def default(self, obj: Object) -> None:
        super().default(obj)
        metadata = obj.setdefault("metadata", {})
        metadata["annotations"] = {TEMPLATE_GENERATION: "0", **(metadata.get("annotations") or {})}

    def default_spec(self, spec: Object) -> None:
        strategy = spec.setdefault("updateStrategy", {})
        if not strategy.get("type"):
            strategy["type"] = "RollingUpdate"
        if strategy["type"] == "RollingUpdate":
            rolling = strategy.get("rollingUpdate") or {}
            rolling.setdefault("maxUnavailable", 1)
            rolling.setdefault("maxSurge", 0)
            strategy["rollingUpdate"] = rolling
        if spec.get("revisionHistoryLimit") is None:
            spec["revisionHistoryLimit"] = 10

    def initial_status(self, obj: Object) -> Object | None:
        return dict.fromkeys(_INITIAL, 0)

    def prepare_create(self, obj: Object, context: RequestContext) -> None:
        super().prepare_create(obj, context)
        _set_template_generation(obj, 1)

    def prepare_update(self, new: Object, old: Object, context: RequestContext) -> None:
        super().prepare_update(new, old, context)
        generation = _template_generation(old)
        changed = new["spec"]["template"] != old["spec"]["template"]
        _set_template_generation(new, generation + changed)

    def validate_spec(self, errors: Errors, spec: Object) -> None:
        selector = spec.get("selector")
        validate_label_selector(errors, selector, "spec.selector")
        validate_template_labels(errors, spec)
        if selector is not None and is_empty(selector):
            errors.append(invalid("spec.selector", selector, "empty selector is invalid for daemonset"))
        validate_pod_template(errors, spec.get("template"), "spec.template")
        validate_always_running(errors, spec, "DaemonSet")
        check_not_negative(errors, spec.get("minReadySeconds"), "spec.minReadySeconds")
        _validate_strategy(errors, spec.get("updateStrategy") or {})
        check_not_negative(errors, spec.get("revisionHistoryLimit"), "spec.revisionHistoryLimit")

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = list(self.validate(new, context))
        check_selector_immutable(errors, new, old)
        return errors

    def validate_status(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        validate_counts(errors, new.get("status") or {}, _COUNTS)
        validate_collision_count(errors, new, old)
        return errors


def _template_generation(obj: Object) -> int:
    text = (obj["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION, "0")
    return int(text) if text.isdigit() else 0


def _set_template_generation(obj: Object, generation: int) -> None:
    metadata = obj["metadata"]
    metadata["annotations"] = {**(metadata.get("annotations") or {}), TEMPLATE_GENERATION: str(generation)}


def _validate_strategy(errors: Errors, strategy: Mapping[str, Any]) -> None:
    path, kind, rolling = "spec.updateStrategy", strategy.get("type", ""), strategy.get("rollingUpdate")
    if kind == "OnDelete":
        return
    if kind != "RollingUpdate":
        shown = {"Type": kind, "RollingUpdate": rolling and _shown_rolling(rolling)}
        errors.append(not_supported(path, shown, ("RollingUpdate", "OnDelete")))
        return
    if rolling is None:
        errors.append(required(f"{path}.rollingUpdate"))
        return
    path = f"{path}.rollingUpdate"
    for key in ("maxUnavailable", "maxSurge"):
        validate_int_or_percent(errors, rolling.get(key), f"{path}.{key}")
    for key in ("maxUnavailable", "maxSurge"):
        validate_at_most_all(errors, rolling.get(key), f"{path}.{key}")
    unavailable, surge = int_or_percent(rolling.get("maxUnavailable")), int_or_percent(rolling.get("maxSurge"))
    if unavailable and surge:
        detail = "may not be set when maxUnavailable is non-zero"
        errors.append(invalid(f"{path}.maxSurge", rolling.get("maxSurge"), detail))
    elif not unavailable and not surge:
        errors.append(required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0"))


def _shown_rolling(rolling: Mapping[str, Any]) -> dict[str, Any]:
    return {"MaxUnavailable": rolling.get("maxUnavailable", 0), "MaxSurge": rolling.get("maxSurge", 0)}
