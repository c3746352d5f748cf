"""Views of Pods and Nodes for decisions: quantities become integers once, here. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from fairlead.kube.objects import Node, Pod, ResourceClaim
from fairlead.kube.objects.placement import NodeSelector, NodeSelectorRequirement
from fairlead.kube.quantity import Quantity
from fairlead.kube.selectors import Requirement
from fairlead.scheduling.allocator.nodes import OPERATORS
from fairlead.scheduling.snapshot import NodeView, PodView, Taint, Term, Toleration, add


def observe_node(node: Node, used: Mapping[str, int], host_ports: frozenset[tuple[str, int]]) -> NodeView:
    """A node's view; `used` and `host_ports` come from the pods on it."""
    return NodeView(
        name=node.metadata.name,
        allocatable=amounts(node.status.allocatable),
        used=used,
        labels=node.metadata.labels,
        taints=tuple(Taint(t.key, t.effect, t.value) for t in node.spec.taints),
        unschedulable=bool(node.spec.unschedulable),
        host_ports=host_ports,
    )


def observe_pod(pod: Pod, claims: Mapping[str, ResourceClaim]) -> PodView:
    """A pod's view; `claims` maps name -> ResourceClaim of its namespace."""
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    names = _claim_names(pod)
    allocations = (claims[n].status.allocation for n in names if n in claims)
    selectors = [a.node_selector for a in allocations if a is not None and a.node_selector is not None]
    required = affinity.required_during_scheduling_ignored_during_execution if affinity else None
    return PodView(
        namespace=pod.metadata.namespace,
        name=pod.metadata.name,
        uid=pod.metadata.uid,
        requests=pod_requests(pod),
        node_selector=pod.spec.node_selector,
        affinity_terms=None if required is None else _terms(required),
        tolerations=tuple(Toleration(t.key, t.operator or "Equal", t.value, t.effect) for t in pod.spec.tolerations),
        host_ports=pod_host_ports(pod),
        priority=pod.spec.priority or 0,
        claims=names,
        claim_terms=tuple(_terms(s) for s in selectors),
        waits_for=_waits_for(pod, claims),
        created_s=pod.metadata.created_s,
    )


def pod_requests(pod: Pod) -> dict[str, int]:
    """What the pod takes of a node: the sum of its containers (sidecars included), or the largest init container with
    the sidecars before it, whichever is more; plus overhead; plus one pod.

    Formula: `resource.PodRequests` of k8s.io/component-helpers.
    """
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in pod.spec.init_containers:
        request = amounts(container.resources.requests if container.resources else {})
        if container.restart_policy == "Always":
            sidecars = add(sidecars, request)
            request = sidecars
        else:
            request = add(sidecars, request)
        peak = {k: max(peak.get(k, 0), request.get(k, 0)) for k in peak.keys() | request.keys()}
    running = sidecars
    for container in pod.spec.containers:
        running = add(running, amounts(container.resources.requests if container.resources else {}))
    needed = {k: max(running.get(k, 0), peak.get(k, 0)) for k in running.keys() | peak.keys()}
    if pod.spec.resources is not None:
        needed |= amounts(pod.spec.resources.requests)
    return add(add(needed, amounts(pod.spec.overhead)), {"pods": 1})


def pod_host_ports(pod: Pod) -> frozenset[tuple[str, int]]:
    return frozenset(
        (port.protocol or "TCP", port.host_port) for c in pod.spec.containers for port in c.ports if port.host_port
    )


def amounts(quantities: Mapping[str, str]) -> dict[str, int]:
    """Quantities as integers: cpu in millicores, everything else in whole units, rounded up."""
    return {name: _amount(name == "cpu", text) for name, text in quantities.items()}


@lru_cache(maxsize=4096)
def _amount(milli: bool, text: str) -> int:
    quantity = Quantity.parse(text)
    return quantity.milli_value if milli else quantity.value


def _terms(selector: NodeSelector) -> tuple[Term, ...]:
    return tuple(
        Term(_requirements(t.match_expressions), _requirements(t.match_fields)) for t in selector.node_selector_terms
    )


def _claim_names(pod: Pod) -> tuple[str, ...]:
    generated = {s.name: s.resource_claim_name for s in pod.status.resource_claim_statuses}
    uses = (use.resource_claim_name or generated.get(use.name, "") for use in pod.spec.resource_claims)
    return tuple(dict.fromkeys(name for name in uses if name))


def _requirements(expressions: Iterable[NodeSelectorRequirement]) -> tuple[Requirement, ...]:
    return tuple(Requirement(e.key, OPERATORS.get(e.operator, "in"), tuple(e.values)) for e in expressions)


def _waits_for(pod: Pod, claims: Mapping[str, ResourceClaim]) -> str:
    gates: Sequence[str] = [g.name for g in pod.spec.scheduling_gates]
    if gates:
        return f"waits for scheduling gates: {', '.join(gates)}"
    generated = {s.name: s.resource_claim_name for s in pod.status.resource_claim_statuses}
    for use in pod.spec.resource_claims:
        name = use.resource_claim_name or generated.get(use.name, "")
        if use.resource_claim_template_name and use.name not in generated:
            return f"waits for resource claim {use.name!r} to be made from its template"
        if name and name not in claims:
            return f'waits for resource claim "{name}", which does not exist'
        if name and claims[name].metadata.is_deleting:
            return f'waits for resource claim "{name}", which is being deleted, to be there anew'
    return ""
