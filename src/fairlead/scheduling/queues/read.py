"""Queues as values, from the spec of their objects."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from fairlead.api.queue import Queue
from fairlead.kube.quantity import parse_quantity
from fairlead.scheduling.queues.tree import Entitlement, QueueView


def view_of(queue: Queue) -> QueueView:
    """The queue that an object describes. Raises ValueError for a quantity that is none."""
    return read_queue(str(queue.metadata.get("name", "")), msgspec.to_builtins(queue.spec))


def read_queue(name: str, spec: Mapping[str, Any]) -> QueueView:
    """The queue that `spec` (`QueueSpec` as JSON) describes. Raises ValueError that names the field and its value."""
    resources = _get(spec, "resources", {}, Mapping)
    return QueueView(
        name,
        parent=_get(spec, "parent", "", str),
        priority=_get(spec, "priority", 0, int),
        resources={resource: _entitlement(resource, given) for resource, given in resources.items()},
        reclaim_min_runtime_s=_seconds(spec, "reclaimMinRuntimeSeconds"),
        preempt_min_runtime_s=_seconds(spec, "preemptMinRuntimeSeconds"),
        half_life_s=_seconds(spec, "usageHalfLifeSeconds") or 0.0,
        namespaces=tuple(_get(spec, "namespaces", (), (list, tuple))),
    )


def _entitlement(resource: str, given: Any) -> Entitlement:
    where = f"spec.resources[{resource}]"
    if not isinstance(given, Mapping):
        raise ValueError(f"{where} is {given!r}; it must be an object with quota, overQuotaWeight or limit")
    weight = given.get("overQuotaWeight")
    if weight is not None and (isinstance(weight, bool) or not isinstance(weight, int | float)):
        raise ValueError(f"{where}.overQuotaWeight is {weight!r}; it must be a number, 0 or more")
    return Entitlement(
        _amount(f"{where}.quota", resource, given.get("quota")),
        1.0 if weight is None else float(weight),
        _amount(f"{where}.limit", resource, given.get("limit")),
    )


def _amount(where: str, resource: str, given: Any) -> int | None:
    """A quantity in the base unit of its resource, rounded up."""
    if given is None:
        return None
    try:
        amount = parse_quantity(str(given)).amount
    except ValueError as error:
        raise ValueError(f"{where} is {given!r}; it must be a quantity such as 8, 500m or 64Gi") from error
    return math.ceil(amount.scaleb(3) if resource == "cpu" else amount)


def _seconds(spec: Mapping[str, Any], name: str) -> float | None:
    given = spec.get(name)
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise ValueError(f"spec.{name} is {given!r}; it must be a number of seconds, 0 or more")
    return float(given)


def _get(spec: Mapping[str, Any], name: str, default: Any, kind: Any) -> Any:
    given = spec.get(name)
    if given is None:
        return default
    if isinstance(given, bool) or not isinstance(given, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        wanted = {"str": "a text", "int": "a whole number", "Mapping": "an object", "list": "a list"}[kinds[0].__name__]
        raise ValueError(f"spec.{name} is {given!r}; it must be {wanted}")
    return given
