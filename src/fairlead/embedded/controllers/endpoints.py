"""EndpointSlices and Endpoints of a Service from its pods. Pure.

A real API server refuses loopback addresses in both kinds: pods whose address is one are left out where
`allow_loopback` is False, and no part of Fairlead needs them there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.controllers.pods import Object, is_deleting, is_ready, owner_reference, phase

SLICE_LIMIT = 100
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
    return [_slice(service, ports, found) for ports, found in groups or [((), [])]]


def compute_endpoints(service: Object, pods: Sequence[Object]) -> Object:
    """The legacy Endpoints object of the same name as the Service."""
    subsets: dict[tuple[tuple[Any, ...], ...], Object] = {}
    for pod in sorted(pods, key=lambda p: p["metadata"]["name"]):
        if not _is_endpoint(pod) or is_deleting(pod):
            continue
        ports = _ports(service, pod)
        if not ports and service["spec"].get("ports"):
            continue
        side = "addresses" if _serves(service, pod) else "notReadyAddresses"
        subset = subsets.setdefault(ports, {})
        subset.setdefault(side, []).append(_address(pod))
        if ports:
            subset["ports"] = [_port(p, with_empty_name=False) for p in ports]
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
    zone = ((nodes.get(node or "") or {}).get("metadata", {}).get("labels") or {}).get("topology.kubernetes.io/zone")
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


def _slice(service: Object, ports: tuple[tuple[Any, ...], ...], found: list[Object]) -> Object:
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
            "ownerReferences": [owner_reference(service, "v1", "Service")],
        },
        "addressType": "IPv4",
        "endpoints": found or None,
        "ports": [_port(p, with_empty_name=True) for p in ports] or None,
    }
