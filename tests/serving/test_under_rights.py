"""The controllers of serving as deploy/serving runs them: with the rights of its ServiceAccount and no others, on a
real API server that enforces them. Whatever they are refused is in their log."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from chaos.server import api_server
from fairlead.api import all_crds
from fairlead.api.inference_pool import INFERENCE_POOLS
from fairlead.api.model_adapter import MODEL_ADAPTERS
from fairlead.api.model_service import MODEL_SERVICES
from fairlead.kube.client import Client
from fairlead.kube.errors import AlreadyExists, NotFound
from fairlead.kube.kinds import CONTROLLER_REVISIONS, CUSTOM_RESOURCE_DEFINITIONS, DEPLOYMENTS, PODS
from fairlead.kube.resources import Resource
from fairlead.serving.belongings import LEADER_WORKER_SETS
from fairlead.serving.http_routes import HTTP_ROUTES
from patience import PATIENCE_S

MANIFEST = Path(__file__).parents[2] / "deploy" / "serving" / "rbac.yaml"
ACCOUNT = "/api/v1/namespaces/fairlead-system/serviceaccounts/fairlead-serving/token"
RAW_PODS = PODS.as_unstructured()
Json = dict[str, Any]


def raw(api_version: str, plural: str, kind: str) -> Resource[Json]:
    return Resource.of(api_version, plural, kind)


KINDS = {
    "ServiceAccount": raw("v1", "serviceaccounts", "ServiceAccount"),
    **{
        kind: Resource.of("rbac.authorization.k8s.io/v1", kind.lower() + "s", kind, namespaced="Cluster" not in kind)
        for kind in ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
    },
}
NAMESPACES: Resource[Json] = Resource.of("v1", "namespaces", "Namespace", namespaced=False)


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with api_server(tmp_path_factory.mktemp("api")) as found:
        yield found


@pytest.fixture
async def admin(kubeconfig: Path) -> AsyncIterator[Client]:
    async with Client.load(kubeconfig) as client:
        await _there(client, NAMESPACES, {"metadata": {"name": "fairlead-system"}})
        for obj in yaml.safe_load_all(MANIFEST.read_text()):
            await _there(client, KINDS[obj["kind"]], obj)
        await _there(client, KINDS["ServiceAccount"], {"metadata": {"name": "default", "namespace": "default"}})
        yield client


@pytest.fixture
async def token(admin: Client) -> str:
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    answer = await admin.request("POST", ACCOUNT, body=asked)
    return str(json.loads(answer.body)["status"]["token"])


@pytest.fixture
def log(kubeconfig: Path, token: str, tmp_path: Path) -> Iterator[Path]:
    """Of the controllers, which run."""
    restricted = yaml.safe_load(kubeconfig.read_text())
    restricted["users"][0]["user"] = {"token": token}
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(restricted))
    command = [
        sys.executable, "-m", "fairlead.cli.main", "controllers", "--kubeconfig", str(tmp_path / "kubeconfig"),
        "--only", "serving", "--leader-elect",
    ]  # fmt: skip
    found = tmp_path / "log"
    with found.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        yield found
    finally:
        process.kill()
        process.wait(10)


async def _there(client: Client, resource: Resource[Any], obj: Json) -> None:
    try:
        await client.create(resource, {"apiVersion": resource.api_version, "kind": resource.kind, **obj})
    except AlreadyExists:
        return


async def until(log: Path, holds: Callable[[], Awaitable[Any]], what: str) -> Any:
    for _ in range(int(PATIENCE_S / 0.1)):
        try:
            if found := await holds():
                return found
        except NotFound:
            pass
        await asyncio.sleep(0.1)
    raise AssertionError(f"{what}: {refused(log) or said(log)[-3000:]}")


def said(log: Path) -> str:
    return log.read_text()


def refused(log: Path) -> list[str]:
    lines = [line for line in said(log).splitlines() if "forbidden" in line.lower() or "cannot " in line]
    return list(dict.fromkeys(line.partition(" is forbidden: ")[2].partition("; again")[0] or line for line in lines))


def service(name: str, **spec: Any) -> Json:
    return {"metadata": {"name": name, "namespace": "default"},
            "spec": {"model": {"name": name}, "runtime": "simulated",
                     "drain": {"settleSeconds": 0, "timeoutSeconds": 1}, **spec}}  # fmt: skip


async def pods_of(admin: Client, name: str) -> list[Json]:
    found = await admin.list(RAW_PODS, "default", label_selector=f"fairlead.dev/model-service={name}")
    return [p for p in found.items if "deletionTimestamp" not in p["metadata"]]


async def play_kubelet(admin: Client, name: str) -> None:
    """Everything that is placed nowhere gets an address, and is ready where its gates are open."""
    for pod in await pods_of(admin, name):
        conditions = {c["type"]: c for c in (pod.get("status") or {}).get("conditions", ())}
        is_warm = conditions.get("fairlead.dev/warmed-up", {}).get("status") == "True"
        running = {"name": "engine", "ready": True, "restartCount": 0, "image": "x", "imageID": "",
                   "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}  # fmt: skip
        ready = [{"type": kind, "status": "True"} for kind in ("ContainersReady", *(("Ready",) if is_warm else ()))]
        status = {"podIP": "127.9.9.9", "phase": "Running", "containerStatuses": [running], "conditions": ready}
        await admin.patch(
            RAW_PODS, pod["metadata"]["name"], {"status": status}, "default", kind="strategic", subresource="status"
        )


async def test_nothing_that_serving_does_is_refused(admin: Client, log: Path) -> None:
    route = {
        "metadata": {"name": "route", "namespace": "default"},
        "spec": {"rules": [{"backendRefs": [
            {"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": "chat", "port": 8000}
        ]}]},
    }  # fmt: skip
    await _there(admin, HTTP_ROUTES, route)
    # A definition that is missing, and one that an older version left, are written.
    outdated = next(c for c in all_crds() if c["metadata"]["name"] == "queues.fairlead.dev")
    await admin.delete(CUSTOM_RESOURCE_DEFINITIONS, outdated["metadata"]["name"])
    canary = {"strategy": "Canary", "canary": {"httpRoute": "route", "steps": [{"weight": 50}]}}
    await _there(admin, MODEL_SERVICES, service(
        "chat", rollout=canary, warmUp={"prompts": ["a"], "timeoutSeconds": 1}, adapters={"slots": 2},
        objectives=[{"name": "high", "priority": 5}], roles=[{"name": "unified"}],
    ))  # fmt: skip
    await _there(admin, MODEL_SERVICES, service("dep", workload="Deployment"))
    await _there(admin, MODEL_SERVICES, service("lws", workload="LeaderWorkerSet"))
    adapter = {"metadata": {"name": "sql", "namespace": "default"}, "spec": {"service": "chat", "source": "/a"}}
    await _there(admin, MODEL_ADAPTERS, adapter)
    container = {"name": "e", "image": "vllm/vllm-openai", "command": ["vllm", "serve", "org/m"]}
    labels = {"app": "mine"}
    await _there(admin, DEPLOYMENTS, {
        "metadata": {"name": "mine", "namespace": "default", "labels": {"fairlead.dev/adopt": "true"}},
        "spec": {"selector": {"matchLabels": labels},
                 "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}},
    })  # fmt: skip

    async def served() -> bool:
        await play_kubelet(admin, "chat")
        status = (await admin.get(MODEL_SERVICES, "chat", "default")).get("status", {})
        return bool(status.get("readyReplicas") == 1)

    await until(log, served, "a replica is warmed up and ready")
    for resource, name in ((DEPLOYMENTS, "dep"), (LEADER_WORKER_SETS, "lws"), (INFERENCE_POOLS, "mine")):
        await until(log, lambda r=resource, n=name: admin.get(r, n, "default"), f"{resource.kind} {name}")

    async def finalized() -> bool:
        return bool((await admin.get(MODEL_ADAPTERS, "sql", "default"))["metadata"].get("finalizers"))

    await until(log, finalized, "the adapter is kept until it is unloaded")
    patch = {"spec": {"args": ["--itl-ms", "21"]}}
    await admin.patch(MODEL_SERVICES, "chat", patch, "default")

    async def split() -> bool:
        await play_kubelet(admin, "chat")
        rules = (await admin.get(HTTP_ROUTES, "route", "default"))["spec"]["rules"]
        return any(b["name"] == "chat-canary" for b in rules[0]["backendRefs"])

    await until(log, split, "the route follows the canary")
    back = {"spec": {"args": None, "rollout": {"strategy": "Rolling", "canary": None}}}
    await admin.patch(MODEL_SERVICES, "chat", back, "default")

    async def alone() -> bool:
        await play_kubelet(admin, "chat")
        revisions = (await admin.list(CONTROLLER_REVISIONS, "default")).items
        newest = max((r for r in revisions if r.metadata.labels.get("fairlead.dev/model-service") == "chat"),
                     key=lambda r: r.revision)  # fmt: skip
        return len(await pods_of(admin, "chat")) == 1 and newest.revision == 3

    await until(log, alone, "the former revision is the newest, and the canary gone")
    await admin.patch(DEPLOYMENTS, "mine", {"metadata": {"labels": {"fairlead.dev/adopt": None}}}, "default")
    await admin.delete(MODEL_ADAPTERS, "sql", "default")
    for resource, name in ((INFERENCE_POOLS, "mine"), (MODEL_ADAPTERS, "sql")):

        async def gone(resource: Resource[Any] = resource, name: str = name) -> bool:
            try:
                await admin.get(resource, name, "default")
            except NotFound:
                return True
            return False

        await until(log, gone, f"{resource.kind} {name} goes")
    assert refused(log) == []
    assert await admin.get(CUSTOM_RESOURCE_DEFINITIONS, "queues.fairlead.dev")
