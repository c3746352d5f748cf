"""What pods without a node have reserved: from a commit that was cut short, or that another scheduler began. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from fairlead.kube.objects.devices import AllocationResult, ResourceClaim
from fairlead.kube.resources import ObjectKey
from fairlead.scheduling.commit.claim_writer import ClaimRef
from fairlead.scheduling.snapshot import PodView


@dataclass(frozen=True, slots=True)
class Leftover:
    """A claim, which pods are to be taken out of it, and the devices to be freed where nobody else uses them."""

    claim: ClaimRef
    uids: tuple[str, ...]
    devices: AllocationResult | None


def leftovers(pods: Iterable[PodView], claims: Collection[ResourceClaim]) -> list[Leftover]:
    """What is to be given back so that these pods, which stay pending, hold nothing.

    A claim without consumers that belongs to one of the pods (made from its template) is freed as well. One that stands
    by itself keeps its devices for whoever comes.
    """
    by_key = {ObjectKey(claim.metadata.namespace, claim.metadata.name): claim for claim in claims}
    leaving: dict[ObjectKey, list[str]] = {}
    for pod in pods:
        for name in pod.claims:
            leaving.setdefault(ObjectKey(pod.namespace, name), []).append(pod.uid)
    found = []
    for key, uids in leaving.items():
        claim = by_key.get(key)
        if claim is None or claim.status.allocation is None:
            continue
        consumers = {consumer.uid for consumer in claim.status.reserved_for}
        entered = tuple(uid for uid in uids if uid in consumers)
        owner = claim.metadata.controller
        is_idle = not consumers and owner is not None and owner.uid in uids
        if entered or is_idle:
            ref = ClaimRef(key.namespace, key.name, claim.metadata.uid)
            found.append(Leftover(ref, entered, claim.status.allocation))
    return found
