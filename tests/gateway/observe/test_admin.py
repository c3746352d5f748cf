"""The picker's pages for people."""

from __future__ import annotations

import asyncio
import os
from urllib.parse import quote

import aiohttp
import pytest

from fairlead.gateway.assembly import Assembly
from fairlead.gateway.endpoints import Endpoint, Pool
from fairlead.gateway.observe.admin import serve_admin
from patience import PATIENCE_S


@pytest.fixture
async def pages(tmp_path):
    """(socket, session) of pages that are served by a process that lets everybody do everything with its files."""
    parts = Assembly()
    parts.registry.set_pool(Pool("ns/tiny", ("tiny",), (Endpoint("10.0.0.1:80"),)))
    path = tmp_path / "admin.sock"
    mask = os.umask(0)
    try:
        serving = asyncio.create_task(serve_admin(parts, path))
        async with asyncio.timeout(PATIENCE_S):
            while not path.exists() or path.stat().st_mode & 0o077:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session:
            yield path, session
    finally:
        os.umask(mask)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def test_nobody_else_can_open_them(pages):
    path, _ = pages
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("page", "status"),
    [
        ("/state", 200), ("/config", 200), ("/metrics", 200), ("/decisions?limit=3", 200), ("/decisions/last", 404),
        ("/decisions?limit=many", 400), ("/decisions?limit=" + quote("²"), 400), ("/decisions/a%2Fb", 404),
    ],
)  # fmt: skip
async def test_every_page_answers(page, status, pages):
    _, session = pages
    async with session.get(f"http://picker{page}") as response:
        assert response.status == status, await response.text()
