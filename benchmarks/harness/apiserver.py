"""What the API server benchmarks share: a server of their own, a lean HTTP client, and a pod of realistic size."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

START_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server listens and how to be let in. `pid` is 0 for a server that is not ours."""

    host: str
    port: int
    token: str
    ca: str
    pid: int

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.ca)


@contextlib.contextmanager
def server() -> Iterator[Target]:
    """A fresh API server in a temporary folder on this machine's disk."""
    with tempfile.TemporaryDirectory(prefix="fairlead-bench-") as folder:
        command = [sys.executable, "-m", "fairlead.embedded.apiserver", "--data", folder, "--api-port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                if not process.stdout.readline().startswith("ready"):
                    raise RuntimeError("the API server did not start")
                yield target(Path(folder) / "kubeconfig", process.pid)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(START_TIMEOUT_S)


def target(kubeconfig: Path, pid: int) -> Target:
    """The server that a kubeconfig with a token points to."""
    document = yaml.safe_load(kubeconfig.read_text())
    cluster = document["clusters"][0]["cluster"]
    host, _, port = cluster["server"].removeprefix("https://").partition(":")
    ca = base64.b64decode(cluster["certificate-authority-data"]).decode()
    return Target(host, int(port), document["users"][0]["user"]["token"], ca, pid)


class Connection:
    """One keep-alive HTTP/1.1 connection that costs the measuring process as little as possible."""

    def __init__(self, target: Target, context: ssl.SSLContext) -> None:
        self._target = target
        self._context = context
        self._headers = (
            f"Host: {target.host}:{target.port}\r\nAuthorization: Bearer {target.token}\r\nUser-Agent: bench/1\r\n"
            "Accept: application/json\r\nContent-Type: application/json\r\n"
        )

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(
            self._target.host, self._target.port, ssl=self._context, limit=1 << 20
        )

    def close(self) -> None:
        self._writer.close()

    def send(self, method: str, path: str, body: bytes = b"") -> None:
        head = f"{method} {path} HTTP/1.1\r\n{self._headers}Content-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)

    async def request(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and body of the answer."""
        self.send(method, path, body)
        status, headers = await self.head()
        if b"chunked" in headers.get(b"transfer-encoding", b""):
            chunks = []
            while chunk := await self.chunk():
                chunks.append(chunk)
            return status, b"".join(chunks)
        return status, await self._reader.readexactly(int(headers[b"content-length"]))

    async def head(self) -> tuple[int, dict[bytes, bytes]]:
        head = await self._reader.readuntil(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        headers = dict(line.lower().split(b": ", 1) for line in lines[1:] if line)
        return int(lines[0].split(b" ", 2)[1]), headers

    async def chunk(self) -> bytes:
        size = int(await self._reader.readline(), 16)
        data = await self._reader.readexactly(size + 2)
        return data[:-2]


def pod(name: str) -> dict[str, Any]:
    """A pod as a model server's looks; about 3.2 kB once the server has filled it in."""
    probe = {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 10, "failureThreshold": 3}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {"app": "bench", "pod-index": name, "fairlead.dev/service": "chat"},
            "annotations": {"fairlead.dev/revision": "5f7d9c"},
        },
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 60,
            "containers": [
                {
                    "name": "engine",
                    "image": "registry.example/engine:1.2.3",
                    "args": ["--model", "example/model", "--port", "8000"],
                    "env": [{"name": "MODEL_CACHE", "value": "/models"}, {"name": "LOG_LEVEL", "value": "info"}],
                    "ports": [{"name": "http", "containerPort": 8000}],
                    "resources": {"requests": {"cpu": "2", "memory": "8Gi"}, "limits": {"memory": "16Gi"}},
                    "readinessProbe": probe,
                    "volumeMounts": [{"name": "models", "mountPath": "/models"}],
                }
            ],
            "volumes": [{"name": "models", "emptyDir": {}}],
        },
    }


async def prepare(target: Target) -> None:
    """Give the default namespace the service account that controllers would have made."""
    connection = Connection(target, target.context())
    await connection.open()
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    await connection.request("POST", "/api/v1/namespaces/default/serviceaccounts", json.dumps(account).encode())
    connection.close()


async def create_pods(target: Target, first: int, count: int, clients: int) -> float:
    """Create pods over `clients` connections; returns seconds."""
    context = target.context()
    bodies = iter([(i, json.dumps(pod(f"pod-{i:06d}")).encode()) for i in range(first, first + count)])
    path = "/api/v1/namespaces/default/pods"

    async def client(connection: Connection) -> None:
        for index, body in bodies:
            status, answer = await connection.request("POST", path, body)
            if status != 201:
                raise RuntimeError(f"pod {index}: {status} {answer[:300]!r}")

    connections = [Connection(target, context) for _ in range(clients)]
    for connection in connections:
        await connection.open()
    now_s = time.perf_counter
    begin_s = now_s()
    await asyncio.gather(*(client(connection) for connection in connections))
    elapsed_s = now_s() - begin_s
    for connection in connections:
        connection.close()
    return elapsed_s


def resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has no VmRSS")
