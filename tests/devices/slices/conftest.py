"""A real API server to publish to: the embedded one, or the cluster that FAIRLEAD_TEST_KUBECONFIG names."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from embedded.apiserver.server_process import ServerProcess
from fairlead.kube.client import Client


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    given = os.environ.get("FAIRLEAD_TEST_KUBECONFIG")
    if given:
        yield Path(given)
        return
    with ServerProcess(tmp_path_factory.mktemp("slices-api")) as server:
        yield server.data / "kubeconfig"


@pytest.fixture
async def client(kubeconfig: Path) -> AsyncIterator[Client]:
    async with Client.load(kubeconfig) as client:
        yield client


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[ServerProcess]:
    """An embedded server that the test may kill and start again."""
    with ServerProcess(tmp_path) as server:
        yield server
