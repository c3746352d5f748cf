"""Claims are prepared before a pod's containers start, and given back after they are gone."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
from agent_platform import NODE, PODS, Cluster, container_status, is_ready, phase, shell
from dra_bench import USES, Driver, allocate, checkpoint, reserve, run_with_claim

from fairlead.embedded.agent.container import load_pod

Drivers = Callable[..., Driver]


async def test_a_pod_gets_its_devices_and_gives_them_back(cluster: Cluster, driver: Drivers):
    gpu = driver()
    gpu.describe({"name": "gpu-0", "containerEdits": {"env": ["GPU=zero"]}}, edits={"env": ["DRIVER=on"]})
    gpu.give("one")
    gpu.start()
    await allocate(cluster, "one", (gpu.name, NODE, "gpu-0"))
    await run_with_claim(
        cluster, "uses", "one", shell("echo $GPU $DRIVER; sleep 600", env=[{"name": "GPU", "value": "no"}], **USES)
    )
    await cluster.until("uses", is_ready)
    assert await cluster.said("uses") == "zero on\n"
    assert [call["claims"] for call in gpu.calls("prepare")] == [["one"]]
    assert gpu.calls("prepare")[0]["service"] == "v1.DRAPlugin"
    assert [record["name"] for record in checkpoint(cluster)] == ["one"]
    await cluster.delete("uses")
    assert [call["claims"] for call in gpu.calls("unprepare")] == [["one"]]
    assert checkpoint(cluster) == []


async def test_a_missing_driver_is_named_and_waited_for(cluster: Cluster, driver: Drivers):
    gpu = driver()
    gpu.describe({"name": "gpu-0", "containerEdits": {"env": ["GPU=zero"]}})
    gpu.give("one")
    await allocate(cluster, "one", (gpu.name, NODE, "gpu-0"))
    await run_with_claim(cluster, "waits", "one", shell("sleep 600", **USES))
    message = f"DRA driver {gpu.name} is not registered on this node, which ResourceClaim one needs"
    await cluster.told("waits", message)
    assert checkpoint(cluster) == []
    gpu.start()
    await cluster.until("waits", is_ready)


async def test_a_pod_that_never_got_its_devices_can_be_deleted(cluster: Cluster, driver: Drivers):
    gpu = driver()
    await allocate(cluster, "one", (gpu.name, NODE, "gpu-0"))
    await run_with_claim(cluster, "waits", "one", shell("sleep 600", **USES))
    await cluster.until("waits", lambda p: phase(p) == "Pending")
    await cluster.delete("waits")


async def test_an_error_of_one_claim_is_told_and_tried_again(cluster: Cluster, driver: Drivers):
    gpu = driver()
    gpu.describe({"name": "gpu-0", "containerEdits": {"env": ["GPU=zero"]}})
    gpu.give("one", errors={"one": "the device is on fire"})
    gpu.start()
    await gpu.until_registered()
    await allocate(cluster, "one", (gpu.name, NODE, "gpu-0"))
    await run_with_claim(cluster, "fails", "one", shell("sleep 600", **USES))
    await gpu.until(lambda: len(gpu.calls("prepare")) >= 2)
    expected = f"NodePrepareResources of driver {gpu.name} failed for ResourceClaim one: the device is on fire"
    await cluster.told(
        "fails", f"Failed to prepare dynamic resources: {expected}", reason="FailedPrepareDynamicResources"
    )
    assert checkpoint(cluster)[0]["drivers"] == {gpu.name: None}
    gpu.give("one")
    await cluster.until("fails", is_ready)


async def test_answers_are_checked(cluster: Cluster, driver: Drivers):
    gpu = driver()
    gpu.behave(skip=["one"], stranger="nobody")
    gpu.start()
    await gpu.until_registered()
    await allocate(cluster, "one", (gpu.name, NODE, "gpu-0"))
    await run_with_claim(cluster, "strict", "one", shell("sleep 600", **USES))
    await gpu.until(lambda: len(gpu.calls("prepared")) >= 1)
    gpu.give("one", "gpu-7")
    await gpu.until(lambda: len(gpu.calls("prepared")) >= 2)
    given = {"request": "", "pool": NODE, "device": "gpu-0", "cdi": ["not a name"]}
    gpu.behave(devices={"one": [given]})
    await gpu.until(lambda: len(gpu.calls("prepared")) >= 4)
    await cluster.told(
        "strict",
        "skipped ResourceClaim one",
        "unknown claim UID nobody",
        f"device {NODE}/gpu-7, which is not among its allocated devices ({NODE}/gpu-0)",
        "with an invalid CDI device id",
    )
    assert container_status(await cluster.get("strict"))["state"]["waiting"]["reason"] == "ContainerCreating"


async def test_two_drivers_in_one_claim(cluster: Cluster, driver: Drivers):
    gpu, nic = driver("gpu"), driver("nic")
    for each, name in ((gpu, "gpu-0"), (nic, "nic-0")):
        each.describe({"name": name, "containerEdits": {"env": [f"{name[:3].upper()}=yes"]}})
        each.give("both", name)
        each.start()
    await allocate(cluster, "both", (gpu.name, NODE, "gpu-0"), (nic.name, NODE, "nic-0"))
    await run_with_claim(cluster, "pair", "both", shell("echo $GPU $NIC; sleep 600", **USES))
    await cluster.until("pair", is_ready)
    assert await cluster.said("pair") == "yes yes\n"
    nic.kill(signal.SIGTERM)
    await cluster.client.delete(PODS, "pair", "default", grace_period_s=1)
    await gpu.until(lambda: gpu.calls("unprepare"))
    await gpu.until(lambda: set(checkpoint(cluster)[0]["drivers"]) == {nic.name})
    assert await cluster.get("pair") is not None
    nic.start()
    await cluster.until_gone("pair")
    assert checkpoint(cluster) == []


async def test_a_shared_claim_is_prepared_once_and_given_back_last(cluster: Cluster, driver: Drivers):
    gpu = driver()
    gpu.describe({"name": "gpu-0", "containerEdits": {"env": ["GPU=zero"]}})
    gpu.give("shared", delay_s=0.5)
    gpu.start()
    await gpu.until_registered()
    await allocate(cluster, "shared", (gpu.name, NODE, "gpu-0"))
    pods = [
        await cluster.run(
            name, shell("sleep 600", **USES), resourceClaims=[{"name": "c", "resourceClaimName": "shared"}]
        )
        for name in ("first", "second")
    ]
    await reserve(cluster, "shared", *pods)
    for name in ("first", "second"):
        await cluster.until(name, is_ready)
    assert len(gpu.calls("prepare")) == 1
    await cluster.delete("first")
    assert gpu.calls("unprepare") == []
    await cluster.delete("second")
    assert len(gpu.calls("unprepare")) == 1
    assert checkpoint(cluster) == []


async def test_all_claims_of_a_pod_go_in_one_call(cluster: Cluster, driver: Drivers):
    gpu = driver()
    gpu.describe(
        {"name": "gpu-0", "containerEdits": {"env": ["A=a"]}}, {"name": "gpu-1", "containerEdits": {"env": ["B=b"]}}
    )
    given = {
        name: [{"request": "gpu", "pool": NODE, "device": device, "cdi": [f"{gpu.kind}={device}"]}]
        for name, device in (("left", "gpu-0"), ("right", "gpu-1"))
    }
    gpu.behave(devices=given)
    gpu.start()
    for name, device in (("left", "gpu-0"), ("right", "gpu-1")):
        await allocate(cluster, name, (gpu.name, NODE, device))
    script = "echo [$A$B]; sleep 600"
    pod = await cluster.run(
        "two",
        shell(script, "a", resources={"claims": [{"name": "l", "request": "gpu"}]}),
        shell(script, "b", resources={"claims": [{"name": "l"}, {"name": "r"}]}),
        shell(script, "none"),
        resourceClaims=[{"name": "l", "resourceClaimName": "left"}, {"name": "r", "resourceClaimName": "right"}],
    )
    for name in ("left", "right"):
        await reserve(cluster, name, pod)
    await cluster.until("two", is_ready)
    assert [sorted(call["claims"]) for call in gpu.calls("prepare")] == [["left", "right"]]
    logs = [await cluster.said("two", container=name) for name in ("a", "b", "none")]
    assert logs == ["[a]\n", "[ab]\n", "[]\n"]


async def test_the_end_of_a_pod_is_reported_once_its_devices_are_given_back(cluster: Cluster, driver: Drivers):
    gpu = driver()
    gpu.describe({"name": "gpu-0", "containerEdits": {"env": ["GPU=zero"]}})
    gpu.give("one", unprepare_error="busy")
    gpu.start()
    await allocate(cluster, "one", (gpu.name, NODE, "gpu-0"))
    await run_with_claim(cluster, "ends", "one", shell("sleep 0.2", **USES), restartPolicy="Never")
    pod = await cluster.until("ends", lambda p: "terminated" in container_status(p)["state"])
    await gpu.until(lambda: len(gpu.calls("unprepare")) >= 2)
    pod = await cluster.get("ends")
    assert phase(pod) in ("Pending", "Running")
    await cluster.told("ends", reason="FailedUnprepareDynamicResources")
    gpu.give("one")
    await cluster.until("ends", lambda p: phase(p) == "Succeeded")
    assert checkpoint(cluster) == []


@pytest.mark.parametrize("ends_by", ["deadline", "deletion"])
async def test_devices_stay_with_a_container_until_it_is_dead(cluster: Cluster, driver: Drivers, ends_by: str):
    gpu = driver()
    gpu.describe({"name": "gpu-0", "containerEdits": {"env": ["GPU=zero"]}})
    gpu.give("one")
    gpu.start()
    await allocate(cluster, "one", (gpu.name, NODE, "gpu-0"))
    deaf = shell("trap '' TERM; while true; do sleep 0.1; done", **USES)
    await run_with_claim(cluster, "deaf", "one", deaf, restartPolicy="Never", terminationGracePeriodSeconds=2)
    pod = await cluster.until("deaf", is_ready)
    folder = cluster.platform.data / "node" / NODE / "pods" / pod["metadata"]["uid"]
    (container,) = load_pod(folder)["app"]
    assert container.is_program_alive()
    if ends_by == "deletion":
        await cluster.client.delete(PODS, "deaf", "default")
    else:
        await cluster.client.patch(PODS, "deaf", {"spec": {"activeDeadlineSeconds": 1}}, "default")
    await gpu.until(lambda: gpu.calls("unprepare"))
    assert not container.is_program_alive()
