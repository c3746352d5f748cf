"""What the trials of a worker share: one API server, and one process that forks controllers."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from chaos import adapters, services, workloads
from chaos.lives import nursery_process
from chaos.server import api_server
from chaos.trial import Bench, open_bench

FOLLOWED = {r.kind: r for r in (*workloads.FOLLOWED, *adapters.FOLLOWED, *services.FOLLOWED)}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kubeconfig of an API server."""
    with api_server(tmp_path_factory.mktemp("chaos")) as kubeconfig:
        yield kubeconfig


@pytest.fixture(scope="session")
def lives() -> Iterator[subprocess.Popen[bytes]]:
    with nursery_process() as process:
        yield process


@pytest.fixture
async def bench(server: Path, lives: subprocess.Popen[bytes]) -> AsyncIterator[Bench]:
    async with open_bench(server, lives, FOLLOWED.values()) as bench:
        yield bench
