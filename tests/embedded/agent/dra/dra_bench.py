"""Claims, drivers and pods for the tests of an agent as a kubelet."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent_platform import NODE, Cluster

from fairlead.kube.errors import NotFound
from fairlead.kube.resources import Resource
from patience import PATIENCE_S

CLAIMS = Resource.of("resource.k8s.io/v1", "resourceclaims", "ResourceClaim")
AWAY_S = 3.0
"""How long a driver of these tests may be away before its devices are no longer offered."""
_PLUGIN = Path(__file__).parent / "dra_test_plugin.py"


class Driver:
    """A driver's process on a node, and what it was asked."""

    def __init__(self, cluster: Cluster, name: str, *, node: str = NODE) -> None:
        self.name = name
        self.root = cluster.platform.data / "node" / node
        self.folder = cluster.platform.folder / "drivers" / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.kind = f"{name}/gpu"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.behave()

    def behave(self, **behaviour: Any) -> None:
        fresh = self.folder / "behaviour.new"
        fresh.write_text(json.dumps(behaviour))
        fresh.replace(self.folder / "behaviour.json")

    def give(self, claim: str, device: str = "gpu-0", request: str = "", **behaviour: Any) -> None:
        """Answer for a claim with a device, injected by its CDI id."""
        given = {"request": request, "pool": NODE, "device": device, "cdi": [f"{self.kind}={device}"]}
        self.behave(devices={claim: [given]}, **behaviour)

    def describe(self, *devices: dict[str, Any], edits: dict[str, Any] | None = None) -> None:
        """The driver's CDI spec in the node's own folder."""
        spec = {"cdiVersion": "1.1.0", "kind": self.kind, "devices": list(devices)}
        if edits:
            spec["containerEdits"] = edits
        folder = self.root / "cdi"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.new").write_text(json.dumps(spec))
        (folder / f"{self.name}.new").replace(folder / f"{self.name}.json")

    def start(self, instance: str = "") -> int:
        with open(self.folder / "log", "ab") as log:
            command = [sys.executable, str(_PLUGIN), str(self.root), self.name, str(self.folder), instance]
            process = subprocess.Popen(command, stdout=log, stderr=log)
        self._processes[instance] = process
        return process.pid

    def kill(self, number: int = signal.SIGKILL, instance: str = "") -> None:
        process = self._processes.pop(instance)
        if process.poll() is None:
            os.kill(process.pid, number)
        process.wait(PATIENCE_S)

    def revive(self) -> None:
        """Be a driver that gives back everything, whatever a test did to it."""
        self.behave()
        if not any(process.poll() is None for process in self._processes.values()):
            self._processes.clear()
            self.start()

    def stop(self) -> None:
        for instance in list(self._processes):
            self.kill(instance=instance)
        for path in (self.root / "plugins_registry").glob(f"{self.name}*"):
            path.unlink(missing_ok=True)
        (self.root / "cdi" / f"{self.name}.json").unlink(missing_ok=True)

    def calls(self, *kinds: str) -> list[dict[str, Any]]:
        try:
            lines = (self.folder / "calls.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [call for line in lines if (call := json.loads(line))["call"] in kinds]

    async def until(self, condition: Callable[[], Any], timeout_s: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            log = self.folder / "log"
            said = log.read_text()[-2000:] if log.exists() else ""
            assert time.monotonic() < deadline, f"it never happened; calls: {self.calls('prepare', 'unprepare')} {said}"
            await asyncio.sleep(0.02)

    async def until_registered(self, count: int = 1) -> None:
        await self.until(lambda: sum(call["registered"] for call in self.calls("notify")) >= count)


async def allocate(cluster: Cluster, name: str, *results: tuple[str, str, str], request: str = "gpu") -> dict[str, Any]:
    """A claim that is allocated (driver, pool, device) as a scheduler would have done it."""
    spec = {"devices": {"requests": [{"name": request, "exactly": {"deviceClassName": "any"}}]}}
    await cluster.client.create(CLAIMS, {"metadata": {"name": name}, "spec": spec}, "default")
    listed = [{"request": request, "driver": d, "pool": p, "device": n} for d, p, n in results]
    status = {"allocation": {"devices": {"results": listed}}}
    return await cluster.client.patch(CLAIMS, name, {"status": status}, "default", subresource="status")


async def reserve(cluster: Cluster, claim: str, *pods: dict[str, Any]) -> None:
    users = [{"resource": "pods", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]} for pod in pods]
    await cluster.client.patch(CLAIMS, claim, {"status": {"reservedFor": users}}, "default", subresource="status")


async def run_with_claim(cluster: Cluster, name: str, claim: str, *containers: dict[str, Any], **spec: Any) -> Any:
    """A pod that uses a claim as "c", reserved for it."""
    pod = await cluster.run(name, *containers, resourceClaims=[{"name": "c", "resourceClaimName": claim}], **spec)
    await reserve(cluster, claim, pod)
    return pod


async def drop_claim(cluster: Cluster, name: str) -> None:
    try:
        await cluster.client.patch(
            CLAIMS, name, {"status": {"reservedFor": None, "allocation": None}}, "default", subresource="status"
        )
        await cluster.client.delete(CLAIMS, name, "default")
    except NotFound:
        pass


def checkpoint(cluster: Cluster, node: str = NODE) -> list[dict[str, Any]]:
    """The claims that the node's record on disk has."""
    path = cluster.platform.data / "node" / node / "dra_manager_state"
    if not path.exists():
        return []
    return list(json.loads(json.loads(path.read_text())["data"]))


USES = {"resources": {"claims": [{"name": "c"}]}}
