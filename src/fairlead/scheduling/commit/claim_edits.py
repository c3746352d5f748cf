"""Changes of a ResourceClaim as merge patches that hold for one version of it only. Pure.

A merge patch with `metadata.resourceVersion` is as safe as an update, leaves alone what our structs do not know, and is
smaller. The API server takes the finalizer and the status in separate requests.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from fairlead.kube.objects.devices import (
    DELETE_PROTECTION,
    AllocationResult,
    ResourceClaim,
)
from fairlead.scheduling.allocations import gives_same
from fairlead.scheduling.commit.faults import CommitFailedError

Patch = dict[str, Any]

MAX_CONSUMERS = 256


class AllocatedOtherwiseError(CommitFailedError):
    """A claim has other devices than were decided, or lost the ones it had."""


@dataclass(frozen=True, slots=True)
class Consumer:
    """A pod, as a claim names those it is reserved for."""

    name: str
    uid: str


def protection(claim: ResourceClaim) -> Patch | None:
    """Puts the finalizer on; None where it is there. Raises CommitFailedError for a claim that is being deleted."""
    _refuse_leaving(claim)
    finalizers = list(claim.metadata.finalizers)
    if DELETE_PROTECTION in finalizers:
        return None
    return {"metadata": _version(claim) | {"finalizers": [*finalizers, DELETE_PROTECTION]}}


def reservation(
    claim: ResourceClaim, allocation: AllocationResult | None, consumers: Sequence[Consumer]
) -> Patch | None:
    """Enters the consumers, with the allocation where the claim has none; None where nothing is missing.

    `allocation` is None for a claim that is to have its devices already. Raises AllocatedOtherwiseError, and
    CommitFailedError for a claim that is being deleted or has too many consumers.
    """
    _refuse_leaving(claim)
    shown = claim.status.allocation
    if shown is None and allocation is None:
        raise AllocatedOtherwiseError(f"{_name(claim)} has lost its devices")
    if shown is not None and allocation is not None and not gives_same(shown, allocation):
        raise AllocatedOtherwiseError(f"{_name(claim)} has got other devices from another scheduler")
    present = {consumer.uid for consumer in claim.status.reserved_for}
    missing = [consumer for consumer in consumers if consumer.uid not in present]
    if not missing and shown is not None:
        return None
    if len(present) + len(missing) > MAX_CONSUMERS:
        raise CommitFailedError(
            f"{_name(claim)} is reserved for {len(present)} pods, and no more than {MAX_CONSUMERS} can use a claim: "
            "give further pods a claim of their own"
        )
    status: Patch = {"reservedFor": [*map(msgspec.to_builtins, claim.status.reserved_for), *map(_entry, missing)]}
    if shown is None:
        status["allocation"] = msgspec.to_builtins(allocation)
    return _of_version(claim, status)


def departure(claim: ResourceClaim, uids: Collection[str], frees: AllocationResult | None) -> Patch | None:
    """Takes consumers out, and the devices too where they are those of `frees` and nobody else uses them.

    None where nothing changes.
    """
    kept = [c for c in claim.status.reserved_for if c.uid not in uids]
    shown = claim.status.allocation
    is_free = frees is not None and shown is not None and not kept and gives_same(shown, frees)
    if len(kept) == len(claim.status.reserved_for) and not is_free:
        return None
    status: Patch = {"reservedFor": [msgspec.to_builtins(consumer) for consumer in kept] or None}
    if is_free:
        status |= {"allocation": None, "devices": None}
    return _of_version(claim, status)


def _entry(consumer: Consumer) -> Patch:
    return {"resource": "pods", "name": consumer.name, "uid": consumer.uid}


def _refuse_leaving(claim: ResourceClaim) -> None:
    if claim.metadata.is_deleting:
        raise CommitFailedError(f"{_name(claim)} is being deleted")


def _of_version(claim: ResourceClaim, status: Patch) -> Patch:
    return {"metadata": _version(claim), "status": status}


def _version(claim: ResourceClaim) -> Patch:
    return {"resourceVersion": claim.metadata.resource_version}


def _name(claim: ResourceClaim) -> str:
    return f'claim "{claim.metadata.namespace}/{claim.metadata.name}"'
