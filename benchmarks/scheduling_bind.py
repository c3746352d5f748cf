"""Pods bound per second through the embedded API server, every pod with a claim made from a template.

As in production: an API server, the claim controller and the scheduler, each a process of its own, and pods being
created all the while. "end to end" counts from the first creation to the last binding; "backlog" has pods and claims
there before the scheduler starts, and counts from the first binding to the last. Afterwards every device is checked to
be in one claim and every claim's devices on its pod's node.
"""

from __future__ import annotations

import argparse
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvloop

from fairlead.kube import Client
from fairlead.kube.kinds import (
    DEVICE_CLASSES,
    NODES,
    PODS,
    RESOURCE_CLAIM_TEMPLATES,
    RESOURCE_CLAIMS,
    RESOURCE_SLICES,
    SERVICE_ACCOUNTS,
)
from fairlead.kube.waiting import wait_for
from harness.apiserver import Connection, Target, server
from harness.fleets import CLASS, claim_spec, device_class, node, node_slice, partition_slices, pod, template
from harness.report import Figure, arguments, report

CLIENTS: Final = 16
LIMIT_S: Final = 300.0
PARTITION: Final = "partition.example.com"
NAME: Final = re.compile(rb'"name":"(p-\d+)"')
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """What the pods ask for, and the figure wanted."""

    label: str
    spec: Json
    goal: float
    devices_per_pod: int = 1
    is_partitioned: bool = False


CASES: Final = {
    "template": Case("one device", claim_spec(), 300.0),
    "match": Case("two devices under a switch", claim_spec(2, match="fairlead.dev/pcieSwitch"), 150.0, 2),
    "partitions": Case(
        "a quarter of a card, over shared counters",
        claim_spec(class_name=PARTITION, selector=f'device.attributes["{PARTITION}"].size == 2'),
        200.0,
        is_partitioned=True,
    ),
}


@contextmanager
def component(kubeconfig: Path, *options: str, profile: str = "") -> Iterator[int]:
    """A `fairlead controllers` process; its pid."""
    command = [sys.executable, "-m", "fairlead.cli.main", "controllers", "--kubeconfig", str(kubeconfig), *options]
    if profile:
        command[1:1] = ["-m", "cProfile", "-o", profile]
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, stdout=log, stderr=log) as running:
        try:
            yield running.pid
        finally:
            running.terminate()
            try:
                running.wait(20)
            except subprocess.TimeoutExpired:
                running.kill()
            log.seek(0)
            problems = [line for line in log.read().decode().splitlines() if "ERROR" in line or "Traceback" in line]
            print(*problems[:5], sep="\n", file=sys.stderr, end="\n" if problems else "")


async def create_all(target: Target, path: str, bodies: Sequence[Json], method: str = "POST") -> None:
    """Many objects over a few lean connections."""
    context = target.context()
    rest = iter(bodies)

    async def work(connection: Connection) -> None:
        await connection.open()
        for body in rest:
            status, answer = await connection.request(method, path, json.dumps(body).encode())
            if status != 201:
                raise RuntimeError(f"{path}: {status} {answer[:300]!r}")
        connection.close()

    await asyncio.gather(*(work(Connection(target, context)) for _ in range(CLIENTS)))


async def build(target: Target, client: Client, case: Case, nodes: int, devices: int) -> None:
    """The fleet, the class and the template."""
    account: Json = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    await create_all(target, SERVICE_ACCOUNTS.path("default"), [account])
    names = [f"node-{i:04}" for i in range(nodes)]
    await create_all(target, NODES.path(), [node(name) for name in names])
    driver = PARTITION if case.is_partitioned else CLASS
    slices = [
        each
        for name in names
        for each in (partition_slices(name, 3) if case.is_partitioned else [node_slice(name, devices)])
    ]
    await create_all(target, RESOURCE_SLICES.path(), slices)
    await create_all(target, DEVICE_CLASSES.path(), [device_class(driver, driver)])
    for name in names:
        status = node(name)["status"]
        await client.patch(NODES, name, {"status": status}, subresource="status")
        await client.patch(NODES, name, {"spec": {"taints": None}})
    body = template("one", "default", case.spec)
    await create_all(target, RESOURCE_CLAIM_TEMPLATES.path("default"), [body])


class Watch:
    """When pods were seen to be bound, read from a watch without decoding the objects."""

    def __init__(self, target: Target) -> None:
        self.times: dict[bytes, float] = {}
        self._connection = Connection(target, target.context())

    async def follow(self, pods: int) -> None:
        await self._connection.open()
        self._connection.send("GET", f"{PODS.path('default')}?watch=true&timeoutSeconds={int(LIMIT_S)}")
        await self._connection.head()
        rest = b""
        while len(self.times) < pods:
            *lines, rest = (rest + await self._connection.chunk()).split(b"\n")
            for line in lines:
                if b'"nodeName":"' in line:
                    name = NAME.search(line)
                    if name is not None:
                        self.times.setdefault(name[1], time.perf_counter())
        self._connection.close()


