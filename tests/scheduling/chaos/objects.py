"""API objects of the churn, small and varied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from fairlead.kube.objects import Job, Namespace, Node, Pod, PodDisruptionBudget
from fairlead.kube.objects.devices import DeviceClass, DeviceTaintRule, ResourceClaim, ResourceSlice
from fairlead.kube.objects.scheduling import PodGroup

GPU: Final = "gpu.example.com"
NIC: Final = "nic.example.com"
RACK: Final = "example.com/rack"
ZONE: Final = "topology.kubernetes.io/zone"
HOST: Final = "kubernetes.io/hostname"
QUEUE: Final = "fairlead.dev/queue"
DEVICES: Final = f"{GPU}.deviceclass.resource.k8s.io/devices"


def node(name: str, uid: str, labels: Mapping[str, str], cpu: int, *, taints: Sequence[Any] = ()) -> Node:
    amounts = {"cpu": str(cpu), "memory": "64Gi", "pods": "12"}
    body = {
        "metadata": {"name": name, "uid": uid, "labels": {HOST: name, **labels}},
        "spec": {"taints": list(taints)},
        "status": {"allocatable": amounts},
    }
    return msgspec.convert(body, Node)


def pod(
    name: str,
    uid: str,
    *,
    created: str,
    cpu: str = "1",
    labels: Mapping[str, str] = {},
    annotations: Mapping[str, str] = {},
    owner: Mapping[str, Any] | None = None,
    scheduler: str = "fairlead",
    host_port: int = 0,
    **spec: Any,
) -> Pod:
    container: dict[str, Any] = {"name": "main", "image": "a", "resources": {"requests": {"cpu": cpu}}}
    if host_port:
        container["ports"] = [{"containerPort": host_port, "hostPort": host_port, "protocol": "TCP"}]
    meta: dict[str, Any] = {
        "name": name, "namespace": "default", "uid": uid, "creationTimestamp": created, "labels": dict(labels),
        "annotations": dict(annotations),
    }  # fmt: skip
    if owner:
        meta["ownerReferences"] = [owner]
    body = {
        "metadata": meta,
        "spec": {"schedulerName": scheduler, "containers": [container], **spec},
        "status": {"phase": "Pending"},
    }
    return msgspec.convert(body, Pod)


def claim(name: str, uid: str, devices: Mapping[str, Any], owner: Pod | None = None) -> ResourceClaim:
    meta: dict[str, Any] = {"name": name, "namespace": "default", "uid": uid}
    if owner is not None:
        reference = {"apiVersion": "v1", "kind": "Pod", "name": owner.metadata.name, "uid": owner.metadata.uid}
        meta["ownerReferences"] = [{**reference, "controller": True}]
        meta["annotations"] = {"resource.kubernetes.io/pod-claim-name": "own"}
    return msgspec.convert({"metadata": meta, "spec": {"devices": devices}}, ResourceClaim)


def request(
    kind: str, count: int = 1, *, capacity: str = "", name: str = "r", mode: str = "", admin: bool = False
) -> dict[str, Any]:
    """For devices of a kind (an attribute that all devices of the driver have)."""
    exactly: dict[str, Any] = {
        "deviceClassName": NIC if kind == "nic" else GPU,
        "allocationMode": mode or "ExactCount",
        "selectors": [{"cel": {"expression": f'device.attributes["{driver_of(kind)}"].kind == "{kind}"'}}],
    }
    if not mode:
        exactly["count"] = count
    if capacity:
        exactly["capacity"] = {"requests": {"memory": capacity}}
    if admin:
        exactly["adminAccess"] = True
    return {"name": name, "exactly": exactly}


def driver_of(kind: str) -> str:
    return NIC if kind == "nic" else GPU


def device_class(driver: str) -> DeviceClass:
    body = {
        "metadata": {"name": driver},
        "spec": {"selectors": [{"cel": {"expression": f'device.driver == "{driver}"'}}]},
    }
    return msgspec.convert(body, DeviceClass)


def device(name: str, kind: str, driver: str = GPU, **fields: Any) -> dict[str, Any]:
    attributes = {"kind": {"string": kind}, **fields.pop("attributes", {})}
    return {"name": name, "attributes": attributes, **fields}


def slice_of(
    name: str, pool: str, generation: int, count: int, devices: Sequence[Any], driver: str = GPU, **where: Any
) -> ResourceSlice:
    spec = {
        "driver": driver, "devices": list(devices),
        "pool": {"name": pool, "generation": generation, "resourceSliceCount": count}, **where,
    }  # fmt: skip
    return msgspec.convert({"metadata": {"name": name, "uid": f"slice-{name}"}, "spec": spec}, ResourceSlice)


def taint_rule(name: str, pool: str, device_name: str, effect: str) -> DeviceTaintRule:
    spec = {
        "deviceSelector": {"driver": GPU, "pool": pool, "device": device_name},
        "taint": {"key": "rule", "value": "x", "effect": effect},
    }
    return msgspec.convert({"metadata": {"name": name}, "spec": spec}, DeviceTaintRule)


def queue(name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "fairlead.dev/v1alpha1", "kind": "Queue", "metadata": {"name": name}, "spec": dict(spec)}


def budget(name: str, app: str, allowed: int, generation: int = 1, observed: int = 1) -> PodDisruptionBudget:
    body = {
        "metadata": {"name": name, "namespace": "default", "generation": generation},
        "spec": {"selector": {"matchLabels": {"app": app}}, "minAvailable": 1},
        "status": {"disruptionsAllowed": allowed, "observedGeneration": observed},
    }
    return msgspec.convert(body, PodDisruptionBudget)


def pod_group(name: str, minimum: int, level: str = "", whole: bool = False) -> PodGroup:
    spec: dict[str, Any] = {"schedulingPolicy": {"gang": {"minCount": minimum}}}
    if level:
        spec["schedulingConstraints"] = {"topology": [{"key": level}]}
    if whole:
        spec["disruptionMode"] = {"all": {}}
    return msgspec.convert({"metadata": {"name": name, "namespace": "default"}, "spec": spec}, PodGroup)


def job(name: str, uid: str, parallelism: int) -> Job:
    body = {
        "metadata": {"name": name, "namespace": "default", "uid": uid, "annotations": {"fairlead.dev/gang": "true"}},
        "spec": {"parallelism": parallelism, "completions": parallelism},
    }
    return msgspec.convert(body, Job)


def foreign(version: str, kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """An object of another scheduler's kinds."""
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": dict(spec)}


def namespace(name: str, labels: Mapping[str, str]) -> Namespace:
    return msgspec.convert({"metadata": {"name": name, "labels": dict(labels)}}, Namespace)
