"""From what a search granted to the AllocationResult that a claim's status gets."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from fairlead.kube.objects.devices import (
    AllocationResult,
    DeviceAllocationConfiguration,
    DeviceAllocationResult,
    DeviceRequestAllocationResult,
    OpaqueDeviceConfiguration,
    ResourceClaim,
)
from fairlead.kube.objects.placement import NodeSelector
from fairlead.scheduling.allocator.capacity import NOTHING, consumed_by
from fairlead.scheduling.allocator.devices import DeviceId
from fairlead.scheduling.allocator.errors import AllocationError
from fairlead.scheduling.allocator.held import Given
from fairlead.scheduling.allocator.nodes import Reach, merge_reaches
from fairlead.scheduling.allocator.pools import NodePools
from fairlead.scheduling.allocator.requests import Alternative, Plan, PlannedClaim
from fairlead.scheduling.allocator.state import Grant

_FROM_CLASS: Final = "FromClass"
_FROM_CLAIM: Final = "FromClaim"
_NAMESPACE: Final = uuid.UUID("5a4f3a6e-8d2c-5b77-9f05-2f6d0c1b7e90")

ShareIds = Callable[[ResourceClaim, str, DeviceId], str]
"""Makes the id of a share from its claim, request and device."""


def derive_share_id(claim: ResourceClaim, request: str, device: DeviceId) -> str:
    """A UID that is the same whenever the same share is granted again, and no other share's."""
    metadata = claim.metadata
    text = "\0".join((metadata.uid, metadata.namespace, metadata.name, request, *device))
    return str(uuid.uuid5(_NAMESPACE, text))


def build_result(
    plan: Plan,
    claim_index: int,
    grants: Sequence[Grant],
    alternatives: Mapping[tuple[int, int], int],
    view: NodePools,
    share_ids: ShareIds,
    owner: ResourceClaim | None = None,
) -> AllocationResult:
    """The allocation of one claim. Raises AllocationError where its devices cannot be described by one node selector.

    `alternatives` says which alternative each prioritized request got, by claim and request. `owner` is the claim that
    gets the shares if it is not the plan's own.
    """
    claim = plan.claims[claim_index]
    chosen = [request.alternatives[alternatives.get((claim_index, i), 0)] for i, request in enumerate(claim.requests)]
    devices = DeviceAllocationResult(
        config=tuple([*_class_configs(chosen), *_claim_configs(claim, chosen)]),
        results=tuple(_device_result(plan, owner or claim.claim, grant, view, share_ids) for grant in grants),
    )
    return AllocationResult(devices=devices, node_selector=_node_selector(claim, grants, view))


def write_results(
    plan: Plan,
    given: Iterable[Given],
    view: NodePools,
    claims: Sequence[ResourceClaim],
    share_ids: ShareIds = derive_share_id,
) -> tuple[AllocationResult, ...]:
    """The allocations of `claims`, which have the specs of the plan's. Raises AllocationError as `build_result`."""
    grants: list[list[Grant]] = [[] for _ in plan.claims]
    alternatives: dict[tuple[int, int], int] = {}
    for claim, request, choice, position in given:
        alternative = plan.claims[claim].requests[request].alternatives[choice]
        device = view.candidates[position].device
        is_share = plan.features.consumable_capacity and device.is_shared
        consumed = consumed_by(device.capacities, alternative.capacity) if is_share else NOTHING
        grants[claim].append(Grant(alternative, position, is_share, consumed, (), ()))
        alternatives[claim, request] = choice
    return tuple(
        build_result(plan, i, grants[i], alternatives, view, share_ids, owner) for i, owner in enumerate(claims)
    )


def _device_result(
    plan: Plan, owner: ResourceClaim, grant: Grant, view: NodePools, share_ids: ShareIds
) -> DeviceRequestAllocationResult:
    device = view.candidates[grant.position].device
    alternative = grant.alternative
    binding = plan.features.binding_conditions
    return DeviceRequestAllocationResult(
        admin_access=True if alternative.admin_access else None,
        binding_conditions=device.spec.binding_conditions if binding else (),
        binding_failure_conditions=device.spec.binding_failure_conditions if binding else (),
        consumed_capacity={name: str(amount) for name, amount in grant.consumed.items()},
        device=device.id.device,
        driver=device.id.driver,
        pool=device.id.pool,
        request=alternative.name,
        share_id=share_ids(owner, alternative.name, device.id) if grant.is_share else "",
        tolerations=alternative.tolerations,
    )


def _class_configs(chosen: Iterable[Alternative]) -> list[DeviceAllocationConfiguration]:
    """Each class's configuration once, for all requests that use the class, in the order of first use."""
    users: dict[str, list[Alternative]] = {}
    for alternative in chosen:
        users.setdefault(alternative.device_class.metadata.name, []).append(alternative)
    return [
        _configuration(_FROM_CLASS, [each.name for each in alternatives], config.opaque)
        for alternatives in users.values()
        for config in alternatives[0].device_class.spec.config
    ]


def _claim_configs(claim: PlannedClaim, chosen: Iterable[Alternative]) -> list[DeviceAllocationConfiguration]:
    """The claim's own configuration: as it is where it names no request, else once for each request it names."""
    devices = claim.claim.spec.devices
    configs: list[DeviceAllocationConfiguration] = []
    for config in devices.config if devices is not None else ():
        named = sum(each.request in config.requests or each.name in config.requests for each in chosen)
        copies = named if config.requests else 1
        configs.extend([_configuration(_FROM_CLAIM, config.requests, config.opaque)] * copies)
    return configs


def _configuration(
    source: str, requests: Sequence[str], opaque: OpaqueDeviceConfiguration | None
) -> DeviceAllocationConfiguration:
    return DeviceAllocationConfiguration(opaque=opaque, requests=tuple(requests), source=source)


def _node_selector(claim: PlannedClaim, grants: Sequence[Grant], view: NodePools) -> NodeSelector | None:
    reaches: list[tuple[Reach, bool]] = []
    for grant in grants:
        device = view.candidates[grant.position].device
        reaches.append((device.reach, device.spec.binds_to_node is True))
    try:
        return merge_reaches(reaches, view.node)
    except AllocationError as error:
        raise AllocationError(
            error.fault, f"create NodeSelector for claim {claim.claim.metadata.name}: {error}"
        ) from error
