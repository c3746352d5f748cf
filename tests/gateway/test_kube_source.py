"""Pools from a real API server process: the embedded one."""

import asyncio
import inspect
import sys

import pytest

from fairlead.api import all_crds
from fairlead.gateway.endpoints import Registry
from fairlead.gateway.kube_source import INFERENCE_POOLS, KubeSource
from fairlead.kube.client import Client
from fairlead.kube.errors import AlreadyExists
from fairlead.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS, PODS, SERVICE_ACCOUNTS
from fairlead.kube.resources import Unstructured

POOLS = INFERENCE_POOLS.as_unstructured()
RAW_PODS = PODS.as_unstructured()


@pytest.fixture
async def kubeconfig(tmp_path):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairlead.embedded.apiserver", "--data", str(tmp_path), "--api-port", "0"
    )
    path = tmp_path / "kubeconfig"
    try:
        await _until(lambda: _answers(path), 30)
        yield path
    finally:
        if process.returncode is None:
            process.kill()
        await asyncio.wait_for(process.wait(), 10)


async def _answers(kubeconfig):
    if not kubeconfig.exists():
        return False
    try:
        async with Client.load(kubeconfig) as client:
            await _install(client)
            await client.list(POOLS)
    except Exception:
        return False
    return True


async def _install(client):
    """The InferencePool kind, where the server does not bring it along."""
    for crd in all_crds():
        if crd["spec"]["names"]["kind"] == "InferencePool":
            try:
                await client.create(CUSTOM_RESOURCE_DEFINITIONS, crd)
            except AlreadyExists:
                return


def _pool(name: str, models: str) -> Unstructured:
    return {
        "metadata": {"name": name, "namespace": "default", "annotations": {"fairlead.dev/models": models}},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "targetPorts": [{"number": 8000}],
            "endpointPickerRef": {"name": "picker", "port": {"number": 9002}},
        },
    }


def _pod(name: str, app: str) -> Unstructured:
    return {
        "metadata": {"name": name, "namespace": "default", "labels": {"app": app}},
        "spec": {"containers": [{"name": "engine", "image": "x"}]},
    }


async def _until(condition, timeout_s=10):
    for _ in range(int(timeout_s / 0.05)):
        answer = condition()
        if (await answer) if inspect.isawaitable(answer) else answer:
            return
        await asyncio.sleep(0.05)
    raise TimeoutError


async def test_pools_follow_readiness_deletion_and_names(kubeconfig):
    registry = Registry()
    async with Client.load(kubeconfig) as client:
        await client.create(POOLS, _pool("a", "m,alias"))
        source = asyncio.create_task(KubeSource(Client.load(kubeconfig)).run(registry))
        await asyncio.wait_for(registry.wait_synced(), 10)
        assert registry.pool_of("alias").endpoints == ()

        account = {"metadata": {"name": "default", "namespace": "default"}}
        await client.create(SERVICE_ACCOUNTS.as_unstructured(), account)
        await client.create(RAW_PODS, _pod("p", "a"))
        await client.create(RAW_PODS, _pod("other", "b"))
        ready = {"podIP": "127.1.0.1", "conditions": [{"type": "Ready", "status": "True"}]}
        for name in ("p", "other"):
            await client.patch(RAW_PODS, name, {"status": ready}, "default", subresource="status")
        await _until(lambda: [e.address for e in registry.pool_of("m").endpoints] == ["127.1.0.1:8000"])

        broken = {"conditions": [{"type": "Ready", "status": "False"}]}
        await client.patch(RAW_PODS, "p", {"status": broken}, "default", subresource="status")
        await _until(lambda: registry.pool_of("m").endpoints == ())

        await client.patch(POOLS, "a", {"metadata": {"annotations": {"fairlead.dev/models": "renamed"}}}, "default")
        await _until(lambda: registry.pool_of("renamed") is not None and registry.pool_of("m") is None)
        await client.delete(POOLS, "a", "default")
        await _until(lambda: not registry.pools)
        source.cancel()
        await asyncio.gather(source, return_exceptions=True)
