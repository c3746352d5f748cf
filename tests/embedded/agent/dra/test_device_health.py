"""The health of a container's devices in its status, from the driver's stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from agent_platform import NODE, Cluster, container_status, is_ready, shell
from dra_bench import USES, Driver, allocate, run_with_claim

Drivers = Callable[..., Driver]


def shown(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return list(container_status(pod).get("allocatedResourcesStatus", ()))


def report(health: str, **fields: Any) -> list[dict[str, Any]]:
    return [{"pool": NODE, "device": "gpu-0", "health": health, **fields}]


@pytest.mark.parametrize("service", ["v1.DRAResourceHealth", "v1alpha1.DRAResourceHealth"])
async def test_changes_are_shown(cluster: Cluster, driver: Drivers, service: str):
    gpu = driver()
    gpu.describe({"name": "gpu-0", "containerEdits": {"env": ["GPU=zero"]}})
    gpu.give("one", health_services=[service], health=report("Healthy"))
    gpu.start()
    await allocate(cluster, "one", (gpu.name, NODE, "gpu-0"))
    await run_with_claim(cluster, "watched", "one", shell("sleep 600", **USES))
    await cluster.until("watched", is_ready)
    id = f"{gpu.kind}=gpu-0"
    healthy = [{"name": "claim:c", "resources": [{"resourceID": id, "health": "Healthy"}]}]
    await cluster.until("watched", lambda p: shown(p) == healthy)
    gpu.give("one", health_services=[service], health=report("Unhealthy", message="row remap failed"))
    pod = await cluster.until("watched", lambda p: shown(p) and shown(p)[0]["resources"][0]["health"] == "Unhealthy")
    assert shown(pod)[0]["resources"] == [{"resourceID": id, "health": "Unhealthy", "message": "row remap failed"}]
    gpu.kill()
    await cluster.until("watched", lambda p: shown(p)[0]["resources"] == [{"resourceID": id, "health": "Unknown"}])
    gpu.give("one", health_services=[service], health=report("Healthy"))
    gpu.start()
    await cluster.until("watched", lambda p: shown(p) == healthy)


async def test_a_report_that_is_not_renewed_runs_out(cluster: Cluster, driver: Drivers):
    gpu = driver()
    gpu.give("one", health=report("Healthy", timeout_s=2))
    gpu.describe({"name": "gpu-0", "containerEdits": {"env": ["GPU=zero"]}})
    gpu.start()
    await gpu.until_registered()
    await allocate(cluster, "one", (gpu.name, NODE, "gpu-0"))
    await run_with_claim(cluster, "stale", "one", shell("sleep 600", **USES))
    await cluster.until("stale", lambda p: shown(p) and shown(p)[0]["resources"][0]["health"] == "Unknown")


async def test_a_driver_without_health_leaves_it_unknown(cluster: Cluster, driver: Drivers):
    gpu = driver()
    gpu.behave(health_services=[], devices={"one": [{"request": "gpu", "pool": NODE, "device": "gpu-0"}]})
    gpu.start()
    await gpu.until_registered()
    await allocate(cluster, "one", (gpu.name, NODE, "gpu-0"))
    uses = {"resources": {"claims": [{"name": "c", "request": "gpu"}]}}
    await run_with_claim(cluster, "unknown", "one", shell("sleep 600", **uses))
    pod = await cluster.until("unknown", is_ready)
    resources = [{"resourceID": f"{gpu.name}/{NODE}/gpu-0", "health": "Unknown"}]
    assert shown(pod) == [{"name": "claim:c/gpu", "resources": resources}]
