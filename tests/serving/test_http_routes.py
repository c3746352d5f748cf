"""An HTTPRoute of others follows a canary's weight, and is as before once the trial is over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fairlead.api import all_crds
from fairlead.embedded.apiserver.server import serve
from fairlead.kube.client import Client
from fairlead.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES
from fairlead.serving.http_routes import HTTP_ROUTES, HttpRoutes
from serving.resolve.services import service

pytestmark = pytest.mark.xdist_group("render-accepted")

CANARY = {"strategy": "Canary", "canary": {"httpRoute": "front"}}


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with serve(tmp_path) as serving, Client.load(serving.kubeconfig) as client:
        for crd in all_crds():
            if crd["spec"]["names"]["kind"] == "HTTPRoute":
                await client.apply(CUSTOM_RESOURCE_DEFINITIONS, crd, force=True)
        await client.create(NAMESPACES.as_unstructured(), {"metadata": {"name": service().namespace}})
        yield client


def route(namespace: str, *backends: str) -> dict[str, Any]:
    refs = [{"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": name} for name in backends]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "front", "namespace": namespace},
        "spec": {"parentRefs": [{"name": "gateway"}], "rules": [{"backendRefs": refs}]},
    }


async def test_shares_follow_and_go(client: Client) -> None:
    of, routes = service(rollout=CANARY), HttpRoutes(client)

    async def shares() -> dict[str, int]:
        found = await client.get(HTTP_ROUTES, "front", of.namespace)
        return {b["name"]: b.get("weight", 1) for b in found["spec"]["rules"][0]["backendRefs"]}

    assert "there is no such HTTPRoute" in await routes.keep(of, 20)
    await client.create(HTTP_ROUTES, route(of.namespace, "other"))
    assert "add one" in await routes.keep(of, 20)
    await client.replace(
        HTTP_ROUTES, await client.get(HTTP_ROUTES, "front", of.namespace) | {"spec": route("", of.name)["spec"]}
    )
    for weight in (20, 50, 0):
        assert await routes.keep(of, weight) == ""
        found = await shares()
        assert found[f"{of.name}-canary"] * 100 == weight * sum(found.values())
    assert await routes.keep(of, None) == ""
    assert set(await shares()) == {of.name}


async def test_services_without_a_route_touch_none(client: Client) -> None:
    assert await HttpRoutes(client).keep(service(), 20) == ""
