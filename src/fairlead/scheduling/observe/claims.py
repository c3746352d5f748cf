"""The resource claims of a pod: which are its own, which it shares, what they count for, and what it waits for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from fairlead.kube.objects import Pod, ResourceClaim
from fairlead.kube.objects.devices import DeviceRequest

ClaimKey = tuple[str, str]
"""Namespace and name."""

MOST_RESULTS: Final = 32
"""Devices that a claim can hold at most: what a request for all devices counts for, as in Kubernetes' quota."""


def claim_names(pod: Pod) -> tuple[str, ...]:
    """Names of the claims, each once, in the pod's order. Those that are not made yet are left out."""
    if not pod.spec.resource_claims:
        return ()
    generated = {s.name: s.resource_claim_name for s in pod.status.resource_claim_statuses}
    uses = (use.resource_claim_name or generated.get(use.name, "") for use in pod.spec.resource_claims)
    return tuple(dict.fromkeys(name for name in uses if name))


def split_claims(
    pod: Pod, names: Sequence[str], claims: Mapping[ClaimKey, ResourceClaim]
) -> tuple[list[ResourceClaim], list[ClaimKey]]:
    """Its own claims, made from a template for it alone, and those that it shares with others.

    A claim of its own that has devices already, though the pod has no node yet, binds the pod to them as a shared one
    would (a scheduler died between the two writes): it counts as shared.
    """
    namespace = pod.metadata.namespace
    templated = {
        s.resource_claim_name
        for s in pod.status.resource_claim_statuses
        if any(use.name == s.name and use.resource_claim_template_name for use in pod.spec.resource_claims)
    }
    own, shared = [], []
    for name in names:
        claim = claims.get((namespace, name))
        is_own = claim is not None and name in templated and _is_owned(claim, pod)
        if claim is not None and is_own and (pod.spec.node_name or claim.status.allocation is None):
            own.append(claim)
        else:
            shared.append((namespace, name))
    return own, shared


def count_devices(claims: Iterable[ResourceClaim]) -> dict[str, int]:
    """`CLASS.deviceclass.resource.k8s.io/devices` -> how many devices the claims count for in quotas.

    Of alternatives, the dearest of each class counts; requests for all devices count for 32; administrative access,
    which takes nothing from anybody, for none.
    """
    total: Counter[str] = Counter()
    for claim in claims:
        for request in claim.spec.devices.requests if claim.spec.devices else ():
            total.update(_count(request))
    return {f"{name}.deviceclass.resource.k8s.io/devices": count for name, count in total.items()}


def claims_wait(pod: Pod, claims: Mapping[ClaimKey, ResourceClaim]) -> str:
    """Which claim the pod waits for; empty if for none."""
    if not pod.spec.resource_claims:
        return ""
    namespace = pod.metadata.namespace
    generated = {s.name: s.resource_claim_name for s in pod.status.resource_claim_statuses}
    for use in pod.spec.resource_claims:
        name = use.resource_claim_name or generated.get(use.name, "")
        if use.resource_claim_template_name and use.name not in generated:
            return f"waits for resource claim {use.name!r} to be made from its template"
        claim = claims.get((namespace, name))
        if name and claim is None:
            return f'waits for resource claim "{name}", which does not exist'
        if claim is not None and claim.metadata.is_deleting:
            return f'waits for resource claim "{name}", which is being deleted, to be there anew'
    return ""


def _is_owned(claim: ResourceClaim, pod: Pod) -> bool:
    """Whether the claim was made for this pod, not for an earlier one of its name."""
    return any(owner.uid == pod.metadata.uid for owner in claim.metadata.owner_references)


def _count(request: DeviceRequest) -> dict[str, int]:
    exact = request.exactly
    if exact is not None:
        if exact.admin_access:
            return {}
        return {exact.device_class_name: _devices(exact.allocation_mode, exact.count)}
    dearest: dict[str, int] = {}
    for each in request.first_available:
        count = _devices(each.allocation_mode, each.count)
        dearest[each.device_class_name] = max(count, dearest.get(each.device_class_name, 0))
    return dearest


def _devices(mode: str, count: int | None) -> int:
    if mode == "All":
        return MOST_RESULTS
    return 1 if count is None else count
