"""From a ResourceClaim to what this driver has to prepare on this node. Pure.

Results of other drivers in the same claim are theirs. Opaque parameters apply to a result when they are for this driver
and name no request, the result's request, or (for a subrequest, "parent/sub") its parent: the rule of upstream's
`resourceclaim.ConfigForResult`. Class parameters come before the claim's, so that the claim's win.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fairlead.devices.errors import ClaimError
from fairlead.devices.inventory import Inventory
from fairlead.devices.vendor import ClaimReference, Grant
from fairlead.kube.objects import (
    DeviceAllocationConfiguration,
    DeviceAllocationResult,
    DeviceRequestAllocationResult,
    ResourceClaim,
)


def reference_of(claim: ResourceClaim) -> ClaimReference:
    return ClaimReference(claim.metadata.namespace, claim.metadata.name, claim.metadata.uid)


def base_request(request: str) -> str:
    """The name of the request that a result belongs to: "gpu" of "gpu/large"."""
    return request.partition("/")[0]


def check_claim(claim: ResourceClaim, wanted: ClaimReference) -> DeviceAllocationResult:
    """The allocation of the claim that the kubelet means. Raises ClaimError where it is another one or has none."""
    found = claim.metadata.uid
    if found != wanted.uid:
        raise ClaimError(
            f"claim {wanted} was deleted and made again: the kubelet asks for UID {wanted.uid}, the API has {found}; "
            f"delete the pod that waits for the former",
            retry=False,
        )
    allocation = claim.status.allocation
    if allocation is None or allocation.devices is None:
        raise ClaimError(f"claim {wanted} is not allocated; a scheduler must allocate it before its pod can start")
    return allocation.devices


def own_results(
    allocation: DeviceAllocationResult, wanted: ClaimReference, driver: str, pool: str
) -> list[DeviceRequestAllocationResult]:
    """The results that are this driver's and this node's. Raises ClaimError where there are none, or where some are on
    another node."""
    results = [result for result in allocation.results if result.driver == driver]
    if not results:
        others = ", ".join(sorted({result.driver for result in allocation.results})) or "nobody"
        raise ClaimError(f'claim {wanted} has no device of driver "{driver}"; its devices are of {others}', retry=False)
    elsewhere = [result for result in results if result.pool != pool]
    if elsewhere:
        first = elsewhere[0]
        raise ClaimError(
            f'claim {wanted}: device "{first.device}" is in pool "{first.pool}", this node\'s pool is "{pool}"; '
            f"the pod is on the wrong node",
            retry=False,
        )
    return results


def grants_of(
    claim: ResourceClaim, wanted: ClaimReference, *, driver: str, pool: str, inventory: Inventory
) -> tuple[Grant, ...]:
    """What the claim got from this driver on this node, in the order of its results. Raises ClaimError."""
    allocation = check_claim(claim, wanted)
    results = own_results(allocation, wanted, driver, pool)
    devices = {device.name: device for device in inventory.devices}
    missing = [result.device for result in results if result.device not in devices]
    if missing:
        names = ", ".join(f'"{name}"' for name in missing)
        raise ClaimError(
            f"claim {wanted}: no device {names} on node {pool} now; it vanished after the claim was allocated; delete "
            f"the pod and the claim to have it allocated anew, or bring the device back"
        )
    counts = Counter(device.name for device in inventory.devices)
    for result in results:
        if counts[result.device] > 1:
            raise ClaimError(
                f'claim {wanted}: {counts[result.device]} devices on node {pool} have the name "{result.device}", so '
                f"none of them is given to anybody; names must be unique"
            )
    configs = own_configs(allocation.config, driver)
    return tuple(
        Grant(
            device=devices[result.device],
            request=result.request,
            config=parameters_for(configs, result.request),
            share_id=result.share_id,
            consumed=dict(result.consumed_capacity),
            admin_access=bool(result.admin_access),
        )
        for result in results
    )


def own_configs(configs: Iterable[DeviceAllocationConfiguration], driver: str) -> list[DeviceAllocationConfiguration]:
    """Configurations for this driver, classes' first, each in the allocation's order."""
    own = [config for config in configs if config.opaque is not None and config.opaque.driver == driver]
    return sorted(own, key=lambda config: config.source != "FromClass")


def parameters_for(configs: Sequence[DeviceAllocationConfiguration], request: str) -> tuple[Mapping[str, Any], ...]:
    """The parameters among these that apply to a result of a request."""
    names = {request, base_request(request)}
    return tuple(
        config.opaque.parameters
        for config in configs
        if config.opaque is not None and (not config.requests or names.intersection(config.requests))
    )
