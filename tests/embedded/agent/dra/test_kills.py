"""Agent and driver are killed at bad moments: no claim stays prepared for nobody, no pod starts without its devices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from agent_platform import NODE, PODS, Cluster, container_status, is_ready, shell
from dra_bench import USES, Driver, allocate, checkpoint, run_with_claim

from patience import PATIENCE_S

Drivers = Callable[..., Driver]
SHOW = 'test -n "$GPU" && echo has $GPU || echo NOTHING; sleep 600'


def simple(driver: Drivers, **behaviour: object) -> Driver:
    gpu = driver()
    gpu.describe({"name": "gpu-0", "containerEdits": {"env": ["GPU=zero"]}})
    gpu.give("one", **behaviour)
    gpu.start()
    return gpu


async def until_free(cluster: Cluster) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while checkpoint(cluster):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_the_agent_is_killed_while_the_driver_prepares(cluster: Cluster, driver: Drivers):
    gpu = simple(driver, delay_s=20)
    await allocate(cluster, "one", (gpu.name, NODE, "gpu-0"))
    await run_with_claim(cluster, "slow", "one", shell(SHOW, **USES))
    await gpu.until(lambda: gpu.calls("prepare"))
    cluster.platform.kill(cluster.platform.agent)
    assert checkpoint(cluster)[0]["drivers"] == {gpu.name: None}
    gpu.give("one")
    cluster.platform.start_agent()
    await cluster.until("slow", is_ready)
    assert await cluster.said("slow") == "has zero\n"
    await cluster.delete("slow")
    assert gpu.calls("unprepare")


async def test_the_pod_is_deleted_while_no_agent_runs(cluster: Cluster, driver: Drivers):
    gpu = simple(driver)
    await allocate(cluster, "one", (gpu.name, NODE, "gpu-0"))
    pod = await run_with_claim(cluster, "orphan", "one", shell(SHOW, **USES))
    await cluster.until("orphan", is_ready)
    cluster.platform.kill(cluster.platform.agent)
    await cluster.client.delete(PODS, "orphan", "default", grace_period_s=0)
    cluster.platform.start_agent()
    await until_free(cluster)
    assert len(gpu.calls("unprepare")) == 1
    folder = cluster.platform.data / "node" / NODE / "pods" / pod["metadata"]["uid"]
    assert not folder.exists()


async def test_the_agent_is_killed_between_prepare_and_deletion_of_the_pod(cluster: Cluster, driver: Drivers):
    gpu = simple(driver, delay_s=20)
    await allocate(cluster, "one", (gpu.name, NODE, "gpu-0"))
    await run_with_claim(cluster, "brief", "one", shell(SHOW, **USES))
    await gpu.until(lambda: gpu.calls("prepare"))
    cluster.platform.kill(cluster.platform.agent)
    await cluster.client.delete(PODS, "brief", "default", grace_period_s=0)
    cluster.platform.start_agent()
    await until_free(cluster)
    assert [call["claims"] for call in gpu.calls("unprepare")] == [["one"]]


async def test_the_agent_is_killed_while_it_gives_back(cluster: Cluster, driver: Drivers):
    gpu = simple(driver, unprepare_error="not yet")
    await allocate(cluster, "one", (gpu.name, NODE, "gpu-0"))
    await run_with_claim(cluster, "late", "one", shell(SHOW, **USES))
    await cluster.until("late", is_ready)
    await cluster.client.delete(PODS, "late", "default", grace_period_s=1)
    await gpu.until(lambda: gpu.calls("unprepare"))
    cluster.platform.kill(cluster.platform.agent)
    assert await cluster.get("late") is not None
    cluster.platform.start_agent()
    before = len(gpu.calls("unprepare"))
    await gpu.until(lambda: len(gpu.calls("unprepare")) > before)
    gpu.give("one")
    await cluster.until_gone("late")
    assert checkpoint(cluster) == []


async def test_a_running_pod_is_adopted_and_its_restart_asks_the_driver_again(cluster: Cluster, driver: Drivers):
    gpu = simple(driver)
    await allocate(cluster, "one", (gpu.name, NODE, "gpu-0"))
    await run_with_claim(cluster, "kept", "one", shell("echo $GPU; sleep 3", **USES))
    pod = await cluster.until("kept", is_ready)
    cluster.platform.kill(cluster.platform.agent)
    gpu.kill()
    cluster.platform.start_agent()
    again = await cluster.until(
        "kept", lambda p: container_status(p)["state"].get("waiting", {}).get("reason") == "CreateContainerError"
    )
    assert container_status(again)["containerID"] == container_status(pod)["containerID"]
    assert f"DRA driver {gpu.name}" in container_status(again)["state"]["waiting"]["message"]
    gpu.start()
    await cluster.until("kept", lambda p: container_status(p)["restartCount"] == 1 and is_ready(p))
    assert len(gpu.calls("prepare")) == 2
    assert await cluster.said("kept") == "zero\n"


async def test_a_driver_dies_in_the_middle_of_the_call(cluster: Cluster, driver: Drivers):
    gpu = simple(driver, die=True)
    await gpu.until_registered()
    await allocate(cluster, "one", (gpu.name, NODE, "gpu-0"))
    await run_with_claim(cluster, "shaken", "one", shell(SHOW, **USES))
    await gpu.until(lambda: gpu.calls("prepare"))
    await cluster.told("shaken", "NodePrepareResources of driver")
    gpu.kill()
    gpu.give("one")
    gpu.start()
    await cluster.until("shaken", is_ready)
    assert await cluster.said("shaken") == "has zero\n"


async def test_a_pod_is_deleted_while_its_driver_hangs(cluster: Cluster, driver: Drivers):
    gpu = simple(driver, delay_s=300)
    await gpu.until_registered()
    await allocate(cluster, "one", (gpu.name, NODE, "gpu-0"))
    await run_with_claim(cluster, "hung", "one", shell(SHOW, **USES))
    await gpu.until(lambda: gpu.calls("prepare"))
    await cluster.client.delete(PODS, "hung", "default", grace_period_s=1)
    await cluster.until_gone("hung")
    assert gpu.calls("unprepare")
    assert gpu.calls("prepared") == []


async def test_a_damaged_record_is_kept_aside_and_present_pods_are_prepared_again(cluster: Cluster, driver: Drivers):
    gpu = simple(driver)
    await allocate(cluster, "one", (gpu.name, NODE, "gpu-0"))
    await run_with_claim(cluster, "present", "one", shell(SHOW, **USES))
    pod = await cluster.until("present", is_ready)
    cluster.platform.kill(cluster.platform.agent)
    path = cluster.platform.data / "node" / NODE / "dra_manager_state"
    await asyncio.to_thread(path.write_text, path.read_text()[:-20])
    cluster.platform.start_agent()
    await gpu.until(lambda: len(gpu.calls("prepare")) == 2)
    async with asyncio.timeout(PATIENCE_S):
        while not checkpoint(cluster):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    after = await cluster.until("present", is_ready)
    assert container_status(after)["containerID"] == container_status(pod)["containerID"]
    await cluster.told(NODE, reason="DRACheckpointDamaged")
    await cluster.delete("present")
    assert len(gpu.calls("unprepare")) == 1


async def test_a_damaged_record_does_not_keep_claims_of_pods_that_are_gone(cluster: Cluster, driver: Drivers):
    gpu = simple(driver)
    await allocate(cluster, "one", (gpu.name, NODE, "gpu-0"))
    await run_with_claim(cluster, "gone", "one", shell(SHOW, **USES))
    await cluster.until("gone", is_ready)
    cluster.platform.kill(cluster.platform.agent)
    await cluster.client.delete(PODS, "gone", "default", grace_period_s=0)
    path = cluster.platform.data / "node" / NODE / "dra_manager_state"
    await asyncio.to_thread(path.write_bytes, b"\0" * 100)
    cluster.platform.start_agent()
    await gpu.until(lambda: gpu.calls("unprepare"))
    await until_free(cluster)


async def test_a_full_disk_stops_a_pod_before_its_driver_is_asked(cluster: Cluster, driver: Drivers):
    gpu = simple(driver)
    await gpu.until_registered()
    full = cluster.platform.data / "node" / NODE / "dra_manager_state.new"
    await asyncio.to_thread(full.unlink, missing_ok=True)
    await asyncio.to_thread(full.symlink_to, "/dev/full")
    await allocate(cluster, "one", (gpu.name, NODE, "gpu-0"))
    await run_with_claim(cluster, "full", "one", shell(SHOW, **USES))
    await cluster.told("full", "No space left on device")
    assert gpu.calls("prepare") == []
    await asyncio.to_thread(full.unlink)
    await cluster.until("full", is_ready)
    await asyncio.to_thread(full.symlink_to, "/dev/full")
    await cluster.client.delete(PODS, "full", "default", grace_period_s=1)
    await gpu.until(lambda: len(gpu.calls("unprepare")) >= 2)
    assert await cluster.get("full") is not None
    await asyncio.to_thread(full.unlink)
    await cluster.until_gone("full")
    assert checkpoint(cluster) == []
