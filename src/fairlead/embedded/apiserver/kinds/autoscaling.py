"""The group autoscaling: HorizontalPodAutoscaler, stored as v2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, invalid, not_supported, required
from fairlead.embedded.apiserver.kinds.autoscaler_versions import from_v2, to_v2
from fairlead.embedded.apiserver.kinds.converted import ConvertedStrategy
from fairlead.embedded.apiserver.kinds.definition import STATUS, resource_type
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each, check_not_negative
from fairlead.embedded.apiserver.kinds.names import path_segment
from fairlead.embedded.apiserver.kinds.strategy import StatusStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext, ResourceType, Strategy

_SOURCES = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}
_TARGET_TYPES = ("Utilization", "Value", "AverageValue")
_TARGET_VALUES = {"Utilization": "averageUtilization", "Value": "value", "AverageValue": "averageValue"}
_SCALE_DOWN: Mapping[str, Any] = {
    "selectPolicy": "Max",
    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
}
_SCALE_UP: Mapping[str, Any] = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}


class AutoscalerStrategy(StatusStrategy):
    """HorizontalPodAutoscaler."""

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        if spec.get("minReplicas") is None:
            spec["minReplicas"] = 1
        if not spec.get("metrics"):
            target = {"type": "Utilization", "averageUtilization": 80}
            spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
        behavior = spec.get("behavior")
        if behavior is not None:
            behavior["scaleUp"] = _with_defaults(behavior.get("scaleUp"), _SCALE_UP)
            behavior["scaleDown"] = _with_defaults(behavior.get("scaleDown"), _SCALE_DOWN)

    def initial_status(self, obj: Object) -> Object | None:
        return {"currentMetrics": None, "desiredReplicas": 0}

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        spec = obj["spec"]
        least, most = spec["minReplicas"], spec.get("maxReplicas", 0)
        if least < 1:
            errors.append(invalid("spec.minReplicas", least, "must be greater than or equal to 1"))
        if most < 1:
            errors.append(invalid("spec.maxReplicas", most, "must be greater than 0"))
        if most < least:
            errors.append(invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
        _check_reference(errors, spec.get("scaleTargetRef") or {}, "spec.scaleTargetRef")
        for index, metric in enumerate(spec["metrics"]):
            _check_metric(errors, metric, f"spec.metrics[{index}]")
        return errors

    def validate_status(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        for key in ("currentReplicas", "desiredReplicas"):
            check_not_negative(errors, (new.get("status") or {}).get(key), f"status.{key}")
        return errors


def _with_defaults(rules: Mapping[str, Any] | None, defaults: Mapping[str, Any]) -> dict[str, Any]:
    given = {key: value for key, value in (rules or {}).items() if value is not None}
    copied = {
        key: [dict(item) for item in value] if isinstance(value, list) else value for key, value in defaults.items()
    }
    return {**copied, **given}


def _check_reference(errors: Errors, reference: Mapping[str, Any], path: str) -> None:
    for key in ("kind", "name"):
        value = reference.get(key, "")
        if value:
            add_each(errors, f"{path}.{key}", value, path_segment(value))
        else:
            errors.append(required(f"{path}.{key}"))


def _check_metric(errors: Errors, metric: Mapping[str, Any], path: str) -> None:
    type_ = metric.get("type", "")
    if not type_:
        errors.append(required(f"{path}.type", "must specify a metric source type"))
        return
    if type_ not in _SOURCES:
        errors.append(not_supported(f"{path}.type", type_, tuple(sorted(_SOURCES))))
        return
    key = _SOURCES[type_]
    source = metric.get(key)
    if source is None:
        errors.append(required(f"{path}.{key}", "must populate information for the given metric source"))
        return
    at = f"{path}.{key}"
    if type_ in ("Resource", "ContainerResource") and not source.get("name"):
        errors.append(required(f"{at}.name", "must specify a resource name"))
    if type_ == "ContainerResource" and not source.get("container"):
        errors.append(required(f"{at}.container", "must specify a container"))
    _check_target(errors, source.get("target") or {}, f"{at}.target")


def _check_target(errors: Errors, target: Mapping[str, Any], path: str) -> None:
    type_ = target.get("type", "")
    if not type_:
        errors.append(required(f"{path}.type", "must specify a metric target type"))
        return
    if type_ not in _TARGET_TYPES:
        detail = "must be either Utilization, Value, or AverageValue"
        errors.append(invalid(f"{path}.type", type_, detail))
        return
    utilization = target.get("averageUtilization")
    if utilization is not None and utilization < 1:
        errors.append(invalid(f"{path}.averageUtilization", utilization, "must be greater than 0"))
    if all(target.get(key) is None for key in _TARGET_VALUES.values()):
        detail = "must set either a target raw value or a target utilization"
        errors.append(required(f"{path}.{_TARGET_VALUES[type_]}", detail))


def types() -> list[ResourceType]:
    """HorizontalPodAutoscaler in its served versions."""
    strategy = AutoscalerStrategy()
    older = ConvertedStrategy(strategy, to_v2, from_v2)
    return [_row("v2", strategy), _row("v1", older, to_storage=to_v2, from_storage=from_v2)]


def _row(version: str, strategy: Strategy, **options: Any) -> ResourceType:
    return resource_type(
        f"autoscaling/{version}",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        strategy=strategy,
        storage_version="v2",
        short_names=("hpa",),
        categories=("all",),
        has_status=True,
        reset_fields=STATUS,
        **options,
    )
