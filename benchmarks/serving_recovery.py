"""How long a replica is missing after what it runs on, or the engine itself, fails.

A whole platform (`fairlead up --devices rngdx8`): two simulated nodes of eight cards, replicas of four cards each. In
turn a card fails (`fairlead device fail --taint`), a card is kept from new claims (`--throttle`), an engine is stopped
(SIGSTOP: its port takes connections, no page comes) and an engine dies. Measured from the order to the time at which the
replacement has its place, and at which it is ready, as the conditions of its pod say (whole seconds in the API; here by
polling every 20 ms). Of the card that is kept from new claims also how often fewer replicas than wanted were ready: its
replacement comes first, so never.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.report import Figure, arguments, report

from fairlead.kube.client import Client
from fairlead.kube.kinds import PODS, RESOURCE_CLAIMS

FAIRLEAD = [sys.executable, "-m", "fairlead.cli.main"]
LIMIT_S = 60.0
HANG_S = 3
LABEL = "fairlead.dev/model-service=chat"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outage:
    """Seconds from the order to each; `short`: looks at which fewer replicas were ready than wanted."""

    placed_s: float
    ready_s: float
    short: int


class Platform:
    """A platform of its own with one service of `replicas`."""

    def __init__(self, data: Path, client: Client, replicas: int) -> None:
        self.data, self.client, self.replicas = data, client, replicas

    async def pods(self) -> list[Json]:
        found = await self.client.list(PODS.as_unstructured(), "default", label_selector=LABEL)
        return [dict(pod) for pod in found.items]

    async def until_ready(self) -> list[Json]:
        deadline_s = time.monotonic() + LIMIT_S
        while True:
            pods = [p for p in await self.pods() if _is_ready(p)]
            if len(pods) == self.replicas == len(await self.pods()):
                return pods
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"not {self.replicas} replicas ready within {LIMIT_S:g} s")
            time.sleep(0.05)

    async def device_of(self, pod: Json) -> tuple[str, str]:
        """Node and name of the first device that a pod has."""
        for claim in (await self.client.list(RESOURCE_CLAIMS, "default")).items:
            if any(user.uid == pod["metadata"]["uid"] for user in claim.status.reserved_for):
                assert claim.status.allocation is not None and claim.status.allocation.devices is not None
                return pod["spec"]["nodeName"], claim.status.allocation.devices.results[0].device
        raise RuntimeError(f"pod {pod['metadata']['name']} has no device")

    def cli(self, *arguments_: str) -> None:
        subprocess.run([*FAIRLEAD, *arguments_, "--data", str(self.data)], check=True, capture_output=True, timeout=60)

    async def outage(self, victim: Json, fail: Callable[[], None]) -> Outage:
        """Let `victim` fail and wait for the pod that takes its place."""
        known = {pod["metadata"]["uid"] for pod in await self.pods()}
        fail()
        began_s = time.monotonic()
        placed_s, short = 0.0, 0
        while time.monotonic() - began_s < LIMIT_S:
            pods = await self.pods()
            short += sum(map(_is_ready, pods)) < self.replicas
            new = [pod for pod in pods if pod["metadata"]["uid"] not in known]
            if new and not placed_s and new[0]["spec"].get("nodeName"):
                placed_s = time.monotonic() - began_s
            if any(map(_is_ready, new)):
                return Outage(placed_s, time.monotonic() - began_s, short)
            time.sleep(0.02)
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


def _signal(pod: Json, number: int) -> None:
    for pid in _processes(pod):
        os.kill(pid, number)


async def _fail_device(platform: Platform, kind: str) -> Outage:
    """The order takes a process of its own, whose start is not counted: time runs from its end."""
    pod = (await platform.until_ready())[0]
    node, device = await platform.device_of(pod)
    outage = await platform.outage(pod, lambda: platform.cli("device", "fail", node, device, f"--{kind}"))
    platform.cli("device", "heal", node)
    return outage


async def _stop(platform: Platform) -> Outage:
    pod = (await platform.until_ready())[0]
    time.sleep(6.0)  # the watch has seen it answer
    return await platform.outage(pod, lambda: _signal(pod, signal.SIGSTOP))


async def measure(replicas: int, rounds: int) -> list[Figure]:
    # The drivers' sockets lie below it, and a socket's path is short.
    folder = tempfile.mkdtemp(dir="/tmp", prefix="fl-")
    up = [*FAIRLEAD, "up", "--data", folder, "--api-port", "0", "--gateway-port", "0", "--devices", "rngdx8", "-d"]
    try:
        subprocess.run([*up, "-q"], check=True, timeout=120)
        async with Client.load(Path(folder) / "kubeconfig") as client:
            platform = Platform(Path(folder), client, replicas)
            await _deploy(client, replicas)
            await platform.until_ready()
            taints = [await _fail_device(platform, "taint") for _ in range(rounds)]
            throttles = [await _fail_device(platform, "throttle") for _ in range(rounds)]
            stops = [await _stop(platform) for _ in range(max(1, rounds // 3))]
        return [
            *_figures("a card fails", taints, 3.0),
            *_figures("a card is kept from new claims", throttles, 3.0),
            Figure("  … looks at which a replica was missing", sum(o.short for o in throttles), "", 0.0),
            *_figures(f"an engine is stopped (hangSeconds {HANG_S})", stops, HANG_S + 8.0),
        ]
    finally:
        subprocess.run([*FAIRLEAD, "down", "--data", folder, "--delete-data"], check=False, timeout=180)
        shutil.rmtree(folder, ignore_errors=True)


def _figures(what: str, outages: list[Outage], goal_s: float) -> list[Figure]:
    placed = [outage.placed_s for outage in outages]
    return [
        Figure(f"{what}: replacement placed, median of {len(outages)}", statistics.median(placed), "s", goal_s),
        Figure("  … slowest", max(placed), "s"),
        Figure("  … ready, median", statistics.median(outage.ready_s for outage in outages), "s"),
    ]


async def _deploy(client: Client, replicas: int) -> None:
    from fairlead.api.model_service import MODEL_SERVICES

    spec = {
        "model": {"name": "chat"}, "runtime": "simulated", "replicas": replicas, "parallelism": {"tensor": 4},
        "accelerators": [{"name": "rngd", "deviceClass": "npu.furiosa.ai", "count": 4}],
        "recovery": {"hangSeconds": HANG_S, "maxRestarts": 100},
    }  # fmt: skip
    await client.create(
        MODEL_SERVICES.as_unstructured(), {"metadata": {"name": "chat", "namespace": "default"}, "spec": spec}
    )


def main() -> None:
    import asyncio

    parser = arguments(__doc__ or "")
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    report(asyncio.run(measure(given.replicas, given.rounds)), given.json)


if __name__ == "__main__":
    main()
