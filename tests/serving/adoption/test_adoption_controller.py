"""The controller of foreign workloads on a real API server: what it makes, what it says, and what it leaves alone."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fairlead.api import all_crds
from fairlead.api.inference_pool import INFERENCE_POOLS
from fairlead.embedded.apiserver.server import serve
from fairlead.kube.client import Client
from fairlead.kube.errors import NotFound
from fairlead.kube.events import EventRecorder
from fairlead.kube.informer import Informers
from fairlead.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS, EVENTS
from fairlead.kube.resources import Resource
from fairlead.kube.run import run_controllers
from fairlead.serving.adoption import Adoption
from fairlead.serving.adoption.workloads import WORKLOADS
from fairlead.serving.belongings import REWRITES

pytestmark = pytest.mark.xdist_group("adoption-controller")

Json = dict[str, Any]
ACCOUNTS = Resource.of("v1", "serviceaccounts", "ServiceAccount")
NEEDED = {str(resource) for resource in (INFERENCE_POOLS, REWRITES, WORKLOADS["LeaderWorkerSet"])}
DEPLOYMENTS, SETS = WORKLOADS["Deployment"], WORKLOADS["StatefulSet"]


def template(model: str, **labels: str) -> Json:
    container = {"name": "engine", "image": "own/vllm:1", "command": ["vllm", "serve", model]}
    return {"metadata": {"labels": labels}, "spec": {"containers": [container]}}


def deployment(name: str, model: str = "org/m", adopt: str | None = "true", **annotations: str) -> Json:
    labels = {} if adopt is None else {"fairlead.dev/adopt": adopt}
    return {
        "metadata": {"name": name, "namespace": "default", "labels": labels, "annotations": annotations},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template(model, app=name)},
    }


class Site:
    """An API server without any other controller."""

    def __init__(self, client: Client) -> None:
        self.client = client

    @asynccontextmanager
    async def controller(self) -> AsyncIterator[None]:
        informers = Informers(self.client)
        async with EventRecorder(self.client, "test") as events:
            adoption = Adoption(self.client, informers, events)
            run = run_controllers(informers, [adoption.controller], beside=[adoption.sweep])
            task = asyncio.create_task(run)
            try:
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def pools(self) -> dict[str, Json]:
        return {p["metadata"]["name"]: p for p in (await self.client.list(INFERENCE_POOLS, "default")).items}

    async def label(self, resource: Resource[Json], name: str, value: str | None) -> None:
        change = {"metadata": {"labels": {"fairlead.dev/adopt": value}}}
        await self.client.patch(resource, name, change, "default")

    async def said(self, resource: Resource[Json], name: str) -> Json:
        """What the annotation says; empty without one."""
        raw = await self.client.get(resource, name, "default")
        text = (raw["metadata"].get("annotations") or {}).get("fairlead.dev/adoption", "{}")
        return dict(json.loads(text))

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(60):
            while not await holds():  # noqa: ASYNC110 - what is waited for is in the API server
                await asyncio.sleep(0.05)

    async def until_said(self, resource: Resource[Json], name: str, reason: str) -> Json:
        async def is_so() -> bool:
            return (await self.said(resource, name)).get("reason", "") == reason

        await self.until(is_so)
        return await self.said(resource, name)

    async def until_pools(self, *names: str) -> dict[str, Json]:
        async def are_there() -> bool:
            return sorted(await self.pools()) == sorted(names)

        await self.until(are_there)
        return await self.pools()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server's data folder with the kinds that are needed: each test begins with a copy."""
    folder = tmp_path_factory.mktemp("prepared")

    async def prepare() -> None:
        async with serve(folder) as serving, Client.load(serving.kubeconfig) as client:
            needed = [crd for crd in all_crds() if crd["metadata"]["name"] in NEEDED]
            await asyncio.gather(*(client.apply(CUSTOM_RESOURCE_DEFINITIONS, crd, force=True) for crd in needed))
            await client.apply(ACCOUNTS, {"metadata": {"name": "default", "namespace": "default"}}, force=True)

    asyncio.run(prepare())
    return folder


