"""ResourceClaims of pods: made from templates, and given back when their pods no longer need them. Pure.

Protocol: the resource claim controller: names in `status.resourceClaimStatuses`, annotation
`resource.kubernetes.io/pod-claim-name`, consumers in `status.reservedFor`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fairlead.embedded.controllers.pods import Object, controller_of, is_deleting, phase
from fairlead.kube.objects.devices import DELETE_PROTECTION

ANNOTATION = "resource.kubernetes.io/pod-claim-name"


@dataclass(slots=True)
class PodClaims:
    """`create` are claims to make; `statuses` the pod's resourceClaimStatuses as far as known now (None: unchanged);
    `missing_template` is the name of a template that does not exist yet."""

    create: list[Object] = field(default_factory=list)
    statuses: list[Object] | None = None
    missing_template: str = ""


def needs_claims(pod: Object) -> bool:
    """Whether a pod has claims from templates and may still run."""
    named = any(c.get("resourceClaimTemplateName") for c in pod["spec"].get("resourceClaims") or ())
    return named and not is_deleting(pod) and phase(pod) not in ("Succeeded", "Failed")


def compute_pod_claims(pod: Object, owned: Sequence[Object], templates: Mapping[str, Object]) -> PodClaims:
    """`owned` are the claims that the pod controls; `templates` maps name -> ResourceClaimTemplate of its namespace."""
    result = PodClaims()
    by_use = {(c["metadata"].get("annotations") or {}).get(ANNOTATION): c for c in owned if not is_deleting(c)}
    statuses = []
    for use in pod["spec"].get("resourceClaims") or ():
        template_name = use.get("resourceClaimTemplateName")
        if not template_name:
            continue
        claim = by_use.get(use["name"])
        if claim is not None:
            statuses.append({"name": use["name"], "resourceClaimName": claim["metadata"]["name"]})
        elif template_name in templates:
            result.create.append(_claim(pod, use["name"], templates[template_name]))
        else:
            result.missing_template = template_name
    have = (pod.get("status") or {}).get("resourceClaimStatuses") or []
    if statuses != have and len(statuses) >= len(have):
        result.statuses = statuses
    return result


def _claim(pod: Object, use: str, template: Object) -> Object:
    meta = template["spec"].get("metadata") or {}
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {
            "generateName": f"{pod['metadata']['name']}-{use}-"[:57],
            "namespace": pod["metadata"]["namespace"],
            "labels": dict(meta.get("labels") or {}),
            "annotations": {**(meta.get("annotations") or {}), ANNOTATION: use},
            "ownerReferences": [
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": pod["metadata"]["name"],
                    "uid": pod["metadata"]["uid"],
                    "controller": True,
                }
            ],
        },
        "spec": copy.deepcopy(template["spec"]["spec"]),
    }


@dataclass(frozen=True, slots=True)
class ClaimStep:
    """`reserved_for` is the new consumer list (None: unchanged); `deallocate` clears the allocation; `release` takes
    the finalizer off; `delete` because the pod that owns the claim is done with it."""

    reserved_for: list[Object] | None = None
    deallocate: bool = False
    release: bool = False
    delete: bool = False


def consumer_names(claim: Object) -> list[str]:
    """Names of the pods that a claim is about: those that it is reserved for, and the one that it was made for."""
    names = {
        c["name"]: None for c in (claim.get("status") or {}).get("reservedFor") or () if c.get("resource") == "pods"
    }
    owner = controller_of(claim)
    if owner is not None and owner.get("kind") == "Pod":
        names[owner["name"]] = None
    return list(names)


def compute_claim(claim: Object, pods_by_uid: Mapping[str, Object]) -> ClaimStep:
    """What to do with a claim as its consumers end. `pods_by_uid` holds at least those of `consumer_names`."""
    status = claim.get("status") or {}
    consumers = list(status.get("reservedFor") or ())
    kept = [c for c in consumers if c.get("resource") != "pods" or _uses(pods_by_uid.get(c["uid"]))]
    owner = controller_of(claim)
    owned_by_pod = owner is not None and owner.get("kind") == "Pod"
    pod = pods_by_uid.get(owner["uid"]) if owner is not None and owned_by_pod else None
    done = owned_by_pod and not _uses(pod)
    # Only claims made for one pod (or being deleted) lose their allocation: others keep it for the next consumer.
    free = not kept and status.get("allocation") is not None
    deallocate = free and (bool(consumers) or done or is_deleting(claim))
    # Without an allocation the finalizer may be that of a scheduler which is about to write one.
    protected = DELETE_PROTECTION in (claim["metadata"].get("finalizers") or ())
    return ClaimStep(
        reserved_for=kept if kept != consumers else None,
        deallocate=deallocate,
        release=protected and (deallocate or (is_deleting(claim) and not kept)),
        delete=done and pod is not None and not is_deleting(claim),
    )


def release(claim: Object) -> None:
    """Take the finalizer off a claim without an allocation, in place."""
    if not (claim.get("status") or {}).get("allocation"):
        claim["metadata"]["finalizers"] = [
            f for f in claim["metadata"].get("finalizers") or () if f != DELETE_PROTECTION
        ]


def _uses(pod: Object | None) -> bool:
    return pod is not None and phase(pod) not in ("Succeeded", "Failed")
