"""The first replica of a pool, asked for at a real API server: the embedded one, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from embedded.apiserver.server_process import ServerProcess
from fairlead.api import all_crds
from fairlead.api.model_service import MODEL_SERVICES
from fairlead.gateway.flow import NO_ENDPOINTS, FlowControl, Gate, Item, Reason, Rejection, Saturation
from fairlead.gateway.flow.scale_from_zero import NOTHING_TO_SCALE, FirstReplica, PoolWaker
from fairlead.gateway.flow.scale_plan import SCALED_BY, Target
from fairlead.kube.authorization import FixedAuthorization
from fairlead.kube.backoff import Backoff
from fairlead.kube.client import Client
from fairlead.kube.credentials import Credentials
from fairlead.kube.errors import AlreadyExists, Conflict, NotFound
from fairlead.kube.events import EventRecorder
from fairlead.kube.kinds import (
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    EVENTS,
    HORIZONTAL_POD_AUTOSCALERS,
    NAMESPACES,
    SERVICE_ACCOUNTS,
)
from fairlead.kube.resources import Resource, Unstructured
from fairlead.kube.transport import RetryPolicy
from patience import PATIENCE_S

RAW_DEPLOYMENTS = DEPLOYMENTS.as_unstructured()
ROLES = Resource.of("rbac.authorization.k8s.io/v1", "roles", "Role")
ROLE_BINDINGS = Resource.of("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture
async def client(server: ServerProcess) -> AsyncIterator[Client]:
    async with Client.load(server.data / "kubeconfig") as client:
        yield client


@pytest.fixture
async def namespace(client: Client) -> str:
    made = await client.create(NAMESPACES.as_unstructured(), {"metadata": {"generateName": "flow-"}})
    return str(made["metadata"]["name"])


class World:
    """A `FirstReplica` and the pools that it gave up."""

    def __init__(self, client: Client, events: EventRecorder | None = None) -> None:
        self.refused: list[str] = []
        self.replicas = FirstReplica(
            client, self.refused.append, events=events, backoff=Backoff(first_s=0.02, max_s=0.1)
        )

    async def ask(self, target: str) -> str:
        """Ask, wait for what comes of it, and give the answer to the next request."""
        answer = self.replicas.wanted("pool", target)
        if not answer:
            await self.settled(target)
            answer = self.replicas.wanted("pool", target)
        return answer

    async def settled(self, target: str) -> None:
        task = self.replicas._wishes[target].task
        assert task is not None
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def world(client: Client) -> AsyncIterator[World]:
    made = World(client)
    yield made
    await made.replicas.close()


async def deployment(client: Client, namespace: str, replicas: int = 0, **metadata: Any) -> str:
    labels = {"app": "llama"}
    made = await client.create(
        RAW_DEPLOYMENTS,
        {
            "metadata": {"name": "llama", "namespace": namespace, **metadata},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "engine", "image": "x"}]},
                },
            },
        },
    )
    return f"Deployment/{namespace}/{made['metadata']['name']}"


async def seen(client: Client, namespace: str, resource: Resource[Any] = DEPLOYMENTS) -> tuple[int, str]:
    found: Unstructured = await client.get(resource.as_unstructured(), "llama", namespace)
    return found["spec"]["replicas"], found["metadata"]["resourceVersion"]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_deployment_without_replicas_gets_its_first(client: Client, namespace: str) -> None:
    target = await deployment(client, namespace)
    async with EventRecorder(client, "fairlead-gateway") as events:
        world = World(client, events)
        for _ in range(50):
            assert world.replicas.wanted("pool", target) == ""
        await world.settled(target)
    replicas, version = await seen(client, namespace)
    assert replicas == 1
    assert "asked for the first one" in world.replicas.story(target)
    assert await world.ask(target) == ""
    assert await seen(client, namespace) == (1, version), "asked once"
    (event,) = (await client.list(EVENTS, namespace)).items
    assert (event.reason, event.type, event.involved_object.name) == ("ScaledFromZero", "Normal", "llama")
    assert world.refused == []
    await world.replicas.close()


async def test_a_model_service_gets_its_first_replica(client: Client, namespace: str, world: World) -> None:
    (crd,) = [c for c in all_crds() if c["spec"]["names"]["kind"] == "ModelService"]
    with contextlib.suppress(AlreadyExists):
        await client.create(CUSTOM_RESOURCE_DEFINITIONS, crd)
    service = {
        "metadata": {"name": "llama", "namespace": namespace},
        "spec": {"model": {"name": "llama"}, "runtime": "simulated", "replicas": 0},
    }
    async with asyncio.timeout(PATIENCE_S):
        # The server serves a new kind a moment after its definition is stored.
        while True:
            with contextlib.suppress(NotFound):
                await client.create(MODEL_SERVICES, service)
                break
            await asyncio.sleep(0.02)
    assert await world.ask(f"ModelService/{namespace}/llama") == ""
    assert (await seen(client, namespace, MODEL_SERVICES))[0] == 1


async def test_a_kind_that_is_not_known_is_looked_up(client: Client, namespace: str, world: World) -> None:
    await deployment(client, namespace)
    assert await world.ask(f"Deployment.apps/{namespace}/llama") == ""
    assert (await seen(client, namespace))[0] == 1
    refusal = await world.ask(f"Sorcery/{namespace}/llama")
    assert "the server doesn't have a resource type" in refusal


async def test_a_replica_that_is_on_its_way_is_waited_for(client: Client, namespace: str, world: World) -> None:
    target = await deployment(client, namespace, replicas=2)
    before = await seen(client, namespace)
    assert await world.ask(target) == ""
    assert await seen(client, namespace) == before
    assert "wants 2 replica(s), of which none is ready yet" in world.replicas.story(target)


async def test_a_count_that_somebody_owns_is_left_alone(client: Client, namespace: str, world: World) -> None:
    target = await deployment(client, namespace, annotations={SCALED_BY: "our-autoscaler"})
    assert await world.ask(target) == ""
    assert (await seen(client, namespace))[0] == 0
    assert "our-autoscaler scales it" in world.replicas.story(target)


async def test_a_count_under_an_autoscaler_is_left_alone(client: Client, namespace: str, world: World) -> None:
    target = await deployment(client, namespace)
    await client.create(
        HORIZONTAL_POD_AUTOSCALERS.as_unstructured(),
        {
            "metadata": {"name": "by-load", "namespace": namespace},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"},
                "maxReplicas": 4,
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}},
                    }
                ],
            },
        },
    )
    assert await world.ask(target) == ""
    assert (await seen(client, namespace))[0] == 0
    assert "HorizontalPodAutoscaler by-load scales it" in world.replicas.story(target)


async def test_a_count_that_changes_meanwhile_is_not_overwritten(client: Client, namespace: str, world: World) -> None:
    target = await deployment(client, namespace)
    stale = await client.scale(DEPLOYMENTS, "llama", namespace)
    await client.scale(DEPLOYMENTS, "llama", namespace, 3)
    with pytest.raises(Conflict):
        await world.replicas._set_one(RAW_DEPLOYMENTS, Target.parse(target), stale)
    assert await world.ask(target) == ""
    assert (await seen(client, namespace))[0] == 3


async def test_what_does_not_exist_is_refused_at_once_and_tried_again_later(
    client: Client, namespace: str, world: World
) -> None:
    target = f"Deployment/{namespace}/llama"
    refusal = await world.ask(target)
    assert refusal.startswith("No replica is ready, and none can be started: ")
    assert 'deployments.apps "llama" not found' in refusal
    assert world.refused == ["pool"]
    assert world.replicas.wanted("other-pool", target) == refusal
    await deployment(client, namespace)
    world.replicas._wishes[target].again_s = 0.0
    assert await world.ask(target) == ""
    assert (await seen(client, namespace))[0] == 1


async def test_a_target_that_is_being_deleted_is_refused(client: Client, namespace: str, world: World) -> None:
    target = await deployment(client, namespace, finalizers=["example.com/wait"])
    await client.delete(DEPLOYMENTS, "llama", namespace)
    assert "is being deleted" in await world.ask(target)
    assert (await seen(client, namespace))[0] == 0


async def test_what_is_not_a_target(world: World) -> None:
    assert world.replicas.wanted("pool", "") == NOTHING_TO_SCALE
    assert "want Kind/namespace/name" in world.replicas.wanted("pool", "llama")


@pytest.mark.parametrize("may_scale", [False, True])
async def test_rights_decide(client: Client, namespace: str, may_scale: bool) -> None:
    target = await deployment(client, namespace)
    rules = [{"apiGroups": ["apps"], "resources": ["deployments", "deployments/scale"], "verbs": ["get"]}]
    if may_scale:
        rules.append({"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["patch"]})
    await client.create(SERVICE_ACCOUNTS.as_unstructured(), {"metadata": {"name": "gateway", "namespace": namespace}})
    await client.create(ROLES, {"metadata": {"name": "gateway", "namespace": namespace}, "rules": rules})
    await client.create(
        ROLE_BINDINGS,
        {
            "metadata": {"name": "gateway", "namespace": namespace},
            "subjects": [{"kind": "ServiceAccount", "name": "gateway", "namespace": namespace}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "gateway"},
        },
    )
    path = SERVICE_ACCOUNTS.path(namespace, "gateway", "token")
    issued = (await client.request("POST", path, body={"spec": {"expirationSeconds": 600}})).json()
    bearer = FixedAuthorization.bearer(issued["status"]["token"])
    async with Client(replace(client.credentials, authorization=bearer)) as limited:
        world = World(limited)
        refusal = await world.ask(target)
        await world.replicas.close()
    if may_scale:
        # It may not list autoscalers either, which must not stop it.
        assert refusal == ""
        assert (await seen(client, namespace))[0] == 1
    else:
        assert "cannot patch resource" in refusal
        assert (await seen(client, namespace))[0] == 0


async def test_an_api_server_that_is_down_is_asked_until_it_answers(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        retry = RetryPolicy(attempts=1)
        async with Client.load(server.data / "kubeconfig", retry=retry) as client:
            target = await deployment(client, "default")
            server.kill()
            world = World(client)
            assert world.replicas.wanted("pool", target) == ""
            await until(lambda: "could not be asked" in world.replicas.story(target))
            assert world.replicas.wanted("pool", target) == "", "requests wait, they are not refused"
            await asyncio.to_thread(server.start)
            async with asyncio.timeout(PATIENCE_S):
                while (await seen(client, "default"))[0] == 0:
                    assert world.replicas.wanted("pool", target) == ""
                    await asyncio.sleep(0.02)
            await world.settled(target)
            assert "asked for the first one" in world.replicas.story(target)
            await world.replicas.close()


async def test_nobody_waits_nobody_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead.gateway.flow.scale_from_zero.STILL_WANTED_S", 0.05)
    async with Client(Credentials("http://127.0.0.1:9"), retry=RetryPolicy(attempts=1)) as client:
        world = World(client)
        world.replicas.wanted("pool", "Deployment/default/llama")
        await world.settled("Deployment/default/llama")
        assert "could not be asked" in world.replicas.story("Deployment/default/llama")


async def test_requests_at_the_gate_wait_for_the_replica_or_hear_why_not(client: Client, namespace: str) -> None:
    """The whole way: a request, its gate, the API, the endpoint that comes."""
    target = await deployment(client, namespace)
    gates: dict[str, Gate] = {}
    replicas = FirstReplica(client, lambda pool: gates[pool].poke())
    endpoints: list[str] = []
    answers: list[Rejection | None] = []

    def read(now_s: float) -> Saturation:
        return Saturation(0.0) if endpoints else NO_ENDPOINTS

    for pool, wanted in (("good", target), ("bad", f"Deployment/{namespace}/nothing")):
        waker = PoolWaker(replicas, pool, lambda wanted=wanted: wanted)  # type: ignore[misc]
        gates[pool] = Gate(FlowControl(), read, pool=pool, wake=waker)
    assert gates["good"].enter(Item(), answers.append) is not None
    async with asyncio.timeout(PATIENCE_S):
        while (await seen(client, namespace))[0] == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert answers == []
    endpoints.append("10.0.0.1:8000")
    gates["good"].poke()
    assert answers == [None]

    endpoints.clear()
    assert gates["bad"].enter(Item(), answers.append) is not None
    await until(lambda: len(answers) == 2)
    refused = answers[1]
    assert refused is not None
    assert (refused.reason, refused.status) == (Reason.NO_ENDPOINTS, 503)
    assert 'deployments.apps "nothing" not found' in refused.message
    await replicas.close()


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
async def test_kubectl_sees_the_replica_and_the_event(server: ServerProcess, client: Client, namespace: str) -> None:
    def kubectl(*words: str) -> str:
        command = ["kubectl", "--kubeconfig", str(server.data / "kubeconfig"), "-n", namespace, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE_S).stdout

    await asyncio.to_thread(kubectl, "create", "deployment", "llama", "--image=x", "--replicas=0")
    async with EventRecorder(client, "fairlead-gateway") as events:
        world = World(client, events)
        assert await world.ask(f"Deployment/{namespace}/llama") == ""
        await world.replicas.close()
    assert await asyncio.to_thread(kubectl, "get", "deployment", "llama", "-o", "jsonpath={.spec.replicas}") == "1"
    assert "ScaledFromZero" in await asyncio.to_thread(kubectl, "describe", "deployment", "llama")
