"""Nodes, namespaces, garbage, budgets and endpoints on a real API server."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

from embedded.controllers.conftest import World, eventually
from fairlead.clock import SYSTEM
from fairlead.embedded.controllers import access as a
from fairlead.embedded.controllers.access import Cluster
from fairlead.embedded.controllers.nodes import LEASE_NAMESPACE, Nodes
from fairlead.embedded.controllers.run import speak, wire
from fairlead.kube.client import Client
from fairlead.kube.errors import NotFound
from fairlead.kube.informer import Informers
from fairlead.kube.run import run_controllers

Object = dict[str, Any]


async def test_a_silent_node_loses_its_pods_and_a_returning_one_its_taints(
    bare_world: World, bare_server: Path
) -> None:
    c, name = bare_world.client, f"n-{uuid.uuid4().hex[:6]}"
    await c.create(a.NODES, {"metadata": {"name": name}})
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "fine"}
    await c.patch(a.NODES, name, {"status": {"conditions": [ready]}}, subresource="status")
    if not any(n["metadata"]["name"] == LEASE_NAMESPACE for n in (await c.list(a.NAMESPACES)).items):
        await c.create(a.NAMESPACES, {"metadata": {"name": LEASE_NAMESPACE}})
    lease = {"metadata": {"name": name}, "spec": {"holderIdentity": name, "renewTime": "2020-01-01T00:00:00.000000Z"}}
    await c.create(a.LEASES, lease, LEASE_NAMESPACE)
    soon = [
        {"key": k, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}
        for k in ("node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready")
    ]
    forever = {"operator": "Exists"}
    container = {"name": "c", "image": "a"}
    for pod, tolerations in (("leaves", soon), ("stays", [forever])):
        spec = {"nodeName": name, "containers": [container], "tolerations": tolerations}
        await bare_world.create(a.PODS, pod, spec=spec)
        await bare_world.report({"metadata": {"name": pod}}, "Running", ready=True)
    async with Client.load(bare_server) as own:
        informers = Informers(own)
        cluster = Cluster(own, informers, SYSTEM)
        controller = wire(cluster, Nodes(cluster, grace_s=1.0, quarantine_s=0.5))
        running = asyncio.create_task(run_controllers(informers, [controller], beside=[lambda: speak(cluster)]))
        try:

            async def tainted() -> list[Object]:
                taints = (await c.get(a.NODES, name))["spec"].get("taints") or []
                return [t for t in taints if t["key"] == "node.kubernetes.io/unreachable"]

            assert {t["effect"] for t in await eventually(tainted)} == {"NoSchedule", "NoExecute"}

            async def evicted() -> bool:
                leaving = await bare_world.get(a.PODS, "leaves")
                return "deletionTimestamp" in leaving["metadata"]

            await eventually(evicted)
            told = (await bare_world.get(a.PODS, "leaves"))["status"]["conditions"]
            assert {x["type"]: x.get("reason") for x in told}["DisruptionTarget"] == "DeletionByTaintManager"
            stays = await bare_world.get(a.PODS, "stays")
            assert "deletionTimestamp" not in stays["metadata"]
            assert [x["status"] for x in stays["status"]["conditions"] if x["type"] == "Ready"] == ["False"]

            await c.patch(
                a.LEASES, name, {"spec": {"renewTime": "2090-01-01T00:00:00.000000Z"}}, LEASE_NAMESPACE
            )  # fmt: skip
            await c.patch(a.NODES, name, {"status": {"conditions": [ready]}}, subresource="status")

            async def clean() -> bool:
                return not (await c.get(a.NODES, name))["spec"].get("taints")

            await eventually(clean)
            await c.delete(a.NODES, name)

            async def collected() -> bool:
                return not await bare_world.all(a.PODS)

            await eventually(collected)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_a_namespace_says_what_holds_it_and_goes_when_it_is_let_go(world: World) -> None:
    await world.create(a.CONFIG_MAPS, "held", metadata={"finalizers": ["example.com/hold"]})
    await world.create(a.CONFIG_MAPS, "free")
    await world.client.delete(a.NAMESPACES, world.namespace)

    async def told() -> dict[str, Object]:
        found = await world.client.get(a.NAMESPACES, world.namespace)
        conditions = {c["type"]: c for c in (found.get("status") or {}).get("conditions") or ()}
        remaining = conditions.get("NamespaceContentRemaining", {}).get("message", "")
        return conditions if remaining.endswith("configmaps. has 1 resource instances") else {}

    conditions = await eventually(told)
    assert list(conditions) == [
        "NamespaceDeletionDiscoveryFailure", "NamespaceDeletionGroupVersionParsingFailure",
        "NamespaceDeletionContentFailure", "NamespaceContentRemaining", "NamespaceFinalizersRemaining",
    ]  # fmt: skip
    assert "example.com/hold in 1 resource instances" in conditions["NamespaceFinalizersRemaining"]["message"]
    await world.patch(a.CONFIG_MAPS, "held", {"metadata": {"finalizers": None}})

    async def gone() -> bool:
        try:
            await world.client.get(a.NAMESPACES, world.namespace)
        except NotFound:
            return True
        return False

    await eventually(gone)


def _reference(owner: Object, **fields: Any) -> Object:
    meta = owner["metadata"]
    return {"apiVersion": "v1", "kind": "ConfigMap", "name": meta["name"], "uid": meta["uid"]} | fields


async def _names(world: World) -> set[str]:
    return {o["metadata"]["name"] for o in await world.all(a.CONFIG_MAPS)} - {"kube-root-ca.crt"}


async def test_dependents_of_a_recreated_owner_go_and_those_of_the_new_one_stay(world: World) -> None:
    first = await world.create(a.CONFIG_MAPS, "own")
    await world.create(a.CONFIG_MAPS, "old", metadata={"ownerReferences": [_reference(first)]})
    await world.client.delete(a.CONFIG_MAPS, "own", world.namespace, propagation="Background")
    second = await world.create(a.CONFIG_MAPS, "own")
    await world.create(a.CONFIG_MAPS, "new", metadata={"ownerReferences": [_reference(second)]})

    async def settled() -> bool:
        return await _names(world) == {"own", "new"}

    await eventually(settled)
    await asyncio.sleep(0.3)
    assert await _names(world) == {"own", "new"}


async def test_chains_go_in_the_foreground_from_the_leaves(world: World) -> None:
    top = await world.create(a.CONFIG_MAPS, "top")
    blocks = {"blockOwnerDeletion": True}
    middle = await world.create(a.CONFIG_MAPS, "middle", metadata={"ownerReferences": [_reference(top, **blocks)]})
    held = {"ownerReferences": [_reference(middle, **blocks)], "finalizers": ["example.com/hold"]}
    await world.create(a.CONFIG_MAPS, "leaf", metadata=held)
    await asyncio.sleep(0.3)
    await world.client.delete(a.CONFIG_MAPS, "top", world.namespace, propagation="Foreground")

    async def leaf_is_going() -> bool:
        return "deletionTimestamp" in (await world.get(a.CONFIG_MAPS, "leaf"))["metadata"]

    await eventually(leaf_is_going)
    assert await _names(world) == {"top", "middle", "leaf"}
    await world.patch(a.CONFIG_MAPS, "leaf", {"metadata": {"finalizers": None}})

    async def empty() -> bool:
        return not await _names(world)

    await eventually(empty)


async def test_owners_in_other_places_do_not_count_and_unknown_kinds_harm_nothing(world: World) -> None:
    owner = await world.create(a.CONFIG_MAPS, "own")
    other = f"{world.namespace}-b"
    await world.client.create(a.NAMESPACES, {"metadata": {"name": other}})
    body = {"metadata": {"name": "far", "namespace": other, "ownerReferences": [_reference(owner)]}}
    await world.client.create(a.CONFIG_MAPS, body, other)
    # A cluster-scoped object cannot follow a reference into a namespace: it stays.
    bound = {"metadata": {"name": f"{world.namespace}-pc", "ownerReferences": [_reference(owner)]}, "value": 1}
    priorities = a.Resource.of("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", namespaced=False)
    await world.client.create(priorities, bound)
    unknown = {"apiVersion": "nowhere.example.com/v1", "kind": "Thing", "name": "t", "uid": "t"}
    await world.create(a.CONFIG_MAPS, "stranger", metadata={"ownerReferences": [unknown]})

    async def collected() -> bool:
        try:
            await world.client.get(a.CONFIG_MAPS, "far", other)
        except NotFound:
            return True
        return False

    await eventually(collected)
    await asyncio.sleep(0.5)
    assert await _names(world) == {"own", "stranger"}
    await world.client.get(priorities, f"{world.namespace}-pc")
    await world.client.delete(priorities, f"{world.namespace}-pc")
    await world.client.delete(a.NAMESPACES, other)


async def test_a_budget_of_a_deployment_counts_its_scale(world: World) -> None:
    await world.workload(a.DEPLOYMENTS, "web", 4)
    spec = {"maxUnavailable": "25%", "selector": {"matchLabels": {"app": "web"}}}
    await world.create(a.BUDGETS, "b", spec=spec)

    async def pods() -> list[Object]:
        found = await world.all(a.PODS, "app=web")
        return found if len(found) == 4 else []

    for pod in await eventually(pods):
        await world.report(pod, "Running", ready=True)

    async def counted() -> Object:
        status: Object = (await world.get(a.BUDGETS, "b")).get("status") or {}
        return status if status.get("currentHealthy") == 4 else {}

    status = await eventually(counted)
    assert (status["expectedPods"], status["desiredHealthy"], status["disruptionsAllowed"]) == (4, 3, 1)


async def test_slices_keep_their_name_while_their_pods_change(world: World) -> None:
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}
    await world.create(a.SERVICES, "svc", spec=spec)
    await world.workload(a.REPLICA_SETS, "web", 3)

    async def pods() -> list[Object]:
        found = await world.all(a.PODS, "app=web")
        return found if len(found) == 3 else []

    for number, pod in enumerate(await eventually(pods)):
        ip = f"10.9.0.{number + 1}"
        await world.report(pod, "Running", ready=number != 2, podIP=ip, podIPs=[{"ip": ip}])

    async def full() -> Object | None:
        slices = await world.all(a.ENDPOINT_SLICES)
        return slices[0] if slices and len(slices[0].get("endpoints") or ()) == 3 else None

    first = await eventually(full)
    assert sum(e["conditions"]["ready"] for e in first["endpoints"]) == 2
    (subset,) = (await world.get(a.ENDPOINTS, "svc"))["subsets"]
    assert len(subset["addresses"]) == 2 and len(subset["notReadyAddresses"]) == 1
    await world.client.delete(a.PODS, (await pods())[0]["metadata"]["name"], world.namespace, grace_period_s=0)

    async def fewer() -> Object | None:
        (found,) = await world.all(a.ENDPOINT_SLICES)
        return found if len(found["endpoints"]) == 2 else None

    assert (await eventually(fewer))["metadata"]["name"] == first["metadata"]["name"]
    await world.client.delete(a.SERVICES, "svc", world.namespace)

    async def gone() -> bool:
        return not await world.all(a.ENDPOINT_SLICES) and not await world.all(a.ENDPOINTS)

    await eventually(gone)


async def test_nothing_is_written_when_nothing_happens(world: World) -> None:
    for number in range(10):
        await world.workload(a.DEPLOYMENTS, f"d{number}", 2)

    async def rolled() -> bool:
        found = await world.all(a.DEPLOYMENTS)
        return all((d.get("status") or {}).get("updatedReplicas") == 2 for d in found)

    await eventually(rolled)
    await asyncio.sleep(1.0)

    async def versions() -> set[str]:
        resources = (a.DEPLOYMENTS, a.REPLICA_SETS, a.PODS)
        return {o["metadata"]["resourceVersion"] for r in resources for o in await world.all(r)}

    before = await versions()
    await asyncio.sleep(2.0)
    assert await versions() == before
