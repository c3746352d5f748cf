"""The scheduler beside kube-scheduler on one API server, with the same objects: pods with claims of their own, bound.

Needs an API server (`--kubeconfig`) that serves resource.k8s.io/v1, and a kube-scheduler binary (`--kube-scheduler`).
The pods and their claims are there before a scheduler starts; the rate is taken from the first binding to the last, so
that no start-up counts. Schedulers take turns. Afterwards every device is checked to be in one claim, and every claim's
devices on its pod's node.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fairlead.kube import Client
from fairlead.kube.errors import AlreadyExists
from fairlead.kube.kinds import DEVICE_CLASSES, NAMESPACES, NODES, PODS, RESOURCE_CLAIMS, RESOURCE_SLICES
from fairlead.kube.resources import Resource
from harness.fleets import claim_spec, device_class, node, node_slice, own_claim, own_claim_status, pod
from harness.report import Figure, arguments, report

RATIO_GOAL = 2.0
CONCURRENCY = 48
LIMIT_S = 300.0
Json = dict[str, Any]

_CONFIG = """\
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection: {leaderElect: false}
clientConnection: {kubeconfig: KUBECONFIG, qps: 10000, burst: 10000}
profiles: [{schedulerName: upstream}]
"""


async def each(work: Sequence[Any]) -> None:
    """Awaits many writes, some at a time."""
    gate = asyncio.Semaphore(CONCURRENCY)

    async def one(item: Any) -> None:
        async with gate:
            await item

    await asyncio.gather(*map(one, work))


async def create(client: Client, resource: Resource[Any], body: Json, namespace: str | None = None) -> Any:
    return await client.create(resource, body, namespace)


async def ensure_fleet(client: Client, nodes: int, devices: int) -> None:
    async def ensure(resource: Resource[Any], body: Json) -> None:
        try:
            await create(client, resource, body)
        except AlreadyExists:
            return

    async def create_node(name: str) -> None:
        body = node(name)
        await ensure(NODES, body)
        await client.patch(NODES, name, {"status": body["status"]}, subresource="status")
        # A new node is tainted as not ready until somebody takes that away.
        await client.patch(NODES, name, {"spec": {"taints": None}})

    names = [f"bench-{i:04}" for i in range(nodes)]
    await ensure(DEVICE_CLASSES, device_class())
    await each([create_node(name) for name in names])
    await each([ensure(RESOURCE_SLICES, node_slice(name, devices)) for name in names])


async def create_work(client: Client, namespace: str, scheduler: str, pods: int, spec: Json) -> None:
    """Pods with a claim each, as the claim controller leaves them."""
    await create(client, NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})

    async def one(name: str) -> None:
        made = await create(client, PODS, pod(name, namespace, scheduler=scheduler, template_name="one"), namespace)
        body = json.loads(json.dumps(pod(name, namespace)))
        body["metadata"]["uid"] = made.metadata.uid
        await create(client, RESOURCE_CLAIMS, own_claim(body, spec), namespace)
        await client.patch(PODS, name, own_claim_status(body), namespace, subresource="status")

    await each([one(f"p-{i:05}") for i in range(pods)])


@contextmanager
def process(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    quiet = None if os.environ.get("BENCH_VERBOSE") else subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet) as running:
        try:
            yield running
        finally:
            running.terminate()
            try:
                running.wait(20)
            except subprocess.TimeoutExpired:
                running.kill()


async def bound_times(client: Client, namespace: str, pods: int) -> list[float]:
    """When each pod was seen to be bound."""
    listed = await client.list(PODS, namespace)
    unbound = {item.metadata.name for item in listed.items if not item.spec.node_name}
    times: list[float] = []
    async with asyncio.timeout(LIMIT_S):
        async for event in client.watch(PODS, namespace, resource_version=listed.metadata.resource_version):
            item: Any = event.object
            if getattr(item.spec, "node_name", "") and item.metadata.name in unbound:
                unbound.discard(item.metadata.name)
                times.append(time.monotonic())
                if len(times) == pods:
                    return times
    raise RuntimeError(f"the watch ended when {len(times)} of {pods} pods were bound")


async def check(client: Client, namespace: str) -> None:
    """Every device in one claim, every claim on its pod's node. Raises RuntimeError."""
    holders: dict[tuple[str, str, str], str] = {}
    where = {p.metadata.name: p.spec.node_name for p in (await client.list(PODS, namespace)).items}
    for claim in (await client.list(RESOURCE_CLAIMS)).items:
        allocation = claim.status.allocation
        if allocation is None or allocation.devices is None:
            continue
        for result in allocation.devices.results:
            device = (result.driver, result.pool, result.device)
            if device in holders:
                raise RuntimeError(f"{device} is held by {holders[device]} and {claim.metadata.name}")
            holders[device] = claim.metadata.name
            owner = claim.metadata.name.removesuffix("-gpus")
            if claim.metadata.namespace == namespace and where[owner] != result.pool:
                raise RuntimeError(f"pod {owner} is on {where[owner]}, its device on {result.pool}")


