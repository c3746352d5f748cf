"""Workloads as the pods that their controllers would make, and the claims that are made for these pods.

The embedded controllers' own decisions make ReplicaSets of Deployments, pods of Jobs and StatefulSets, and claims of
templates. Names end in numbers where a cluster would draw letters, so that every run tells the same story.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from fairlead.api import ServingRuntime
from fairlead.api.model_service import ModelService, RoleName
from fairlead.cli.schedule_admit import Admission, key_of, typed, uid_for
from fairlead.cli.schedule_documents import Object
from fairlead.cli.schedule_groups import pods_of_leader_worker_set
from fairlead.embedded.controllers.claims import compute_pod_claims
from fairlead.embedded.controllers.deployment import compute_deployment
from fairlead.embedded.controllers.job import compute_job
from fairlead.embedded.controllers.job_pods import pod_of_index, pod_of_job
from fairlead.embedded.controllers.pods import owner_reference, pod_from_template
from fairlead.embedded.controllers.stateful_set import compute_stateful_set
from fairlead.kube.objects import Pod, ResourceClaim
from fairlead.kube.objects.pods import PodResourceClaimStatus
from fairlead.serving.names import replica_name
from fairlead.serving.render import claim_templates, member_pod, replica_pods
from fairlead.serving.resolve import Resolved, resolve_service
from fairlead.serving.scales import sets_of_roles

_DAEMON_TOLERATIONS: Final = tuple(
    {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": effect}
    for key, effect in (
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    )
)


class CannotExpand(ValueError):
    """An object that cannot be read, or a workload whose pods cannot be made: which, its field, and what to do."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")


@dataclass(slots=True)
class Expansion:
    """What controllers make of the objects of a cluster."""

    admission: Admission
    now_s: float
    templates: dict[tuple[str, str], Object] = field(default_factory=dict)
    """ResourceClaimTemplates by namespace and name."""
    runtimes: list[ServingRuntime] = field(default_factory=list)
    nodes: list[Object] = field(default_factory=list)

    def expand(self, objects: Sequence[Object]) -> Iterator[Any]:
        """The objects, typed, each workload followed by its pods. Workloads that have pods already, by owner references
        of pods among the objects, keep these. Raises CannotExpand."""
        self.templates |= {key_of(each)[1:]: each for each in objects if each["kind"] == "ResourceClaimTemplate"}
        self.runtimes += [msgspec.convert(each, ServingRuntime) for each in objects if each["kind"] == "ServingRuntime"]
        self.nodes += [each for each in objects if each["kind"] == "Node"]
        owners = {
            owner.get("uid")
            for each in objects
            if each["kind"] in ("Pod", "ReplicaSet", "Job")
            for owner in each["metadata"].get("ownerReferences") or ()
        }
        for obj in objects:
            if obj["kind"] == "Pod":
                yield from self._with_claims(_struct(obj), obj)
                continue
            yield _struct(obj)
            make = _MAKERS.get(_family(obj))
            if make is not None and obj["metadata"]["uid"] not in owners:
                yield from self._made(obj, make)

    def _made(self, workload: Object, make: Maker) -> Iterator[Any]:
        """The pods of a workload, and what else its controller makes for them."""
        name = _named(workload)
        numbers = itertools.count()
        for made, count in _guarded(name, make(self, workload)):
            if made["kind"] != "Pod":
                yield _struct(self._admitted(name, made))
                continue
            base = made["metadata"].get("generateName")
            if base:
                made["metadata"]["name"] = f"{base}{next(numbers)}"
            admitted = self._admitted(name, made)
            first: Pod = _struct(admitted)
            yield from self._with_claims(first, admitted)
            # The rest differ in name alone: they share the spec, which is read once.
            for _ in range(count - 1):
                pod = _renamed(first, f"{base}{next(numbers)}")
                yield from self._with_claims(pod, admitted)

    def _admitted(self, name: str, made: Object) -> Object:
        try:
            return self.admission.made(made)
        except ValueError as error:
            raise CannotExpand(name, f"its pods are refused: {error}") from error

    def _with_claims(self, pod: Pod, obj: Object) -> Iterator[Any]:
        """A pod, and before it the claims that are made for it alone."""
        if not any(use.resource_claim_template_name for use in pod.spec.resource_claims):
            yield pod
            return
        metadata = {"name": pod.metadata.name, "namespace": pod.metadata.namespace, "uid": pod.metadata.uid}
        named = {name: template for (namespace, name), template in self.templates.items()
                 if namespace == pod.metadata.namespace}  # fmt: skip
        have = {status.name for status in pod.status.resource_claim_statuses}
        if have:
            yield pod
            return
        step = compute_pod_claims({"metadata": metadata, "spec": obj["spec"]}, (), named)
        statuses = []
        for made in step.create:
            use = made["metadata"]["annotations"]["resource.kubernetes.io/pod-claim-name"]
            name = made["metadata"].pop("generateName").removesuffix("-")
            made["metadata"] |= {
                "name": name,
                "uid": uid_for("ResourceClaim", pod.metadata.namespace, name),
                "creationTimestamp": pod.metadata.creation_timestamp,
            }
            yield msgspec.convert(made, ResourceClaim)
            statuses.append(PodResourceClaimStatus(name=use, resource_claim_name=name))
        yield msgspec.structs.replace(
            pod, status=msgspec.structs.replace(pod.status, resource_claim_statuses=tuple(statuses))
        )


