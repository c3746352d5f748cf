"""How many accelerators a pod holds: by the extended resources that its containers ask for, and by its claims."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from fairlead.kube.objects import Container, Pod, ResourceClaim
from fairlead.kube.quantity import parse_quantity

_ACCELERATOR = re.compile(
    r"(^|[./_-])(gpu|tpu|npu|xpu|vgpu|mig|mlu|dcu|gcu|accelerator|gaudi|hpu|rngd|warboy|furiosa|neuron\w*|ascend\w*"
    r"|i915|xe|qaic)"
    r"($|[./_\d-])",
    re.IGNORECASE,
)
"""Words by which drivers and extended resources name accelerators. What else there is (network ports, huge pages, IMEX
channels) is no accelerator, however it is allocated."""
_NOT = re.compile(r"memory|cores|mem$|compute-domain|\bcpu\b", re.IGNORECASE)
"""Shares of an accelerator, and what goes along with one."""


def is_accelerator(name: str) -> bool:
    """Of an extended resource (`nvidia.com/gpu`) or a driver (`gpu.nvidia.com`)."""
    return _ACCELERATOR.search(name) is not None and _NOT.search(name) is None


def accelerators_of(pod: Pod, claims: Mapping[str, ResourceClaim]) -> float | None:
    """`claims` by name, of the pod's namespace. None: it asks for none, or its claim has not been allocated yet.

    A container of the start-up takes part of what the others have, as the scheduler counts. A claim that several pods
    hold counts for each by its share."""
    asked = sum(_asked(container) for container in pod.spec.containers)
    early = [(_asked(container), container.restart_policy == "Always") for container in pod.spec.init_containers]
    beside = sum(count for count, stays in early if stays)
    count = max([asked + beside, *(count for count, stays in early if not stays)])
    names = {status.resource_claim_name for status in pod.status.resource_claim_statuses}
    names |= {reference.resource_claim_name for reference in pod.spec.resource_claims}
    count += sum(_devices(claims[name]) for name in names if name in claims)
    return count or None


def _asked(container: Container) -> float:
    resources = container.resources
    if resources is None:
        return 0.0
    # Extended resources have a limit that the request must be equal to; either may be left out.
    found = {**resources.requests, **resources.limits}
    return sum(
        float(parse_quantity(amount).amount) for name, amount in found.items() if "/" in name and is_accelerator(name)
    )


def _devices(claim: ResourceClaim) -> float:
    allocation = claim.status.allocation
    if allocation is None or allocation.devices is None:
        return 0.0
    devices = {
        (result.driver, result.pool, result.device)
        for result in allocation.devices.results
        if not result.admin_access and is_accelerator(result.driver)
    }
    return len(devices) / max(1, _pods(claim.status.reserved_for))


def _pods(consumers: Iterable[object]) -> int:
    return sum(1 for consumer in consumers if getattr(consumer, "resource", "") == "pods")
