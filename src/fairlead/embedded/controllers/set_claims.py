"""The PersistentVolumeClaims of a StatefulSet's pods: what they are made of, and who owns them. Pure.

Protocol: `spec.persistentVolumeClaimRetentionPolicy`: a claim that is to go with the set is owned by the set, one that
is to go with a scale-down is owned by its pod from the moment that the pod is surplus.
"""

from __future__ import annotations

import copy

from fairlead.embedded.controllers.pods import Object, owner_reference


def claims_of(stateful_set: Object, number: int) -> dict[str, Object]:
    """Volume name -> the claim that the pod of this number mounts there."""
    made = {}
    selector = stateful_set["spec"]["selector"].get("matchLabels") or {}
    for template in stateful_set["spec"].get("volumeClaimTemplates") or ():
        volume, meta = template["metadata"]["name"], template["metadata"]
        claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"} | copy.deepcopy(template)
        claim["metadata"] = {
            "name": f"{volume}-{stateful_set['metadata']['name']}-{number}",
            "namespace": stateful_set["metadata"]["namespace"],
            "labels": {**(meta.get("labels") or {}), **selector},
            "annotations": dict(meta.get("annotations") or {}),
        }
        claim.pop("status", None)
        made[volume] = claim
    return made


def wanted_owners(stateful_set: Object, claim: Object, pod: Object | None, *, leaving: bool) -> list[Object] | None:
    """The owner references that a claim is to have, or None where they are right. `leaving` says that the pod is
    beyond the wanted replicas."""
    have = claim["metadata"].get("ownerReferences") or []
    policy = stateful_set["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    ours = {stateful_set["metadata"]["uid"]} | ({pod["metadata"]["uid"]} if pod is not None else set())
    if any(r.get("controller") and r["uid"] not in ours for r in have):
        # Whoever else controls the claim decides about its life.
        return None
    want = [r for r in have if r["uid"] not in ours]
    by_pod = policy.get("whenScaled") == "Delete" and leaving
    if by_pod and pod is not None:
        want.append(owner_reference(pod, "v1", "Pod"))
    elif policy.get("whenDeleted") == "Delete" and not by_pod:
        want.append(owner_reference(stateful_set, "apps/v1", "StatefulSet"))
    return None if want == have else want
