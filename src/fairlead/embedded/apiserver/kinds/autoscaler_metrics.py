"""Validation of what a HorizontalPodAutoscaler scales by: its metrics, and how fast it may follow them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead.embedded.apiserver.invalid import forbidden, invalid, not_supported, required
from fairlead.embedded.apiserver.kinds.errors import NOT_NEGATIVE, NOT_POSITIVE, Errors, add_each
from fairlead.embedded.apiserver.kinds.names import dns_label, path_segment
from fairlead.kube.quantity import parse_quantity

LONGEST_WINDOW_S = 3600
LONGEST_PERIOD_S = 1800

_SOURCES = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}
_TARGET_TYPES = ("Utilization", "Value", "AverageValue")
_SELECT_POLICIES = ("Disabled", "Max", "Min")
_POLICY_TYPES = ("Percent", "Pods")
_TARGET_OR_UTILIZATION = "must set either a target raw value or a target utilization"


def check_reference(errors: Errors, reference: Mapping[str, Any], path: str) -> None:
    """A reference to an object by kind and name, in whatever version."""
    for key in ("kind", "name"):
        value = reference.get(key, "")
        if value:
            add_each(errors, f"{path}.{key}", value, path_segment(value))
        else:
            errors.append(required(f"{path}.{key}"))


def check_behavior(errors: Errors, behavior: Mapping[str, Any], path: str) -> None:
    """How fast to scale in each direction."""
    for direction in ("scaleUp", "scaleDown"):
        if behavior.get(direction) is not None:
            _check_rules(errors, behavior[direction], f"{path}.{direction}")


def _check_rules(errors: Errors, rules: Mapping[str, Any], path: str) -> None:
    window, policy = rules.get("stabilizationWindowSeconds"), rules.get("selectPolicy")
    if window is not None and window < 0:
        detail = "must be greater than or equal to zero"
        errors.append(invalid(f"{path}.stabilizationWindowSeconds", window, detail))
    if window is not None and window > LONGEST_WINDOW_S:
        detail = f"must be less than or equal to {LONGEST_WINDOW_S}"
        errors.append(invalid(f"{path}.stabilizationWindowSeconds", window, detail))
    if policy is not None and policy not in _SELECT_POLICIES:
        errors.append(not_supported(f"{path}.selectPolicy", policy, _SELECT_POLICIES))
    if not rules.get("policies"):
        errors.append(required(f"{path}.policies", "must specify at least one Policy"))
    for index, item in enumerate(rules.get("policies") or ()):
        _check_policy(errors, item, f"{path}.policies[{index}]")
    tolerance = rules.get("tolerance")
    if tolerance is not None and parse_quantity(tolerance).value < 0:
        errors.append(invalid(f"{path}.tolerance", tolerance, NOT_NEGATIVE))


def _check_policy(errors: Errors, policy: Mapping[str, Any], path: str) -> None:
    type_, period = policy.get("type", ""), policy.get("periodSeconds", 0)
    if type_ not in _POLICY_TYPES:
        errors.append(not_supported(f"{path}.type", type_, _POLICY_TYPES))
    for key in ("value", "periodSeconds"):
        if policy.get(key, 0) <= 0:
            errors.append(invalid(f"{path}.{key}", policy.get(key, 0), NOT_POSITIVE))
    if period > LONGEST_PERIOD_S:
        detail = f"must be less than or equal to {LONGEST_PERIOD_S}"
        errors.append(invalid(f"{path}.periodSeconds", period, detail))


def check_metric(errors: Errors, metric: Mapping[str, Any], path: str) -> None:
    """One metric: its type, and the source of that type alone."""
    type_ = metric.get("type", "")
    if not type_:
        errors.append(required(f"{path}.type", "must specify a metric source type"))
    if type_ not in _SOURCES:
        errors.append(not_supported(f"{path}.type", type_, tuple(_SOURCES)))
    wanted = _SOURCES.get(type_, "")
    present = [key for key in _SOURCES.values() if metric.get(key) is not None]
    if wanted in present:
        _check_source(errors, wanted, metric[wanted], f"{path}.{wanted}")
    elif wanted:
        errors.append(required(f"{path}.{wanted}", "must populate information for the given metric source"))
    for key in present:
        if key != wanted:
            errors.append(forbidden(f"{path}.{key}", "must populate the given metric source only"))


def _check_source(errors: Errors, kind: str, source: Mapping[str, Any], path: str) -> None:
    target = source.get("target") or {}
    if kind == "object":
        check_reference(errors, source.get("describedObject") or {}, f"{path}.describedObject")
    if kind in ("resource", "containerResource"):
        if not source.get("name"):
            errors.append(required(f"{path}.name", "must specify a resource name"))
    else:
        _check_identifier(errors, source.get("metric") or {}, f"{path}.metric")
    if kind == "containerResource":
        container = source.get("container", "")
        if container:
            add_each(errors, f"{path}.container", container, dns_label(container))
        else:
            errors.append(required(f"{path}.container", "must specify a container"))
    _check_target(errors, target, f"{path}.target")
    _check_combination(errors, kind, target, f"{path}.target")


def _check_identifier(errors: Errors, identifier: Mapping[str, Any], path: str) -> None:
    name = identifier.get("name", "")
    if name:
        add_each(errors, f"{path}.name", name, path_segment(name))
    else:
        errors.append(required(f"{path}.name", "must specify a metric name"))


def _check_target(errors: Errors, target: Mapping[str, Any], path: str) -> None:
    type_, utilization = target.get("type", ""), target.get("averageUtilization")
    if not type_:
        errors.append(required(f"{path}.type", "must specify a metric target type"))
    if type_ not in _TARGET_TYPES:
        errors.append(invalid(f"{path}.type", type_, "must be either Utilization, Value, or AverageValue"))
    for key in ("value", "averageValue"):
        if target.get(key) is not None and parse_quantity(target[key]).amount <= 0:
            errors.append(invalid(f"{path}.{key}", target[key], "must be positive"))
    if utilization is not None and utilization < 1:
        errors.append(invalid(f"{path}.averageUtilization", utilization, "must be greater than 0"))


def _check_combination(errors: Errors, kind: str, target: Mapping[str, Any], path: str) -> None:
    value, average, utilization = (target.get(key) for key in ("value", "averageValue", "averageUtilization"))
    if kind in ("resource", "containerResource"):
        if utilization is None and average is None:
            errors.append(required(f"{path}.averageUtilization", _TARGET_OR_UTILIZATION))
        elif utilization is not None and average is not None:
            detail = "may not set both a target raw value and a target utilization"
            errors.append(forbidden(f"{path}.averageValue", detail))
    elif kind == "pods":
        if average is None:
            errors.append(required(f"{path}.averageValue", "must specify a positive target averageValue"))
    elif value is None and average is None:
        alternative = " or averageValue" if kind == "object" else " for metric or a per-pod target"
        detail = f"must set either a target value{alternative}"
        errors.append(required(f"{path}.averageValue", detail))
    elif kind == "external" and value is not None and average is not None:
        detail = "may not set both a target value for metric and a per-pod target"
        errors.append(forbidden(f"{path}.value", detail))
