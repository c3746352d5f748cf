"""The engines of an InferencePool, from a real API server, as they come and go during a run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.server_side.pages import answer, engine, looked_at, pages, serving
from fairlead.api import all_crds
from fairlead.bench.server_side import observer as observing
from fairlead.bench.server_side.observer import ServerObserver
from fairlead.clock import SYSTEM
from fairlead.kube.client import Client
from fairlead.kube.errors import AlreadyExists
from fairlead.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS, PODS
from fairlead.kube.resources import Resource
from kube.conftest import EmbeddedServer
from patience import PATIENCE_S

POOLS = Resource.of("inference.networking.k8s.io/v1", "inferencepools", "InferencePool")
RAW_PODS = PODS.as_unstructured()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(tmp_path)
    server.start()
    yield server
    server.kill()


def pool(port: int) -> dict[str, Any]:
    return {
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": {"name": "llama", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "llama"}},
            "targetPorts": [{"number": port}],
            "endpointPickerRef": {"name": "picker", "port": {"number": 9002}},
        },
    }


async def add_pod(client: Client, name: str, ip: str) -> None:
    pod = {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "llama"}},
        "spec": {"containers": [{"name": "engine", "image": "x"}]},
    }  # fmt: skip
    await client.create(RAW_PODS, pod, "default")
    status = {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": "True"}]}
    await client.patch(RAW_PODS, name, {"status": status}, "default", subresource="status")


async def installed(client: Client) -> None:
    accounts = Resource.of("v1", "serviceaccounts", "ServiceAccount")
    for resource, thing in [
        (
            accounts,
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}},
        ),
        *((CUSTOM_RESOURCE_DEFINITIONS, c) for c in all_crds() if c["spec"]["group"] == "inference.networking.k8s.io"),
    ]:
        try:
            await client.create(resource, thing)
        except AlreadyExists:
            continue


async def test_engines_are_followed_as_they_come_and_go_and_when_the_cluster_is_away(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observing, "POOL_EVERY_S", 0.1)
    config = looked_at({"pool": "default/llama", "kubeconfig": str(server.kubeconfig)})
    page = pages(*(answer(engine(k)) for k in range(500)))
    async with (
        serving(page) as first, serving(page, first.port, "127.0.0.2") as second,
        Client.load(server.kubeconfig) as client, asyncio.timeout(2 * PATIENCE_S),
    ):  # fmt: skip
        await installed(client)
        with pytest.raises(ValueError, match=r"server\.pool is default/llama: the cluster has no such InferencePool"):
            await ServerObserver(config).prepare()
        await client.create(POOLS, pool(first.port), "default")
        await add_pod(client, "llama-0", "127.0.0.1")
        observer = ServerObserver(config)
        await observer.prepare()
        observer.begin(SYSTEM.monotonic_s())
        await first.reached(3)
        assert second.asked == 0
        await add_pod(client, "llama-1", "127.0.0.2")
        await second.reached(3)
        await client.delete(RAW_PODS, "llama-0", "default", grace_period_s=0)
        while not observer._watched["llama-0"].gone:  # noqa: ASYNC110 (it is noticed by a task of its own)
            await asyncio.sleep(0.01)
        asked = first.asked
        await second.reached(second.asked + 3)
        assert first.asked == asked
        server.kill()
        while not observer._pool_failures:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await second.reached(second.asked + 3)
        seen = await observer.end()
    assert {s.source for s in seen.series} >= {"llama-0", "llama-1", "all engines"}
    begun = {s.source: s.times_s[0] for s in seen.series if s.name == "running_requests"}
    assert begun["llama-1"] > begun["llama-0"]
    told = [note for note in seen.notes if "looks were left out" not in note]  # (of a machine that is busy)
    assert told and all(note.startswith("server.pool: could not be looked up") for note in told)
