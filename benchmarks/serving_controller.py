"""The serving controller with many services: from cold, at rest, and from an apply to its pods.

An API server and `fairlead controllers --only serving` as processes of their own, no kubelets: this script says that
pods are placed and ready, as nodes would. "cold" counts from the start of the controller's process to the moment when
every pod and every pool is there and every status has been written. "at rest" is its CPU once all pods are ready and
nothing changes. "apply to pods" is from sending the request that creates a service to the watch event of its last pod,
services coming one after the other while all others are there.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvloop
import yaml

from fairlead.api import INFERENCE_POOLS, MODEL_SERVICES, all_crds
from fairlead.kube import Client
from fairlead.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS, NODES, PODS
from harness.apiserver import Connection, Target, prepare, server
from harness.report import Figure, arguments, report

CLIENTS = 16
ENGINE = "127.9.0.1"
"""Where one simulated engine stands for all: the controller asks it what it has in flight."""
LIMIT_S = 240.0
LABEL = re.compile(rb'"fairlead.dev/model-service":"([^"]+)"')
Json = dict[str, Any]


def service(name: str, replicas: int) -> Json:
    return {
        "apiVersion": "fairlead.dev/v1alpha1",
        "kind": "ModelService",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"model": {"name": name}, "runtime": "simulated", "replicas": replicas},
    }


@contextmanager
def engine() -> Iterator[None]:
    command = [sys.executable, "-m", "fairlead.cli.main", "engine", "simulated", "--host", ENGINE, "--port", "8000"]
    with subprocess.Popen([*command, "--model", "m"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            yield
        finally:
            running.terminate()


@contextmanager
def controller(kubeconfig: Path, profile: str) -> Iterator[int]:
    command = [sys.executable, "-m", "fairlead.cli.main", "controllers", "--kubeconfig", str(kubeconfig)]
    command += ["--only", "serving"]
    if profile:
        command[1:1] = ["-m", "cProfile", "-o", profile]
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, stdout=log, stderr=log) as running:
        try:
            yield running.pid
        finally:
            running.terminate()
            try:
                running.wait(30)
            except subprocess.TimeoutExpired:
                running.kill()
            log.seek(0)
            problems = [line for line in log.read().decode().splitlines() if "ERROR" in line or "Traceback" in line]
            print(*problems[:5], sep="\n", file=sys.stderr, end="\n" if problems else "")


async def send_all(target: Target, requests: list[tuple[str, str, bytes]]) -> None:
    """Many requests over a few lean connections."""
    context, rest = target.context(), iter(requests)

    async def work(connection: Connection) -> None:
        await connection.open()
        for method, path, body in rest:
            status, answer = await connection.request(method, path, body)
            if status not in (200, 201):
                raise RuntimeError(f"{method} {path}: {status} {answer[:300]!r}")
        connection.close()

    await asyncio.gather(*(work(Connection(target, context)) for _ in range(CLIENTS)))


class PodWatch:
    """Pods of each service and when the last came, read from a watch without decoding the objects."""

    def __init__(self, target: Target) -> None:
        self.count: dict[bytes, int] = {}
        self.last_s: dict[bytes, float] = {}
        self.total = 0
        self._connection = Connection(target, target.context())

    async def follow(self) -> None:
        await self._connection.open()
        self._connection.send("GET", f"{PODS.path('default')}?watch=true&timeoutSeconds=900")
        await self._connection.head()
        rest = b""
        while True:
            *lines, rest = (rest + await self._connection.chunk()).split(b"\n")
            for line in lines:
                found = LABEL.search(line) if line.startswith(b'{"type":"ADDED"') else None
                if found is not None:
                    self.total += 1
                    self.count[found[1]] = self.count.get(found[1], 0) + 1
                    self.last_s[found[1]] = time.perf_counter()


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def until(what: str, is_so: Any) -> None:
    deadline_s = time.perf_counter() + LIMIT_S
    while not await is_so():
        if time.perf_counter() > deadline_s:
            raise RuntimeError(f"not within {LIMIT_S:.0f} s: {what}")
        await asyncio.sleep(0.1)


async def mark_ready(target: Target, client: Client) -> None:
    """What nodes and kubelets would say of every pod."""
    requests = []
    for pod in (await client.list(PODS, "default")).items:
        conditions = [
            {"type": t, "status": "True"} for t in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
        ]
        status = {"phase": "Running", "podIP": ENGINE, "conditions": conditions}
        binding: Json = {"apiVersion": "v1", "kind": "Binding", "target": {"kind": "Node", "name": "n"}}
        binding["metadata"] = {"name": pod.metadata.name, "namespace": "default"}
        requests.append((PODS.path("default", pod.metadata.name), binding, status))
    await send_all(target, [("POST", f"{path}/binding", json.dumps(b).encode()) for path, b, _ in requests])
    context = target.context()
    rest = iter(requests)

    async def work(connection: Connection) -> None:
        await connection.open()
        for path, _, status in rest:
            code, said = 409, b""
            while code == 409:
                _, answer = await connection.request("GET", path)
                body = json.dumps(json.loads(answer) | {"status": status}).encode()
                code, said = await connection.request("PUT", f"{path}/status", body)
            if code != 200:
                raise RuntimeError(f"{path}: {code} {said[:300]!r}")
        connection.close()

    await asyncio.gather(*(work(Connection(target, context)) for _ in range(CLIENTS)))


async def measure(services: int, replicas: int, applies: int, profile: str) -> list[Figure]:
    with server() as target, engine(), tempfile.TemporaryDirectory() as folder:
        await prepare(target)
        kubeconfig = Path(folder) / "kubeconfig"
        kubeconfig.write_text(_kubeconfig(target))
        async with Client.load(kubeconfig) as client:
            for crd in all_crds():
                await client.apply(CUSTOM_RESOURCE_DEFINITIONS, crd, force=True)
            await asyncio.sleep(1.0)
            ready = {"conditions": [{"type": "Ready", "status": "True"}]}
            node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}
            await send_all(target, [("POST", "/api/v1/nodes", json.dumps(node).encode())])
            await client.patch(NODES, "n", {"status": ready}, subresource="status")
            path = MODEL_SERVICES.path("default")
            bodies = [json.dumps(service(f"s-{n:04}", replicas)).encode() for n in range(services)]
            await send_all(target, [("POST", path, body) for body in bodies])
            watch = PodWatch(target)
            following = asyncio.create_task(watch.follow())
            await asyncio.sleep(0.5)
            began_s = time.perf_counter()
            with controller(kubeconfig, profile) as pid:

                async def made() -> bool:
                    return watch.total >= services * replicas

                async def settled() -> bool:
                    pools = (await client.list(INFERENCE_POOLS.as_unstructured(), "default")).items
                    seen = (await client.list(MODEL_SERVICES, "default")).items
                    told = sum((s.get("status") or {}).get("replicas") == replicas for s in seen)
                    return len(pools) >= services and told >= services

                await until("every pod is there", made)
                pods_s = time.perf_counter() - began_s
                await until("every pool and status is there", settled)
                cold_s, cold_cpu_s = time.perf_counter() - began_s, cpu_s(pid)
                await mark_ready(target, client)

                async def all_ready() -> bool:
                    seen = (await client.list(MODEL_SERVICES, "default")).items
                    return all((s.get("status") or {}).get("readyReplicas") == replicas for s in seen)

                await until("every replica is ready", all_ready)
                await asyncio.sleep(5.0)
                before_s, began_s = cpu_s(pid), time.perf_counter()
                await asyncio.sleep(20.0)
                idle = (cpu_s(pid) - before_s) / (time.perf_counter() - began_s)
                waits_ms = await apply_each(target, watch, replicas, applies)
            following.cancel()
    waits_ms.sort()
    return [
        Figure(f"cold: {services} services x {replicas} replicas, all reconciled", cold_s, "s", 30.0),
        Figure("  … their last pod created", pods_s, "s"),
        Figure("  … CPU of the controller", cold_cpu_s, "s"),
        Figure("at rest: share of a core", 100 * idle, "%", 2.0),
        Figure("apply to last pod created, p50", statistics.median(waits_ms), "ms"),
        Figure("apply to last pod created, p99", waits_ms[int(0.99 * (len(waits_ms) - 1))], "ms", 300.0),
    ]


async def apply_each(target: Target, watch: PodWatch, replicas: int, count: int) -> list[float]:
    """Milliseconds from sending each service to its last pod."""
    connection = Connection(target, target.context())
    await connection.open()
    waits_ms = []
    for n in range(count):
        name = f"late-{n:04}"
        sent_s = time.perf_counter()
        await connection.request("POST", MODEL_SERVICES.path("default"), json.dumps(service(name, replicas)).encode())
        deadline_s = sent_s + 10.0
        for _ in range(2000):
            if watch.count.get(name.encode(), 0) >= replicas:
                break
            await asyncio.sleep(0.002)
        waits_ms.append(1000 * (watch.last_s.get(name.encode(), deadline_s) - sent_s))
        await asyncio.sleep(0.05)
    connection.close()
    return waits_ms


def _kubeconfig(target: Target) -> str:
    cluster = {
        "server": f"https://{target.host}:{target.port}",
        "certificate-authority-data": base64.b64encode(target.ca.encode()).decode(),
    }
    return yaml.safe_dump(
        {
            "apiVersion": "v1", "kind": "Config", "current-context": "bench",
            "clusters": [{"name": "bench", "cluster": cluster}],
            "users": [{"name": "bench", "user": {"token": target.token}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        }
    )  # fmt: skip


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--replicas", type=int, default=8)
    parser.add_argument("--applies", type=int, default=100)
    parser.add_argument("--profile", default="", help="file for cProfile of the controller")
    given = parser.parse_args()
    report(uvloop.run(measure(given.services, given.replicas, given.applies, given.profile)), given.json)


if __name__ == "__main__":
    main()
