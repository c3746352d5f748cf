"""What a pod of a LeaderWorkerSet group gets at admission: labels, affinities, variables. Mutates in place.

Protocol: the pod webhook of kubernetes-sigs/lws. It is here because pods must have these things before anybody sees
them: they decide where the pod runs, and a container's variables never change.
"""

from __future__ import annotations

from typing import Any

from fairlead.embedded import leader_worker_set as lws
from fairlead.embedded.apiserver.kinds.leader_worker_set_tpus import add_tpu_variables
from fairlead.embedded.apiserver.kinds.pod_admission import refuse
from fairlead.embedded.apiserver.registry import Object


def admit_group_member(pod: Object) -> None:
    """Complete a pod that has the label of a set's name. Raises Forbidden where it lacks what says its place."""
    metadata = pod["metadata"]
    annotations = metadata.get("annotations") or {}
    if lws.SIZE not in annotations:
        raise refuse(pod, f"it has the label {lws.NAME} and lacks the annotation {lws.SIZE}")
    try:
        size = int(annotations[lws.SIZE])
        subgroup_size = int(annotations[lws.SUBGROUP_SIZE]) if lws.SUBGROUP_SIZE in annotations else None
    except ValueError as error:
        raise refuse(pod, f"an annotation of its LeaderWorkerSet is not a number: {error}") from None
    if lws.is_leader(pod):
        _admit_leader(pod, annotations, subgroup_size)
    else:
        _admit_worker(pod, annotations, size, subgroup_size)
    if lws.requests_tpus(pod["spec"]):
        add_tpu_variables(pod, size)
    _add_variables(pod, str(size))


def _admit_leader(pod: Object, annotations: dict[str, str], subgroup_size: int | None) -> None:
    metadata, labels = pod["metadata"], pod["metadata"]["labels"]
    if lws.GROUP_INDEX not in labels:
        labels[lws.GROUP_INDEX] = str(_ordinal(pod))
    if annotations.get(lws.SUBDOMAIN_POLICY) == "UniquePerReplica":
        pod["spec"]["subdomain"] = metadata["name"]
    key = labels.setdefault(lws.GROUP_KEY, lws.unique_key(metadata["namespace"], metadata["name"]))
    if lws.EXCLUSIVE in annotations:
        _stand_alone(pod, key, annotations[lws.EXCLUSIVE], lws.GROUP_KEY)
    if subgroup_size is None or labels.get(lws.SUBGROUP_INDEX):
        return
    if annotations.get(lws.SUBGROUP_POLICY) != "LeaderExcluded":
        _join_subgroup(pod, annotations, metadata["name"], 0)


def _admit_worker(pod: Object, annotations: dict[str, str], size: int, subgroup_size: int | None) -> None:
    labels, index = pod["metadata"]["labels"], _ordinal(pod)
    labels[lws.WORKER_INDEX] = str(index)
    if subgroup_size and not labels.get(lws.SUBGROUP_INDEX):
        has_extra_leader = (size - 1) % subgroup_size == 0 and size % subgroup_size != 0
        subgroup = (index - 1 if has_extra_leader else index) // subgroup_size
        _join_subgroup(pod, annotations, annotations.get(lws.LEADER_NAME, ""), subgroup)


def _join_subgroup(pod: Object, annotations: dict[str, str], leader: str, subgroup: int) -> None:
    labels = pod["metadata"]["labels"]
    labels[lws.SUBGROUP_INDEX] = str(subgroup)
    key = labels[lws.SUBGROUP_KEY] = lws.unique_key(leader, str(subgroup))
    if lws.SUBGROUP_EXCLUSIVE in annotations:
        _stand_alone(pod, key, annotations[lws.SUBGROUP_EXCLUSIVE], lws.SUBGROUP_KEY)


def _ordinal(pod: Object) -> int:
    found = lws.split_ordinal(pod["metadata"].get("name", ""))
    if found is None:
        raise refuse(pod, "a pod of a LeaderWorkerSet is named after its StatefulSet, with a number at the end")
    return found[1]


def _stand_alone(pod: Object, key: str, topology: str, label: str) -> None:
    """Together with pods of the same key in one domain of the topology, and with no others that have the label."""
    affinity = pod["spec"].get("affinity") or {}
    if all(_has_term(affinity.get(side), topology) for side in ("podAffinity", "podAntiAffinity")):
        return
    mine = [{"key": label, "operator": "In", "values": [key]}]
    others = [{"key": label, "operator": "Exists"}, {"key": label, "operator": "NotIn", "values": [key]}]
    for side, expressions in (("podAffinity", mine), ("podAntiAffinity", others)):
        rules = affinity.get(side) or {}
        term = {"labelSelector": {"matchExpressions": expressions}, "topologyKey": topology}
        affinity[side] = rules | {_REQUIRED: [*(rules.get(_REQUIRED) or ()), term]}
    pod["spec"]["affinity"] = affinity


_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def _has_term(rules: dict[str, Any] | None, topology: str) -> bool:
    return any(term.get("topologyKey") == topology for term in (rules or {}).get(_REQUIRED) or ())


def _add_variables(pod: Object, size: str) -> None:
    """First in every container, so that the container's own variables may refer to them."""
    metadata, spec = pod["metadata"], pod["spec"]
    labels = metadata["labels"]
    if lws.GROUP_INDEX not in labels:
        raise refuse(pod, f"it has the label {lws.NAME} and lacks the label {lws.GROUP_INDEX}")
    leader = f"{labels[lws.NAME]}-{labels[lws.GROUP_INDEX]}"
    address = f"{leader}.{spec.get('subdomain', '')}.{metadata['namespace']}"
    ours = {
        "LWS_LEADER_ADDRESS": address,
        "LWS_GROUP_SIZE": size,
        "LWS_WORKER_INDEX": labels[lws.WORKER_INDEX],
    }
    for side in ("containers", "initContainers"):
        for container in spec.get(side) or ():
            env = {name: {"name": name, "value": value} for name, value in ours.items()}
            for variable in container.get("env") or ():
                env.setdefault(variable["name"], variable)
            container["env"] = list(env.values())
