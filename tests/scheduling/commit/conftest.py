"""A real embedded API server with the cluster's controllers, which these tests share."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fairlead.kube.client import Client
from fairlead.kube.kinds import NAMESPACES, SERVICE_ACCOUNTS
from patience import PATIENCE_S
from scheduling.commit.cluster import Cluster, eventually, own_name

FAIRLEAD = [sys.executable, "-m", "fairlead.cli.main"]


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("server")
    found = folder / "data" / "kubeconfig"
    with (folder / "log").open("wb") as log:
        command = [*FAIRLEAD, "apiserver", "--data", str(folder / "data"), "--api-port", "0"]
        server = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE_S
        while b"ready" not in (folder / "log").read_bytes():
            assert server.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.05)
        command = [*FAIRLEAD, "controllers", "--kubeconfig", str(found), "--only", "cluster"]
        controllers = subprocess.Popen(command, stdout=log, stderr=log)
        yield found
        for process in (controllers, server):
            process.kill()
            process.wait(PATIENCE_S)


@pytest.fixture
async def cluster(kubeconfig: Path) -> AsyncIterator[Cluster]:
    async with Client.load(kubeconfig) as client:
        name = own_name()
        await client.create(NAMESPACES.as_unstructured(), {"metadata": {"name": name}})

        async def has_account() -> bool:
            return bool((await client.list(SERVICE_ACCOUNTS, name)).items)

        await eventually(has_account, 30.0)
        yield Cluster(client, name)
