"""A real API server that the trials of a worker share."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from chaos.history import History
from chaos.lives import Nursery
from chaos.trial import Bench
from fairlead.api import all_crds
from fairlead.kube.client import Client
from fairlead.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS
from fairlead.serving.runtimes import install_runtimes
from serving.chaos.services import FOLLOWED


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Its kubeconfig; the platform's definitions and runtimes are there."""
    folder = tmp_path_factory.mktemp("chaos")
    log = folder / "log"
    with log.open("wb") as out:
        command = [sys.executable, "-m", "fairlead.cli.main", "apiserver", "--data", str(folder), "--api-port", "0"]
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        deadline_s = time.monotonic() + 60
        while b"ready" not in log.read_bytes():
            assert process.poll() is None and time.monotonic() < deadline_s, log.read_text()
            time.sleep(0.05)
        asyncio.run(_install(folder / "kubeconfig"))
        yield folder / "kubeconfig"
    finally:
        process.kill()
        process.wait(10)


async def _install(kubeconfig: Path) -> None:
    async with Client.load(kubeconfig) as client:
        for crd in all_crds():
            await client.apply(CUSTOM_RESOURCE_DEFINITIONS, crd, force=True)
        await install_runtimes(client)


@pytest.fixture
async def bench(server: Path) -> AsyncIterator[Bench]:
    async with (
        Client.load(server) as client,
        History(client, FOLLOWED) as history,
        Nursery(server) as nursery,
    ):
        yield Bench(client, history, nursery)
