"""Pools from a real API server process, the embedded one, to which kubectl writes."""

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

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")

RAW_PODS = PODS.as_unstructured()
NEW, LEGACY = "llm-d.ai", "inference.networking.x-k8s.io"


class Cluster:
    """An API server, kubectl for it, and a source that runs."""

    def __init__(self, kubeconfig):
        self.kubeconfig = kubeconfig
        self.registry = Registry()
        self.source = None

    async def kubectl(self, *arguments, text=None):
        process = await asyncio.create_subprocess_exec(
            "kubectl", "--kubeconfig", str(self.kubeconfig), *arguments,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await asyncio.wait_for(process.communicate(text and text.encode()), 60)
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

    async def ready(self, name, ip, value="True"):
        status = {"podIP": ip, "conditions": [{"type": "Ready", "status": value}]}
        async with Client.load(self.kubeconfig) as client:
            await client.patch(RAW_PODS, name, {"status": status}, "default", subresource="status")

    async def follow(self):
        source = KubeSource(Client.load(self.kubeconfig), look_interval_s=0.05)
        self.source = asyncio.create_task(source.run(self.registry))
        await asyncio.wait_for(self.registry.wait_synced(), 20)

    async def stop(self):
        if self.source is not None:
            self.source.cancel()
            await asyncio.gather(self.source, return_exceptions=True)


@pytest.fixture
async def cluster(tmp_path):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairlead.embedded.apiserver", "--data", str(tmp_path), "--api-port", "0"
    )
    path = tmp_path / "kubeconfig"
    one = Cluster(path)
    try:
        await _until(lambda: _answers(path), 30)
        yield one
    finally:
        await one.stop()
        if process.returncode is None:
            process.kill()
        await asyncio.wait_for(process.wait(), 10)


async def _answers(kubeconfig):
    if not kubeconfig.exists():
        return False
    try:
        async with Client.load(kubeconfig) as client:
            await client.list(RAW_PODS)
    except Exception:
        return False
    return True


async def install(cluster, *wanted):
    """Kinds by group, as far as the server does not bring them along."""
    async with Client.load(cluster.kubeconfig) as client:
        for crd in all_crds():
            if crd["spec"]["group"] in wanted:
                try:
                    await client.create(CUSTOM_RESOURCE_DEFINITIONS, crd)
                except AlreadyExists:
                    continue


async def _until(condition, timeout_s=20):
    for _ in range(int(timeout_s / 0.02)):
        answer = condition()
        if (await answer) if inspect.isawaitable(answer) else answer:
            return
        await asyncio.sleep(0.02)
    raise TimeoutError


def pool(name, models, **annotations):
    return {
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": {"name": name, "namespace": "default",
                     "annotations": {"fairlead.dev/models": models, **annotations}},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "targetPorts": [{"number": 8000}],
            "endpointPickerRef": {"name": "picker", "port": {"number": 9002}},
        },
    }  # fmt: skip


def pod(name, app, **labels):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": app, **labels}},
        "spec": {"containers": [{"name": "engine", "image": "x"}]},
    }


def rewrite(name, to, model, group=NEW, pool="a"):
    return {
        "apiVersion": f"{group}/v1alpha2",
        "kind": "InferenceModelRewrite",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "poolRef": {"name": pool},
            "rules": [{"matches": [{"model": {"value": model}}], "targets": [{"modelRewrite": to}]}],
        },
    }


def objective(name, priority, pool="a"):
    return {
        "apiVersion": f"{NEW}/v1alpha2",
        "kind": "InferenceObjective",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"poolRef": {"name": pool}, "priority": priority},
    }


ACCOUNT = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}}


