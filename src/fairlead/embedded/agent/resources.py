"""Quantities of a pod's containers, and the pod's quality-of-service class."""

from __future__ import annotations

import math
from decimal import Decimal

from fairlead.embedded.agent.pod import ContainerSpec, PodSpec
from fairlead.kube.quantity import parse_quantity

_COMPUTE = ("cpu", "memory")


def limit(container: ContainerSpec, resource: str) -> Decimal | None:
    value = container.resources.limits.get(resource)
    return None if value is None else parse_quantity(value).amount


def request(container: ContainerSpec, resource: str) -> Decimal | None:
    """What is asked for: a limit without a request counts as both."""
    value = container.resources.requests.get(resource, container.resources.limits.get(resource))
    return None if value is None else parse_quantity(value).amount


def divided(value: Decimal, divisor: str | int | float) -> int:
    """A quantity in units of `divisor`, rounded up, as `resourceFieldRef` gives it. A zero divisor counts as one."""
    unit = parse_quantity(divisor).amount or Decimal(1)
    return math.ceil(value / unit)


def qos_class(spec: PodSpec) -> str:
    """Guaranteed, Burstable or BestEffort, by the CPU and memory of all containers."""
    containers = (*spec.containers, *spec.init_containers)
    amounts = [(request(container, name), limit(container, name)) for container in containers for name in _COMPUTE]
    if not any(asked or capped for asked, capped in amounts):
        return "BestEffort"
    if all(capped and asked == capped for asked, capped in amounts):
        return "Guaranteed"
    return "Burstable"
