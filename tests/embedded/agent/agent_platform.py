"""A real API server and a real node agent as processes, and what tests do with them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fairlead.kube.client import Client
from fairlead.kube.errors import NotFound
from fairlead.kube.resources import Resource
from patience import PATIENCE_S

PODS = Resource.of("v1", "pods", "Pod")
NODES = Resource.of("v1", "nodes", "Node", namespaced=False)
LEASES = Resource.of("coordination.k8s.io/v1", "leases", "Lease")
EVENTS = Resource.of("v1", "events", "Event")
CONFIG_MAPS = Resource.of("v1", "configmaps", "ConfigMap")
SECRETS = Resource.of("v1", "secrets", "Secret")
SERVICE_ACCOUNTS = Resource.of("v1", "serviceaccounts", "ServiceAccount")
NODE = "node-0"


class Platform:
    """The processes, started and killed as tests wish."""

    def __init__(self, folder: Path, *agent_options: str) -> None:
        self.folder = folder
        self._agent_options = agent_options
        self.data = folder / "nodes"
        self.kubeconfig = folder / "kubeconfig"
        self.api = self.agent = 0
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._port = 0

    def start(self) -> None:
        self.start_api()
        self.start_agent()

    def start_api(self) -> None:
        ready = "ready: https://127.0.0.1:"
        log = self.folder / "fairlead.embedded.apiserver.log"
        # An earlier server has said so in the same log.
        before = log.read_text().count(ready) if log.exists() else 0
        process = self._spawn("fairlead.embedded.apiserver", "--data", str(self.folder), "--api-port", str(self._port))
        self._await(lambda: log.read_text().count(ready) > before, "the API server is not ready")
        self._port = int(log.read_text().rpartition(ready)[2].split()[0])
        self.api = process.pid

    def start_agent(self) -> None:
        options = ("--restart-backoff-s", "0.6", "--max-restart-backoff-s", "2", "--volume-refresh-s", "1")
        process = self._spawn(
            "fairlead.embedded.agent",
            "--kubeconfig",
            str(self.kubeconfig),
            "--data",
            str(self.data),
            "--nodes",
            "2",
            *options,
            *self._agent_options,
        )
        self.agent = process.pid

    def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        os.kill(pid, number)
        self._processes.pop(pid).wait(PATIENCE_S)

    def stop(self) -> None:
        for pid in list(self._processes):
            with contextlib.suppress(ProcessLookupError):
                self.kill(pid, signal.SIGTERM)
        command = [sys.executable, "-m", "fairlead.embedded.agent", "--data", str(self.data), "--stop-pods"]
        subprocess.run(command, check=True, timeout=PATIENCE_S)

    def _spawn(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        with open(self.folder / f"{module}.log", "ab") as log:
            process = subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=log, stderr=log)
        self._processes[process.pid] = process
        return process

    def _await(self, condition: Callable[[], bool], problem: str, timeout_s: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, problem
            time.sleep(0.05)


class Cluster:
    """What a test does with pods."""

    def __init__(self, platform: Platform, client: Client) -> None:
        self.platform = platform
        self.client = client

    async def run(self, name: str, *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
        pod = {
            "metadata": {"name": name, **spec.pop("metadata", {})},
            "spec": {
                "nodeName": NODE,
                "terminationGracePeriodSeconds": 3,
                "automountServiceAccountToken": False,
                "containers": list(containers),
                **spec,
            },
        }
        return await self.client.create(PODS, pod, "default")

    async def get(self, name: str) -> dict[str, Any] | None:
        try:
            return await self.client.get(PODS, name, "default")
        except NotFound:
            return None

    async def until(
        self, name: str, condition: Callable[[dict[str, Any]], Any], timeout_s: float = PATIENCE_S
    ) -> dict[str, Any]:
        """The pod once the condition holds."""
        deadline, pod = time.monotonic() + timeout_s, None
        while time.monotonic() < deadline:
            pod = await self.get(name)
            if pod is not None and pod.get("status", {}).get("startTime") and condition(pod):
                return pod
            await asyncio.sleep(0.05)
        raise AssertionError(f"the condition never held: {pod and pod['status']}")

    async def until_gone(self, name: str, timeout_s: float = PATIENCE_S) -> None:
        async with asyncio.timeout(timeout_s):
            while await self.get(name) is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def delete(self, name: str, **options: Any) -> None:
        await self.client.delete(PODS, name, "default", **options)
        await self.until_gone(name)

    async def logs(self, name: str, **params: str) -> str:
        answer = await self.client.request("GET", f"/api/v1/namespaces/default/pods/{name}/log", params=params)
        return answer.body.decode()

    async def said(self, name: str, lines: int = 1, **params: str) -> str:
        """A container's output once it has so many lines: it runs before it has said anything."""
        deadline = time.monotonic() + PATIENCE_S
        while (text := await self.logs(name, **params)).count("\n") < lines:
            assert time.monotonic() < deadline, f"{name} has only said {text!r}"
            await asyncio.sleep(0.05)
        return text

    async def events(self, name: str) -> list[tuple[str, str]]:
        listed = await self.client.list(EVENTS, "default")
        return [(e["reason"], e["message"]) for e in listed.items if e["involvedObject"]["name"] == name]

    async def told(self, name: str, *parts: str, reason: str = "") -> str:
        """The messages of a pod's events, of one reason where it is given, once each part stands in one of them: events
        are written after what they tell of."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            texts = [text for why, text in await self.events(name) if reason in ("", why)]
            if texts and all(any(part in text for text in texts) for part in parts):
                return " ".join(texts)
            assert time.monotonic() < deadline, f"never told: {parts}, {reason}; but {texts}"
            await asyncio.sleep(0.05)


def phase(pod: dict[str, Any]) -> str:
    return str(pod["status"].get("phase"))


def is_ready(pod: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))


def container_status(pod: dict[str, Any], name: str = "app") -> dict[str, Any]:
    fields = ("initContainerStatuses", "containerStatuses")
    return next(s for field in fields for s in pod["status"].get(field, ()) if s["name"] == name)


def shell(script: str, name: str = "app", **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "busybox", "command": ["sh", "-c", script], **fields}
