"""ResourceClaims of a pod: it may start only once each claim exists, is allocated, and is reserved for this pod."""

from __future__ import annotations

from typing import Any

from fairlead.embedded.agent.environment import Lookup
from fairlead.embedded.agent.pod import Pod, PodResourceClaim


class ClaimsPending(Exception):
    """A claim is not ready for the pod; the message names it and what is missing."""


async def require_claims(pod: Pod, lookup: Lookup) -> dict[str, dict[str, Any]]:
    """Claim name in the pod -> ResourceClaim, all usable by this pod. Raises ClaimsPending."""
    usable: dict[str, dict[str, Any]] = {}
    for use in pod.spec.resource_claims:
        name = _claim_name(pod, use)
        if name is None:
            raise ClaimsPending(f'pod "{pod.metadata.name}": ResourceClaim for "{use.name}" is not created yet')
        if name == "":
            continue
        claim = await lookup("resourceclaims", name)
        problem = _problem(pod, use, name, claim)
        if problem:
            raise ClaimsPending(problem)
        assert claim is not None
        usable[use.name] = claim
    return usable


def _claim_name(pod: Pod, use: PodResourceClaim) -> str | None:
    """The claim's name; "" where the pod needs none after all; None while it is not known."""
    if use.resource_claim_name is not None:
        return use.resource_claim_name
    for status in pod.status.get("resourceClaimStatuses") or ():
        if status["name"] == use.name:
            return str(status.get("resourceClaimName") or "")
    return None


def _problem(pod: Pod, use: PodResourceClaim, name: str, claim: dict[str, Any] | None) -> str:
    if claim is None:
        return f'resourceclaim "{name}" of pod claim "{use.name}" not found'
    if use.resource_claim_template_name is not None:
        owners = claim["metadata"].get("ownerReferences") or ()
        if not any(owner.get("uid") == pod.metadata.uid for owner in owners):
            return f"ResourceClaim {name} was not created for pod {pod.metadata.namespace}/{pod.metadata.name}"
    status = claim.get("status") or {}
    if not status.get("allocation"):
        return f"ResourceClaim {name} is not allocated yet"
    if not any(consumer.get("uid") == pod.metadata.uid for consumer in status.get("reservedFor") or ()):
        return f"ResourceClaim {name} is not reserved for pod {pod.metadata.namespace}/{pod.metadata.name}"
    return ""
