"""How long a replica is missing after what it runs on, or its engine, fails.

A whole platform (`fairlead up --devices rngdx8`): two simulated nodes of eight cards, replicas of four cards each. In
turn a card fails (`fairlead device fail --taint`), a card is kept from new claims (`--throttle`), an engine is stopped
(SIGSTOP: its port takes connections, no page comes). Measured from the order to the time at which the pod that takes
its place has a node with devices, and to when it is ready, by looking every 20 ms. Of the card that is kept from new
claims also at how many looks fewer replicas were ready than wanted: the replacement comes first, so none.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead.api.model_service import MODEL_SERVICES
from fairlead.clock import parse_time
from fairlead.kube.client import Client
from fairlead.kube.kinds import NODES, PODS, RESOURCE_CLAIMS
from harness.report import Figure, arguments, report

FAIRLEAD = [sys.executable, "-m", "fairlead.cli.main"]
FAILURES = "simulated.fairlead.dev/failures"
LIMIT_S = 90.0
HANG_S = 3
LABEL = "fairlead.dev/model-service=chat"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outage:
    """Seconds from the order to each; `short`: looks at which fewer replicas were ready than wanted."""

    placed_s: float
    ready_s: float
    short: int


@dataclass(frozen=True, slots=True)
class Platform:
    """A platform of its own with one service of `replicas`."""

    data: Path
    client: Client
    replicas: int

    async def pods(self) -> list[Json]:
        found = await self.client.list(PODS.as_unstructured(), "default", label_selector=LABEL)
        return [dict(pod) for pod in found.items]

    async def until_ready(self) -> Json:
        """One of the replicas, once all are ready and no other pod is left."""
        for _ in range(int(LIMIT_S / 0.05)):
            pods = await self.pods()
            if len(pods) == self.replicas and all(map(_is_ready, pods)):
                return pods[0]
            await asyncio.sleep(0.05)
        raise RuntimeError(f"not {self.replicas} replicas ready within {LIMIT_S:g} s")

    async def device_of(self, pod: Json) -> tuple[str, str]:
        """Node and name of the first device that a pod has."""
        for claim in (await self.client.list(RESOURCE_CLAIMS, "default")).items:
            allocation = claim.status.allocation
            is_used = any(user.uid == pod["metadata"]["uid"] for user in claim.status.reserved_for)
            if is_used and allocation is not None and allocation.devices is not None:
                return pod["spec"]["nodeName"], allocation.devices.results[0].device
        raise RuntimeError(f"pod {pod['metadata']['name']} has no device")

    async def cli(self, *words: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *FAIRLEAD, *words, "--data", str(self.data), stdout=subprocess.DEVNULL
        )
        if await asyncio.wait_for(process.wait(), 60):
            raise RuntimeError(f"fairlead {' '.join(words)} failed")

    async def outage(self, victim: Json, fail: Callable[[], Awaitable[float]]) -> Outage:
        """Let `victim` fail and wait for the pod that takes its place. `fail` returns the wall time of the order."""
        known = {pod["metadata"]["uid"] for pod in await self.pods()}
        failing = asyncio.ensure_future(fail())
        placed_at_s, short, deadline_s = 0.0, 0, time.time() + LIMIT_S
        while time.time() < deadline_s:
            pods = await self.pods()
            short += sum(map(_is_ready, pods)) < self.replicas
            new = [pod for pod in pods if pod["metadata"]["uid"] not in known and pod["spec"].get("nodeName")]
            placed_at_s = placed_at_s or (time.time() if new else 0.0)
            if any(map(_is_ready, new)):
                ready_at_s, began_s = time.time(), await failing
                return Outage(placed_at_s - began_s, ready_at_s - began_s, short)
            await asyncio.sleep(0.02)
        raise RuntimeError(f"no replacement for {victim['metadata']['name']} within {LIMIT_S:g} s")


def _is_ready(pod: Json) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    is_ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return is_ready and "deletionTimestamp" not in pod["metadata"]


def _processes(pod: Json) -> list[int]:
    """Processes of the pod's engine, which run on this machine: by the address that they listen on."""
    address = f"--host\0{pod['status']['podIP']}\0".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if address in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


async def _fail_device(platform: Platform, kind: str) -> Outage:
    pod = await platform.until_ready()
    node, device = await platform.device_of(pod)

    async def fail() -> float:
        await platform.cli("device", "fail", node, device, f"--{kind}", "--for", "10s")
        annotations = (await platform.client.get(NODES, node)).metadata.annotations
        return max(parse_time(failure["since"]) for failure in json.loads(annotations[FAILURES]).values())

    outage = await platform.outage(pod, fail)
    # A card that is well again is given out only once the driver trusts it.
    await asyncio.sleep(22.0)
    return outage


async def _stop_engine(platform: Platform) -> Outage:
    pod = await platform.until_ready()
    # The watch has seen it answer by then.
    await asyncio.sleep(6.0)

    async def stop() -> float:
        for pid in _processes(pod):
            os.kill(pid, signal.SIGSTOP)
        return time.time()

    return await platform.outage(pod, stop)


async def measure(folder: Path, replicas: int, rounds: int) -> list[Figure]:
    async with Client.load(folder / "kubeconfig") as client:
        platform = Platform(folder, client, replicas)
        spec = {
            "model": {"name": "chat"}, "runtime": "simulated", "replicas": replicas, "parallelism": {"tensor": 4},
            "accelerators": [{"name": "rngd", "deviceClass": "npu.furiosa.ai", "count": 4}],
            "recovery": {"hangSeconds": HANG_S, "maxRestarts": 100},
        }  # fmt: skip
        service = {"metadata": {"name": "chat", "namespace": "default"}, "spec": spec}
        await client.create(MODEL_SERVICES.as_unstructured(), service)
        taints = [await _fail_device(platform, "taint") for _ in range(rounds)]
        throttles = [await _fail_device(platform, "throttle") for _ in range(rounds)]
        stops = [await _stop_engine(platform) for _ in range(rounds)]
    return [
        *_figures("a card fails", taints, 3.0),
        *_figures("a card is kept from new claims", throttles, 3.0),
        Figure("  … looks at which a replica was missing", sum(o.short for o in throttles), "", 0.0),
        # The next look after it stopped, a second without a page, the time of a hang, and the look after that.
        *_figures(f"an engine is stopped, hangSeconds {HANG_S}", stops, 6.0 + 1.0 + HANG_S + 4.0),
    ]


def _figures(what: str, outages: list[Outage], goal_s: float) -> list[Figure]:
    placed = [outage.placed_s for outage in outages]
    return [
        Figure(f"{what}: replacement placed, median of {len(outages)}", statistics.median(placed), "s", goal_s),
        Figure("  … the slowest", max(placed), "s"),
        Figure("  … ready, median", statistics.median(outage.ready_s for outage in outages), "s"),
    ]


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    # The drivers' sockets lie below it, and a socket's path is short.
    folder = tempfile.mkdtemp(dir="/tmp", prefix="fl-")
    up = [*FAIRLEAD, "up", "--data", folder, "--api-port", "0", "--gateway-port", "0", "--devices", "rngdx8", "-d"]
    try:
        subprocess.run([*up, "-q"], check=True, timeout=120)
        figures = asyncio.run(measure(Path(folder), given.replicas, given.rounds))
    finally:
        subprocess.run([*FAIRLEAD, "down", "--data", folder, "--delete-data"], check=False, timeout=180)
        shutil.rmtree(folder, ignore_errors=True)
    report(figures, given.json)


if __name__ == "__main__":
    main()
