"""Columns of services, endpoints, ingresses and network policies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.printing.cells import (
    AGE,
    NAME,
    NONE,
    UNSET,
    computed,
    get,
    labels,
    selector,
    shortened,
    text,
)
from fairlead.embedded.apiserver.registry import Column, Object

_SHOWN = 3


def _load_balancer_addresses(obj: Object) -> str:
    points = get(obj, "status", "loadBalancer", "ingress", default=())
    return ",".join(sorted({point.get("ip") or point.get("hostname") or "" for point in points} - {""}))


def _external_address(service: Object) -> str:
    type_ = get(service, "spec", "type", default="ClusterIP")
    if type_ == "ExternalName":
        return str(get(service, "spec", "externalName", default=""))
    external = list(get(service, "spec", "externalIPs", default=()))
    if type_ != "LoadBalancer":
        return ",".join(external) or NONE
    balanced = _load_balancer_addresses(service)
    if external:
        return ",".join([*(balanced.split(",") if balanced else ()), *external])
    return balanced or "<pending>"


def _cluster_address(service: Object) -> str:
    addresses = get(service, "spec", "clusterIPs", default=())
    return (addresses[0] if addresses else get(service, "spec", "clusterIP")) or NONE


def _service_port(port: Mapping[str, Any]) -> str:
    number, protocol, node_port = port.get("port"), port.get("protocol", "TCP"), port.get("nodePort")
    return f"{number}:{node_port}/{protocol}" if node_port else f"{number}/{protocol}"


def _service_ports(service: Object) -> str:
    return ",".join(_service_port(port) for port in get(service, "spec", "ports", default=())) or NONE


def _host_port(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _endpoints(obj: Object) -> str:
    found: list[str] = []
    for subset in obj.get("subsets") or ():
        addresses = [address.get("ip", "") for address in subset.get("addresses") or ()]
        ports = subset.get("ports") or ()
        if ports:
            found += [_host_port(address, port.get("port", 0)) for port in ports for address in addresses]
        else:
            found += addresses
    return shortened(found, _SHOWN)


def _listed(values: Sequence[str]) -> str:
    return shortened(values, _SHOWN) if values else UNSET


def _slice_port(port: Mapping[str, Any]) -> str:
    number = port.get("port")
    return str(number) if number is not None else port.get("name") or "*"


def _slice_addresses(obj: Object) -> Iterable[str]:
    for endpoint in obj.get("endpoints") or ():
        yield from endpoint.get("addresses") or ()


def _hosts(ingress: Object) -> str:
    hosts = [rule.get("host") for rule in get(ingress, "spec", "rules", default=())]
    named = [host for host in hosts if host]
    return shortened(named, _SHOWN) if named else "*"


def _parameters(ingress_class: Object) -> str:
    parameters = get(ingress_class, "spec", "parameters")
    if parameters is None:
        return NONE
    group = parameters.get("apiGroup")
    kind = parameters.get("kind", "") + (f".{group}" if group else "")
    return f"{kind}/{parameters.get('name', '')}"


def _parent(address: Object) -> str:
    parent = get(address, "spec", "parentRef", default={})
    parts = [parent.get(key, "") for key in ("group", "resource", "namespace", "name")]
    resource = f"{parts[1]}.{parts[0]}" if parts[0] else parts[1]
    return "/".join(part for part in (resource, parts[2], parts[3]) if part)


COLUMNS: Mapping[tuple[str, str], tuple[Column, ...]] = {
    ("", "Service"): (
        NAME,
        text("Type", "How the service is exposed.", "spec", "type"),
        computed("Cluster-IP", "Address inside the cluster.", _cluster_address),
        computed("External-IP", "Addresses outside the cluster.", _external_address),
        computed("Port(s)", "Ports, with node ports and protocols.", _service_ports),
        AGE,
        computed("Selector", "Which pods serve it.", lambda obj: labels(get(obj, "spec", "selector")), priority=1),
    ),
    ("", "Endpoints"): (NAME, computed("Endpoints", "Addresses behind the service.", _endpoints), AGE),
    ("discovery.k8s.io", "EndpointSlice"): (
        NAME,
        text("AddressType", "Family of the addresses.", "addressType"),
        computed("Ports", "Ports of the endpoints.", lambda obj: _listed([*map(_slice_port, obj.get("ports") or ())])),
        computed("Endpoints", "Addresses of the endpoints.", lambda obj: _listed([*_slice_addresses(obj)])),
        AGE,
    ),
    ("networking.k8s.io", "Ingress"): (
        NAME,
        text("Class", "Class of the ingress.", "spec", "ingressClassName", default=NONE),
        computed("Hosts", "Hosts that its rules name.", _hosts),
        computed("Address", "Addresses that it is reached at.", _load_balancer_addresses),
        computed("Ports", "Ports that it listens on.", lambda obj: "80, 443" if get(obj, "spec", "tls") else "80"),
        AGE,
    ),
    ("networking.k8s.io", "IngressClass"): (
        NAME,
        text("Controller", "Who implements the class.", "spec", "controller"),
        computed("Parameters", "Object with further parameters.", _parameters),
        AGE,
    ),
    ("networking.k8s.io", "IPAddress"): (NAME, computed("ParentRef", "What has the address.", _parent)),
    ("networking.k8s.io", "NetworkPolicy"): (
        NAME,
        computed("Pod-Selector", "Which pods it is for.", lambda obj: selector(get(obj, "spec", "podSelector"))),
        AGE,
    ),
    ("networking.k8s.io", "ServiceCIDR"): (
        NAME,
        computed("CIDRs", "Address ranges.", lambda obj: ",".join(get(obj, "spec", "cidrs", default=()))),
        AGE,
    ),
}
