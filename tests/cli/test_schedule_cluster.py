"""`fairlead explain` and `capacity` against a real API server: they read it, and change nothing there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.test_schedule import SMALL, service
from embedded.apiserver.server_process import ServerProcess
from fairlead.cli.app import run
from fairlead.cli.schedule_inputs import InputReader, as_object, kind_of
from fairlead.kube.client import Client
from fairlead.kube.kinds import (
    DEVICE_CLASSES,
    NODES,
    PODS,
    REPLICA_SETS,
    RESOURCE_CLAIM_TEMPLATES,
    RESOURCE_SLICES,
    SERVICE_ACCOUNTS,
)

pytestmark = pytest.mark.xdist_group("schedule-cluster")

_KINDS = {each.kind: each for each in (NODES, DEVICE_CLASSES, RESOURCE_SLICES, RESOURCE_CLAIM_TEMPLATES, REPLICA_SETS)}
QUEUE = {
    "apiVersion": "fairlead.dev/v1alpha1",
    "kind": "Queue",
    "metadata": {"name": "team"},
    "spec": {"resources": {"cpu": {"limit": "1"}}},
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A server with two nodes of four GPUs, a ReplicaSet, a pod that fits, one that does not, one beyond its quota."""
    folder = tmp_path_factory.mktemp("schedule-cluster")
    (folder / "a.yaml").write_text(SMALL + "---" + service("web", 0))
    objects = [
        each for each in InputReader(1_800_000_000.0).read([folder / "a.yaml"]).objects if kind_of(each) in _KINDS
    ]
    with ServerProcess(folder / "api") as server:
        kubeconfig = server.data / "kubeconfig"

        async def prepare() -> None:
            async with Client.load(kubeconfig) as client:
                await client.create(SERVICE_ACCOUNTS.as_unstructured(), {"metadata": {"name": "default"}}, "default")
                for each in objects:
                    await create(client, as_object(each))
                await pod(client, "fits", cpu="1")
                await pod(client, "large", cpu="9")
                await pod(client, "greedy", cpu="2", labels={"fairlead.dev/queue": "team"})
                await client.request("POST", "/apis/fairlead.dev/v1alpha1/queues", body=QUEUE)

        asyncio.run(prepare())
        yield kubeconfig


async def create(client: Client, obj: dict[str, Any]) -> None:
    resource = _KINDS[obj["kind"]].as_unstructured()
    metadata = {key: value for key, value in obj["metadata"].items() if key not in ("uid", "creationTimestamp")}
    namespace = metadata.get("namespace")
    made = await client.create(resource, {**obj, "metadata": metadata}, namespace)
    if obj["kind"] == "Node":
        body = {**made, "status": obj["status"]}
        await client.request("PUT", resource.path(None, metadata["name"], "status"), body=body)


async def pod(client: Client, name: str, *, cpu: str, labels: dict[str, str] | None = None) -> None:
    spec = {
        "schedulerName": "fairlead",
        "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}],
    }
    await client.create(
        PODS.as_unstructured(), {"metadata": {"name": name, "labels": labels or {}}, "spec": spec}, "default"
    )


def told(cluster: Path, capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    assert run([*argv, "--kubeconfig", str(cluster), "-o", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_explain_reads_the_cluster(cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(cluster, capsys, "explain", "pod", "fits")["outcome"] == "fits"
    large = told(cluster, capsys, "explain", "pod", "large")
    assert large["message"] == "0/2 nodes are available: 2 Insufficient cpu."
    assert large["refusal"]["remedies"][0]["text"] == "request 8 cpu a pod, not 9"


def test_explain_knows_the_queues(cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    greedy = told(cluster, capsys, "explain", "pod", "greedy")
    assert greedy["refusal"]["because"] == "quota"
    assert "queue team may never have more than" in greedy["message"]


def test_capacity_counts_replicas_of_what_is_there(cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(cluster, capsys, "capacity", "replicaset/web")["fits"] == 4
    assert told(cluster, capsys, "capacity", "--class", "gpu.nvidia.com")["fits"] == 8
    free = told(cluster, capsys, "capacity")
    assert [(each["class"], each["free"]) for each in free["classes"]] == [("gpu.nvidia.com", 8)]


def test_what_is_not_there_is_said(cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["capacity", "deployment/none", "--kubeconfig", str(cluster)]) == 1
    assert "there is no Deployment default/none; `kubectl get deployments -A` lists them" in capsys.readouterr().err
    assert run(["explain", "pod", "larg", "--kubeconfig", str(cluster)]) == 1
    assert "did you mean large?" in capsys.readouterr().err
