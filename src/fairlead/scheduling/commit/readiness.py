"""Whether what was allocated can be used yet: devices with binding conditions, volumes made on demand. Pure."""

from __future__ import annotations

from typing import Final

from fairlead.clock import format_time
from fairlead.kube.objects import PersistentVolumeClaim
from fairlead.kube.objects.devices import AllocationResult, ResourceClaim
from fairlead.kube.objects.meta import is_condition_true
from fairlead.scheduling.allocations import results_of
from fairlead.scheduling.commit.faults import CommitFailedError

SELECTED_NODE: Final = "volume.kubernetes.io/selected-node"
"""The annotation by which a provisioner learns where a volume will be used; it takes it off when it cannot make one."""


def must_wait(claim: ResourceClaim) -> bool:
    """Whether devices of the claim have binding conditions."""
    return any(result.binding_conditions for result in results_of(claim.status.allocation))


def stamped(allocation: AllocationResult, wall_s: float) -> AllocationResult:
    """With the time of allocation, where devices have binding conditions: others may take it back after a while."""
    if not any(result.binding_conditions for result in results_of(allocation)):
        return allocation
    return AllocationResult(format_time(wall_s), allocation.devices, allocation.node_selector)


def are_devices_ready(claim: ResourceClaim | None, uid: str) -> bool:
    """Whether all binding conditions of all devices are true. Raises CommitFailedError where one never will be."""
    if claim is None or claim.metadata.uid != uid:
        raise CommitFailedError("a claim was deleted before its devices were ready")
    name = f'claim "{claim.metadata.namespace}/{claim.metadata.name}"'
    if claim.status.allocation is None:
        raise CommitFailedError(f"{name} has lost its devices before they were ready")
    statuses = {(s.driver, s.pool, s.device, s.share_id): s.conditions for s in claim.status.devices}
    ready = True
    for result in results_of(claim.status.allocation):
        conditions = statuses.get((result.driver, result.pool, result.device, result.share_id), ())
        for failure in result.binding_failure_conditions:
            if is_condition_true(conditions, failure):
                device = f"{result.driver}/{result.pool}/{result.device}"
                raise CommitFailedError(f"device {device} of {name} cannot be made ready: {failure}")
        ready = ready and all(is_condition_true(conditions, wanted) for wanted in result.binding_conditions)
    return ready


def is_volume_bound(claim: PersistentVolumeClaim | None, node: str) -> bool:
    """Whether a volume is there for a node that was selected. Raises CommitFailedError where none will be made."""
    if claim is None or claim.metadata.is_deleting:
        raise CommitFailedError("a persistent volume claim was deleted before it had a volume")
    if claim.spec.volume_name and claim.status.phase == "Bound":
        return True
    selected = claim.metadata.annotations.get(SELECTED_NODE)
    if selected != node:
        name = f'persistent volume claim "{claim.metadata.namespace}/{claim.metadata.name}"'
        raise CommitFailedError(f"{name} cannot have a volume on node {node}: its provisioner has given up")
    return False
