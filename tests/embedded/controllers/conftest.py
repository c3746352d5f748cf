"""A real embedded API server that these tests share, and controllers on it, in their own processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fairlead.embedded.controllers import access as a
from fairlead.kube.client import Client
from patience import PATIENCE_S

Object = dict[str, Any]
FAIRLEAD = [sys.executable, "-m", "fairlead.cli.main"]


@dataclass
class Controllers:
    """One `fairlead controllers` process."""

    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)


def start_controllers(kubeconfig: Path, log: Path, *options: str) -> Controllers:
    with log.open("ab") as out:
        command = [*FAIRLEAD, "controllers", "--kubeconfig", str(kubeconfig), "--only", "cluster", *options]
        return Controllers(subprocess.Popen(command, stdout=out, stderr=out), log)


@pytest.fixture(scope="session")
def bare_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kubeconfig of an API server on which no controllers run but the test's."""
    yield from _server(tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="session")
def controlled_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kubeconfig of an API server with all cluster controllers."""
    folder = tmp_path_factory.mktemp("controlled")
    for kubeconfig in _server(folder):
        controllers = start_controllers(kubeconfig, folder / "controllers.log")
        yield kubeconfig
        controllers.kill()


def _server(folder: Path) -> Iterator[Path]:
    log = (folder / "api.log").open("wb")
    command = [*FAIRLEAD, "apiserver", "--data", str(folder / "data"), "--api-port", "0"]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    deadline = time.monotonic() + PATIENCE_S
    while b"ready" not in (folder / "api.log").read_bytes():
        assert process.poll() is None and time.monotonic() < deadline, (folder / "api.log").read_text()
        time.sleep(0.05)
    yield folder / "data" / "kubeconfig"
    process.kill()
    process.wait(PATIENCE_S)
    log.close()


class World:
    """A namespace of a real API server, with what tests of controllers do in it."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client = client
        self.namespace = namespace

    async def create(self, resource: Any, name: str, **fields: Any) -> Object:
        meta = {"name": name, "namespace": self.namespace} | fields.pop("metadata", {})
        made: Object = await self.client.create(resource, {"metadata": meta, **fields}, self.namespace)
        return made

    async def get(self, resource: Any, name: str) -> Object:
        found: Object = await self.client.get(resource, name, self.namespace)
        return found

    async def all(self, resource: Any, labels: str = "") -> list[Object]:
        return list((await self.client.list(resource, self.namespace, label_selector=labels or None)).items)

    async def patch(self, resource: Any, name: str, body: Object, subresource: str | None = None) -> Object:
        made: Object = await self.client.patch(resource, name, body, self.namespace, subresource=subresource)
        return made

    async def report(self, pod: Object, phase: str, *, ready: bool = False, **status: Any) -> None:
        """Say of a pod what a kubelet would."""
        conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
        body = {"status": {"phase": phase, "conditions": conditions, **status}}
        await self.patch(a.PODS, pod["metadata"]["name"], body, "status")

    async def workload(self, resource: Any, name: str, replicas: int, **spec: Any) -> Object:
        container = {"name": "c", "image": "a", "ports": [{"name": "http", "containerPort": 80}]}
        template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
        wanted = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template} | spec
        return await self.create(resource, name, spec=wanted)


async def eventually(check: Callable[[], Awaitable[Any]], timeout_s: float = PATIENCE_S) -> Any:
    """The first true result of `check`; an AssertionError with the last one when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        result = await check()
        if result:
            return result
        assert time.monotonic() < deadline, f"still {result!r} after {timeout_s:g} s"
        await asyncio.sleep(0.03)


@pytest.fixture
async def world(controlled_server: Path) -> AsyncIterator[World]:
    async with Client.load(controlled_server) as client:
        name = f"t-{uuid.uuid4().hex[:8]}"
        await client.create(a.NAMESPACES, {"metadata": {"name": name}})
        made = World(client, name)

        async def has_account() -> bool:
            return bool(await made.all(a.SERVICE_ACCOUNTS))

        await eventually(has_account)
        yield made


@pytest.fixture
async def bare_world(bare_server: Path) -> AsyncIterator[World]:
    """A namespace without any controllers."""
    async with Client.load(bare_server) as client:
        name = f"t-{uuid.uuid4().hex[:8]}"
        await client.create(a.NAMESPACES, {"metadata": {"name": name}})
        made = World(client, name)
        await made.create(a.SERVICE_ACCOUNTS, "default")
        yield made
