"""Fleets and work for the scheduling benchmarks, as API objects: nodes with devices, and pods with claims for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

CLASS = "gpu.example.com"
DRIVER = "gpu.example.com"
RESOURCE_API = "resource.k8s.io/v1"


def node(name: str, labels: Mapping[str, str] | None = None, *, cpu: str = "64", pods: str = "250") -> Json:
    """A node as its kubelet would describe it."""
    amounts = {"cpu": cpu, "memory": "512Gi", "pods": pods, "ephemeral-storage": "1Ti"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "status": {
            "capacity": amounts,
            "allocatable": amounts,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ready"}],
        },
    }


def node_slice(node_name: str, devices: int, *, per_switch: int = 2) -> Json:
    """The devices of a node: whole accelerators, `per_switch` of them under each PCIe switch."""
    return {
        "apiVersion": RESOURCE_API,
        "kind": "ResourceSlice",
        "metadata": {"name": f"{node_name}-{DRIVER}"},
        "spec": {
            "driver": DRIVER,
            "nodeName": node_name,
            "pool": {"name": node_name, "generation": 1, "resourceSliceCount": 1},
            "devices": [
                {
                    "name": f"gpu-{i}",
                    "attributes": {
                        "uuid": {"string": f"GPU-{node_name}-{i}"},
                        "model": {"string": "H100"},
                        "fairlead.dev/pcieSwitch": {"string": f"switch-{i // per_switch}"},
                        "resource.kubernetes.io/pcieRoot": {"string": f"pci0000:{i // per_switch:02x}"},
                        "index": {"int": i},
                    },
                    "capacity": {"memory": {"value": "80Gi"}},
                }
                for i in range(devices)
            ],
        },
    }


def partition_slices(node_name: str, cards: int) -> list[Json]:
    """Cards of eight processing elements as aligned fusions over shared counters: a slice for the counters, one for
    the devices."""
    driver = "partition.example.com"
    pool = {"name": node_name, "generation": 1, "resourceSliceCount": 2}
    elements = {f"pe{i}": {"value": "1"} for i in range(8)}
    devices = []
    for card in range(cards):
        for size in (1, 2, 4, 8):
            for first in range(0, 8, size):
                consumed = {f"pe{i}": {"value": "1"} for i in range(first, first + size)}
                devices.append(
                    {
                        "name": f"card{card}-pe{first}-{first + size - 1}",
                        "attributes": {"size": {"int": size}, "card": {"int": card}},
                        "consumesCounters": [{"counterSet": f"card{card}", "counters": consumed}],
                    }
                )
    base = {"driver": driver, "nodeName": node_name, "pool": pool}
    counters = [{"name": f"card{card}", "counters": elements} for card in range(cards)]
    return [
        {"apiVersion": RESOURCE_API, "kind": "ResourceSlice", "metadata": {"name": f"{node_name}-{part}"}, "spec": spec}
        for part, spec in (
            ("counters", {**base, "sharedCounters": counters}),
            ("partitions", {**base, "devices": devices}),
        )
    ]


def device_class(name: str = CLASS, driver: str = DRIVER) -> Json:
    return {
        "apiVersion": RESOURCE_API,
        "kind": "DeviceClass",
        "metadata": {"name": name},
        "spec": {"selectors": [{"cel": {"expression": f'device.driver == "{driver}"'}}]},
    }


def claim_spec(count: int = 1, *, match: str = "", selector: str = "", class_name: str = CLASS) -> Json:
    """A claim for `count` devices; `match`: an attribute that all of them share."""
    exactly: Json = {"deviceClassName": class_name, "allocationMode": "ExactCount", "count": count}
    if selector:
        exactly["selectors"] = [{"cel": {"expression": selector}}]
    devices: Json = {"requests": [{"name": "gpus", "exactly": exactly}]}
    if match:
        devices["constraints"] = [{"requests": ["gpus"], "matchAttribute": match}]
    return {"devices": devices}


def template(name: str, namespace: str, spec: Json) -> Json:
    return {
        "apiVersion": RESOURCE_API,
        "kind": "ResourceClaimTemplate",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"spec": spec},
    }


def pod(
    name: str,
    namespace: str,
    *,
    scheduler: str = "fairlead",
    template_name: str = "",
    cpu: str = "100m",
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Json:
    """A pod of one container, with a claim made from the template where one is named."""
    container: Json = {
        "name": "main",
        "image": "registry.example.com/pause:1",
        "resources": {"requests": {"cpu": cpu, "memory": "256Mi"}},
    }
    spec: Json = {"schedulerName": scheduler, "containers": [container], "terminationGracePeriodSeconds": 0}
    if template_name:
        spec["resourceClaims"] = [{"name": "gpus", "resourceClaimTemplateName": template_name}]
        container["resources"]["claims"] = [{"name": "gpus"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": dict(labels or {}),
            "annotations": dict(annotations or {}),
        },
        "spec": spec,
    }


def own_claim(pod_object: Json, spec: Json) -> Json:
    """The claim that the claim controller makes for a pod with one template."""
    meta = pod_object["metadata"]
    return {
        "apiVersion": RESOURCE_API,
        "kind": "ResourceClaim",
        "metadata": {
            "name": f"{meta['name']}-gpus",
            "namespace": meta["namespace"],
            "annotations": {"resource.kubernetes.io/pod-claim-name": "gpus"},
            "ownerReferences": [
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": meta["name"],
                    "uid": meta.get("uid", ""),
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": spec,
    }


def own_claim_status(pod_object: Json) -> Json:
    """What the claim controller writes into the pod's status."""
    name = f"{pod_object['metadata']['name']}-gpus"
    return {"status": {"resourceClaimStatuses": [{"name": "gpus", "resourceClaimName": name}]}}
