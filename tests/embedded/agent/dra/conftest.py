"""One API server and one agent per test process, on a path short enough for the sockets of drivers."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from agent_platform import PODS, Cluster, Platform
from dra_bench import AWAY_S, CLAIMS, Driver, checkpoint, drop_claim

from patience import PATIENCE_S


@pytest.fixture(scope="session")
def platform() -> Iterator[Platform]:
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="dra-"))
    made = Platform(folder, "--driver-away-s", str(AWAY_S))
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def driver(cluster: Cluster, request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Driver]]:
    """Makes drivers of a name of this test's own; ends them, and their claims, afterwards."""
    made: list[Driver] = []

    def make(name: str = "gpu", **options: str) -> Driver:
        number = abs(hash((request.node.nodeid, name))) % 10**6
        made.append(Driver(cluster, f"{name}{number}.test", **options))
        return made[-1]

    yield make
    for each in made:
        each.revive()
    for pod in (await cluster.client.list(PODS, "default")).items:
        await cluster.delete(pod["metadata"]["name"], grace_period_s=0)
    async with asyncio.timeout(PATIENCE_S):
        while checkpoint(cluster):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    for each in made:
        each.stop()
    for claim in (await cluster.client.list(CLAIMS, "default")).items:
        await drop_claim(cluster, claim["metadata"]["name"])
