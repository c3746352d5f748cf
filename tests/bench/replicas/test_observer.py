"""Watching workloads of a real API server, through its death too. The test is the controller and the kubelet."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from bench.report.made import one_run
from fairlead.bench.config.read import read_config
from fairlead.bench.replicas.observer import ScalingObserver
from fairlead.bench.replicas.timeline import Timeline
from fairlead.bench.summary import RunSummary
from fairlead.clock import SYSTEM, format_time
from fairlead.kube.client import Client
from fairlead.kube.kinds import DEPLOYMENTS, NAMESPACES, PODS, RESOURCE_CLAIMS, SERVICE_ACCOUNTS
from fairlead.kube.objects import Namespace, ObjectMeta, ServiceAccount
from fairlead.kube.resources import Resource
from kube.conftest import EmbeddedServer
from patience import PATIENCE_S

Json = dict[str, Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    started = EmbeddedServer(tmp_path_factory.mktemp("replicas"))
    started.start()
    yield started
    started.kill()


@pytest.fixture
async def client(server: EmbeddedServer) -> AsyncIterator[Client]:
    async with Client.load(server.kubeconfig) as client:
        yield client


@pytest.fixture
async def namespace(client: Client) -> str:
    name = f"r-{uuid.uuid4().hex[:8]}"
    await client.create(NAMESPACES, Namespace(metadata=ObjectMeta(name=name)))
    await client.create(SERVICE_ACCOUNTS, ServiceAccount(metadata=ObjectMeta(name="default", namespace=name)))
    return name


async def deployment(client: Client, namespace: str, replicas: int = 1) -> None:
    labels = {"app": "w"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    obj = {"metadata": {"name": "w", "namespace": namespace}, "spec": spec}
    await client.create(DEPLOYMENTS.as_unstructured(), obj)


async def pod(client: Client, namespace: str, name: str, labels: Json, **spec: Any) -> None:
    """On a node; nothing runs yet."""
    size = {"leaderworkerset.sigs.k8s.io/size": "2"} if "leaderworkerset.sigs.k8s.io/name" in labels else {}
    metadata = {"name": name, "namespace": namespace, "labels": labels, "annotations": size}
    of = {"containers": [{"name": "c", "image": "i"}], "nodeName": "node", **spec}
    await client.create(PODS.as_unstructured(), {"metadata": metadata, "spec": of})
    await status(client, namespace, name, PodScheduled=True)


async def status(client: Client, namespace: str, name: str, more: Json | None = None, **conditions: bool) -> None:
    now = format_time(SYSTEM.wall_s())
    found = [{"type": t, "status": str(v), "lastTransitionTime": now} for t, v in conditions.items()]
    running = [{"name": "c", "image": "i", "imageID": "", "ready": True, "restartCount": 0,
                "state": {"running": {"startedAt": now}}}]  # fmt: skip
    body = {"status": {"conditions": found, **({"containerStatuses": running} if "Ready" in conditions else {})}}
    body["status"] |= more or {}
    await client.patch(PODS, name, body, namespace, kind="strategic", subresource="status")


def observer(server: EmbeddedServer, *watch: str, **scaling: Any) -> ScalingObserver:
    document = {
        "targets": [{"url": "http://127.0.0.1:1", "model": "m"}],
        "load": {"kind": "open", "stages": [{"rate_per_s": 1, "seconds": 1}]},
        "scaling": {"watch": list(watch), "kubeconfig": str(server.kubeconfig), "every_s": 0.1, **scaling},
    }
    return ScalingObserver(read_config(document))


async def until(watching: ScalingObserver, is_so: Callable[[Timeline], bool], at: int = 0) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so(watching.lines(1e6)[at]):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def last(steps: Any) -> float | None:
    return steps.values[-1]  # type: ignore[no-any-return]


async def summary(watching: ScalingObserver) -> RunSummary:
    observed = await watching.end()
    assert observed.complete is not None
    return observed.complete(one_run(server=observed.series))


async def test_what_happens_is_told_in_the_order_in_which_it_does(
    server: EmbeddedServer, client: Client, namespace: str
) -> None:
    await deployment(client, namespace)
    await pod(client, namespace, "a", {"app": "w"})
    await status(client, namespace, "a", Ready=True)
    await pod(client, namespace, "foreign", {"app": "other"})
    watching = observer(server, f"Deployment/{namespace}/w", accelerators_per_replica=2)
    await watching.prepare()
    watching.begin(SYSTEM.monotonic_s())
    await client.scale(DEPLOYMENTS, "w", namespace, 2)
    await until(watching, lambda line: last(line.desired) == 2)
    await pod(client, namespace, "b", {"app": "w"})
    await until(watching, lambda line: last(line.allocated) == 2)
    await status(client, namespace, "b", Ready=True)
    await until(watching, lambda line: last(line.ready) == 2)
    await client.patch(
        PODS, "a", {"metadata": {"annotations": {"fairlead.dev/draining": "2026-11-29T12:00:00Z"}}}, namespace
    )
    await until(watching, lambda line: last(line.ready) == 1)
    await client.delete(PODS, "a", namespace, grace_period_s=0)
    await until(watching, lambda line: last(line.allocated) == 1)
    found = await summary(watching)
    assert found.scaling is not None and found.notes == ()
    (workload,) = found.scaling.workloads
    assert workload.name == f"Deployment {namespace}/w"

    def course(of: str) -> list[float]:
        values = [v for s in found.server if s.name == f"{of} replicas" for v in s.values]
        return [v for k, v in enumerate(values) if v is not None and (k == 0 or v != values[k - 1])]

    assert (course("desired"), course("allocated"), course("ready")) == ([1, 2], [1, 2, 1], [1, 2, 1])
    a, b = workload.pods
    assert (a.name, b.name) == ("a", "b")
    assert a.seen.created is None and a.seen.ready is None and a.told.ready is not None, "it was there before"
    seen = [b.seen.created, b.seen.scheduled, b.seen.started, b.seen.ready]
    assert all(at is not None for at in seen) and seen == sorted(seen, key=lambda at: at or 0.0)
    assert a.seen.leaving is not None and a.seen.gone is not None and a.seen.leaving <= a.seen.gone
    (step,) = workload.steps
    assert (step.before, step.after, step.ready_s) == (1, 2, b.seen.ready)
    assert found.scaling.all.allocated_accelerator_s == pytest.approx(2 * found.scaling.all.allocated_replica_s)


async def test_devices_of_claims_are_counted_even_when_they_are_allocated_last(
    server: EmbeddedServer, client: Client, namespace: str
) -> None:
    await deployment(client, namespace)
    asked = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu", "count": 4}}]}}
    claim = {"metadata": {"name": "c", "namespace": namespace}, "spec": asked}
    await client.create(RESOURCE_CLAIMS.as_unstructured(), claim)
    claims = {"resourceClaims": [{"name": "gpus", "resourceClaimName": "c"}]}
    watching = observer(server, f"Deployment/{namespace}/w")
    await watching.prepare()
    watching.begin(SYSTEM.monotonic_s())
    await pod(client, namespace, "a", {"app": "w"}, **claims)
    told = {"resourceClaimStatuses": [{"name": "gpus", "resourceClaimName": "c"}]}
    await status(client, namespace, "a", told)
    results = [{"request": "r", "driver": "gpu.nvidia.com", "pool": "node", "device": f"gpu-{n}"} for n in range(4)]
    allocation = {"allocation": {"devices": {"results": results}}}
    await client.patch(RESOURCE_CLAIMS, "c", {"status": allocation}, namespace, subresource="status")
    await until(watching, lambda line: line.per_replica == 4)
    await watching.end()


async def test_an_api_server_that_dies_and_one_that_hangs_are_told_and_cost_no_figures(tmp_path: Any) -> None:
    own = EmbeddedServer(tmp_path)
    own.start()
    try:
        async with Client.load(own.kubeconfig) as client:
            await client.create(NAMESPACES, Namespace(metadata=ObjectMeta(name="n")))
            await client.create(SERVICE_ACCOUNTS, ServiceAccount(metadata=ObjectMeta(name="default", namespace="n")))
            await deployment(client, "n")
            for name in ("a", "b"):
                await pod(client, "n", name, {"app": "w"})
            watching = observer(own, "Deployment/n/w", accelerators_per_replica=1)
            await watching.prepare()
            watching.begin(SYSTEM.monotonic_s())
            await until(watching, lambda line: last(line.allocated) == 2)
            await asyncio.to_thread(own.kill)
            await until(watching, lambda line: bool(line.gaps))
            await asyncio.to_thread(own.start)
            await client.delete(PODS, "b", "n", grace_period_s=0)
            await until(watching, lambda line: last(line.allocated) == 1)
            await until(watching, lambda line: line.gaps[-1][1] < 1e6)
            # It hangs, from now to the end.
            assert own._process is not None
            own._process.send_signal(signal.SIGSTOP)
            found = await summary(watching)
    finally:
        own.kill()
    assert found.scaling is not None
    (workload,) = found.scaling.workloads
    assert workload.blind[-1][1] == found.scaling.all.end_s, "away to the end, which costs no figures"
    assert [s.values[-1] for s in found.server] == [None] * 3
    at = dict(zip(workload.times_s, workload.allocated, strict=True))
    assert at[workload.blind[0][0]] is None
    unknown_s = sum(b - a for a, b in workload.blind)
    assert found.scaling.all.unknown_s == pytest.approx(unknown_s)
    assert any("did not answer for" in note for note in found.notes)
    (deserted,) = (life for life in workload.pods if life.name == "b")
    # Told as the watch came back: it may have been gone for as long as nobody could look.
    assert 0 <= deserted.unsure_s <= unknown_s + 1e-6


async def test_roles_and_groups_are_watched_by_what_scales_them(
    server: EmbeddedServer, client: Client, namespace: str
) -> None:
    services = Resource.of("fairlead.dev/v1alpha1", "modelservices", "ModelService")
    scales = Resource.of("fairlead.dev/v1alpha1", "rolescales", "RoleScale")
    sets = Resource.of("leaderworkerset.x-k8s.io/v1", "leaderworkersets", "LeaderWorkerSet")
    roles = [{"name": "prefill", "replicas": 1}, {"name": "decode", "replicas": 2}]
    spec = {"model": {"name": "m"}, "runtime": "simulated", "replicas": 1, "roles": roles}
    template = {"spec": {"containers": [{"name": "c", "image": "i"}]}}
    objects: list[tuple[Any, Json, str]] = [
        (services, {"metadata": {"name": "m", "namespace": namespace}, "spec": spec}, "fairlead.dev/model-service=m"),
        (sets, {"metadata": {"name": "s", "namespace": namespace},
                "spec": {"replicas": 1, "leaderWorkerTemplate": {"size": 2, "workerTemplate": template}}},
         "leaderworkerset.sigs.k8s.io/name=s,leaderworkerset.sigs.k8s.io/worker-index=0"),
    ]  # fmt: skip
    objects += [
        (scales, {"metadata": {"name": f"m-{role['name']}", "namespace": namespace},
                  "spec": {"service": "m", "role": role["name"], "replicas": role["replicas"]}},
         f"fairlead.dev/model-service=m,fairlead.dev/role={role['name']}")
        for role in roles
    ]  # fmt: skip
    for resource, obj, selector in objects:
        await client.create(resource, obj)
        field = "hpaPodSelector" if resource is sets else "selector"
        named = obj["metadata"]["name"]
        await client.patch(resource, named, {"status": {field: selector}}, namespace, subresource="status")
    group = {"leaderworkerset.sigs.k8s.io/name": "s", "leaderworkerset.sigs.k8s.io/group-index": "0"}
    for number in range(2):
        labels = {**group, "leaderworkerset.sigs.k8s.io/worker-index": str(number)}
        await pod(client, namespace, f"s-0-{number}", labels)
    watching = observer(server, f"ModelService/{namespace}/m", f"lws/{namespace}/s")
    await watching.prepare()
    watching.begin(SYSTEM.monotonic_s())
    prefill, decode, grouped = watching.lines(1.0)
    assert [line.name for line in (prefill, decode, grouped)] == [
        f"RoleScale {namespace}/m-prefill", f"RoleScale {namespace}/m-decode", f"LeaderWorkerSet {namespace}/s",
    ]  # fmt: skip
    assert (last(prefill.desired), last(decode.desired)) == (1, 2)
    assert {life.replica for life in grouped.lives} == {"s-0"} and len(grouped.lives) == 2
    await watching.end()


@pytest.mark.parametrize(
    ("watch", "said"),
    [
        ("Deployment/{n}/w", "there is no Deployment 'w' in namespace"),
        ("Deploymnet/{n}/w", "the API server has no kind 'Deploymnet'"),
        ("Namespace/{n}/{n}", "have no namespace and no replicas"),
        ("ServiceAccount/{n}/default", "have no scale"),
    ],
)
async def test_what_cannot_be_watched_is_refused_before_the_run(
    server: EmbeddedServer, namespace: str, watch: str, said: str
) -> None:
    watching = observer(server, watch.format(n=namespace))
    with pytest.raises(ValueError, match=r"scaling\.watch\[0\] is ") as refused:
        await watching.prepare()
    assert said in str(refused.value)
    assert await watching.end() is not None


async def test_a_cluster_that_is_not_there_is_refused_by_name(server: EmbeddedServer, tmp_path: Any) -> None:
    gone = observer(server, "Deployment/n/w")
    missing = read_config({**{"targets": [{"url": "http://127.0.0.1:1", "model": "m"}]},
                           "load": {"kind": "open", "stages": [{"rate_per_s": 1, "seconds": 1}]},
                           "scaling": {"watch": ["Deployment/n/w"], "kubeconfig": str(tmp_path / "none")}})  # fmt: skip
    with pytest.raises(ValueError, match=r"scaling\.watch needs a cluster: kubeconfig .*none"):
        await ScalingObserver(missing).prepare()
    text = server.kubeconfig.read_text().replace(str(server.port), "1")
    (tmp_path / "config").write_text(text)
    gone = observer(server, "Deployment/n/w", kubeconfig=str(tmp_path / "config"))
    with pytest.raises(ValueError, match=r"cannot be looked at: the API server https://.*:1"):
        await gone.prepare()
    await gone.end()
