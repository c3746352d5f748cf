"""Pods and nodes as views: what a pod takes, and what it waits for."""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.kube.objects import Node, Pod, ResourceClaim
from fairlead.scheduling.ledger import Ledger
from fairlead.scheduling.observe import observe_node, observe_pod, pod_requests
from fairlead.scheduling.placement import place


def pod(name: str = "p", node: str = "", phase: str = "Pending", **spec: Any) -> Pod:
    raw = {
        "metadata": {"name": name, "namespace": "d", "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": [container("100m", "1Mi")], "nodeName": node} | spec,
        "status": {"phase": phase},
    }
    return msgspec.convert(raw, Pod)


def container(cpu: str, memory: str, **more: Any) -> dict[str, Any]:
    return {"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}} | more


def node(**fields: Any) -> Node:
    raw = {"metadata": {"name": "n1", "labels": {"zone": "x", "gpus": "8"}},
           "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "10"}}}  # fmt: skip
    return msgspec.convert(raw | fields, Node)


def test_containers_add_up_and_the_largest_init_container_counts() -> None:
    wanted = pod(
        containers=[container("100m", "1Mi"), container("200m", "2Mi")],
        initContainers=[
            container("1", "1Mi"),
            container("50m", "10Mi", restartPolicy="Always"),
            container("900m", "1Mi"),
        ],
        overhead={"cpu": "10m"},
    )
    mebi = 1 << 20
    # cpu: the first init container alone is more than anything else; memory: everything that runs together.
    assert pod_requests(wanted) == {"cpu": 1010, "memory": 13 * mebi, "pods": 1}


def test_affinity_and_tolerations_reach_the_decision() -> None:
    expression = {"key": "gpus", "operator": "Gt", "values": ["4"]}
    term = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    wanted = pod(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}})
    tainted = node(spec={"taints": [{"key": "gpu", "effect": "NoSchedule"}]})
    view = observe_node(tainted, {}, frozenset())
    assert place(observe_pod(wanted, {}), [view]).node is None
    tolerant = msgspec.structs.replace(
        wanted,
        spec=msgspec.convert(
            msgspec.to_builtins(wanted.spec) | {"tolerations": [{"operator": "Exists"}]}, type(wanted.spec)
        ),
    )
    assert place(observe_pod(tolerant, {}), [view]).node == "n1"


def test_a_pod_waits_for_gates_and_claims_by_name() -> None:
    assert "gates: hold" in observe_pod(pod(schedulingGates=[{"name": "hold"}]), {}).waits_for
    claimed = pod(resourceClaims=[{"name": "gpu", "resourceClaimName": "c1"}])
    assert "does not exist" in observe_pod(claimed, {}).waits_for
    assert not observe_pod(claimed, {"c1": msgspec.convert({"metadata": {"name": "c1"}}, ResourceClaim)}).waits_for
    leaving = {"metadata": {"name": "c1", "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert "being deleted" in observe_pod(claimed, {"c1": msgspec.convert(leaving, ResourceClaim)}).waits_for
    templated = pod(resourceClaims=[{"name": "gpu", "resourceClaimTemplateName": "t"}])
    assert "made from its template" in observe_pod(templated, {}).waits_for


def test_an_allocated_claim_says_where_its_devices_are() -> None:
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}
    allocation = {"devices": {"results": []}, "nodeSelector": {"nodeSelectorTerms": [term]}}
    claim = msgspec.convert({"metadata": {"name": "c1"}, "status": {"allocation": allocation}}, ResourceClaim)
    wanted = observe_pod(pod(resourceClaims=[{"name": "gpu", "resourceClaimName": "c1"}]), {"c1": claim})
    assert wanted.claims == ("c1",) and not wanted.waits_for
    here = observe_node(node(), {}, frozenset())
    there = observe_node(node(metadata={"name": "n2"}), {}, frozenset())
    assert place(wanted, [here]).explain() == "0/1 nodes are available: 1 resourceclaim not available on the node."
    assert place(wanted, [here, there]).node == "n2"


def test_the_ledger_counts_each_pod_once_however_it_learns_of_it() -> None:
    freed = []
    ledger = Ledger(lambda: freed.append(True))
    waiting = pod()
    ledger.assume(waiting, "n1")
    ledger.assume(waiting, "n1")
    ledger.observe(pod(node="n1"))
    assert ledger.used("n1") == {"cpu": 100, "memory": 1 << 20, "pods": 1}
    assert ledger.assumed_node("p") == "n1" and not freed
    ledger.observe(pod(node="n2"))
    assert ledger.used("n1")["pods"] == 0 and ledger.used("n2")["pods"] == 1
    ledger.observe(pod(node="n2", phase="Succeeded"))
    assert ledger.used("n2")["pods"] == 0 and freed
    ledger.forget("p")
    assert ledger.used("n2")["pods"] == 0


def test_host_ports_are_taken_and_given_back() -> None:
    port = {"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}
    ledger = Ledger()
    ledger.assume(pod("a", containers=[port]), "n1")
    view = observe_node(node(), ledger.used("n1"), ledger.host_ports("n1"))
    refused = place(observe_pod(pod("b", containers=[port]), {}), [view])
    assert "free ports" in refused.explain()
    ledger.forget("a")
    assert ledger.host_ports("n1") == frozenset()
