"""Nodes and devices as an API server tells of them: what becomes of them, whose services hear of it, and who may not
look must not take everything for gone."""

import asyncio
import sys

import pytest

from fairlead.clock import SYSTEM
from fairlead.kube.client import Client
from fairlead.kube.controller import Controller
from fairlead.kube.events import EventRecorder
from fairlead.kube.informer import Informers
from fairlead.kube.kinds import (
    DEVICE_TAINT_RULES,
    NODES,
    PODS,
    RESOURCE_CLAIMS,
    RESOURCE_SLICES,
    SERVICE_ACCOUNTS,
)
from fairlead.kube.resources import ObjectKey
from fairlead.scheduling.controller import Scheduler
from fairlead.scheduling.settings import Settings
from fairlead.serving.surroundings import Surroundings
from patience import PATIENCE_S

pytestmark = pytest.mark.xdist_group("serving-surroundings")
RAW = {r.plural: r.as_unstructured() for r in (NODES, PODS, RESOURCE_CLAIMS, RESOURCE_SLICES)}
KEY = ObjectKey("default", "tiny")


async def eventually(condition, timeout_s=20):
    for _ in range(int(timeout_s / 0.02)):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise TimeoutError


class Scene:
    """A service's pod with a device on a node, and who is told."""

    def __init__(self, client, informers):
        self.client = client
        self.told = []
        self.surroundings = Surroundings(informers)
        self.pods = informers.informer(PODS)
        self.nodes = informers.informer(NODES)
        controller = Controller("test", self.reconcile)
        self.surroundings.listen(controller)
        self.running = controller.run

    async def reconcile(self, key):
        self.told.append(key)

    def states(self, later_s=0.0):
        return self.surroundings.nodes(list(self.pods.store), SYSTEM.wall_s() + later_s)

    def troubles(self):
        return self.surroundings.devices(list(self.pods.store))

    async def build(self):
        create = self.client.create
        await create(RAW["nodes"], {"metadata": {"name": "n1"}})
        ready = {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}
        await self.client.patch(RAW["nodes"], "n1", {"status": ready}, subresource="status")
        labels = {"fairlead.dev/model-service": "tiny"}
        spec = {"nodeName": "n1", "containers": [{"name": "engine", "image": "x"}]}
        account = {"metadata": {"name": "default", "namespace": "default"}}
        await create(SERVICE_ACCOUNTS.as_unstructured(), account)
        meta = {"name": "tiny-0", "namespace": "default", "labels": labels}
        pod = await create(RAW["pods"], {"metadata": meta, "spec": spec})
        await create(RAW["resourceslices"], self.slice())
        request = {"name": "r", "exactly": {"deviceClassName": "gpu"}}
        claim = {"metadata": {"name": "c", "namespace": "default"}, "spec": {"devices": {"requests": [request]}}}
        await create(RAW["resourceclaims"], claim)
        result = {"request": "r", "driver": "gpu.example.com", "pool": "n1", "device": "gpu-0"}
        user = {"resource": "pods", "name": "tiny-0", "uid": pod["metadata"]["uid"]}
        status = {"allocation": {"devices": {"results": [result]}}, "reservedFor": [user]}
        await self.client.patch(RAW["resourceclaims"], "c", {"status": status}, "default", subresource="status")

    def slice(self, *taints):
        return {
            "metadata": {"name": "n1-gpu"},
            "spec": {
                "driver": "gpu.example.com", "nodeName": "n1", "devices": [{"name": "gpu-0", "taints": list(taints)}],
                "pool": {"name": "n1", "generation": 1, "resourceSliceCount": 1},
            },
        }  # fmt: skip


@pytest.fixture
async def scene(tmp_path):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairlead.embedded.apiserver", "--data", str(tmp_path), "--api-port", "0"
    )
    kubeconfig = tmp_path / "kubeconfig"
    try:
        await eventually(kubeconfig.exists, 30)
        async with Client.load(kubeconfig) as client:
            for attempt in range(200):
                try:
                    await client.list(RAW["nodes"])
                    break
                except Exception:
                    if attempt == 199:
                        raise
                    await asyncio.sleep(0.05)
            informers = Informers(client)
            one = Scene(client, informers)
            await one.build()
            async with informers:
                running = asyncio.create_task(one.running())
                rules = asyncio.create_task(one.surroundings.look_for_rules(client))
                await informers.wait_synced()
                yield one
                for task in (running, rules):
                    task.cancel()
                await asyncio.gather(running, rules, return_exceptions=True)
    finally:
        if process.returncode is None:
            process.kill()
        await asyncio.wait_for(process.wait(), PATIENCE_S)


async def test_what_becomes_of_nodes_and_devices(scene):
    await eventually(lambda: scene.states() and scene.states()[0].ready)
    assert not scene.troubles()
    scene.told.clear()

    await scene.client.patch(RAW["nodes"], "n1", {"spec": {"unschedulable": True}})
    await eventually(lambda: scene.states()[0].cordoned and KEY in scene.told)

    scene.told.clear()
    taint = {"key": "gpu.example.com/unhealthy", "value": "Xid79", "effect": "NoExecute"}
    await scene.client.patch(RAW["resourceslices"], "n1-gpu", {"spec": scene.slice(taint)["spec"]})
    await eventually(lambda: scene.troubles() and KEY in scene.told)
    (trouble,) = scene.troubles()
    assert (trouble.replica, trouble.device) == ("tiny-0", "gpu.example.com/n1/gpu-0")
    assert (trouble.effect, trouble.reason) == ("NoExecute", "taint gpu.example.com/unhealthy=Xid79")

    scene.told.clear()
    await scene.client.delete(RAW["resourceslices"], "n1-gpu")
    await eventually(lambda: not scene.troubles() and KEY in scene.told)

    scene.told.clear()
    await scene.client.delete(RAW["nodes"], "n1")
    await eventually(lambda: scene.states() and scene.states()[0].gone and KEY in scene.told)


async def test_a_rule_of_a_person_counts_and_its_end_too(scene):
    rules = DEVICE_TAINT_RULES.as_unstructured()
    selector = {"driver": "gpu.example.com", "pool": "n1", "device": "gpu-0"}
    spec = {"deviceSelector": selector, "taint": {"key": "repair", "effect": "NoSchedule"}}
    await eventually(lambda: scene.states())
    await scene.client.create(rules, {"metadata": {"name": "repair"}, "spec": spec})
    await eventually(lambda: [t.effect for t in scene.troubles()] == ["NoSchedule"] and KEY in scene.told)
    await scene.client.delete(rules, "repair")
    await eventually(lambda: not scene.troubles())


async def test_a_node_that_is_not_seen_yet_is_not_gone(scene):
    spec = {"nodeName": "n2", "containers": [{"name": "engine", "image": "x"}]}
    await scene.client.create(RAW["pods"], {"metadata": {"name": "early", "namespace": "default"}, "spec": spec})
    await eventually(lambda: len(list(scene.pods.store)) == 2)
    assert [state.name for state in scene.states()] == ["n1"]
    assert [state.gone for state in scene.states(later_s=60)] == [False, True]
    scene.nodes.synced.clear()
    assert [state.name for state in scene.states(later_s=60)] == ["n1"]


async def test_it_shares_its_copies_with_the_scheduler(scene):
    # Both follow claims and pods in one process, each with indexes of its own.
    informers = Informers(scene.client)
    Surroundings(informers)
    Scheduler(scene.client, informers, Settings(), EventRecorder(scene.client, "test"))
