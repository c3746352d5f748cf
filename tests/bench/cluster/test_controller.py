"""The Benchmark controller on a real API server, with the rights of deploy/bench and no others; what pods do is written
into their statuses."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from bench.cluster.made import CONFIG, ended, raw
from chaos.server import api_server
from fairlead.api.benchmark import BENCHMARKS
from fairlead.bench.cluster import names
from fairlead.bench.cluster.controller import Benchmarks
from fairlead.bench.cluster.greeting import STOP, receive
from fairlead.bench.cluster.outcome import Outcome, encode
from fairlead.kube.client import Client
from fairlead.kube.credentials import Credentials
from fairlead.kube.errors import AlreadyExists, NotFound
from fairlead.kube.events import EventRecorder
from fairlead.kube.informer import Informers
from fairlead.kube.kinds import EVENTS, JOBS, PODS, SECRETS, SERVICES
from fairlead.kube.resources import Resource
from fairlead.kube.run import run_controllers
from patience import PATIENCE_S

MANIFEST = Path(__file__).parents[3] / "deploy" / "bench" / "rbac.yaml"
ACCOUNT = "/api/v1/namespaces/fairlead-system/serviceaccounts/fairlead-bench/token"
RAW_JOBS, RAW_PODS, RAW_SECRETS, RAW_SERVICES, RAW_EVENTS = (
    kind.as_unstructured() for kind in (JOBS, PODS, SECRETS, SERVICES, EVENTS)
)
RAW_BENCHMARKS = BENCHMARKS.as_unstructured()
Json = dict[str, Any]
NAMESPACES: Resource[Json] = Resource.of("v1", "namespaces", "Namespace", namespaced=False)
RBAC = "rbac.authorization.k8s.io/v1"
KINDS = {
    "ServiceAccount": Resource.of("v1", "serviceaccounts", "ServiceAccount"),
    **{
        kind: Resource.of(RBAC, kind.lower() + "s", kind, namespaced="Cluster" not in kind)
        for kind in ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
    },
}


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with api_server(tmp_path_factory.mktemp("api")) as found:
        token = asyncio.run(_install(found))
        restricted = yaml.safe_load(found.read_text())
        restricted["users"][0]["user"] = {"token": token}
        found.with_name("restricted").write_text(yaml.safe_dump(restricted))
        yield found


async def _install(kubeconfig: Path) -> str:
    async with Client.load(kubeconfig) as client:
        await _there(client, NAMESPACES, {"metadata": {"name": "fairlead-system"}})
        for obj in yaml.safe_load_all(MANIFEST.read_text()):
            await _there(client, KINDS[obj["kind"]], obj)
        await _there(client, KINDS["ServiceAccount"], {"metadata": {"name": "default", "namespace": "default"}})
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
        answer = await client.request("POST", ACCOUNT, body=asked)
    return str(json.loads(answer.body)["status"]["token"])


async def _there(client: Client, resource: Resource[Any], obj: Json) -> None:
    with contextlib.suppress(AlreadyExists):
        await client.create(resource, {"apiVersion": resource.api_version, "kind": resource.kind, **obj})


@pytest.fixture
async def admin(kubeconfig: Path) -> AsyncIterator[Client]:
    async with Client.load(kubeconfig) as client:
        yield client
        for each in (await client.list(RAW_BENCHMARKS, "default")).items:
            await client.delete(RAW_BENCHMARKS, each["metadata"]["name"], "default")
        for resource in (RAW_JOBS, RAW_PODS, RAW_SECRETS, RAW_SERVICES):  # nobody collects garbage here
            for each in (await client.list(resource, "default", label_selector=names.BENCHMARK_LABEL)).items:
                await client.delete(
                    resource, each["metadata"]["name"], "default", grace_period_s=0, propagation="Background"
                )


class Mortal(Client):
    """A client whose process is killed at its n-th write: before it, or after it was carried out."""

    writes, dies_at = 0, 10**9

    async def create(self, *args: Any, **options: Any) -> Any:
        return await self._written(super().create(*args, **options))

    async def apply(self, *args: Any, **options: Any) -> Any:
        return await self._written(super().apply(*args, **options))

    async def replace(self, *args: Any, **options: Any) -> Any:
        return await self._written(super().replace(*args, **options))

    async def _written(self, writing: Awaitable[Any]) -> Any:
        self.writes += 1
        if self.writes * 2 - 1 >= self.dies_at:
            writing.close()  # type: ignore[attr-defined]
            await asyncio.Event().wait()
        answer = await writing
        if self.writes * 2 >= self.dies_at:
            await asyncio.Event().wait()
        return answer


@contextlib.asynccontextmanager
async def controlled(kubeconfig: Path, dies_at: int = 10**9) -> AsyncIterator[Benchmarks]:
    """The controller at work, until the end of the block: it is killed then, without time to end anything."""
    async with Mortal(Credentials.load(kubeconfig.with_name("restricted"))) as client:
        client.dies_at = dies_at
        informers = Informers(client)
        async with EventRecorder(Client.load(kubeconfig), "fairlead-bench") as events:
            made = Benchmarks(client, informers, events, "fairlead:1")
            made.controller._grace_s = 0.0
            working = asyncio.ensure_future(run_controllers(informers, [made.controller]))
            try:
                yield made
            finally:
                assert not working.done(), working
                working.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await working


async def until(holds: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(NotFound):
                if found := await holds():
                    return found
            await asyncio.sleep(0.02)


async def state(admin: Client, *states: str, name: str = "b") -> Json:
    async def holds() -> Json | None:
        found = await admin.get(RAW_BENCHMARKS, name, "default")
        return found if found.get("status", {}).get("state") in states else None

    return (await until(holds))["status"]  # type: ignore[no-any-return]


def conditions(status: Json) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["reason"], c.get("message", "")) for c in status["conditions"]}


async def play_pod(admin: Client, index: int, container: Json, phase: str, ip: str = "127.0.0.1") -> None:
    """A pod of the Job, as its controller and a kubelet have it."""
    job = await until(lambda: admin.get(RAW_JOBS, "bench-b", "default"))
    pod = {"metadata": {**job["spec"]["template"]["metadata"], "name": f"bench-b-{index}"},
           "spec": job["spec"]["template"]["spec"]}  # fmt: skip
    pod["metadata"]["annotations"] = {names.INDEX_ANNOTATION: str(index)}
    pod["metadata"]["namespace"] = "default"
    await _there(admin, RAW_PODS, pod)
    told = {"name": names.CONTAINER, "ready": True, "restartCount": 0, "image": "x", "imageID": "", "state": container}
    status = {"phase": phase, "podIP": ip, "containerStatuses": [told]}
    await admin.patch(
        RAW_PODS, f"bench-b-{index}", {"status": status}, "default", kind="strategic", subresource="status"
    )


RUNNING: Json = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
GOOD = encode(Outcome("complete", run="r-1", valid=True)).decode()


async def test_killed_at_every_step_it_makes_one_job_whose_pods_are_told_the_same(
    kubeconfig: Path, admin: Client
) -> None:
    for dies_at in range(1, 9):
        name = f"b{dies_at}"
        await admin.create(RAW_BENCHMARKS, raw(name, workers=2))
        async with controlled(kubeconfig, dies_at) as made:
            client = made._client
            assert isinstance(client, Mortal)
            await until(lambda: _true(client.writes * 2 >= dies_at))  # noqa: B023
        async with controlled(kubeconfig):
            status = await state(admin, "Starting", name=name)
        listed = (await admin.list(RAW_JOBS, "default")).items
        (job,) = (each for each in listed if each["metadata"]["name"] == f"bench-{name}")
        secret = await admin.get(RAW_SECRETS, f"bench-{name}", "default")
        digest = secret["metadata"]["annotations"][names.DIGEST_ANNOTATION]
        assert (status["jobUid"], status["configDigest"], status["workers"]) == (job["metadata"]["uid"], digest, 2)
        assert await admin.get(RAW_SERVICES, f"bench-{name}", "default")
        await admin.delete(RAW_BENCHMARKS, name, "default")


async def _true(value: bool) -> bool:
    return value


async def test_from_its_pods_to_its_end_and_past_it(kubeconfig: Path, admin: Client) -> None:
    await admin.create(RAW_BENCHMARKS, raw(workers=1, ttlSecondsAfterFinished=1))
    async with controlled(kubeconfig):
        await state(admin, "Starting")
        await play_pod(admin, 0, RUNNING, "Running")
        await play_pod(admin, 1, RUNNING, "Running")
        assert conditions(await state(admin, "Running"))["Running"] == ("Running", "2 of 2 pods run")
        # What is changed too late is told, and the run goes on.
        changed = {"spec": {"config": {**CONFIG, "seed": 4}}}
        await admin.patch(RAW_BENCHMARKS, "b", changed, "default")

        async def stale() -> bool:
            return "Current" in conditions((await admin.get(RAW_BENCHMARKS, "b", "default"))["status"])

        await until(stale)
        await play_pod(admin, 0, ended(0, GOOD, "Completed"), "Succeeded")
        assert (await state(admin, "Complete"))["run"] == "r-1"

        # Its time after the end is over: it goes.
        async def gone() -> bool:
            return not (await admin.list(RAW_BENCHMARKS, "default")).items

        await until(gone)
    told = [each["reason"] for each in (await admin.list(RAW_EVENTS, "default")).items]
    assert {"Begun", "Complete"} <= set(told)


async def test_it_waits_while_suspended_and_is_corrected_until_it_has_begun(kubeconfig: Path, admin: Client) -> None:
    await admin.create(RAW_BENCHMARKS, raw(suspend=True, template={"spec": {"containers": "none"}}))
    async with controlled(kubeconfig):
        assert conditions(await state(admin, "Refused"))["Accepted"][0] == "TemplateInvalid"
        await admin.patch(RAW_BENCHMARKS, "b", {"spec": {"template": None}}, "default")
        await state(admin, "Suspended")
        assert not (await admin.list(RAW_JOBS, "default", label_selector=names.BENCHMARK_LABEL)).items
        # What an API server has against the pods is told too.
        bad = {"spec": {"containers": [{"name": "bench", "env": [{"name": "", "value": "x"}]}]}}
        await admin.patch(RAW_BENCHMARKS, "b", {"spec": {"template": bad, "suspend": False}}, "default")
        accepted = conditions(await state(admin, "Refused"))["Accepted"]
        assert accepted[0] == "TemplateInvalid" and "its pods cannot be made" in accepted[1]
        await admin.patch(RAW_BENCHMARKS, "b", {"spec": {"template": None}}, "default")
        await state(admin, "Starting")


async def test_a_name_that_is_anothers_is_not_taken(kubeconfig: Path, admin: Client) -> None:
    other = {"metadata": {"name": "bench-b", "namespace": "default", "labels": {names.BENCHMARK_LABEL: "x"}}}
    await _there(admin, RAW_SECRETS, {**other, "stringData": {"token": "mine"}})
    await admin.create(RAW_BENCHMARKS, raw())
    async with controlled(kubeconfig):
        reason, message = conditions(await state(admin, "Refused"))["Accepted"]
    assert reason == "NameTaken" and "there is a Secret bench-b already" in message


async def test_a_job_that_is_deleted_is_the_end_and_not_made_again(kubeconfig: Path, admin: Client) -> None:
    await admin.create(RAW_BENCHMARKS, raw())
    async with controlled(kubeconfig):
        await state(admin, "Starting")
        await admin.delete(RAW_JOBS, "bench-b", "default", propagation="Background")
        status = await state(admin, "Failed")
    assert "its Job was deleted" in conditions(status)["Failed"][1]
    assert not (await admin.list(RAW_JOBS, "default", label_selector=names.BENCHMARK_LABEL)).items


async def test_pods_that_do_not_come_are_not_waited_for_for_ever(
    kubeconfig: Path, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairlead.bench.cluster.controller.LINGER_S", 0.5)
    await admin.create(RAW_BENCHMARKS, raw())
    async with controlled(kubeconfig):
        await play_pod(admin, 0, {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}, "Pending")

        async def told() -> bool:
            return "no such image" in (await admin.get(RAW_BENCHMARKS, "b", "default"))["status"]["message"]

        await until(told)
        await admin.patch(RAW_BENCHMARKS, "b", {"spec": {"startDeadlineSeconds": 1}}, "default")
        status = await state(admin, "Failed")

        async def gone() -> bool:
            return bool((await admin.get(RAW_JOBS, "bench-b", "default"))["spec"].get("suspend"))

        await until(gone)  # with the Job, what is left of its pods
    assert "bench-b-0: ErrImagePull: no such image" in conditions(status)["Failed"][1]


async def test_the_coordinator_is_asked_to_stop_with_the_token_of_the_run(kubeconfig: Path, admin: Client) -> None:
    asked: list[bytes] = []

    async def coordinator(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        secret = await admin.get(RAW_SECRETS, "bench-b", "default")
        token = msgspec.json.decode(f'"{secret["data"]["token"]}"'.encode(), type=bytes)
        asked.append((await receive(reader, writer, token))[0])
        writer.write(b"!")
        writer.close()

    server = await asyncio.start_server(coordinator, "127.77.0.9", names.PORT)
    await admin.create(RAW_BENCHMARKS, raw(workers=1))
    async with server, controlled(kubeconfig):
        await play_pod(admin, 0, RUNNING, "Running", "127.77.0.9")
        await play_pod(admin, 1, RUNNING, "Running")
        await state(admin, "Running")
        await admin.patch(RAW_BENCHMARKS, "b", {"spec": {"stop": True}}, "default")
        await until(lambda: _true(bool(asked)))
        await state(admin, "Ending")
        words = encode(Outcome("interrupted", "spec.stop", run="r-2")).decode()
        await play_pod(admin, 0, ended(0, words, "Completed"), "Succeeded")
        status = await state(admin, "Interrupted")
    assert asked == [STOP] and status["run"] == "r-2"


async def test_one_that_cannot_be_asked_to_stop_is_ended_and_one_that_is_not_up_too(
    kubeconfig: Path, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairlead.bench.cluster.controller.STOP_AGAIN_S", 0.02)
    await admin.create(RAW_BENCHMARKS, raw(workers=1))
    async with controlled(kubeconfig):
        await play_pod(admin, 0, RUNNING, "Running", "127.77.0.10")
        await play_pod(admin, 1, RUNNING, "Running")
        await state(admin, "Running")
        await admin.patch(RAW_BENCHMARKS, "b", {"spec": {"stop": True}}, "default")

        async def leaves() -> bool:
            found = (await admin.list(RAW_PODS, "default", label_selector=names.BENCHMARK_LABEL)).items
            return "bench-b-0" not in {p["metadata"]["name"] for p in found if "deletionTimestamp" not in p["metadata"]}

        await until(leaves)
    await admin.create(RAW_BENCHMARKS, raw("c"))
    async with controlled(kubeconfig):
        await state(admin, "Starting", name="c")
        await admin.patch(RAW_BENCHMARKS, "c", {"spec": {"stop": True}}, "default")
        status = await state(admin, "Interrupted", name="c")
    assert "before the coordinator was up" in conditions(status)["Failed"][1]
