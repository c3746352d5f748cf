"""A real API server process, the embedded one, to which kubectl writes."""

import asyncio
import inspect
import json
import shutil
import sys

import pytest

from fairlead.api import all_crds
from fairlead.gateway.endpoints import Registry
from fairlead.gateway.sources.kube import KubeSource
from fairlead.kube.client import Client
from fairlead.kube.errors import AlreadyExists
from fairlead.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS, PODS
from fairlead.kube.resources import Unstructured
from patience import PATIENCE_S

RAW_PODS = PODS.as_unstructured()


class Cluster:
    """An API server, kubectl for it, and a source that runs."""

    crds = staticmethod(all_crds)

    def __init__(self, kubeconfig):
        self.kubeconfig = kubeconfig
        self.registry = Registry()
        self.source = None

    async def kubectl(self, *arguments, text=None):
        process = await asyncio.create_subprocess_exec(
            "kubectl", "--kubeconfig", str(self.kubeconfig), *arguments,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await asyncio.wait_for(process.communicate(text and text.encode()), PATIENCE_S)
        assert process.returncode == 0, out.decode()
        return out.decode()

    async def apply(self, *objects: Unstructured):
        items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        return await self.kubectl("apply", "--validate=false", "-f", "-", text=json.dumps(items))

    async def kubectl_ok(self, *objects):
        """Whether the objects could be applied; a kind that was just installed takes a moment to be served."""
        try:
            await self.apply(*objects)
        except AssertionError:
            return False
        return True

    async def install(self, *groups):
        """The kinds of these groups, as far as the server does not bring them along."""
        async with Client.load(self.kubeconfig) as client:
            for crd in all_crds():
                if crd["spec"]["group"] in groups:
                    try:
                        await client.create(CUSTOM_RESOURCE_DEFINITIONS, crd)
                    except AlreadyExists:
                        continue

    async def until(self, condition, timeout_s=20):
        for _ in range(int(timeout_s / 0.02)):
            answer = condition()
            if (await answer) if inspect.isawaitable(answer) else answer:
                return
            await asyncio.sleep(0.02)
        raise TimeoutError

    async def ready(self, name, ip, value="True"):
        status = {"podIP": ip, "conditions": [{"type": "Ready", "status": value}]}
        async with Client.load(self.kubeconfig) as client:
            await client.patch(RAW_PODS, name, {"status": status}, "default", subresource="status")

    async def follow(self):
        source = KubeSource(Client.load(self.kubeconfig), look_interval_s=0.05)
        self.source = asyncio.create_task(source.run(self.registry))
        await asyncio.wait_for(self.registry.wait_synced(), PATIENCE_S)

    async def stop(self):
        if self.source is not None:
            self.source.cancel()
            await asyncio.gather(self.source, return_exceptions=True)


@pytest.fixture
async def cluster(tmp_path):
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairlead.embedded.apiserver", "--data", str(tmp_path), "--api-port", "0"
    )
    path = tmp_path / "kubeconfig"
    one = Cluster(path)
    try:
        await one.until(lambda: _answers(path), 30)
        yield one
    finally:
        await one.stop()
        if process.returncode is None:
            process.kill()
        await asyncio.wait_for(process.wait(), PATIENCE_S)


async def _answers(kubeconfig):
    if not kubeconfig.exists():
        return False
    try:
        async with Client.load(kubeconfig) as client:
            await client.list(RAW_PODS)
    except Exception:
        return False
    return True