async def test_pools_follow_readiness_deletion_and_names(cluster):
    await install(cluster, "inference.networking.k8s.io", NEW)
    registry = cluster.registry
    await cluster.apply(pool("a", "m,alias"), ACCOUNT)
    await cluster.follow()
    assert registry.pool_of("alias").endpoints == ()

    await cluster.apply(pod("p", "a", **{"llm-d.ai/role": "prefill"}), pod("other", "b"))
    for name in ("p", "other"):
        await cluster.ready(name, "127.1.0.1")
    await _until(lambda: registry.pool_of("m").addresses == ("127.1.0.1:8000",))
    assert registry.pool_of("m").endpoints[0].role == "prefill"

    await cluster.apply(pool("shares", "n") | {"spec": pool("a", "")["spec"]})
    await _until(lambda: registry.pool_of("n") is not None and registry.pool_of("n").addresses)
    assert set(registry.pools_at("127.1.0.1:8000")) == {"default/a", "default/shares"}

    await cluster.ready("p", "127.1.0.1", "False")
    await _until(lambda: registry.pool_of("m").endpoints == () and registry.pool_of("n").endpoints == ())
    await cluster.ready("p", "127.1.0.1")
    await _until(lambda: registry.pool_of("m").addresses)
    await cluster.kubectl("label", "pod", "p", "app=elsewhere", "--overwrite")
    await _until(lambda: registry.pool_of("m").endpoints == ())

    await cluster.kubectl("annotate", "inferencepool", "a", "fairlead.dev/models=renamed", "--overwrite")
    await _until(lambda: registry.pool_of("renamed") is not None and registry.pool_of("m") is None)
    await cluster.kubectl("delete", "inferencepool", "a", "shares")
    await _until(lambda: not registry.pools)


async def test_rewrites_objectives_and_configurations_are_followed(cluster):
    await install(cluster, "inference.networking.k8s.io", NEW)
    registry = cluster.registry
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "picker", "namespace": "default"},
              "data": {"config.yaml": "one", "other": "x"}}  # fmt: skip
    await cluster.apply(rewrite("r", "m", "public"), objective("high", 5))  # before there is such a pool
    await cluster.apply(pool("a", "m", **{"fairlead.dev/picker-config": "picker"}))
    await cluster.follow()
    await _until(lambda: registry.pool_of("public") is not None)
    assert registry.resolve("public", "", 0.0)[1:] == ("m", "", "default/r")
    assert registry.pools["default/a"].objectives == {"high": 5}
    assert registry.configs == {}

    await cluster.apply(config)
    await _until(lambda: registry.configs == {"default/picker": "one"})
    config["data"]["config.yaml"] = "two"
    await cluster.apply(config, objective("high", 6), rewrite("r", "m", "published"))
    await _until(lambda: registry.configs == {"default/picker": "two"})
    await _until(lambda: registry.pools["default/a"].objectives == {"high": 6})
    await _until(lambda: registry.pool_of("published") is not None and registry.pool_of("public") is None)
    await cluster.kubectl("annotate", "inferencepool", "a", "fairlead.dev/picker-config=picker/other", "--overwrite")
    await _until(lambda: registry.configs == {"default/picker/other": "x"})
    await cluster.kubectl("delete", "configmap/picker", "inferenceobjective/high", "inferencemodelrewrite/r")
    await _until(lambda: registry.configs == {} and not registry.pools["default/a"].objectives)
    await _until(lambda: registry.pool_of("published") is None)


async def test_kinds_that_are_missing_do_not_keep_the_picker_from_serving(cluster):
    await cluster.kubectl("delete", "crd", "--all")
    await cluster.follow()
    assert not cluster.registry.pools
    await install(cluster, "inference.networking.k8s.io", LEGACY)
    async with Client.load(cluster.kubeconfig) as client:
        for crd in all_crds():
            if crd["spec"]["group"] == NEW and crd["spec"]["names"]["kind"] == "InferenceModelRewrite":
                plural = crd["spec"]["names"]["plural"]
                legacy = {**crd, "metadata": {"name": f"{plural}.{LEGACY}"}, "spec": {**crd["spec"], "group": LEGACY}}
                if f"{plural}.{LEGACY}" not in {c["metadata"]["name"] for c in all_crds()}:
                    await client.create(CUSTOM_RESOURCE_DEFINITIONS, legacy)
    await _until(lambda: cluster.kubectl_ok(pool("a", "m")))
    await _until(lambda: cluster.registry.pool_of("m") is not None)
    await _until(lambda: cluster.kubectl_ok(rewrite("r", "m", "of-old", LEGACY)))
    await _until(lambda: cluster.registry.pool_of("of-old") is not None)
    # Once the new group is there, the old one is read no more.
    await install(cluster, NEW)
    await _until(lambda: cluster.kubectl_ok(rewrite("r", "m", "of-new")))
    await _until(lambda: cluster.registry.pool_of("of-new") is not None)
    await _until(lambda: cluster.registry.pool_of("of-old") is None)
    await cluster.kubectl("delete", "crd", f"inferencemodelrewrites.{NEW}")
    await _until(lambda: cluster.registry.pool_of("of-old") is not None)
    assert cluster.registry.pool_of("of-new") is None