def _struct(obj: Object) -> Any:
    try:
        return typed(obj)
    except ValueError as error:
        raise CannotExpand(_named(obj), str(error)) from error


def _named(obj: Object) -> str:
    return f"{obj['kind']} {'/'.join(filter(None, key_of(obj)[1:]))}"


def _guarded(name: str, made: Iterator[tuple[Object, int]]) -> Iterator[tuple[Object, int]]:
    """Errors of the maker, with the workload's name."""
    try:
        yield from made
    except CannotExpand:
        raise
    except ValueError as error:
        raise CannotExpand(name, str(error)) from error


def _renamed(pod: Pod, name: str) -> Pod:
    metadata = msgspec.structs.replace(pod.metadata, name=name, uid=uid_for("Pod", pod.metadata.namespace, name))
    return msgspec.structs.replace(pod, metadata=metadata)


def _deployment(self: Expansion, obj: Object) -> Iterator[tuple[Object, int]]:
    made = compute_deployment(obj, (), 0, self.now_s).create
    if made is None:
        return
    made["metadata"]["uid"] = uid_for(*key_of(made))
    yield from _replica_set(self, made)


def _replica_set(self: Expansion, obj: Object) -> Iterator[tuple[Object, int]]:
    count = int(obj["spec"].get("replicas", 1))
    if count:
        yield pod_from_template(obj["spec"]["template"], obj, owner_reference(obj, "apps/v1", "ReplicaSet")), count


def _stateful_set(self: Expansion, obj: Object) -> Iterator[tuple[Object, int]]:
    # All ordinals at once: what is wanted is where they would go in the end.
    wanted = {**obj, "spec": {**obj["spec"], "podManagementPolicy": "Parallel"}}
    step = compute_stateful_set(wanted, (), (), self.now_s)
    for claim in step.claims:
        yield claim, 1
    for pod in step.create:
        yield pod, 1


def _daemon_set(self: Expansion, obj: Object) -> Iterator[tuple[Object, int]]:
    for node in self.nodes:
        pod = pod_from_template(obj["spec"]["template"], obj, owner_reference(obj, "apps/v1", "DaemonSet"))
        spec, labels = pod["spec"], node["metadata"].get("labels") or {}
        if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
            continue
        name = node["metadata"]["name"]
        pod["metadata"] |= {"name": f"{obj['metadata']['name']}-{name}", "generateName": ""}
        field_ = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}
        node_affinity = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
        node_affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": [field_]}
        spec["tolerations"] = [*(spec.get("tolerations") or ()), *(dict(each) for each in _DAEMON_TOLERATIONS)]
        yield pod, 1


def _job(self: Expansion, obj: Object) -> Iterator[tuple[Object, int]]:
    if not compute_job(obj, (), self.now_s).create:
        # Suspended, ended, or without anything to do.
        return
    wanted = _wanted_of_job(obj)
    if obj["spec"].get("completionMode") != "Indexed":
        yield pod_of_job(obj), wanted
        return
    for index in range(wanted):
        pod = pod_of_index(obj, index, None)
        pod["metadata"] |= {"name": f"{obj['metadata']['name']}-{index}", "generateName": ""}
        yield pod, 1


def _wanted_of_job(obj: Object) -> int:
    parallelism = int(obj["spec"].get("parallelism", 1))
    completions = obj["spec"].get("completions")
    return parallelism if completions is None else min(parallelism, int(completions))


def _model_service(self: Expansion, obj: Object) -> Iterator[tuple[Object, int]]:
    service = msgspec.convert(obj, ModelService)
    resolved = resolve_service(service, self.runtimes)
    for template in claim_templates(service, resolved):
        self.templates[key_of(template)[1:]] = template
        yield template, 1
    for role, count in sets_of_roles(service).items():
        yield from _replicas(service, resolved, role, count * service.spec.replicas)


def _replicas(service: ModelService, resolved: Resolved, role: RoleName, count: int) -> Iterator[tuple[Object, int]]:
    """On the preferred accelerators."""
    names = [replica_name(service.name, role, resolved.revision, ordinal) for ordinal in range(count)]
    if resolved.roles[role].size > 1:
        for ordinal, name in enumerate(names):
            yield from ((pod, 1) for pod in replica_pods(service, resolved, role, name, ordinal, "", "stable"))
    elif names:
        pod = member_pod(service, resolved, role, names[0], 0, 0, "", "stable")
        pod["metadata"]["generateName"] = names[0].removesuffix("0")
        yield pod, count


def _leader_worker_set(self: Expansion, obj: Object) -> Iterator[tuple[Object, int]]:
    yield from ((pod, 1) for pod in pods_of_leader_worker_set(obj))


def _family(obj: Object) -> tuple[str, str]:
    return obj["apiVersion"].rpartition("/")[0], obj["kind"]


Maker = Callable[[Expansion, Object], Iterator[tuple[Object, int]]]
"""The objects that a controller makes of one, each with how many alike (in all but the name) there are to be."""

_MAKERS: Final[Mapping[tuple[str, str], Maker]] = {
    ("apps", "Deployment"): _deployment,
    ("apps", "ReplicaSet"): _replica_set,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("batch", "Job"): _job,
    ("fairlead.dev", "ModelService"): _model_service,
    ("leaderworkerset.x-k8s.io", "LeaderWorkerSet"): _leader_worker_set,
}
