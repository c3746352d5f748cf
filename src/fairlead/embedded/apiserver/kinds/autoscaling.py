"""The group autoscaling: HorizontalPodAutoscaler, stored as v2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, invalid
from fairlead.embedded.apiserver.kinds.autoscaler_metrics import check_behavior, check_metric, check_reference
from fairlead.embedded.apiserver.kinds.autoscaler_versions import from_v2, to_v2
from fairlead.embedded.apiserver.kinds.converted import ConvertedStrategy
from fairlead.embedded.apiserver.kinds.definition import STATUS, resource_type
from fairlead.embedded.apiserver.kinds.errors import Errors, check_not_negative
from fairlead.embedded.apiserver.kinds.strategy import StatusStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext, ResourceType, Strategy

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
        check_reference(errors, spec.get("scaleTargetRef") or {}, "spec.scaleTargetRef")
        for index, metric in enumerate(spec["metrics"]):
            check_metric(errors, metric, f"spec.metrics[{index}]")
        check_behavior(errors, spec.get("behavior") or {}, "spec.behavior")
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
