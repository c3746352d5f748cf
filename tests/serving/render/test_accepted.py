"""A real API server takes all that services become, with strict validation: no field is misspelt or misplaced."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fairlead.api import SERVING_RUNTIMES, ModelService, all_crds
from fairlead.embedded.apiserver.server import serve
from fairlead.kube.client import Client
from fairlead.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS
from fairlead.kube.resources import Resource
from fairlead.serving.names import replica_name
from fairlead.serving.render import (
    claim_templates,
    disruption_budgets,
    foreign_workloads,
    headless_service,
    objectives,
    pools,
    replica_pods,
    rewrite,
)
from fairlead.serving.resolve import ClusterFacts, resolve_service, runtime_objects
from fairlead.serving.store.mount import StoreFacts
from serving.resolve.services import FACTS, VLLM, runtime, service

pytestmark = pytest.mark.xdist_group("render-accepted")

SERVICE_ACCOUNTS = Resource.of("v1", "serviceaccounts", "ServiceAccount").as_unstructured()
FULL: dict[str, Any] = {
    **VLLM,
    "model": {"name": "m", "aliases": ["n"], "source": "/m", "maxContextTokens": 4096},
    "priorityClassName": "", "queue": "team-a", "parallelism": {"tensor": 4, "data": 2, "hosts": 2},
    "topology": {"required": ["rack"], "preferred": ["nvlink"], "rolesTogether": "block"},
    "kvCache": {"blockTokens": 16, "memoryPercent": 90}, "adapters": {"slots": 4, "maxRank": 32},
    "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
    "resources": {"requests": {"cpu": 2, "memory": "8Gi"}, "limits": {"memory": "16Gi"}},
    "probes": {"liveness": {"tcpSocket": {"port": 8000}}}, "nodeSelector": {"pool": "gpu"},
    "accelerators": [
        {"name": "h100", "deviceClass": "gpu.nvidia.com", "model": "H100-SXM", "matchAttributes": ["x.y/z"],
         "selectors": ["device.attributes['x.y'].memory > 1"]},
        {"name": "b200", "deviceClass": "gpu.nvidia.com", "model": "B200"},
    ],
    "roles": [{"name": "prefill", "replicas": 2}, {"name": "decode", "kvCache": {"dtype": "fp8"}}],
    "kvTransfer": {"connector": "NixlConnector"}, "objectives": [{"name": "high", "priority": 3}],
    "batch": {"allowed": True},
    "podTemplate": {"metadata": {"labels": {"team": "${service.name}"}}, "spec": {
        "containers": [{"name": "log", "image": "log:1"}], "tolerations": [{"operator": "Exists"}]}},
}  # fmt: skip
SERVICES: dict[str, dict[str, Any]] = {
    "plain": {},
    "full": FULL,
    "alternatives": {**VLLM, "accelerators": [
        {"name": "a", "deviceClass": "d", "parallelism": {"tensor": 2}}, {"name": "b", "resource": "x.y/gpu"}]},
    "fetched": {"runtime": "vllm", "model": {"name": "m", "source": "s3://bucket/m", "pullSecret": "s"}},
    "volume": {"runtime": "vllm", "model": {"name": "m", "source": "pvc://claim/m"}},
    "sglang": {"runtime": "sglang", "model": {"name": "m", "source": "/m"}, "parallelism": {"tensor": 16, "hosts": 2}},
    "trtllm": {"runtime": "tensorrt-llm", "model": {"name": "m", "source": "/m"},
               "parallelism": {"tensor": 16, "hosts": 2}},
    "deployment": {"workload": "Deployment"},
    "groups": {**VLLM, "workload": "LeaderWorkerSet", "parallelism": {"tensor": 4, "hosts": 2}},
}  # fmt: skip


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with serve(tmp_path) as serving, Client.load(serving.kubeconfig) as client:
        for crd in all_crds():
            await client.apply(CUSTOM_RESOURCE_DEFINITIONS, crd, force=True)
        account = {"metadata": {"name": "default", "namespace": "default"}}
        await client.apply(SERVICE_ACCOUNTS, account, force=True)
        yield client


def objects(one: ModelService) -> list[dict[str, Any]]:
    facts = FACTS if one.spec.model.source.startswith(("/", "pvc")) else ClusterFacts(store=StoreFacts())
    resolved = resolve_service(one, (runtime("mine"),), facts)
    made = [
        *pools(one, resolved, resolved, adapters=("a",)), headless_service(one, resolved), *objectives(one),
        rewrite(one, resolved, resolved.shadow, 20), *claim_templates(one, resolved),
        *disruption_budgets(one, resolved),
        *foreign_workloads(one, resolved, dict.fromkeys(resolved.roles, 2)),
    ]  # fmt: skip
    for role, each in resolved.roles.items():
        for ordinal, way in enumerate(each.ways):
            name = replica_name(one.name, role, resolved.revision, ordinal)
            made += replica_pods(one, resolved, role, name, ordinal, way.name, "canary")
    return [each for each in made if each is not None]


async def test_everything_is_taken_as_it_is(client: Client) -> None:
    for name, spec in SERVICES.items():
        one = service(metadata={"name": name, "namespace": "default"}, **spec)
        for obj in objects(one):
            await send(client, obj)
    for obj in runtime_objects():
        stored = await client.create(SERVING_RUNTIMES, obj)
        assert stored["metadata"]["name"] == obj["metadata"]["name"]


async def send(client: Client, obj: dict[str, Any]) -> None:
    """Applied twice by server-side apply, as the controller does it: the second time nothing changes."""
    kind = obj["kind"]
    resource = Resource.of(obj["apiVersion"], f"{kind.lower()}s", kind).as_unstructured()
    one, two = [await client.apply(resource, obj, force=True, field_validation="Strict") for _ in range(2)]
    assert one["metadata"]["resourceVersion"] == two["metadata"]["resourceVersion"], f"{kind} is written without need"
