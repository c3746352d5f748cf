"""The real kubectl with our kinds on a real server: explain, columns, scale, wait, and how a refusal reads."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairlead.api import MODEL_SERVICES, ROLE_SCALES, all_crds
from fairlead.kube.client import Client
from fairlead.kube.errors import AlreadyExists
from fairlead.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS
from patience import PATIENCE_S

pytestmark = pytest.mark.xdist_group("api-kubectl")


class Server:
    """An API server process with our definitions, and kubectl for it."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig

    async def run(self, *arguments: str, text: str | None = None, fails: bool = False) -> str:
        process = await asyncio.create_subprocess_exec(
            "kubectl", "--kubeconfig", str(self.kubeconfig), *arguments,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await asyncio.wait_for(process.communicate(text.encode() if text else None), PATIENCE_S)
        assert (process.returncode != 0) == fails, out.decode()
        return out.decode()

    async def apply(self, kind: str, name: str, spec: object, **how: bool) -> str:
        obj = {"apiVersion": "fairlead.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
        return await self.run("apply", "-f", "-", text=json.dumps(obj), **how)

    async def served(self) -> bool:
        try:
            async with Client.load(self.kubeconfig) as client:
                for crd in all_crds():
                    try:
                        await client.create(CUSTOM_RESOURCE_DEFINITIONS, crd)
                    except AlreadyExists:
                        continue
                await client.list(MODEL_SERVICES)
                await client.list(ROLE_SCALES)
        except Exception:
            return False
        return True


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairlead.embedded.apiserver", "--data", str(tmp_path), "--api-port", "0"
    )
    one = Server(tmp_path / "kubeconfig")
    try:
        async with asyncio.timeout(60):
            while not (one.kubeconfig.exists() and await one.served()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        yield one
    finally:
        if process.returncode is None:
            process.kill()
        await asyncio.wait_for(process.wait(), PATIENCE_S)


async def test_what_people_do_with_our_kinds(server: Server) -> None:
    await _explain(server)
    await _refusals(server)
    await server.apply(
        "ModelService", "tiny", {"model": {"name": "tiny"}, "runtime": "simulated", "rollout": {"strategy": "Canary"}}
    )
    await _columns_and_wait(server)
    await _scale(server)


async def _explain(server: Server) -> None:
    told = await server.run("explain", "ms.spec.rollout.strategy")
    assert "BlueGreen: a whole new fleet" in told and "Canary: a growing share of the traffic" in " ".join(told.split())
    told = await server.run("explain", "modeladapter.spec.placement", "--recursive")
    assert "requestsPerReplica" in told
    told = await server.run("explain", "sr.spec.probes.readiness.httpGet")
    assert "path" in told and "FIELDS" in told


async def _refusals(server: Server) -> None:
    said = await server.apply("ModelService", "a", {"model": {"name": "m"}, "replica": 2}, fails=True)
    assert 'unknown field "spec.replica"' in said
    wrong = {"model": {"name": "m"}, "runtime": "vllm", "workload": "Job", "parallelism": {"tensor": 8, "hosts": 3}}
    said = await server.apply("ModelService", "a", wrong, fails=True)
    assert 'The ModelService "a" is invalid' in said
    assert (
        "* spec.parallelism.hosts: Invalid value: hosts is 3, which does not divide 8 accelerators (tensor x "
        "pipeline x data): take a number of hosts that does"
    ) in said
    assert "* spec.model.source: Invalid value: runtime vllm needs a model source: a folder or a URL such as" in said
    assert '* spec.workload: Unsupported value: "Job": supported values: "Deployment", "LeaderWorkerSet"' in said


async def _columns_and_wait(server: Server) -> None:
    ready = {"type": "Ready", "status": "True", "reason": "Serving", "message": "2 of 2", "observedGeneration": 1}
    status = {
        "observedGeneration": 1, "replicas": 2, "readyReplicas": 2, "updatedReplicas": 1, "runtime": "simulated",
        "revision": "abc", "updateRevision": "def", "selector": "a=b", "conditions": [ready],
        "rollout": {"phase": "Progressing", "weight": 5},
    }  # fmt: skip
    async with Client.load(server.kubeconfig) as client:
        await client.patch(MODEL_SERVICES, "tiny", {"status": status}, "default", subresource="status")
    heads, row = (await server.run("get", "ms")).splitlines()
    assert heads.split() == ["NAME", "MODEL", "RUNTIME", "DESIRED", "READY", "UPDATED", "STATUS", "ROLLOUT", "AGE"]
    assert row.split()[:-1] == ["tiny", "tiny", "simulated", "1", "2", "1", "Serving", "Progressing"]
    heads, row = (await server.run("get", "ms", "-o", "wide")).splitlines()
    assert heads.split()[9:] == ["SOURCE", "REVISION", "WANTED", "STRATEGY", "WEIGHT", "MESSAGE"]
    assert row.split()[-7:] == ["abc", "def", "Canary", "5", "2", "of", "2"]
    await server.run("wait", "--for=condition=Ready", "ms/tiny", "--timeout=60s")
    await server.run("wait", "--for=jsonpath={.status.rollout.phase}=Progressing", "ms/tiny", "--timeout=60s")
    assert "modelservice.fairlead.dev/tiny" in await server.run("get", "fairlead", "-o", "name")


async def _scale(server: Server) -> None:
    await server.run("scale", "ms/tiny", "--replicas=3")
    assert await server.run("get", "ms/tiny", "-o", "jsonpath={.spec.replicas}") == "3"
    await server.apply("RoleScale", "tiny-decode", {"service": "tiny", "role": "decode", "replicas": 1})
    await server.run("scale", "rscale/tiny-decode", "--replicas=4")
    _, row = (await server.run("get", "rscale")).splitlines()
    assert row.split()[:4] == ["tiny-decode", "tiny", "decode", "4"]
    said = await server.apply("RoleScale", "tiny-decode", {"service": "tiny", "role": "prefill"}, fails=True)
    assert "role cannot be changed" in said
