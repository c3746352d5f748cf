"""Columns of HorizontalPodAutoscalers: what they scale, and each metric's current and wanted value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead.embedded.apiserver.printing.cells import AGE, NAME, NONE, UNKNOWN, UNSET, computed, get, text
from fairlead.embedded.apiserver.registry import Column, Object

_SOURCES = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}
_SHOWN = 2


def _reference(scaler: Object) -> str:
    target = get(scaler, "spec", "scaleTargetRef", default={})
    return f"{target.get('kind', '')}/{target.get('name', '')}"


def _targets(scaler: Object) -> str:
    specs = get(scaler, "spec", "metrics", default=())
    if not specs:
        return _version_one_target(scaler)
    statuses = get(scaler, "status", "currentMetrics") or ()
    shown = [
        _target(spec, statuses[index] if index < len(statuses) else {}) for index, spec in enumerate(specs[:_SHOWN])
    ]
    text = ", ".join(shown)
    more = len(specs) - _SHOWN
    return f"{text} + {more} more..." if more > 0 else text


def _version_one_target(scaler: Object) -> str:
    wanted = get(scaler, "spec", "targetCPUUtilizationPercentage")
    if wanted is None:
        return NONE
    current = get(scaler, "status", "currentCPUUtilizationPercentage")
    return f"cpu: {UNKNOWN if current is None else f'{current}%'}/{wanted}%"


def _target(spec: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    type_ = spec.get("type", "")
    key = _SOURCES.get(type_)
    if key is None:
        return "<unknown type>"
    wanted, current = get(spec, key, "target", default={}), get(status, key, "current", default={})
    if type_ in ("Resource", "ContainerResource"):
        return f"{get(spec, key, 'name', default='')}: {_resource(wanted, current)}"
    if type_ == "Pods":
        return f"{current.get('averageValue') or UNKNOWN}/{wanted.get('averageValue', '')}"
    if wanted.get("averageValue") is not None:
        return f"{current.get('averageValue') or UNKNOWN}/{wanted['averageValue']} (avg)"
    return f"{current.get('value') or UNKNOWN}/{wanted.get('value', '')}"


def _resource(wanted: Mapping[str, Any], current: Mapping[str, Any]) -> str:
    if wanted.get("averageValue") is not None:
        return f"{current.get('averageValue') or UNKNOWN}/{wanted['averageValue']}"
    used, limit = current.get("averageUtilization"), wanted.get("averageUtilization")
    return f"{UNKNOWN if used is None else f'{used}%'}/{'<auto>' if limit is None else f'{limit}%'}"


COLUMNS: Mapping[tuple[str, str], tuple[Column, ...]] = {
    ("autoscaling", "HorizontalPodAutoscaler"): (
        NAME,
        computed("Reference", "What it scales.", _reference),
        computed("Targets", "Current and wanted values of its metrics.", _targets),
        computed("MinPods", "Fewest replicas.", lambda obj: str(get(obj, "spec", "minReplicas", default=UNSET))),
        text("MaxPods", "Most replicas.", "spec", "maxReplicas", default=0),
        text("Replicas", "Replicas there are.", "status", "currentReplicas", default=0),
        AGE,
    ),
}
