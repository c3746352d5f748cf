"""Plugins register as with a kubelet: chosen versions, refusals, two instances of a driver, restarts."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Callable

from agent_platform import EVENTS, NODE, Cluster, is_ready, shell
from dra_bench import AWAY_S, USES, Driver, allocate, run_with_claim

from fairlead.kube.resources import Resource
from patience import PATIENCE_S

SLICES = Resource.of("resource.k8s.io/v1", "resourceslices", "ResourceSlice", namespaced=False)
Drivers = Callable[..., Driver]


async def until_told(cluster: Cluster, text: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            events = (await cluster.client.list(EVENTS, "default")).items
            if any(text in e["message"] and e["involvedObject"]["kind"] == "Node" for e in events):
                return
            await asyncio.sleep(0.05)


async def test_an_older_version_is_spoken_where_there_is_no_newer(cluster: Cluster, driver: Drivers):
    gpu = driver()
    gpu.describe({"name": "gpu-0", "containerEdits": {"env": ["GPU=zero"]}})
    gpu.give("one", versions=["v1beta1.DRAPlugin"])
    gpu.start()
    await allocate(cluster, "one", (gpu.name, NODE, "gpu-0"))
    await run_with_claim(cluster, "older", "one", shell("sleep 600", **USES))
    await cluster.until("older", is_ready)
    assert {call["service"] for call in gpu.calls("prepare")} == {"v1beta1.DRAPlugin"}


async def test_a_plugin_that_cannot_be_used_is_told_why_and_may_mend(cluster: Cluster, driver: Drivers):
    gpu = driver()
    gpu.behave(versions=["v7.DRAPlugin"])
    gpu.start()
    await gpu.until(lambda: gpu.calls("notify"))
    told = gpu.calls("notify")[0]
    assert not told["registered"]
    assert (
        "[v7.DRAPlugin], of which none is known here, expected one of [v1.DRAPlugin, v1beta1.DRAPlugin]"
        in told["error"]
    )
    await until_told(cluster, f"driver {gpu.name} at {gpu.root}")
    gpu.behave(type="CSIPlugin")
    await gpu.until(lambda: any("CSIPlugin" in call["error"] for call in gpu.calls("notify")))
    gpu.behave(name="Not A Name")
    await gpu.until(lambda: any("Not A Name" in call["error"] for call in gpu.calls("notify")))
    gpu.behave()
    await gpu.until_registered()


async def test_the_newest_of_two_instances_serves(cluster: Cluster, driver: Drivers):
    gpu = driver()
    gpu.describe({"name": "gpu-0", "containerEdits": {"env": ["GPU=zero"]}})
    gpu.give("one")
    gpu.start("old")
    await gpu.until_registered(1)
    gpu.start("new")
    await gpu.until_registered(2)
    await allocate(cluster, "one", (gpu.name, NODE, "gpu-0"))
    gpu.kill(signal.SIGTERM, "old")
    await run_with_claim(cluster, "rolled", "one", shell("sleep 600", **USES))
    await cluster.until("rolled", is_ready)
    assert {call["instance"] for call in gpu.calls("prepare")} == {"new"}
    gpu.kill(signal.SIGKILL, "new")
    gpu.start("old")
    await gpu.until_registered(3)
    await cluster.delete("rolled")
    assert {call["instance"] for call in gpu.calls("unprepare")} == {"old"}


async def test_a_second_driver_cannot_take_an_endpoint(cluster: Cluster, driver: Drivers):
    gpu = driver()
    gpu.start()
    await gpu.until_registered()
    other = gpu.root / "plugins_registry" / f"{gpu.name}-again-reg.sock"
    await asyncio.to_thread(other.symlink_to, gpu.root / "plugins_registry" / f"{gpu.name}-reg.sock")
    await gpu.until(lambda: any("is already registered for driver" in call["error"] for call in gpu.calls("notify")))


async def test_a_socket_without_anyone_behind_is_no_plugin_until_someone_is(cluster: Cluster, driver: Drivers):
    gpu = driver()
    path = gpu.root / "plugins_registry" / f"{gpu.name}-reg.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    await asyncio.sleep(0.3)
    gpu.start()
    await gpu.until_registered()


async def test_a_deleted_folder_of_sockets_comes_back(cluster: Cluster, driver: Drivers):
    gpu = driver()
    registry = gpu.root / "plugins_registry"
    await asyncio.to_thread(lambda: [path.unlink() for path in registry.iterdir()])
    await asyncio.to_thread(registry.rmdir)
    await gpu.until(lambda: registry.is_dir())
    gpu.start()
    await gpu.until_registered()


async def test_a_node_stops_offering_the_devices_of_a_driver_that_stays_away(cluster: Cluster, driver: Drivers):
    async def publish(name: str, slice_driver: str) -> None:
        spec = {
            "driver": slice_driver,
            "nodeName": NODE,
            "pool": {"name": NODE, "generation": 1, "resourceSliceCount": 1},
            "devices": [{"name": "gpu-0"}],
        }
        await cluster.client.create(SLICES, {"metadata": {"name": name}, "spec": spec})

    async def names() -> set[str]:
        return {item["metadata"]["name"] for item in (await cluster.client.list(SLICES)).items}

    gpu = driver()
    gpu.start()
    await gpu.until_registered()
    await publish("by-hand", "never.seen")
    try:
        # Only a driver that was away for less than its time proves something, and a loaded machine starts it slowly.
        for attempt in range(2, 12):
            await publish(f"of-the-driver-{attempt}", gpu.name)
            began_s = time.monotonic()
            gpu.kill()
            gpu.start()
            await gpu.until_registered(attempt)
            if time.monotonic() - began_s < AWAY_S:
                break
        await asyncio.sleep(AWAY_S + 1)
        assert {f"of-the-driver-{attempt}", "by-hand"} <= await names()
        gpu.kill()
        async with asyncio.timeout(PATIENCE_S):
            while await names() != {"by-hand"}:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        await until_told(cluster, f"DRA driver {gpu.name} is away")
    finally:
        await cluster.client.delete_collection(SLICES)
