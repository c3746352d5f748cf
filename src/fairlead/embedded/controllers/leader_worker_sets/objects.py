"""The StatefulSets and Services of a LeaderWorkerSet. Pure.

Protocol: `pkg/controllers` of kubernetes-sigs/lws, whose labels and annotations these objects and their pods have. The
leaders' StatefulSet is applied (its fields are owned, what others add stays), the workers' are created once.
"""

from __future__ import annotations

import copy
from typing import Any

from fairlead.embedded import leader_worker_set as names
from fairlead.embedded.controllers.leader_worker_sets.revisions import API_VERSION
from fairlead.embedded.controllers.leader_worker_sets.rollout import Leaders, LeadersPlan
from fairlead.embedded.controllers.leader_worker_sets.spec import (
    is_shared_subdomain,
    leader_template,
    max_surge,
    max_unavailable,
    replicas_of,
    size_of,
    template_of,
)
from fairlead.embedded.controllers.pods import Object, owner_reference


def leaders_set(lws: Object, plan: LeadersPlan, key: str) -> Object:
    """The StatefulSet of the leaders, of the revision with this key."""
    meta = lws["metadata"]
    selector = {names.NAME: meta["name"], names.WORKER_INDEX: "0"}
    template = _template(leader_template(lws), {**selector, names.REVISION: key}, _pod_annotations(lws, lws))
    if not is_shared_subdomain(lws):
        template["metadata"]["annotations"][names.SUBDOMAIN_POLICY] = "UniquePerReplica"
    rolling = {"partition": plan.partition, "maxUnavailable": max(1, max_unavailable(lws) + max_surge(lws))}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "labels": {**(meta.get("labels") or {}), names.NAME: meta["name"], names.REVISION: key},
            "annotations": {**(meta.get("annotations") or {}), names.REPLICAS: str(replicas_of(lws))},
            "ownerReferences": [owner_reference(lws, API_VERSION, "LeaderWorkerSet")],
        },
        "spec": {
            "serviceName": meta["name"],
            "replicas": plan.replicas,
            "podManagementPolicy": "Parallel",
            "template": template,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
            "selector": {"matchLabels": selector},
            **_storage(lws),
        },
    }


def read_leaders(stateful_set: Object) -> Leaders:
    spec, annotations = stateful_set["spec"], stateful_set["metadata"].get("annotations") or {}
    rolling = (spec.get("updateStrategy") or {}).get("rollingUpdate") or {}
    replicas = int(spec.get("replicas", 1))
    return Leaders(replicas, int(rolling.get("partition") or 0), int(annotations.get(names.REPLICAS, replicas)))


def workers_set(lws: Object, restored: Object, leader: Object, topology: dict[str, str]) -> Object:
    """The StatefulSet of a leader's workers. `restored` is the set as the leader's revision has it; `topology` are node
    labels of the leader's place that its workers need."""
    meta, labels = leader["metadata"], leader["metadata"].get("labels") or {}
    selector = {
        names.GROUP_INDEX: labels.get(names.GROUP_INDEX, ""),
        names.NAME: lws["metadata"]["name"],
        names.GROUP_KEY: labels.get(names.GROUP_KEY, ""),
    }
    own_labels = {**selector, names.REVISION: names.revision_key(leader)}
    annotations = {**_pod_annotations(lws, restored), names.LEADER_NAME: meta["name"]}
    if names.requests_tpus(leader["spec"]):
        annotations[names.LEADER_REQUESTS_TPUS] = "true"
    template = _template(template_of(restored)["workerTemplate"], own_labels, annotations)
    if topology:
        template["spec"]["nodeSelector"] = {**(template["spec"].get("nodeSelector") or {}), **topology}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "labels": {**(lws["metadata"].get("labels") or {}), **own_labels},
            "annotations": dict(lws["metadata"].get("annotations") or {}),
            "ownerReferences": [owner_reference(leader, "v1", "Pod")],
        },
        "spec": {
            "serviceName": lws["metadata"]["name"] if is_shared_subdomain(restored) else meta["name"],
            "replicas": size_of(restored) - 1,
            "podManagementPolicy": "Parallel",
            "template": template,
            "ordinals": {"start": 1},
            "selector": {"matchLabels": selector},
            **_storage(restored),
        },
    }


def shared_service(lws: Object) -> Object:
    """The headless Service in which all pods of the set have their names."""
    meta = lws["metadata"]
    owner = owner_reference(lws, API_VERSION, "LeaderWorkerSet")
    return _service(lws, meta["name"], {names.NAME: meta["name"]}, owner)


def group_service(lws: Object, leader: Object) -> Object:
    """The headless Service of one group, which goes with its leader."""
    index = (leader["metadata"].get("labels") or {}).get(names.GROUP_INDEX, "")
    selector = {names.NAME: lws["metadata"]["name"], names.GROUP_INDEX: index}
    return _service(lws, leader["metadata"]["name"], selector, owner_reference(leader, "v1", "Pod"))


def _service(lws: Object, name: str, selector: dict[str, str], owner: Object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": lws["metadata"]["namespace"],
            "labels": {names.NAME: lws["metadata"]["name"]},
            "ownerReferences": [owner],
        },
        # Members find each other before they are ready: that is how they become it.
        "spec": {"clusterIP": "None", "selector": selector, "publishNotReadyAddresses": True},
    }


def _template(template: Object, labels: dict[str, str], annotations: dict[str, str]) -> Object:
    made = copy.deepcopy(template)
    meta = made.setdefault("metadata", {}) or {}
    made["metadata"] = {
        **meta,
        "labels": {**(meta.get("labels") or {}), **labels},
        "annotations": {**(meta.get("annotations") or {}), **annotations},
    }
    made["metadata"].pop("creationTimestamp", None)
    made.setdefault("spec", {})
    return made


def _pod_annotations(lws: Object, restored: Object) -> dict[str, str]:
    given = lws["metadata"].get("annotations") or {}
    found = {names.SIZE: str(size_of(restored))}
    if given.get(names.EXCLUSIVE):
        found[names.EXCLUSIVE] = given[names.EXCLUSIVE]
    policy = template_of(restored).get("subGroupPolicy")
    if policy:
        found[names.SUBGROUP_POLICY] = policy.get("subGroupPolicyType") or "LeaderWorker"
        found[names.SUBGROUP_SIZE] = str(policy["subGroupSize"])
        if given.get(names.SUBGROUP_EXCLUSIVE):
            found[names.SUBGROUP_EXCLUSIVE] = given[names.SUBGROUP_EXCLUSIVE]
    return found


_CLAIM_FIELDS = ("accessModes", "storageClassName", "volumeMode", "resources")


def _storage(lws: Object) -> dict[str, Any]:
    template, made = template_of(lws), {}
    claims = template.get("volumeClaimTemplates")
    if claims:
        made["volumeClaimTemplates"] = [
            {
                "metadata": {"name": claim["metadata"]["name"]},
                "spec": {k: v for k, v in (claim.get("spec") or {}).items() if k in _CLAIM_FIELDS},
            }
            for claim in claims
        ]
    retention = template.get("persistentVolumeClaimRetentionPolicy")
    if retention:
        made["persistentVolumeClaimRetentionPolicy"] = retention
    return made