async def check(client: Client) -> None:
    """Every device in one claim, every claim's devices on its pod's node. Raises RuntimeError."""
    holders: dict[tuple[str, str, str], str] = {}
    where = {p.metadata.uid: p.spec.node_name for p in (await client.list(PODS, "default")).items}
    for claim in (await client.list(RESOURCE_CLAIMS)).items:
        allocation = claim.status.allocation
        for result in allocation.devices.results if allocation is not None and allocation.devices is not None else ():
            device = (result.driver, result.pool, result.device)
            if device in holders:
                raise RuntimeError(f"{device} is held by {holders[device]} and {claim.metadata.name}")
            holders[device] = claim.metadata.name
            for consumer in claim.status.reserved_for:
                if where[consumer.uid] != result.pool:
                    raise RuntimeError(f"a pod on {where[consumer.uid]} has a device on {result.pool}")


@dataclass(frozen=True, slots=True)
class Run:
    """Pods bound per second, and what each took of the processors: milliseconds by process."""

    rate: float
    cpu_ms: Mapping[str, float]


async def measure(case: Case, options: argparse.Namespace, is_backlog: bool) -> Run:
    pods = min(options.pods, options.nodes * options.devices // case.devices_per_pod)
    bodies = [pod(f"p-{i:05}", "default", template_name="one") for i in range(pods)]
    platform = ("--only", "platform", "--scheduler-names", "fairlead")
    with server() as target, tempfile.TemporaryDirectory() as folder:
        kubeconfig = Path(folder) / "kubeconfig"
        kubeconfig.write_text(_kubeconfig(target))
        watch = Watch(target)
        async with Client.load(kubeconfig) as client:
            await build(target, client, case, options.nodes, options.devices)
            with component(kubeconfig, "--only", "cluster") as claims:
                if is_backlog:
                    await create_all(target, PODS.path("default"), bodies)
                    await claims_made(client, pods)
                with component(kubeconfig, *platform, profile=options.profile) as scheduler:
                    processes = {"API server": target.pid, "scheduler": scheduler, "claim controller": claims}
                    if not is_backlog:
                        await warm_up(target, client)
                    before = {name: cpu_ms(pid) for name, pid in processes.items()}
                    follower = asyncio.create_task(watch.follow(pods))
                    await asyncio.sleep(0.2)
                    begin_s = time.perf_counter()
                    if not is_backlog:
                        await create_all(target, PODS.path("default"), bodies)
                    async with asyncio.timeout(LIMIT_S):
                        await follower
                    spent = {name: (cpu_ms(pid) - before[name]) / pods for name, pid in processes.items()}
            await check(client)
    if is_backlog:
        begin_s = min(watch.times.values())
    return Run(pods / (max(watch.times.values()) - begin_s), spent)


def cpu_ms(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return 1000.0 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _kubeconfig(target: Target) -> str:
    """How to be let in, as the clients of the platform read it (JSON is YAML)."""
    authority = base64.b64encode(target.ca.encode()).decode()
    cluster = {"server": f"https://{target.host}:{target.port}", "certificate-authority-data": authority}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "bench", "cluster": cluster}],
            "users": [{"name": "bench", "user": {"token": target.token}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench", "namespace": "default"}}],
            "current-context": "bench",
        }
    )


async def warm_up(target: Target, client: Client) -> None:
    """Until a pod has been bound: everybody is there."""
    await create_all(target, PODS.path("default"), [pod("warm", "default")])
    await wait_for(client, PODS, "warm", "default", lambda made: bool(made and made.spec.node_name), timeout_s=60)


async def claims_made(client: Client, pods: int) -> None:
    async with asyncio.timeout(LIMIT_S):
        while True:
            listed = await client.list(PODS, "default")
            if sum(bool(p.status.resource_claim_statuses) for p in listed.items) >= pods:
                return
            await asyncio.sleep(1.0)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--case", choices=[*CASES, "all"], default="all")
    parser.add_argument("--mode", choices=["end-to-end", "backlog", "both"], default="both")
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--devices", type=int, default=10, help="devices per node")
    parser.add_argument("--pods", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--profile", default="", metavar="FILE", help="cProfile of the scheduler process")
    options = parser.parse_args()
    figures = []
    for name in CASES if options.case == "all" else [options.case]:
        case = CASES[name]
        for mode in ("end-to-end", "backlog"):
            if options.mode in (mode, "both"):
                runs = [uvloop.run(measure(case, options, mode == "backlog")) for _ in range(options.rounds)]
                goal = case.goal if mode == "end-to-end" else None
                rate = statistics.median(run.rate for run in runs)
                figures.append(Figure(f"{case.label}, {mode}", rate, "pods/s", goal, "higher"))
                for process in runs[0].cpu_ms:
                    spent = statistics.median(run.cpu_ms[process] for run in runs)
                    figures.append(Figure(f"    processor time of the {process}", spent, "ms/pod"))
    report(figures, options.json)


if __name__ == "__main__":
    main()
