"""The Node object of a virtual node, as a pure function of its specification, the machine and its health."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import fairlead
from fairlead.clock import format_time
from fairlead.embedded.agent.machine import Machine, Pressure
from fairlead.embedded.agent.node_spec import NodeSpec

KUBELET_VERSION = "v1.36.0"
"""The Kubernetes release whose kubelet behaviour the agent follows: schedulers and skew checks parse it."""
RUNTIME = "process"
"""Scheme of the container runtime's version and of container ids."""
AGENT = "agent.fairlead.dev/data-folder"
"""Annotation of a Node: the identity of the data folder whose agent offers it."""


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """`agent` is the identity of the data folder whose agent offers the node."""

    spec: NodeSpec
    address: str
    port: int
    agent: str


def capacity(spec: NodeSpec, machine: Machine) -> dict[str, str]:
    return {
        "cpu": spec.cpu or str(machine.cpu_count),
        "ephemeral-storage": spec.ephemeral_storage or f"{machine.disk_bytes // 1024}Ki",
        "memory": spec.memory or f"{machine.memory_bytes // 1024}Ki",
        "pods": str(spec.pods),
        **dict(spec.resources),
    }


def node_object(identity: NodeIdentity, machine: Machine) -> dict[str, Any]:
    """What is registered; the status follows by `node_status`."""
    spec = identity.spec
    labels = {
        "beta.kubernetes.io/arch": machine.architecture,
        "beta.kubernetes.io/os": machine.operating_system,
        "kubernetes.io/arch": machine.architecture,
        "kubernetes.io/hostname": spec.name,
        "kubernetes.io/os": machine.operating_system,
        **dict(spec.labels),
    }
    node: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": spec.name, "labels": labels, "annotations": {**spec.annotations, AGENT: identity.agent}},
        "spec": {},
    }
    if spec.taints:
        node["spec"]["taints"] = [
            {"key": t.key, "effect": t.effect} | ({"value": t.value} if t.value else {}) for t in spec.taints
        ]
    return node


def node_status(
    identity: NodeIdentity, machine: Machine, pressure: Pressure, before: Iterable[dict[str, Any]], now_s: float
) -> dict[str, Any]:
    """The whole status; `before` are the conditions of the last one, whose transition times live on."""
    spec = identity.spec
    return {
        "addresses": [
            {"type": "InternalIP", "address": identity.address},
            {"type": "Hostname", "address": spec.name},
        ],
        "allocatable": capacity(spec, machine),
        "capacity": capacity(spec, machine),
        "conditions": _conditions(pressure, {c["type"]: c for c in before}, now_s),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": identity.port}},
        "nodeInfo": {
            "architecture": machine.architecture,
            "bootID": machine.boot_id,
            "containerRuntimeVersion": f"{RUNTIME}://{fairlead.__version__}",
            "kernelVersion": machine.kernel_version,
            "kubeProxyVersion": "",
            "kubeletVersion": KUBELET_VERSION,
            "machineID": machine.machine_id,
            "operatingSystem": machine.operating_system,
            "osImage": machine.os_image,
            "systemUUID": machine.machine_id,
        },
    }


def _conditions(pressure: Pressure, before: dict[str, dict[str, Any]], now_s: float) -> list[dict[str, Any]]:
    wanted = [
        _pressure(
            "MemoryPressure",
            pressure.memory,
            ("KubeletHasSufficientMemory", "KubeletHasInsufficientMemory"),
            ("kubelet has sufficient memory available", "kubelet has insufficient memory available"),
        ),
        _pressure(
            "DiskPressure",
            pressure.disk,
            ("KubeletHasNoDiskPressure", "KubeletHasDiskPressure"),
            ("kubelet has no disk pressure", "kubelet has disk pressure"),
        ),
        _pressure(
            "PIDPressure",
            pressure.pids,
            ("KubeletHasSufficientPID", "KubeletHasInsufficientPID"),
            ("kubelet has sufficient PID available", "kubelet has insufficient PID available"),
        ),
        {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"},
    ]
    conditions = []
    for condition in wanted:
        old = before.get(condition["type"], {})
        since = old.get("lastTransitionTime") if old.get("status") == condition["status"] else None
        times = {"lastHeartbeatTime": format_time(now_s), "lastTransitionTime": since or format_time(now_s)}
        conditions.append(condition | times)
    return conditions


def _pressure(kind: str, present: bool, reasons: tuple[str, str], messages: tuple[str, str]) -> dict[str, str]:
    return {
        "type": kind,
        "status": "True" if present else "False",
        "reason": reasons[present],
        "message": messages[present],
    }


def lease_object(name: str, node_uid: str, now: str) -> dict[str, Any]:
    """The heartbeat in `kube-node-lease`; `now` in RFC 3339 with microseconds."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": name,
            "namespace": "kube-node-lease",
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": name, "uid": node_uid}],
        },
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now},
    }