async def measure(client: Client, command: Sequence[str], scheduler: str, pods: int, spec: Json) -> float:
    """Pods bound per second."""
    namespace = f"bench-{scheduler}-{time.monotonic_ns() % 10**9}"
    await create_work(client, namespace, scheduler, pods, spec)
    watcher = asyncio.create_task(bound_times(client, namespace, pods))
    await asyncio.sleep(1.0)
    with process(command):
        times = await watcher
        await asyncio.sleep(1.0)
        await check(client, namespace)
    await empty(client, namespace)
    return (len(times) - 1) / (times[-1] - times[0])


async def empty(client: Client, namespace: str) -> None:
    """Takes pods and claims away, as nobody here does it for us."""

    async def drop(name: str) -> None:
        await client.delete(PODS, name, namespace, grace_period_s=0)
        body: Json = {"metadata": {"finalizers": None}}
        await client.patch(RESOURCE_CLAIMS, f"{name}-gpus", body, namespace)
        await client.delete(RESOURCE_CLAIMS, f"{name}-gpus", namespace)

    listed = await client.list(PODS, namespace)
    await each([drop(item.metadata.name) for item in listed.items])


async def run(options: argparse.Namespace) -> list[Figure]:
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(_CONFIG.replace("KUBECONFIG", options.kubeconfig))
        commands = {
            "upstream": [options.kube_scheduler, f"--config={config}", "--secure-port=0", *options.kube_arguments],
            "fairlead": [
                sys.executable, "-m", "fairlead.cli.main", "controllers", "--kubeconfig", options.kubeconfig,
                "--only", "platform", "--scheduler-names", "fairlead",
            ],
        }  # fmt: skip
        async with Client.load(options.kubeconfig) as client:
            await ensure_fleet(client, options.nodes, options.devices)
            for label, spec in (
                ("one device", claim_spec()),
                ("two under a switch", claim_spec(2, match="fairlead.dev/pcieSwitch")),
            ):
                rates: dict[str, list[float]] = {"upstream": [], "fairlead": []}
                for _ in range(options.rounds):
                    for scheduler in ("upstream", "fairlead"):
                        rates[scheduler].append(
                            await measure(client, commands[scheduler], scheduler, options.pods, spec)
                        )
                        print(f"{label}, {scheduler}: {rates[scheduler][-1]:.0f} pods/s", file=sys.stderr)
                theirs, ours = (statistics.median(rates[name]) for name in ("upstream", "fairlead"))
                figures += [
                    Figure(f"kube-scheduler, {label}", theirs, "pods/s"),
                    Figure(f"fairlead, {label}", ours, "pods/s"),
                    Figure(f"ratio, {label}", ours / theirs, "x", RATIO_GOAL, "higher"),
                ]
    return figures


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--kubeconfig", default="", help="of the API server, with every right")
    parser.add_argument("--kube-scheduler", default="", help="the binary")
    parser.add_argument("--kube-arguments", nargs="*", default=[], help="further arguments of kube-scheduler")
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--pods", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if not (options.kubeconfig and options.kube_scheduler):
        notes = "nothing is compared without --kubeconfig and --kube-scheduler"
        report([Figure("compared", 0, "runs")], options.json, notes)
        return
    options.kubeconfig = str(Path(options.kubeconfig).resolve())
    report(asyncio.run(run(options)), options.json)


if __name__ == "__main__":
    main()
