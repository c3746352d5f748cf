"""Devices and volumes that are made ready after the decision and before the binding, on a real API server."""

from __future__ import annotations

import asyncio
from typing import Any

from fairlead.kube.kinds import PERSISTENT_VOLUME_CLAIMS, PODS, RESOURCE_CLAIMS, RESOURCE_SLICES, STORAGE_CLASSES
from scheduling.commit.cluster import Cluster, eventually


async def _with_conditions(cluster: Cluster) -> None:
    """Devices that are to be attached first."""
    slices = RESOURCE_SLICES.as_unstructured()
    for node in cluster.nodes:
        found: dict[str, Any] = await cluster.client.get(slices, node)
        for device in found["spec"]["devices"]:
            device |= {"bindingConditions": ["attached"], "bindingFailureConditions": ["broken"]}
        await cluster.client.replace(slices, found)


async def _say(cluster: Cluster, name: str, condition: str) -> None:
    """Say of a claim's devices what their driver would."""
    claim = await cluster.client.get(RESOURCE_CLAIMS.as_unstructured(), name, cluster.namespace)
    results = claim["status"]["allocation"]["devices"]["results"]
    stamp = "2026-01-01T00:00:00Z"
    wanted = {"type": condition, "status": "True", "reason": "Said", "message": "", "lastTransitionTime": stamp}
    devices = [{k: r[k] for k in ("driver", "pool", "device")} | {"conditions": [wanted]} for r in results]
    body = {"status": {"devices": devices}}
    await cluster.client.patch(RESOURCE_CLAIMS, name, body, cluster.namespace, subresource="status")


async def _allocated_on(cluster: Cluster, name: str) -> str:
    allocation = (await cluster.claims())[name].status.allocation
    return "" if allocation is None or allocation.devices is None else allocation.devices.results[0].pool


async def test_a_pod_is_bound_once_its_devices_are_attached(cluster: Cluster) -> None:
    await cluster.build(1, 1)
    await _with_conditions(cluster)
    async with cluster.scheduling():
        await cluster.pod("p")
        await eventually(lambda: _allocated_on(cluster, "p-own"))
        await asyncio.sleep(0.3)
        assert not await cluster.all_bound(["p"])
        await _say(cluster, "p-own", "attached")
        await eventually(lambda: cluster.all_bound(["p"]))
        await cluster.check()


async def test_devices_that_cannot_be_attached_are_given_back(cluster: Cluster) -> None:
    await cluster.build(1, 1)
    await _with_conditions(cluster)
    async with cluster.scheduling() as scheduler:
        await cluster.pod("p")
        await eventually(lambda: _allocated_on(cluster, "p-own"))
        before = (await cluster.claims())["p-own"].metadata.resource_version
        await _say(cluster, "p-own", "broken")

        async def is_tried_anew() -> bool:
            claim = (await cluster.claims())["p-own"]
            is_newer = int(claim.metadata.resource_version) > int(before) + 1
            return is_newer and claim.status.allocation is not None and not claim.status.devices

        await eventually(is_tried_anew)
        await _say(cluster, "p-own", "attached")
        await eventually(lambda: cluster.all_bound(["p"]))
        assert not scheduler.binder.in_flight


async def test_a_pod_that_is_deleted_while_its_devices_are_attached_holds_nothing(cluster: Cluster) -> None:
    await cluster.build(1, 1)
    await _with_conditions(cluster)
    async with cluster.scheduling() as scheduler:
        await cluster.pod("p")
        await eventually(lambda: _allocated_on(cluster, "p-own"))
        await cluster.client.delete(PODS, "p", cluster.namespace, grace_period_s=0)

        async def is_free() -> bool:
            return not await _allocated_on(cluster, "p-own") and not scheduler.binder.in_flight

        await eventually(is_free)


async def test_a_volume_is_made_where_the_pod_goes(cluster: Cluster) -> None:
    await cluster.build(1, 1)
    storage = f"{cluster.namespace}-late"
    await cluster.client.create(
        STORAGE_CLASSES.as_unstructured(),
        {"metadata": {"name": storage}, "provisioner": "example.com/p", "volumeBindingMode": "WaitForFirstConsumer"},
    )
    claims = PERSISTENT_VOLUME_CLAIMS.as_unstructured()
    spec = {
        "storageClassName": storage, "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}
    }  # fmt: skip
    await cluster.client.create(claims, {"metadata": {"name": "v"}, "spec": spec}, cluster.namespace)
    async with cluster.scheduling():
        await cluster.pod("p", volumes=["v"])

        async def selected() -> str:
            found = await cluster.client.get(claims, "v", cluster.namespace)
            return str(found["metadata"].get("annotations", {}).get("volume.kubernetes.io/selected-node", ""))

        assert await eventually(selected) == cluster.nodes[0]
        assert not await cluster.all_bound(["p"])
        found = await cluster.client.get(claims, "v", cluster.namespace)
        found["spec"]["volumeName"] = "pv-1"
        await cluster.client.replace(claims, found)
        body = {"status": {"phase": "Bound"}}
        await cluster.client.patch(claims, "v", body, cluster.namespace, subresource="status")
        await eventually(lambda: cluster.all_bound(["p"]))
