"""What `fairlead capacity` counts: a replica of a service or workload, the pods of a file, a pod with some devices.

A replica is read by a planner of its own, which knows the cluster's other objects but none of its pods: so a name that
is taken already is no hindrance, and the gangs are what the scheduler would make of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fairlead.cli.failure import Failed
from fairlead.cli.schedule_documents import Document, Object, read_documents
from fairlead.cli.schedule_inputs import Inputs, as_object, kind_of, metadata_of
from fairlead.cli.schedule_sight import Sight, near, see_all
from fairlead.kube.objects import Pod, ResourceClaim
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.planner import Planner
from fairlead.scheduling.settings import Settings

_ONE: Final = frozenset({"Deployment", "ReplicaSet", "StatefulSet", "LeaderWorkerSet", "ModelService"})
"""Kinds of which one replica is counted, however many they ask for."""
_WORKLOADS: Final = {
    "modelservice": "ModelService",
    "deployment": "Deployment",
    "statefulset": "StatefulSet",
    "replicaset": "ReplicaSet",
    "job": "Job",
    "leaderworkerset": "LeaderWorkerSet",
}
_KEPT: Final = frozenset({"name", "namespace", "labels", "annotations"})
_PROBE: Final = "capacity-probe"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for; at most one of service, files and device class."""

    service: str | None
    files: tuple[Path, ...]
    device_class: str
    count: int
    cpu: str
    memory: str
    namespace: str

    @property
    def ways(self) -> int:
        return bool(self.service) + bool(self.files) + bool(self.device_class)


@dataclass(frozen=True, slots=True)
class Replica:
    """What is counted: its gangs, placed one after the other."""

    name: str
    gangs: tuple[Gang, ...]

    @property
    def pods(self) -> int:
        return sum(len(gang.pods) for gang in self.gangs)


def replica_of(sight: Sight, asked: Asked) -> Replica:
    """Raises Failed for what is not there, or cannot be read."""
    if asked.service:
        return _of_workload(sight, asked.service, asked.namespace)
    if asked.files:
        name = ", ".join(path.name for path in asked.files)
        return _read(sight, name, [_single(each) for each in read_documents(asked.files)])
    if asked.device_class not in sight.device_classes:
        raise Failed(
            f"--class: there is no DeviceClass {asked.device_class}; {near(asked.device_class, sight.device_classes)}"
        )
    name = f"a pod with {asked.count} {asked.device_class}"
    return _read(sight, name, [Document("--class", number, obj) for number, obj in enumerate(_probe(asked), 1)])


def _of_workload(sight: Sight, service: str, namespace: str) -> Replica:
    kind_word, slash, name = service.rpartition("/")
    kind = _WORKLOADS.get(kind_word.lower().removesuffix("s") if slash else "modelservice")
    if kind is None:
        raise Failed(f"{service}: no workload of that kind; write one of {', '.join(sorted(_WORKLOADS))} before the /")
    found = sight.workload(kind, namespace, name)
    obj = {**as_object(found)}
    obj.pop("status", None)
    metadata = {key: value for key, value in obj["metadata"].items() if key in _KEPT}
    document = _single(Document(service, 1, {**obj, "metadata": metadata}))
    return _read(sight, f"{kind} {namespace}/{name}", [document])


def _read(sight: Sight, name: str, documents: Sequence[Document]) -> Replica:
    inputs = sight.reader.take(documents)
    pods = [each for each in inputs.objects if isinstance(each, Pod) and not each.spec.node_name]
    if not pods:
        raise Failed(f"{name}: no pods without a node in there; give pods, or a workload that makes some")
    planner = Planner(Settings(names=inputs.scheduler_names, mode=sight.planner.settings.mode))
    see_all(planner, Inputs([each for each in sight.inputs.objects if kind_of(each) not in ("Pod", "Node")]))
    see_all(planner, inputs)
    # Claims that are shared by its pods, or by its copies, are looked up in the cluster.
    own = {(each.metadata.namespace, name) for each in pods for name in _generated(each)}
    for each in inputs.objects:
        is_shared = isinstance(each, ResourceClaim) and metadata_of(each) not in own
        if is_shared and metadata_of(each) not in sight.planner.fleet.claims:
            sight.planner.see(each)
    uids = [each.metadata.uid for each in pods]
    gangs = {gang.identity: gang for uid in uids if (gang := planner.roster.gang_of(uid)) is not None}
    for gang in gangs.values():
        if gang.waits_for:
            raise Failed(f"{name}: {gang.key} {gang.waits_for}")
    return Replica(name, tuple(gangs.values()))


def _generated(pod: Pod) -> list[str]:
    return [status.resource_claim_name for status in pod.status.resource_claim_statuses]


def _single(document: Document) -> Document:
    """One replica of a workload."""
    if document.obj.get("kind") not in _ONE or not isinstance(document.obj.get("spec"), dict):
        return document
    obj = {**document.obj, "spec": {**document.obj["spec"], "replicas": 1}}
    return Document(document.file, document.number, obj, document.item)


def _probe(asked: Asked) -> list[Object]:
    """A pod that has devices of the class, and the template of its claim."""
    metadata = {"name": _PROBE, "namespace": asked.namespace}
    requests = {name: amount for name, amount in (("cpu", asked.cpu), ("memory", asked.memory)) if amount}
    exactly: dict[str, Any] = {"deviceClassName": asked.device_class, "count": asked.count}
    template = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": metadata,
        "spec": {"spec": {"devices": {"requests": [{"name": "devices", "exactly": exactly}]}}},
    }
    container = {
        "name": "main",
        "image": "none",
        "resources": {"claims": [{"name": "devices"}], **({"requests": requests} if requests else {})},
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": dict(metadata),
        "spec": {
            "schedulerName": "fairlead",
            # What keeps other pods from nodes with devices does not keep those that use them.
            "tolerations": [{"operator": "Exists", "effect": "NoSchedule"}],
            "containers": [container],
            "resourceClaims": [{"name": "devices", "resourceClaimTemplateName": _PROBE}],
        },
    }
    return [template, pod]
