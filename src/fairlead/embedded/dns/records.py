"""Which records a name of the cluster has. Pure.

Protocol: the Kubernetes DNS-Based Service Discovery specification 1.1.0. One deviation: nothing routes a Service's
cluster IP on the embedded platform, so the name of every Service, headless or not, has the addresses of its ready pods.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Object = dict[str, Any]

_TERMINAL = ("Succeeded", "Failed")


class Cluster(Protocol):
    """What there is, by name."""

    def has_namespace(self, name: str) -> bool: ...

    def service(self, namespace: str, name: str) -> Object | None: ...

    def pods_of(self, service: Object) -> Iterable[Object]:
        """The pods that the Service's selector chooses; none for a Service without one."""

    def addresses_of(self, service: Object) -> Iterable[str]:
        """What somebody wrote into the EndpointSlices of a Service without a selector."""

    def pod_at(self, address: str) -> Object | None:
        """The pod that has an address of its own."""


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    """An SRV record's data."""

    port: int
    target: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a name has. `exists` is True for a name without records of the asked type as well; `alias` is where an
    ExternalName points."""

    exists: bool = True
    addresses: tuple[str, ...] = ()
    services: tuple[ServiceRecord, ...] = ()
    alias: str = ""
    pointer: str = ""


NOTHING = Found(exists=False)


def look_up(cluster: Cluster, labels: Sequence[str], domain: str) -> Found:
    """The records of a name below the cluster's domain; `labels` are its parts before it, in lower case."""
    match tuple(labels):
        case () | ("svc",) | ("pod",):
            return Found()
        case (namespace, "svc" | "pod"):
            return Found() if cluster.has_namespace(namespace) else NOTHING
        case (address, namespace, "pod"):
            return _of_address(cluster, address, namespace)
        case (*host, name, namespace, "svc") if len(host) <= 2:
            service = cluster.service(namespace, name)
            return NOTHING if service is None else _of_service(cluster, service, host, domain)
    return NOTHING


def look_up_address(cluster: Cluster, address: str, domain: str) -> Found:
    """The name of the pod that has an address; NOTHING where no pod of a headless Service has it."""
    pod = cluster.pod_at(address)
    if pod is None or not pod["spec"].get("hostname") or not pod["spec"].get("subdomain"):
        return NOTHING
    spec, namespace = pod["spec"], pod["metadata"]["namespace"]
    service = cluster.service(namespace, spec["subdomain"])
    if service is None or not any(p is pod for p in _endpoints(cluster, service)):
        return NOTHING
    return Found(pointer=f"{spec['hostname']}.{spec['subdomain']}.{namespace}.svc.{domain}")


def _of_service(cluster: Cluster, service: Object, host: Sequence[str], domain: str) -> Found:
    if service["spec"].get("type") == "ExternalName":
        return NOTHING if host else Found(alias=service["spec"]["externalName"])
    match host:
        case []:
            if not service["spec"].get("selector"):
                return Found(addresses=tuple(sorted(set(cluster.addresses_of(service)))))
            return Found(addresses=tuple(_address(pod) for pod in _endpoints(cluster, service)))
        case [protocol] if protocol in ("_tcp", "_udp", "_sctp"):
            return Found()
        case [name]:
            pods = [pod for pod in _endpoints(cluster, service) if _hostname(pod, service) == name]
            return Found(addresses=tuple(_address(pod) for pod in pods)) if pods else NOTHING
        case [port, protocol] if port.startswith("_") and protocol.startswith("_"):
            return _of_port(cluster, service, port[1:], protocol[1:], domain)
    return NOTHING


def _of_port(cluster: Cluster, service: Object, name: str, protocol: str, domain: str) -> Found:
    ports = [
        port
        for port in service["spec"].get("ports") or ()
        if port.get("name") == name and str(port.get("protocol", "TCP")).lower() == protocol
    ]
    if not ports:
        return NOTHING
    meta = service["metadata"]
    base = f"{meta['name']}.{meta['namespace']}.svc.{domain}"
    records = []
    for pod in _endpoints(cluster, service):
        number = _target_port(pod, ports[0])
        if number is not None:
            host = _hostname(pod, service) or _address(pod).replace(".", "-").replace(":", "-")
            records.append(ServiceRecord(number, f"{host}.{base}"))
    return Found(services=tuple(records))


def _target_port(pod: Object, port: Object) -> int | None:
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    declared = (p for c in pod["spec"].get("containers") or () for p in c.get("ports") or ())
    return next((int(p["containerPort"]) for p in declared if p.get("name") == target), None)


def _of_address(cluster: Cluster, written: str, namespace: str) -> Found:
    """`127-64-0-3.NAMESPACE.pod`: the address itself, where a pod of the namespace has it."""
    address = written.replace("-", ".") if written.count("-") == 3 else written.replace("-", ":")
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return NOTHING
    pod = cluster.pod_at(address)
    is_there = pod is not None and pod["metadata"]["namespace"] == namespace
    return Found(addresses=(address,)) if is_there else NOTHING


def _endpoints(cluster: Cluster, service: Object) -> list[Object]:
    """The pods behind a Service's name now, in a stable order."""
    everybody = bool(service["spec"].get("publishNotReadyAddresses"))
    pods = [pod for pod in cluster.pods_of(service) if _address(pod) and (everybody or _is_ready(pod))]
    alive = [pod for pod in pods if (pod.get("status") or {}).get("phase") not in _TERMINAL]
    return sorted(alive, key=lambda pod: str(pod["metadata"]["name"]))


def _is_ready(pod: Object) -> bool:
    if "deletionTimestamp" in pod["metadata"]:
        return False
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _address(pod: Object) -> str:
    return str((pod.get("status") or {}).get("podIP") or "")


def _hostname(pod: Object, service: Object) -> str:
    """The pod's own name in a Service: where the Service is its subdomain."""
    spec = pod["spec"]
    return str(spec.get("hostname") or "") if spec.get("subdomain") == service["metadata"]["name"] else ""
