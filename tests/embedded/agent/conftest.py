"""The platform that the agent's tests share: one API server and one agent per test process."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from agent_platform import LEASES, PODS, SERVICE_ACCOUNTS, Cluster, Platform

from fairlead.kube.client import Client
from fairlead.kube.errors import AlreadyExists, NotFound
from patience import PATIENCE_S


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    made = Platform(tmp_path_factory.mktemp("platform"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
async def cluster(platform: Platform) -> AsyncIterator[Cluster]:
    async with Client.load(platform.kubeconfig) as client:
        with contextlib.suppress(AlreadyExists):
            await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}, "default")
        async with asyncio.timeout(PATIENCE_S):
            while len((await client.list(LEASES, "kube-node-lease")).items) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        used = Cluster(platform, client)
        yield used
        for pod in (await client.list(PODS, "default")).items:
            with contextlib.suppress(NotFound):
                await client.delete(PODS, pod["metadata"]["name"], "default", grace_period_s=1)
        for pod in (await client.list(PODS, "default")).items:
            await used.until_gone(pod["metadata"]["name"])
