"""HorizontalPodAutoscaler in autoscaling/v1, and its conversion to and from v2, the stored version.

v1 knows one metric, the use of CPU. What else v2 says travels through v1 in annotations, so that a client of v1 which
reads and writes an object loses nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.registry import Object

_PREFIX = "autoscaling.alpha.kubernetes.io/"
_METRICS, _BEHAVIOR = f"{_PREFIX}metrics", f"{_PREFIX}behavior"
_CURRENT_METRICS, _CONDITIONS = f"{_PREFIX}current-metrics", f"{_PREFIX}conditions"
_ALL = (_METRICS, _BEHAVIOR, _CURRENT_METRICS, _CONDITIONS)

# Where a metric of v2 keeps a value -> what v1 calls it, for targets and for current values.
_VALUES = {"averageUtilization": "AverageUtilization", "averageValue": "AverageValue", "value": "Value"}


def from_v2(obj: Object) -> Object:
    """An autoscaler of v2 in v1."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    metadata = dict(obj["metadata"])
    annotations = dict(metadata.get("annotations") or {})
    cpu, others = _split(spec.pop("metrics", None) or ())
    if cpu is not None:
        spec["targetCPUUtilizationPercentage"] = cpu["resource"]["target"]["averageUtilization"]
    if others:
        annotations[_METRICS] = _dumped([_metric(metric, "target") for metric in others])
    behavior = spec.pop("behavior", None)
    if behavior is not None:
        annotations[_BEHAVIOR] = _dumped(behavior)
    current = status.pop("currentMetrics", None) or ()
    for metric in current:
        used = ((metric.get("resource") or {}).get("current") or {}).get("averageUtilization")
        if metric.get("type") == "Resource" and metric["resource"].get("name") == "cpu" and used is not None:
            status["currentCPUUtilizationPercentage"] = used
    if current:
        annotations[_CURRENT_METRICS] = _dumped([_metric(metric, "current") for metric in current])
    if status.get("conditions"):
        annotations[_CONDITIONS] = _dumped(status["conditions"])
    status.pop("conditions", None)
    status.setdefault("currentReplicas", 0)
    return _rebuilt(obj, metadata, annotations, spec, status)


def to_v2(obj: Object) -> Object:
    """An autoscaler of v1 in v2."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    metadata = dict(obj["metadata"])
    annotations = dict(metadata.get("annotations") or {})
    metrics = [_from_form(metric, "target") for metric in _loaded(annotations, _METRICS) or ()]
    utilization = spec.pop("targetCPUUtilizationPercentage", None)
    if utilization is not None:
        target = {"type": "Utilization", "averageUtilization": utilization}
        metrics.append({"type": "Resource", "resource": {"name": "cpu", "target": target}})
    if metrics:
        spec["metrics"] = metrics
    behavior = _loaded(annotations, _BEHAVIOR)
    if behavior is not None:
        spec["behavior"] = behavior
    used = status.pop("currentCPUUtilizationPercentage", None)
    current = [_from_form(metric, "current") for metric in _loaded(annotations, _CURRENT_METRICS) or ()]
    if not current and used is not None:
        current = [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": used}}}]
    status["currentMetrics"] = current or None
    conditions = _loaded(annotations, _CONDITIONS)
    if conditions:
        status["conditions"] = conditions
    for key in _ALL:
        annotations.pop(key, None)
    return _rebuilt(obj, metadata, annotations, spec, status)


def _rebuilt(
    obj: Object, metadata: dict[str, Any], annotations: dict[str, str], spec: dict[str, Any], status: dict[str, Any]
) -> Object:
    if annotations:
        metadata["annotations"] = annotations
    else:
        metadata.pop("annotations", None)
    rebuilt = {**obj, "metadata": metadata, "spec": spec}
    if "status" in obj:
        rebuilt["status"] = status
    return rebuilt


def _split(metrics: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any] | None, list[Mapping[str, Any]]]:
    """The metric that v1 can say, and the others."""
    for index, metric in enumerate(metrics):
        resource = metric.get("resource") or {}
        utilization = (resource.get("target") or {}).get("averageUtilization")
        if metric.get("type") == "Resource" and resource.get("name") == "cpu" and utilization is not None:
            return metric, [*metrics[:index], *metrics[index + 1 :]]
    return None, list(metrics)


def _metric(metric: Mapping[str, Any], side: str) -> dict[str, Any]:
    """A metric of v2 as the annotations write it: values by flat names ("targetAverageValue")."""
    kind = metric.get("type", "")
    key = kind[:1].lower() + kind[1:]
    source = dict(metric.get(key) or {})
    values = source.pop(side, None) or {}
    named = source.pop("metric", None)
    if named is not None:
        source["metricName"] = named.get("name", "")
        if named.get("selector") is not None:
            source["metricSelector" if kind == "External" else "selector"] = named["selector"]
    if "describedObject" in source:
        source["target"] = source.pop("describedObject")
    for name, flat in _VALUES.items():
        if values.get(name) is not None:
            source[f"{side}{flat}"] = values[name]
    return {"type": kind, key: source}


def _from_form(metric: Mapping[str, Any], side: str) -> dict[str, Any]:
    kind = metric.get("type", "")
    key = kind[:1].lower() + kind[1:]
    source = dict(metric.get(key) or {})
    values = {name: source.pop(f"{side}{flat}") for name, flat in _VALUES.items() if f"{side}{flat}" in source}
    if side == "target" and values:
        first = next(iter(values))
        values["type"] = {"averageUtilization": "Utilization", "averageValue": "AverageValue", "value": "Value"}[first]
    if "target" in source:
        source["describedObject"] = source.pop("target")
    if "metricName" in source:
        named = {"name": source.pop("metricName")}
        for selector in ("metricSelector", "selector"):
            if selector in source:
                named["selector"] = source.pop(selector)
        source["metric"] = named
    return {"type": kind, key: {**source, side: values}}


def _dumped(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _loaded(annotations: Mapping[str, str], key: str) -> Any:
    """The value of an annotation; None where it is absent or not of our making."""
    try:
        return json.loads(annotations[key])
    except (KeyError, ValueError):
        return None
