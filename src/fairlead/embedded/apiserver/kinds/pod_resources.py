"""Resources of a pod as a whole: what its containers add up to, its quality of service, and pod-level requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fairlead.embedded.apiserver.invalid import forbidden, invalid
from fairlead.embedded.apiserver.kinds.errors import Errors
from fairlead.embedded.apiserver.kinds.resources import pod_resource_name, validate_requirements
from fairlead.kube.quantity import Quantity, parse_quantity

_COMPUTE = ("cpu", "memory")
_ZERO = Quantity(0)


def aggregate_requests(spec: Mapping[str, Any]) -> dict[str, Quantity]:
    """What the pod needs at its peak: running containers and sidecars together, or an init container with the
    sidecars before it, whichever is more."""
    running = _added({}, (_requests(container) for container in spec.get("containers") or ()))
    sidecars: dict[str, Quantity] = {}
    peak: dict[str, Quantity] = {}
    for container in spec.get("initContainers") or ():
        requests = _requests(container)
        if container.get("restartPolicy") == "Always":
            sidecars = _added(sidecars, (requests,))
            needed = sidecars
        else:
            needed = _added(sidecars, (requests,))
        peak = {name: max(needed.get(name, _ZERO), peak.get(name, _ZERO)) for name in needed.keys() | peak.keys()}
    running = _added(running, (sidecars,))
    return {name: max(running.get(name, _ZERO), peak.get(name, _ZERO)) for name in running.keys() | peak.keys()}


def _requests(container: Mapping[str, Any]) -> dict[str, Quantity]:
    requests: Mapping[str, str] = (container.get("resources") or {}).get("requests") or {}
    return {name: parse_quantity(text) for name, text in requests.items()}


def _added(base: Mapping[str, Quantity], more: Iterable[Mapping[str, Quantity]]) -> dict[str, Quantity]:
    total = dict(base)
    for amounts in more:
        for name, amount in amounts.items():
            total[name] = total[name] + amount if name in total else amount
    return total


def qos_class(spec: Mapping[str, Any]) -> str:
    """Guaranteed, Burstable or BestEffort, from cpu and memory of all containers (or of the pod itself)."""
    own = spec.get("resources")
    if own and (own.get("requests") or own.get("limits")):
        members: Iterable[Mapping[str, Any]] = ({"resources": own},)
    else:
        members = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    guaranteed, any_set = True, False
    for container in members:
        resources = container.get("resources")
        if not resources:
            guaranteed = False
            continue
        requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
        for name in _COMPUTE:
            request, limit = requests.get(name), limits.get(name)
            any_set = any_set or _is_positive(request) or _is_positive(limit)
            if not _is_positive(limit) or (request != limit and _differ(request, limit)):
                guaranteed = False
    if not any_set:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _is_positive(text: str | None) -> bool:
    return text is not None and parse_quantity(text) > _ZERO


def _differ(request: str | None, limit: str | None) -> bool:
    return request is None or limit is None or parse_quantity(request) != parse_quantity(limit)


def validate_pod_resources(errors: Errors, spec: Mapping[str, Any], path: str) -> None:
    """`resources` of a PodSpec: at least what the containers request, at most what they are limited to."""
    resources = spec["resources"]
    if resources.get("claims") is not None:
        errors.append(forbidden(f"{path}.claims", "claims cannot be set for Resources at pod-level"))
    validate_requirements(errors, resources, (), path, pod_resource_name)
    requests: Mapping[str, str] = resources.get("requests") or {}
    for name, amount in aggregate_requests(spec).items():
        text = requests.get(name, "0")
        if amount > parse_quantity(text):
            detail = f"must be greater than or equal to aggregate container requests of {amount}"
            errors.append(invalid(f"{path}.requests[{name}]", text, detail))
    limits: Mapping[str, str] = resources.get("limits") or {}
    for index, container in enumerate(spec.get("containers") or ()):
        for name, text in ((container.get("resources") or {}).get("limits") or {}).items():
            if name in limits and parse_quantity(text) > parse_quantity(limits[name]):
                at = f"{path}.containers[{index}][{name}].limits"
                errors.append(invalid(at, text, f"must be less than or equal to pod limits of {limits[name]}"))
