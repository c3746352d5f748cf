"""LimitRange: bounds and defaults of resources in a namespace."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, duplicate, forbidden, invalid, required
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each
from fairlead.embedded.apiserver.kinds.names import qualified_name
from fairlead.embedded.apiserver.kinds.pod_defaults import default_amounts
from fairlead.embedded.apiserver.kinds.resources import (
    container_resource_name,
    is_overcommit_allowed,
    resource_name,
)
from fairlead.embedded.apiserver.kinds.strategy import ObjectStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext
from fairlead.kube.quantity import Quantity, parse_quantity

_TYPES = ("Pod", "Container", "PersistentVolumeClaim")
_BOUNDS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")


class LimitRangeStrategy(ObjectStrategy):
    metadata_rechecks = 1
    checks_metadata_change = False

    def default(self, obj: Object) -> None:
        for limit in obj.setdefault("spec", {}).get("limits") or ():
            for key in _BOUNDS:
                default_amounts(limit.get(key))
            if limit.get("type") == "Container":
                _default_container_limit(limit)

    def prepare_create(self, obj: Object, context: RequestContext) -> None:
        # The only kind that gets a name where the client gives none.
        if not obj["metadata"].get("name"):
            obj["metadata"]["name"] = str(uuid.uuid4())

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        seen: set[str] = set()
        for index, limit in enumerate(obj["spec"].get("limits") or ()):
            at, kind = f"spec.limits[{index}]", limit.get("type", "")
            messages = qualified_name(kind)
            add_each(errors, f"{at}.type", kind, messages)
            if not messages and "/" not in kind and kind not in _TYPES:
                errors.append(invalid(f"{at}.type", kind, "must be a standard limit type or fully qualified"))
            if kind in seen:
                errors.append(duplicate(f"{at}.type", kind))
            seen.add(kind)
            _validate_limit(errors, limit, kind, at)
        return errors


def _default_container_limit(limit: Object) -> None:
    default, request = dict(limit.get("default") or {}), dict(limit.get("defaultRequest") or {})
    for name, text in (limit.get("max") or {}).items():
        default.setdefault(name, text)
    for amounts in (default, limit.get("min") or {}):
        for name, text in amounts.items():
            request.setdefault(name, text)
    for key, amounts in (("default", default), ("defaultRequest", request)):
        if amounts:
            limit[key] = amounts


def _validate_limit(errors: Errors, limit: Mapping[str, Any], kind: str, path: str) -> None:
    rule = container_resource_name if kind in ("Pod", "Container") else resource_name
    amounts: dict[str, dict[str, Quantity]] = {}
    for key in _BOUNDS:
        entries: Mapping[str, str] = limit.get(key) or {}
        if kind == "Pod" and key in ("default", "defaultRequest"):
            if entries:
                errors.append(forbidden(f"{path}.{key}", "may not be specified when `type` is 'Pod'"))
            continue
        for name, text in entries.items():
            add_each(errors, f"{path}.{key}[{name}]", name, rule(name))
            amounts.setdefault(name, {})[key] = parse_quantity(text)
    if kind == "PersistentVolumeClaim" and not any("storage" in (limit.get(key) or {}) for key in ("min", "max")):
        detail = "either minimum or maximum storage value is required, but neither was provided"
        errors.append(required(f"{path}.limits", detail))
    for name, bounds in amounts.items():
        _validate_bounds(errors, name, bounds, path)


def _validate_bounds(errors: Errors, name: str, bounds: Mapping[str, Quantity], path: str) -> None:
    low, high = bounds.get("min"), bounds.get("max")
    default, request = bounds.get("default"), bounds.get("defaultRequest")
    # Which bound must not exceed which: where it is reported, whose value is shown, and the words for it.
    for smaller, larger, key, shown, words in (
        (low, high, "min", low, "min value {} is greater than max value {}"),
        (low, request, "defaultRequest", request, "min value {} is greater than default request value {}"),
        (request, high, "defaultRequest", request, "default request value {} is greater than max value {}"),
        (
            request,
            default,
            "defaultRequest",
            request,
            "default request value {} is greater than default limit value {}",
        ),
        (low, default, "default", low, "min value {} is greater than default value {}"),
        (default, high, "default", high, "default value {} is greater than max value {}"),
    ):
        if smaller is not None and larger is not None and smaller > larger:
            errors.append(invalid(f"{path}.{key}[{name}]", str(shown), words.format(smaller, larger)))
    _validate_ratio(errors, name, bounds, path)
    if default is not None and request is not None and default != request and not is_overcommit_allowed(name):
        detail = f"default value {default} must equal to defaultRequest value {request} in {name}"
        errors.append(invalid(f"{path}.defaultRequest[{name}]", str(request), detail))


def _validate_ratio(errors: Errors, name: str, bounds: Mapping[str, Quantity], path: str) -> None:
    ratio, low, high = bounds.get("maxLimitRequestRatio"), bounds.get("min"), bounds.get("max")
    if ratio is None:
        return
    at = f"{path}.maxLimitRequestRatio[{name}]"
    if ratio < Quantity(1):
        errors.append(invalid(at, str(ratio), f"ratio {ratio} is less than 1"))
    if low is not None and high is not None and float(low) > 0 and float(ratio) > float(high) / float(low):
        detail = f"ratio {ratio} is greater than max/min = {float(high) / float(low):f}"
        errors.append(invalid(at, str(ratio), detail))
