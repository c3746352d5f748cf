"""A real server over HTTPS, and a small client for it."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fairlead.embedded.apiserver.server import Serving, serve


class Client:
    """Requests with the admin's token; answers as status and decoded body."""

    def __init__(self, serving: Serving) -> None:
        self.serving = serving
        context = ssl.create_default_context(cadata=serving.credentials.ca.decode())
        self.http = aiohttp.ClientSession(
            serving.url,
            connector=aiohttp.TCPConnector(ssl=context),
            headers={"Authorization": f"Bearer {serving.credentials.token}", "User-Agent": "tests/1.0"},
        )

    async def __call__(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None, **query: Any
    ) -> tuple[int, Any]:
        response = await self.raw(method, path, body, headers=headers, **query)
        return response.status, await response.json(content_type=None)

    async def raw(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None, **query: Any
    ) -> aiohttp.ClientResponse:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} | (headers or {}) if data is not None else headers
        return await self.http.request(method, path, params=query, data=data, headers=headers)

    async def config_map(self, name: str, **parts: Any) -> dict[str, Any]:
        metadata = {"name": name, **parts.pop("metadata", {})}
        obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **parts}
        status, created = await self("POST", CONFIG_MAPS, obj)
        assert status == 201, created
        return dict(created)


CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


@asynccontextmanager
async def _connect(serving: Serving) -> AsyncIterator[Client]:
    client = Client(serving)
    try:
        yield client
    finally:
        await client.http.close()


@pytest.fixture
def connect() -> Callable[[Serving], AbstractAsyncContextManager[Client]]:
    """A client of a server, for the time of a context."""
    return _connect


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that has the platform's definitions: to check and install them is most of what a first start costs.
    Copy it."""
    folder = tmp_path_factory.mktemp("installed")

    async def start() -> None:
        async with serve(folder):
            pass

    asyncio.run(start())
    return folder


@pytest.fixture
async def client(installed: Path, tmp_path: Path) -> AsyncIterator[Client]:
    shutil.copytree(installed, tmp_path, dirs_exist_ok=True)
    async with serve(tmp_path) as serving, _connect(serving) as client:
        yield client
