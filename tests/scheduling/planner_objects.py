"""API objects for tests of the planner, as short as they can be."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from fairlead.kube.objects import Node, Pod
from fairlead.kube.objects.devices import DeviceClass, ResourceClaim, ResourceSlice
from fairlead.scheduling.planner import Planner
from fairlead.scheduling.settings import Settings
from fairlead.scheduling.verdict import Verdict

NOW_S = 1_800_000_000.0
STARTED = "2027-01-01T00:00:00Z"
DRIVER = "gpu.example.com"


def node(name: str, *, cpu: str = "8", labels: dict[str, str] | None = None, taints: list[Any] | None = None) -> Node:
    amounts = {"cpu": cpu, "memory": "64Gi", "pods": "110"}
    body = {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": {"taints": taints or []},
        "status": {"allocatable": amounts},
    }
    return msgspec.convert(body, Node)


def gpus(node_name: str, count: int = 8, *, taints: dict[str, list[Any]] | None = None) -> ResourceSlice:
    devices = [
        {
            "name": f"gpu-{i}",
            "attributes": {"fairlead.dev/pcieSwitch": {"string": f"switch-{i // 2}"}},
            "taints": (taints or {}).get(f"gpu-{i}", []),
        }
        for i in range(count)
    ]
    spec = {
        "driver": DRIVER,
        "nodeName": node_name,
        "pool": {"name": node_name, "generation": 1, "resourceSliceCount": 1},
        "devices": devices,
    }
    return msgspec.convert(
        {"metadata": {"name": f"{node_name}-gpus", "uid": f"s-{node_name}"}, "spec": spec}, ResourceSlice
    )


def gpu_class() -> DeviceClass:
    selector = {"cel": {"expression": f'device.driver == "{DRIVER}"'}}
    return msgspec.convert({"metadata": {"name": DRIVER}, "spec": {"selectors": [selector]}}, DeviceClass)


def claim(pod_name: str, count: int = 1, *, namespace: str = "default", shared: bool = False) -> ResourceClaim:
    """The claim that the claim controller makes for a pod with a template, or one that stands for itself."""
    name = pod_name if shared else f"{pod_name}-gpus"
    meta: dict[str, Any] = {"name": name, "namespace": namespace, "uid": f"claim-{namespace}-{name}"}
    if not shared:
        meta["annotations"] = {"resource.kubernetes.io/pod-claim-name": "gpus"}
        owner = {"apiVersion": "v1", "kind": "Pod", "name": pod_name, "uid": f"pod-{namespace}-{pod_name}"}
        meta["ownerReferences"] = [{**owner, "controller": True}]
    exactly = {"deviceClassName": DRIVER, "allocationMode": "ExactCount", "count": count}
    spec = {"devices": {"requests": [{"name": "gpus", "exactly": exactly}]}}
    return msgspec.convert({"metadata": meta, "spec": spec}, ResourceClaim)


def pod(
    name: str,
    *,
    namespace: str = "default",
    cpu: str = "1",
    devices: bool = False,
    shared_claim: str = "",
    priority: int = 0,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    created: str = "2027-01-01T00:00:00Z",
    bound: str = "",
    scheduler: str = "fairlead",
    bare: bool = False,
    **spec: Any,
) -> Pod:
    """A pod with a controller, unless it is a bare one."""
    body: dict[str, Any] = {
        "metadata": {
            "name": name, "namespace": namespace, "uid": f"pod-{namespace}-{name}", "creationTimestamp": created,
            "labels": labels or {}, "annotations": annotations or {},
        },
        "spec": {
            "schedulerName": scheduler, "priority": priority, "nodeName": bound,
            "containers": [{"name": "main", "resources": {"requests": {"cpu": cpu}}}], **spec,
        },
        "status": {"phase": "Running", "startTime": STARTED} if bound else {"phase": "Pending"},
    }  # fmt: skip
    if not bare:
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "rs", "controller": True}
        body["metadata"]["ownerReferences"] = [owner]
    if devices:
        body["spec"]["resourceClaims"] = [{"name": "gpus", "resourceClaimTemplateName": "gpus"}]
        body["status"]["resourceClaimStatuses"] = [{"name": "gpus", "resourceClaimName": f"{name}-gpus"}]
    if shared_claim:
        body["spec"]["resourceClaims"] = [{"name": "gpus", "resourceClaimName": shared_claim}]
    return msgspec.convert(body, Pod)


def gang_of(name: str, size: int, *, minimum: int = 0, priority: int = 0, **extra: Any) -> list[Pod]:
    """The pods of a gang that our own label and annotation describe."""
    topology = extra.pop("topology", None)
    spec = {"min": minimum or size, **({"topology": topology} if topology else {})}
    labels = {"fairlead.dev/gang": name, **extra.pop("labels", {})}
    annotations = {"fairlead.dev/gang-spec": json.dumps(spec)}
    return [pod(f"{name}-{i}", priority=priority, labels=labels, annotations=annotations, **extra) for i in range(size)]


def queue(name: str, **resources: Any) -> dict[str, Any]:
    spec = {"resources": {key.replace("_", "."): value for key, value in resources.items()}}
    return {"apiVersion": "fairlead.dev/v1alpha1", "kind": "Queue", "metadata": {"name": name}, "spec": spec}


def planner_with(*objects: Any, **settings: Any) -> Planner:
    planner = Planner(Settings(**settings))
    for each in objects:
        planner.see(each)
    return planner


def decide_all(planner: Planner, now_s: float = NOW_S) -> list[Verdict]:
    """Every verdict until there is nothing to decide."""
    verdicts = []
    while (verdict := planner.decide(now_s)) is not None:
        verdicts.append(verdict)
        assert len(verdicts) < 1000, "the planner does not come to an end"
    return verdicts
