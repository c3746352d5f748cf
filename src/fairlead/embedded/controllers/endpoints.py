"""EndpointSlices and Endpoints of a Service from its pods. Pure.

A real API server refuses loopback addresses in both kinds: pods whose address is one are left out where
`allow_loopback` is False, and no part of Fairlead needs them there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairlead.embedded.controllers.pods import Object, condition, is_deleting, is_ready, owner_reference, phase

SLICE_LIMIT = 100
ZONE = "topology.kubernetes.io/zone"
CHANGED_AT = "endpoints.kubernetes.io/last-change-trigger-time"
"""Annotation: when the pod or Service changed that a write follows."""

MANAGED_BY = "endpointslice-controller.k8s.io"


def compute_slices(service: Object, pods: Sequence[Object], nodes: Mapping[str, Object]) -> list[Object]:
    """Slices without names, in a stable order: one per distinct set of resolved ports, at most 100 endpoints each.
    `nodes` maps node name -> Node, for zones; a pod on a node that does not exist is left out."""
    by_ports: dict[tuple[tuple[Any, ...], ...], list[Object]] = {}
    for pod in sorted(pods, key=lambda p: p["metadata"]["name"]):
        if not _is_endpoint(pod) or pod["spec"].get("nodeName", "") not in {"", *nodes}:
            continue
        ports = _ports(service, pod)
        if ports or not service["spec"].get("ports"):
            by_ports.setdefault(ports, []).append(_endpoint(service, pod, nodes))
    groups = [
        (ports, found[start : start + SLICE_LIMIT])
        for ports, found in sorted(by_ports.items(), key=lambda item: repr(item[0]))
        for start in range(0, len(found), SLICE_LIMIT)
    ]
    changed_at = _changed_at(service, pods)
    return [_slice(service, ports, found, changed_at) for ports, found in groups or [((), [])]]


@dataclass(slots=True)
class SliceStep:
    """Slices to create, to write anew under their names, and names to delete."""

    create: list[Object] = field(default_factory=list)
    update: list[Object] = field(default_factory=list)
    delete: list[str] = field(default_factory=list)


def match_slices(wanted: Sequence[Object], existing: Sequence[Object]) -> SliceStep:
    """How to get from existing slices to wanted ones with the fewest changes of names: a slice is rewritten in place
    by the one with the same ports that shares most endpoints, or else by any other."""
    step, left = SliceStep(), list(existing)
    for obj in wanted:
        match = max(left, key=lambda e: _likeness(e, obj), default=None)
        if match is None:
            step.create.append(obj)
            continue
        left.remove(match)
        labels = obj["metadata"]["labels"]
        same = all((match.get(k) or None) == obj[k] for k in ("endpoints", "ports"))
        if same and (match["metadata"].get("labels") or {}) == labels:
            continue
        annotations = {**(match["metadata"].get("annotations") or {}), **obj["metadata"]["annotations"]}
        meta = {**match["metadata"], "labels": labels, "annotations": annotations}
        step.update.append({**match, "metadata": meta, "endpoints": obj["endpoints"], "ports": obj["ports"]})
    step.delete = [e["metadata"]["name"] for e in left]
    return step


def _likeness(existing: Object, wanted: Object) -> tuple[bool, int]:
    uids = {(e.get("targetRef") or {}).get("uid") for e in existing.get("endpoints") or ()}
    shared = sum((e.get("targetRef") or {}).get("uid") in uids for e in wanted["endpoints"] or ())
    return (existing.get("ports") or None) == wanted["ports"], shared


def _changed_at(service: Object, pods: Sequence[Object]) -> str:
    """The latest change that endpoints follow: the Service's creation, or a pod's readiness."""
    times = [service["metadata"].get("creationTimestamp") or ""]
    for pod in pods:
        ready = condition(pod, "Ready")
        if ready is not None and ready.get("lastTransitionTime"):
            times.append(ready["lastTransitionTime"])
    return max(times)


def compute_endpoints(service: Object, pods: Sequence[Object]) -> Object:
    """The legacy Endpoints object of the same name as the Service."""
    subsets: dict[tuple[tuple[Any, ...], ...], Object] = {}
    for pod in sorted(pods, key=lambda p: p["metadata"]["name"]):
        if not _is_endpoint(pod) or (is_deleting(pod) and not service["spec"].get("publishNotReadyAddresses")):
            continue
        ports = _ports(service, pod)
        if not ports and service["spec"].get("ports"):
            continue
        side = "addresses" if _serves(service, pod) else "notReadyAddresses"
        subset = subsets.setdefault(ports, {})
        subset.setdefault(side, []).append(_address(pod))
        if ports:
            subset["ports"] = sorted((_port(p, with_empty_name=False) for p in ports), key=repr)
    for subset in subsets.values():
        for side in ("addresses", "notReadyAddresses"):
            if side in subset:
                subset[side].sort(key=lambda a: (a["ip"], a["targetRef"]["uid"]))
    meta = service["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "labels": {
                **(meta.get("labels") or {}),
                "endpoints.kubernetes.io/managed-by": "endpoint-controller",
                **({"service.kubernetes.io/headless": ""} if service["spec"].get("clusterIP") == "None" else {}),
            },
            "annotations": {CHANGED_AT: _changed_at(service, pods)},
        },
        **({"subsets": list(subsets.values())} if subsets else {}),
    }


def is_loopback(pod: Mapping[str, Any]) -> bool:
    ip = (pod.get("status") or {}).get("podIP")
    return bool(ip) and ipaddress.ip_address(str(ip)).is_loopback


def _is_endpoint(pod: Object) -> bool:
    return bool((pod.get("status") or {}).get("podIP")) and phase(pod) not in ("Succeeded", "Failed")


def _serves(service: Object, pod: Object) -> bool:
    return is_ready(pod) or bool(service["spec"].get("publishNotReadyAddresses"))


def _ports(service: Object, pod: Object) -> tuple[tuple[Any, ...], ...]:
    """(name, protocol, number, appProtocol) of every service port that the pod has."""
    found = []
    for port in service["spec"].get("ports") or ():
        number = _target(port, pod)
        if number is not None:
            found.append((port.get("name", ""), port.get("protocol", "TCP"), number, port.get("appProtocol")))
    return tuple(found)


def _target(port: Object, pod: Object) -> int | None:
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target or int(port["port"])
    for container in pod["spec"]["containers"]:
        for p in container.get("ports") or ():
            if p.get("name") == target and p.get("protocol", "TCP") == port.get("protocol", "TCP"):
                return int(p["containerPort"])
    return None


def _port(port: tuple[Any, ...], *, with_empty_name: bool) -> Object:
    name, protocol, number, app = port
    made: Object = {"port": number, "protocol": protocol}
    if name or with_empty_name:
        made["name"] = name
    return made | ({"appProtocol": app} if app else {})


def _endpoint(service: Object, pod: Object, nodes: Mapping[str, Object]) -> Object:
    serving, terminating = is_ready(pod), is_deleting(pod)
    node = pod["spec"].get("nodeName")
    zone = ((nodes.get(node or "") or {}).get("metadata", {}).get("labels") or {}).get(ZONE)
    made: Object = {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {
            "ready": bool(service["spec"].get("publishNotReadyAddresses")) or (serving and not terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "targetRef": _reference(pod),
    }
    hostname = pod["spec"].get("hostname")
    if hostname and pod["spec"].get("subdomain") == service["metadata"]["name"]:
        made["hostname"] = hostname
    return made | ({"nodeName": node} if node else {}) | ({"zone": zone} if zone else {})


def _address(pod: Object) -> Object:
    made: Object = {"ip": pod["status"]["podIP"], "targetRef": _reference(pod)}
    if pod["spec"].get("nodeName"):
        made["nodeName"] = pod["spec"]["nodeName"]
    return made


def _reference(pod: Object) -> Object:
    meta = pod["metadata"]
    return {"kind": "Pod", "name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]}


def _slice(service: Object, ports: tuple[tuple[Any, ...], ...], found: list[Object], changed_at: str) -> Object:
    meta = service["metadata"]
    labels = {k: v for k, v in (meta.get("labels") or {}).items() if not k.startswith("endpointslice.kubernetes.io/")}
    labels |= {"kubernetes.io/service-name": meta["name"], "endpointslice.kubernetes.io/managed-by": MANAGED_BY}
    if service["spec"].get("clusterIP") == "None":
        labels["service.kubernetes.io/headless"] = ""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": f"{meta['name']}-",
            "namespace": meta["namespace"],
            "labels": labels,
            "annotations": {CHANGED_AT: changed_at},
            "ownerReferences": [owner_reference(service, "v1", "Service")],
        },
        "addressType": "IPv4",
        "endpoints": found or None,
        "ports": [_port(p, with_empty_name=True) for p in ports] or None,
    }
