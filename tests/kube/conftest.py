"""Servers to test against: a scripted one, for faults that no real server produces on demand, and the embedded one."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fairlead.kube.client import Client
from fairlead.kube.credentials import Credentials
from fairlead.kube.errors import AlreadyExists
from fairlead.kube.kinds import NAMESPACES, SERVICE_ACCOUNTS
from fairlead.kube.objects import Namespace, ObjectMeta, ServiceAccount
from fairlead.kube.transport import RetryPolicy
from patience import PATIENCE_S


@dataclass
class Faults:
    """What goes wrong on the next requests. Counters go down as they strike."""

    cut_after_events: list[int] = field(default_factory=list)
    """For each next watch: break the connection in the middle of the line after so many events."""
    gone_watches: int = 0
    repeated_events: int = 0
    """Send so many events twice."""
    replayed: int = 0
    """Begin the next watches so many versions too early."""
    refuse_streaming: bool = False
    answers: list[web.Response] = field(default_factory=list)
    """Answer the next requests with these."""


class ScriptedServer:
    """Pods in one version history, as an API server keeps them, with faults on order."""

    def __init__(self) -> None:
        self.version = 10
        self.url = ""
        self.pods: dict[tuple[str, str], dict[str, Any]] = {}
        self.history: list[tuple[int, str, dict[str, Any]]] = []
        self.forgotten = 0
        self.faults = Faults()
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.lists = 0
        self.watches = 0
        self._changed = asyncio.Event()
        self.app = web.Application()
        self.app.router.add_route("*", "/api/v1/pods", self._collection)
        self.app.router.add_route("*", "/api/v1/namespaces/{namespace}/pods", self._collection)
        self.app.router.add_route("*", "/{path:.*}", self._other)

    def put(self, name: str, namespace: str = "default", **labels: str) -> None:
        key = (namespace, name)
        old = self.pods.get(key)
        self.version += 1
        uid = old["metadata"]["uid"] if old else f"uid-{self.version}"
        pod = {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "uid": uid, "labels": labels,
                         "resourceVersion": str(self.version)},
        }  # fmt: skip
        self.pods[key] = pod
        self._record("MODIFIED" if old else "ADDED", pod)

    def remove(self, name: str, namespace: str = "default") -> None:
        pod = copy.deepcopy(self.pods.pop((namespace, name)))
        self.version += 1
        pod["metadata"]["resourceVersion"] = str(self.version)
        self._record("DELETED", pod)

    def compact(self) -> None:
        """Forget the history: watches from before now get 410."""
        self.forgotten = self.version

    def _record(self, kind: str, pod: dict[str, Any]) -> None:
        self.history.append((self.version, kind, pod))
        self._changed.set()
        self._changed = asyncio.Event()

    async def _other(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        self.bodies.append(await request.read())
        if self.faults.answers:
            return self.faults.answers.pop(0)
        return status(404, "NotFound", "not here")

    async def _collection(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        self.bodies.append(await request.read())
        if self.faults.answers:
            return self.faults.answers.pop(0)
        if request.query.get("watch"):
            self.watches += 1
            return await self._watch(request)
        self.lists += 1
        limit = int(request.query.get("limit", "0"))
        start = int(request.query.get("continue", "0"))
        pods = list(self.pods.values())
        page = pods[start : start + limit] if limit else pods
        metadata: dict[str, Any] = {"resourceVersion": str(self.version)}
        if limit and start + limit < len(pods):
            metadata["continue"] = str(start + limit)
        return web.json_response({"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": page})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        initial = request.query.get("sendInitialEvents") == "true"
        if initial and self.faults.refuse_streaming:
            return status(422, "Invalid", "sendInitialEvents is forbidden")
        version = self.version if initial else int(request.query["resourceVersion"])
        if self.faults.gone_watches or version < self.forgotten:
            self.faults.gone_watches = max(0, self.faults.gone_watches - 1)
            return status(410, "Expired", "too old resource version")
        if not initial:
            version -= self.faults.replayed
            self.faults.replayed = 0
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        budget = self.faults.cut_after_events.pop(0) if self.faults.cut_after_events else None
        if initial:
            for pod in list(self.pods.values()):
                await self._send(response, "ADDED", pod)
            annotations = {"k8s.io/initial-events-end": "true"}
            bookmark = {"metadata": {"resourceVersion": str(version), "annotations": annotations}}
            await self._send(response, "BOOKMARK", bookmark)
        while True:
            changed = self._changed
            for at, kind, pod in [event for event in self.history if event[0] > version]:
                if budget == 0:
                    line = msgspec.json.encode({"type": kind, "object": pod})
                    await response.write(line[: len(line) // 2])
                    assert request.transport is not None
                    request.transport.abort()
                    return response
                budget = None if budget is None else budget - 1
                await self._send(response, kind, pod)
                if self.faults.repeated_events:
                    self.faults.repeated_events -= 1
                    await self._send(response, kind, pod)
                version = at
            await asyncio.wait_for(changed.wait(), PATIENCE_S)

    async def _send(self, response: web.StreamResponse, kind: str, obj: dict[str, Any]) -> None:
        await response.write(msgspec.json.encode({"type": kind, "object": obj}) + b"\n")


def status(code: int, reason: str, message: str, **headers: str) -> web.Response:
    body = {"kind": "Status", "status": "Failure", "message": message, "reason": reason, "code": code}
    return web.json_response(body, status=code, headers={k.replace("_", "-"): v for k, v in headers.items()})


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedServer]:
    """A scripted server that listens; its address is `server.url`."""
    server = ScriptedServer()
    listener = TestServer(server.app)
    await listener.start_server(shutdown_timeout=0.1)
    server.url = f"http://127.0.0.1:{listener.port}"
    yield server
    await listener.close()


@pytest.fixture
async def scripted_client(scripted: ScriptedServer) -> AsyncIterator[Client]:
    retry = RetryPolicy(first_delay_s=0.01, max_delay_s=0.02)
    async with Client(Credentials(scripted.url), retry=retry, timeout_s=5) as client:
        yield client


@pytest.fixture
def scripted_server_type() -> type[ScriptedServer]:
    return ScriptedServer


class EmbeddedServer:
    """The embedded API server in its own process, to be killed and started again on the same port."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def kubeconfig(self) -> Path:
        return self.data / "kubeconfig"

    def start(self, timeout_s: float = PATIENCE_S) -> None:
        with (self.data / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable, "-m", "fairlead.embedded.apiserver",
                    "--data", str(self.data / "api"), "--api-port", str(self.port),
                ],
                stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        line = self._first_line(timeout_s)
        match = re.search(r"https://[^:]+:(\d+) \(kubeconfig (.+)\)", line)
        assert match is not None, f"no address in {line!r}; log: {(self.data / 'log').read_text()[-2000:]}"
        self.port = int(match[1])
        if not self.kubeconfig.exists():
            self.kubeconfig.symlink_to(match[2])

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(PATIENCE_S)

    def _first_line(self, timeout_s: float) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        timer = threading.Timer(timeout_s, self._process.kill)
        timer.start()
        try:
            return self._process.stdout.readline().decode()
        finally:
            timer.cancel()


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """An embedded API server that tests share; use a namespace of your own."""
    server = EmbeddedServer(tmp_path_factory.mktemp("api"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def own_api_server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """An embedded API server that the test may kill."""
    server = EmbeddedServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def client(api_server: EmbeddedServer) -> AsyncIterator[Client]:
    """A client of a real API server: the embedded one, or the cluster that FAIRLEAD_TEST_KUBECONFIG names."""
    async with Client.load(os.environ.get("FAIRLEAD_TEST_KUBECONFIG") or api_server.kubeconfig) as client:
        yield client


@pytest.fixture
async def namespace(client: Client) -> AsyncIterator[str]:
    """A namespace of the test's own, with the service account that pods need."""
    made = await client.create(NAMESPACES, Namespace(metadata=ObjectMeta(generate_name="kube-test-")))
    name = made.metadata.name
    with contextlib.suppress(AlreadyExists):
        await client.create(SERVICE_ACCOUNTS, ServiceAccount(metadata=ObjectMeta(name="default", namespace=name)))
    yield name
    await client.delete(NAMESPACES, name)
