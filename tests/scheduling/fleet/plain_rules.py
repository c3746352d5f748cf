"""What the API's documentation says about where a pod may go, in the plainest words: one pod against one node, from
scratch, on the objects as JSON. Slow, and nothing is remembered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = Mapping[str, Any]


@dataclass
class World:
    nodes: dict[str, Json] = field(default_factory=dict)
    placed: dict[str, tuple[Json, str]] = field(default_factory=dict)
    """By uid: the pod and its node, which may be gone."""
    namespaces: dict[str, dict[str, str]] = field(default_factory=dict)
    devices: dict[str, int] = field(default_factory=dict)
    """Devices of each node."""

    def on(self, name: str) -> Iterator[Json]:
        return (pod for pod, node in self.placed.values() if node == name)


def why(world: World, pod: Json, name: str) -> str:
    """The first thing that speaks against a node; empty if nothing does. Devices: whether they suffice, in short."""
    node = world.nodes[name]
    return (
        _closed(pod, node)
        or _taints(pod, node)
        or ("" if _selects(pod, node) else "node(s) didn't match Pod's node affinity/selector")
        or _ports(world, pod, name)
        or _resources(world, pod, name)
        or _spread(world, pod, name)
        or _near(world, pod, name)
        or _far(world, pod, name)
        or _existing(world, pod, name)
        or _devices(world, pod, name)
    )


def _closed(pod: Json, node: Json) -> str:
    closed = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    if node["spec"].get("unschedulable") and not _tolerates(pod, closed):
        return "node(s) were unschedulable"
    return ""


def _taints(pod: Json, node: Json) -> str:
    for taint in node["spec"].get("taints", []):
        if taint["effect"] != "PreferNoSchedule" and not _tolerates(pod, taint):
            return f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
    return ""


def _tolerates(pod: Json, taint: Json) -> bool:
    for each in pod["spec"].get("tolerations", []):
        if each.get("effect") and each["effect"] != taint["effect"]:
            continue
        if each.get("operator", "Equal") == "Exists":
            if not each.get("key") or each["key"] == taint["key"]:
                return True
        elif each.get("key") == taint["key"] and each.get("value", "") == taint.get("value", ""):
            return True
    return False


def _selects(pod: Json, node: Json) -> bool:
    labels = node["metadata"].get("labels", {})
    if any(labels.get(key) != value for key, value in pod["spec"].get("nodeSelector", {}).items()):
        return False
    affinity = pod["spec"].get("affinity", {}).get("nodeAffinity", {})
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    fields = {"metadata.name": node["metadata"]["name"]}
    for term in required["nodeSelectorTerms"]:
        expressions, on_fields = term.get("matchExpressions", []), term.get("matchFields", [])
        if (expressions or on_fields) and all(
            [_holds(each, labels) for each in expressions] + [_holds(each, fields) for each in on_fields]
        ):
            return True
    return False


def _holds(expression: Json, labels: Mapping[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values", [])
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt":
            return value is not None and value.isdigit() and int(value) > int(values[0])
        case "Lt":
            return value is not None and value.isdigit() and int(value) < int(values[0])
    raise ValueError(expression)


def _host_ports(pod: Json) -> list[tuple[str, str, int]]:
    return [
        (port.get("hostIP", "0.0.0.0"), port.get("protocol", "TCP"), port["hostPort"])
        for container in pod["spec"]["containers"]
        for port in container.get("ports", [])
        if port.get("hostPort")
    ]


def _ports(world: World, pod: Json, name: str) -> str:
    for address, protocol, port in _host_ports(pod):
        for other in world.on(name):
            for taken_address, taken_protocol, taken_port in _host_ports(other):
                same = (protocol, port) == (taken_protocol, taken_port)
                if same and (address == taken_address or "0.0.0.0" in (address, taken_address)):
                    return "node(s) didn't have free ports for the requested pod ports"
    return ""


def _request(pod: Json, resource: str) -> int:
    return sum(c.get("resources", {}).get("requests", {}).get(resource, 0) for c in pod["spec"]["containers"])


def _resources(world: World, pod: Json, name: str) -> str:
    allocatable = world.nodes[name]["status"]["allocatable"]
    if len(list(world.on(name))) + 1 > allocatable.get("pods", 0):
        return "Too many pods"
    for resource in ("cpu", "memory", "example.com/foo"):
        wanted = _request(pod, resource)
        used = sum(_request(other, resource) for other in world.on(name))
        if wanted and wanted > allocatable.get(resource, 0) - used:
            return f"Insufficient {resource}"
    return ""


def _domain(node: Json, level: str) -> str | None:
    labels = node["metadata"].get("labels", {})
    fallback = node["metadata"]["name"] if level == "kubernetes.io/hostname" else None
    found: str | None = labels.get(level, fallback)
    return found


def _selected(selector: Json | None, labels: Mapping[str, str]) -> bool:
    if selector is None:
        return False
    return all(labels.get(k) == v for k, v in selector.get("matchLabels", {}).items()) and all(
        _holds(each, labels) for each in selector.get("matchExpressions", [])
    )


def _labels(pod: Json) -> dict[str, str]:
    found: dict[str, str] = pod["metadata"].get("labels", {})
    return found


def _spread(world: World, pod: Json, name: str) -> str:
    constraints = [
        each
        for each in pod["spec"].get("topologySpreadConstraints", [])
        if each["whenUnsatisfiable"] == "DoNotSchedule"
    ]
    for each in constraints:
        level = each["topologyKey"]
        here = _domain(world.nodes[name], level)
        if here is None:
            return "node(s) didn't match pod topology spread constraints (missing required label)"
        counts: dict[str, int] = {}
        for other, node in world.nodes.items():
            if any(_domain(node, c["topologyKey"]) is None for c in constraints):
                continue
            if each.get("nodeAffinityPolicy", "Honor") == "Honor" and not _selects(pod, node):
                continue
            if each.get("nodeTaintsPolicy", "Ignore") == "Honor" and _taints(pod, node):
                continue
            domain = _domain(node, level)
            assert domain is not None
            counts.setdefault(domain, 0)
            counts[domain] += sum(_counts(each, pod, neighbour) for neighbour in world.on(other))
        least = min(counts.values(), default=None)
        if least is not None and len(counts) < each.get("minDomains", 1):
            least = 0
        own = int(_counts(each, pod, pod))
        if least is not None and counts.get(here, 0) + own - least > each["maxSkew"]:
            return "node(s) didn't match pod topology spread constraints"
    return ""


def _counts(constraint: Json, pod: Json, other: Json) -> bool:
    if pod["metadata"]["namespace"] != other["metadata"]["namespace"]:
        return False
    picked = [key for key in constraint.get("matchLabelKeys", []) if key in _labels(pod)]
    if not any(constraint.get("labelSelector", {}).values()) and not picked:
        return False  # What kube-scheduler does, though the API does not say so.
    return _selected(constraint.get("labelSelector"), _labels(other)) and all(
        _labels(other).get(key) == _labels(pod)[key] for key in picked
    )


def _terms(pod: Json, kind: str) -> list[Json]:
    found: list[Json] = (
        pod["spec"].get("affinity", {}).get(kind, {}).get("requiredDuringSchedulingIgnoredDuringExecution", [])
    )
    return found


def _means(world: World, term: Json, owner: Json, other: Json) -> bool:
    namespace = other["metadata"]["namespace"]
    if "namespaceSelector" in term:
        chosen = {n for n, labels in world.namespaces.items() if _selected(term["namespaceSelector"], labels)}
        chosen |= set(term.get("namespaces", []))
    else:
        chosen = set(term.get("namespaces", [])) or {owner["metadata"]["namespace"]}
    own = _labels(owner)
    return (
        namespace in chosen
        and _selected(term.get("labelSelector"), _labels(other))
        and all(_labels(other).get(key) == own[key] for key in term.get("matchLabelKeys", []) if key in own)
        and all(_labels(other).get(key) != own[key] for key in term.get("mismatchLabelKeys", []) if key in own)
    )


def _near(world: World, pod: Json, name: str) -> str:
    terms = _terms(pod, "podAffinity")
    matching = [
        node
        for other, node in world.placed.values()
        if node in world.nodes and all(_means(world, term, pod, other) for term in terms)
    ]
    is_first = True
    satisfied = True
    for term in terms:
        level = term["topologyKey"]
        here = _domain(world.nodes[name], level)
        if here is None:
            return "node(s) didn't match pod affinity rules"
        domains = {_domain(world.nodes[node], level) for node in matching}
        is_first &= not domains - {None}
        satisfied &= here in domains
    if satisfied or (is_first and all(_means(world, term, pod, pod) for term in terms)):
        return ""
    return "node(s) didn't match pod affinity rules"


def _far(world: World, pod: Json, name: str) -> str:
    for term in _terms(pod, "podAntiAffinity"):
        for other, node in world.placed.values():
            if _is_with(world, name, node, term["topologyKey"]) and _means(world, term, pod, other):
                return "node(s) didn't match pod anti-affinity rules"
    return ""


def _existing(world: World, pod: Json, name: str) -> str:
    for other, node in world.placed.values():
        for term in _terms(other, "podAntiAffinity"):
            if _is_with(world, name, node, term["topologyKey"]) and _means(world, term, other, pod):
                return "node(s) didn't satisfy existing pods anti-affinity rules"
    return ""


def _is_with(world: World, one: str, other: str, level: str) -> bool:
    if other not in world.nodes:
        return False
    here = _domain(world.nodes[one], level)
    return here is not None and here == _domain(world.nodes[other], level)


def wanted_devices(pod: Json) -> int:
    found: int = pod.get("devices", 0)
    return found


def _devices(world: World, pod: Json, name: str) -> str:
    wanted = wanted_devices(pod)
    held = sum(wanted_devices(other) for other in world.on(name))
    return "cannot allocate all claims" if wanted > world.devices.get(name, 0) - held and wanted else ""