@pytest.fixture
async def site(prepared: Path, tmp_path: Path) -> AsyncIterator[Site]:
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    async with serve(tmp_path) as serving, Client.load(serving.kubeconfig) as client:
        yield Site(client)


async def test_the_life_of_an_adopted_workload(site: Site) -> None:
    before = await site.client.create(DEPLOYMENTS, deployment("chat", adopt=None))
    async with site.controller():
        await site.label(DEPLOYMENTS, "chat", "true")
        pool = (await site.until_pools("chat"))["chat"]
        assert pool["metadata"]["labels"]["fairlead.dev/adopted"] == "true"
        assert pool["metadata"]["annotations"]["fairlead.dev/models"] == "org/m"
        assert pool["spec"]["selector"] == {"matchLabels": {"app": "chat"}}
        said = await site.until_said(DEPLOYMENTS, "chat", "Adopted")
        assert (said["status"], said["pool"]) == ("True", "chat") and "readinessProbe" in said["message"]
        # Its template and its owners are its own; another port of it is followed.
        after = await site.client.get(DEPLOYMENTS, "chat", "default")
        assert after["spec"] == before["spec"] and "ownerReferences" not in after["metadata"]
        args = [{"name": "engine", "args": ["--port", "8123"]}]
        change = {"spec": {"template": {"spec": {"containers": args}}}}
        await site.client.patch(DEPLOYMENTS, "chat", change, "default", kind="strategic")

        async def is_followed() -> bool:
            return (await site.pools())["chat"]["spec"]["targetPorts"] == [{"number": 8123}]

        await site.until(is_followed)
        await site.label(DEPLOYMENTS, "chat", None)
        await site.until_pools()

        async def is_clean() -> bool:
            return not await site.said(DEPLOYMENTS, "chat")

        await site.until(is_clean)
        reasons = {e.reason for e in (await site.client.list(EVENTS, "default")).items}
        assert "Adopted" in reasons
    assert (await site.client.get(DEPLOYMENTS, "chat", "default"))["spec"]["replicas"] == 1


async def test_what_cannot_be_read_is_said_and_then_adopted(site: Site) -> None:
    raw = deployment("chat")
    raw["spec"]["template"]["spec"]["containers"][0]["command"] = ["/start.sh"]
    raw["metadata"]["annotations"] = {"fairlead.dev/adopt-model": "chat", "fairlead.dev/adopt-port": "81"}
    await site.client.create(DEPLOYMENTS, raw)
    async with site.controller():
        said = await site.until_said(DEPLOYMENTS, "chat", "Unreadable")
        assert said["status"] == "False" and "/start.sh" in said["message"] and "adopt-engine" in said["message"]
        assert await site.pools() == {}

        async def is_told() -> bool:
            events = (await site.client.list(EVENTS, "default")).items
            return any(e.reason == "Unreadable" and e.type == "Warning" for e in events)

        await site.until(is_told)
        change = {"metadata": {"annotations": {"fairlead.dev/adopt-engine": "sglang"}}}
        await site.client.patch(DEPLOYMENTS, "chat", change, "default")
        await site.until_said(DEPLOYMENTS, "chat", "Adopted")
        pool = (await site.pools())["chat"]
        assert (pool["metadata"]["labels"]["fairlead.dev/runtime"], pool["spec"]["targetPorts"][0]["number"]) == (
            "sglang", 81,
        )  # fmt: skip


async def test_a_name_of_ones_own_gets_a_rule_and_loses_it(site: Site) -> None:
    await site.client.create(DEPLOYMENTS, deployment("chat", **{"fairlead.dev/adopt-model": "talk"}))
    async with site.controller():
        await site.until_said(DEPLOYMENTS, "chat", "Adopted")
        rule = await site.client.get(REWRITES, "adopted-chat", "default")
        assert rule["spec"]["rules"][0]["targets"] == [{"modelRewrite": "org/m"}]
        change = {"metadata": {"annotations": {"fairlead.dev/adopt-model": None}}}
        await site.client.patch(DEPLOYMENTS, "chat", change, "default")

        async def is_gone() -> bool:
            try:
                await site.client.get(REWRITES, "adopted-chat", "default")
            except NotFound:
                return True
            return False

        await site.until(is_gone)


