"""Which kinds are followed, and what is said about those that are not."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fairlead.clock import VirtualClock
from fairlead.kube.client import Client
from fairlead.kube.credentials import Credentials
from fairlead.kube.informer import Informers
from fairlead.kube.kinds import NAMESPACES, PRIORITY_CLASSES, STORAGE_CLASSES
from fairlead.scheduling.sources import Sources

_FORBIDDEN = {
    "kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden",
    "message": 'priorityclasses.scheduling.k8s.io is forbidden: User "s" cannot list resource "priorityclasses"',
}  # fmt: skip


class _Nobody:
    def see(self, obj: Any) -> None: ...
    def lose(self, obj: Any) -> None: ...


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A server with namespaces and priority classes, the latter not ours to see, and no storage classes."""

    async def answer(request: web.Request) -> web.Response:
        resources = {
            "/api/v1": [{"name": "namespaces", "kind": "Namespace", "namespaced": False}],
            "/apis/scheduling.k8s.io/v1": [{"name": "priorityclasses", "kind": "PriorityClass", "namespaced": False}],
        }.get(request.path)
        if resources is not None:
            return web.json_response({"kind": "APIResourceList", "resources": resources})
        if request.path.endswith("/priorityclasses"):
            return web.json_response(_FORBIDDEN, status=403)
        if request.path.endswith("/namespaces"):
            return web.json_response({"kind": "NamespaceList", "metadata": {"resourceVersion": "1"}, "items": []})
        return web.json_response({"kind": "Status", "code": 404, "reason": "NotFound", "message": "no"}, status=404)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server, Client(Credentials(server=str(server.make_url("/")).rstrip("/"))) as client:
        yield client


async def test_a_kind_that_may_not_be_listed_is_named_once(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    kinds = ((NAMESPACES,), (PRIORITY_CLASSES,), (STORAGE_CLASSES,))
    sources = Sources(client, Informers(client), _Nobody(), lambda: None, kinds=kinds, clock=VirtualClock())
    with caplog.at_level(logging.WARNING):
        assert [informer.resource for informer in await sources.find()] == [NAMESPACES]
        assert await sources.find() == []
    (record,) = caplog.records
    assert "cannot list resource" in record.getMessage()
    assert "as if there were no priorityclasses.scheduling.k8s.io" in record.getMessage()
