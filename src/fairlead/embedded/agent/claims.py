"""ResourceClaims of a pod: it may start only once each claim exists, is allocated, and is reserved for this pod.

Besides those that its specification names, a pod may have one that the scheduler made for its extended resources
(`status.extendedResourceClaimStatus`).
"""

from __future__ import annotations

from typing import Any

from fairlead.embedded.agent.environment import Lookup
from fairlead.embedded.agent.pod import Pod, PodResourceClaim

_SCHEDULING = "scheduling.k8s.io"
EXTENDED = ""
"""Stands where a claim's name in the pod would, for the claim of extended resources."""


class ClaimsPending(Exception):
    """A claim is not ready for the pod; the message names it and what is missing."""


async def require_claims(pod: Pod, lookup: Lookup) -> dict[str, dict[str, Any]]:
    """Claim name in the pod -> ResourceClaim, all usable by this pod. Raises ClaimsPending."""
    usable: dict[str, dict[str, Any]] = {}
    for use in _uses(pod):
        name = claim_name(pod, use)
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


def claim_name(pod: Pod, use: PodResourceClaim) -> str | None:
    """The claim's name; "" where the pod needs none after all; None while it is not known."""
    if use.resource_claim_name is not None:
        return use.resource_claim_name
    for status in pod.status.get("resourceClaimStatuses") or ():
        if status["name"] == use.name:
            return str(status.get("resourceClaimName") or "")
    return None


def uses_claims(pod: Pod) -> bool:
    """Whether the pod has claims at all."""
    return bool(pod.spec.resource_claims) or extended_claim(pod) is not None


def extended_claim(pod: Pod) -> dict[str, Any] | None:
    """The claim for the pod's extended resources: `resourceClaimName` and `requestMappings` to containers."""
    status = pod.status.get("extendedResourceClaimStatus") or {}
    return dict(status) if status.get("resourceClaimName") else None


def _uses(pod: Pod) -> list[PodResourceClaim]:
    uses = list(pod.spec.resource_claims)
    extended = extended_claim(pod)
    if extended is not None:
        uses.append(PodResourceClaim(EXTENDED, resource_claim_name=str(extended["resourceClaimName"])))
    return uses


def _problem(pod: Pod, use: PodResourceClaim, name: str, claim: dict[str, Any] | None) -> str:
    if claim is None:
        of = f'of pod claim "{use.name}"' if use.name else "of the pod's extended resources"
        return f'resourceclaim "{name}" {of} not found'
    whose = f"pod {pod.metadata.namespace}/{pod.metadata.name}"
    if use.resource_claim_template_name is not None:
        owners = claim["metadata"].get("ownerReferences") or ()
        if not any(owner.get("uid") == pod.metadata.uid or _is_group(pod, owner) for owner in owners):
            return f"ResourceClaim {name} was not created for {whose}"
    status = claim.get("status") or {}
    if not status.get("allocation"):
        return f"ResourceClaim {name} is not allocated yet"
    if not any(_is_reserved(pod, consumer) for consumer in status.get("reservedFor") or ()):
        return f"ResourceClaim {name} is not reserved for {whose}"
    return ""


def _is_group(pod: Pod, owner: dict[str, Any]) -> bool:
    """Whether a claim's owner is the PodGroup of the pod, which knows its name only."""
    group = pod.spec.scheduling_group.pod_group_name
    api_group = str(owner.get("apiVersion", "")).partition("/")[0]
    return bool(group) and (api_group, owner.get("kind"), owner.get("name")) == (_SCHEDULING, "PodGroup", group)


def _is_reserved(pod: Pod, consumer: dict[str, Any]) -> bool:
    group = pod.spec.scheduling_group.pod_group_name
    if consumer.get("uid") == pod.metadata.uid:
        return True
    where = (consumer.get("apiGroup"), consumer.get("resource"), consumer.get("name"))
    return bool(group) and where == (_SCHEDULING, "podgroups", group)
