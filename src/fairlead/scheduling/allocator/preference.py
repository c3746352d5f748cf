"""How well allocations meet the preferences of `firstAvailable` requests: kube-scheduler's score of a node (KEP-4816).

Fairlead's own search compares whole costs instead (`cost`); this is for whoever needs the same number as upstream.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fairlead.kube.objects.devices import AllocationResult, ResourceClaim

MOST_ALTERNATIVES: Final = 8
"""Subrequests that a request may have."""


def score_preferences(claims: Sequence[ResourceClaim], allocations: Sequence[AllocationResult]) -> int:
    """8 for each request that got its first choice, 7 for its second, and so on, summed; requests without a choice
    count nothing.

    `allocations` are those of the claims that had none, in their order. Raises ValueError where there are not as many.
    """
    lacking = [claim for claim in claims if claim.status.allocation is None]
    if len(lacking) != len(allocations):
        raise ValueError(f"{len(allocations)} allocations for {len(lacking)} claims without one: give one for each")
    return sum(_score(claim, allocation) for claim, allocation in zip(lacking, allocations, strict=True))


def _score(claim: ResourceClaim, allocation: AllocationResult) -> int:
    results = allocation.devices.results if allocation.devices is not None else ()
    served = {result.request for result in results}
    devices = claim.spec.devices
    return sum(
        MOST_ALTERNATIVES - place
        for request in (devices.requests if devices is not None else ())
        for place, alternative in enumerate(request.first_available)
        if f"{request.name}/{alternative.name}" in served
    )
