"""Owned objects are written only where they differ, and go when nobody wants them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from fairlead.api.inference_pool import INFERENCE_POOLS
from fairlead.clock import VirtualClock
from fairlead.kube.client import Client
from fairlead.kube.informer import Informers
from fairlead.kube.resources import Resource
from fairlead.serving.names import SERVICE_LABEL
from fairlead.serving.upkeep import LINGERS, Upkeep, contains
from patience import PATIENCE_S

SERVICES = Resource.of("v1", "services", "Service")
OWNER = {"apiVersion": "fairlead.dev/v1alpha1", "kind": "ModelService", "name": "m", "uid": "u", "controller": True}


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairlead.embedded.apiserver", "--data", str(tmp_path), "--api-port", "0"
    )
    try:
        await until((tmp_path / "kubeconfig").exists)
        async with Client.load(tmp_path / "kubeconfig") as made:
            yield made
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def owned(kind: str, api_version: str, spec: dict[str, Any]) -> dict[str, Any]:
    meta = {"name": "m", "namespace": "default", "labels": {SERVICE_LABEL: "m"}, "ownerReferences": [OWNER]}
    return {"apiVersion": api_version, "kind": kind, "metadata": meta, "spec": spec}


async def test_a_pool_outlives_the_rules_that_lead_to_it(client: Client) -> None:
    pool = owned(
        "InferencePool", "inference.networking.k8s.io/v1",
        {"selector": {"matchLabels": {"a": "b"}}, "targetPorts": [{"number": 8000}],
         "endpointPickerRef": {"name": "p", "port": {"number": 9002}}},
    )  # fmt: skip
    service = owned("Service", "v1", {"ports": [{"port": 80}], "selector": {"a": "b"}})
    clock, informers = VirtualClock(), Informers(client)
    upkeep = Upkeep(client, informers, (INFERENCE_POOLS, SERVICES), clock)
    async with informers:

        async def seen(pools: int, services: int) -> None:
            await until(lambda: [len(upkeep.of(k, "u")) for k in ("InferencePool", "Service")] == [pools, services])

        assert await upkeep.settle("u", [pool, service]) is None
        await seen(1, 1)
        assert await upkeep.settle("u", []) == LINGERS["InferencePool"]
        await seen(1, 0)
        await clock.advance(1.5)
        assert await upkeep.settle("u", []) == pytest.approx(LINGERS["InferencePool"] - 1.5)
        # Wanted again in between: it begins anew.
        assert await upkeep.settle("u", [pool]) is None
        assert await upkeep.settle("u", []) == LINGERS["InferencePool"]
        await clock.advance(LINGERS["InferencePool"])
        assert await upkeep.settle("u", []) is None
        await seen(0, 0)


@pytest.mark.parametrize(
    ("current", "wanted", "same"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"a": 1}, {"b": 1}, False),
        ({"ports": [{"port": 80, "protocol": "TCP"}]}, {"ports": [{"port": 80}]}, True),
        ({"ports": [{"port": 80}, {"port": 81}]}, {"ports": [{"port": 80}]}, False),
        ({}, {"ports": []}, True),
        ({"a": {"b": 1}}, {"a": {}}, True),
        ({"a": 0}, {"a": None}, False),
        ({}, {"a": 0}, False),
        # As Deployments' `paused`, which is not stored.
        ({}, {"a": False}, True),
        ({"a": True}, {"a": False}, False),
    ],
)
def test_what_is_there_already(current: Any, wanted: Any, same: bool) -> None:
    assert contains(current, wanted) is same
