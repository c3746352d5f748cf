"""What an allocation gives, whatever defaults the server has added to it."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.kube.objects.devices import AllocationResult, DeviceRequestAllocationResult


def gives_same(one: AllocationResult, other: AllocationResult) -> bool:
    """Whether two allocations give the same devices, whatever defaults the server has added."""
    return [_identity(r) for r in results_of(one)] == [_identity(r) for r in results_of(other)]


def results_of(allocation: AllocationResult | None) -> Sequence[DeviceRequestAllocationResult]:
    """The devices, request by request; nothing where there is no allocation."""
    return allocation.devices.results if allocation is not None and allocation.devices is not None else ()


def _identity(result: DeviceRequestAllocationResult) -> tuple[str, str, str, str, str]:
    return result.request, result.driver, result.pool, result.device, result.share_id