async def test_everything_is_put_right_that_changed_while_no_controller_ran(site: Site) -> None:
    for name in ("gone", "unlabelled", "refused", "kept"):
        await site.client.create(DEPLOYMENTS, deployment(name, f"model-{name}"))
    await site.client.patch(
        DEPLOYMENTS, "refused", {"metadata": {"annotations": {"fairlead.dev/adopt-port": "x"}}}, "default"
    )  # fmt: skip
    async with site.controller():
        await site.until_pools("gone", "unlabelled", "kept")
        await site.until_said(DEPLOYMENTS, "refused", "BadAnnotation")
    await site.client.delete(DEPLOYMENTS, "gone", "default")
    for name in ("unlabelled", "refused"):
        await site.label(DEPLOYMENTS, name, None)
    # Somebody changes a pool, and somebody else makes one.
    change = {"spec": {"selector": {"matchLabels": {"app": "wrong"}}}}
    await site.client.patch(INFERENCE_POOLS, "kept", change, "default")
    foreign = {
        "metadata": {"name": "foreign", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}}, "targetPorts": [{"number": 1}],
            "endpointPickerRef": {"name": "x", "port": {"number": 1}},
        },
    }  # fmt: skip
    await site.client.create(INFERENCE_POOLS, foreign)
    async with site.controller():
        await site.until_pools("kept", "foreign")

        async def is_right() -> bool:
            selector = (await site.pools())["kept"]["spec"]["selector"]
            return selector == {"matchLabels": {"app": "kept"}}

        async def are_clean() -> bool:
            return not any([await site.said(DEPLOYMENTS, name) for name in ("unlabelled", "refused")])

        await site.until(is_right)
        await site.until(are_clean)
        await site.client.create(DEPLOYMENTS, deployment("foreign"))
        await site.until_said(DEPLOYMENTS, "foreign", "PoolTaken")


async def test_sets_groups_and_single_pods(site: Site) -> None:
    stateful = {**deployment("set"), "spec": {**deployment("set")["spec"], "serviceName": "set"}}
    await site.client.create(SETS, stateful)
    group = {
        "metadata": {"name": "group", "namespace": "default", "labels": {"fairlead.dev/adopt": "true"}},
        "spec": {"replicas": 1, "leaderWorkerTemplate": {"size": 2, "workerTemplate": template("big")}},
    }
    await site.client.create(WORKLOADS["LeaderWorkerSet"], group)
    pod = {
        "metadata": {"name": "one", "namespace": "default", "labels": {"fairlead.dev/adopt": "ones"}},
        "spec": template("small")["spec"],
    }
    await site.client.create(WORKLOADS["Pod"], pod)
    async with site.controller():
        pools = await site.until_pools("set", "group", "ones")
        assert pools["group"]["spec"]["selector"]["matchLabels"]["leaderworkerset.sigs.k8s.io/worker-index"] == "0"
        assert pools["ones"]["spec"]["selector"] == {"matchLabels": {"fairlead.dev/adopt": "ones"}}
        assert (await site.until_said(SETS, "set", "Adopted"))["pool"] == "set"
        await site.client.delete(WORKLOADS["Pod"], "one", "default", grace_period_s=0)
        await site.label(WORKLOADS["LeaderWorkerSet"], "group", None)
        await site.until_pools("set")


async def test_nothing_is_written_twice(site: Site) -> None:
    await site.client.create(DEPLOYMENTS, deployment("chat", **{"fairlead.dev/adopt-model": "talk"}))
    async with site.controller():
        await site.until_said(DEPLOYMENTS, "chat", "Adopted")
    versions = await _versions(site)
    async with site.controller():
        # Something is done after all of it: what comes later has been looked at too.
        await site.client.create(DEPLOYMENTS, deployment("later", "other"))
        await site.until_said(DEPLOYMENTS, "later", "Adopted")
    assert await _versions(site) == versions


async def _versions(site: Site) -> list[str]:
    found = [
        await site.client.get(resource, name, "default")
        for resource, name in ((DEPLOYMENTS, "chat"), (INFERENCE_POOLS, "chat"), (REWRITES, "adopted-chat"))
    ]
    return [raw["metadata"]["resourceVersion"] for raw in found]
