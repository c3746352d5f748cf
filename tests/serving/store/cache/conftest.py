"""A real API server process, the embedded one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairlead.kube.client import Client
from kube.conftest import EmbeddedServer


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    server = EmbeddedServer(tmp_path)
    server.start()
    try:
        async with Client.load(server.kubeconfig) as client:
            yield client
    finally:
        server.kill()
