"""What a claim costs on a node: the kubelet's NodePrepareResources and NodeUnprepareResources over the driver's socket,
the claim read from a real API server and the record forced to the disk, with and without a CDI spec of the claim's
own."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc

from fairlead.clock import SYSTEM
from fairlead.devices.cdi import ContainerEdits, DeviceNode, Spec, write_spec
from fairlead.devices.cdi import Device as CdiDevice
from fairlead.devices.health import HEALTHY, Health
from fairlead.devices.host import Host
from fairlead.devices.inventory import Device, Inventory
from fairlead.devices.vendor import ClaimReference, Grant, Preparation, Vendor
from fairlead.kube import Client
from fairlead.kube.kinds import RESOURCE_CLAIMS
from fairlead.kube.kubelet import DRA_V1, stub
from harness.report import Figure, arguments, report

GOAL_MS = 5.0
DRIVER = "bench.example.com"
NODE = "bench-node"
START_S = 30.0


class BenchVendor(Vendor):
    """Eight devices that cost nothing, so that what is measured is the driver. `specs`: claims bring edits."""

    name = "bench"
    driver = DRIVER
    cdi_kind = "example.com/bench"

    def __init__(self, specs: bool) -> None:
        self._specs = specs
        self._inventory = Inventory(tuple(Device(f"card-{n}", attributes={"index": n}) for n in range(8)))

    def probe(self) -> Inventory:
        return self._inventory

    def health(self) -> Mapping[str, Health]:
        return {device.name: HEALTHY for device in self._inventory.devices}

    def edits(self, device: Device) -> ContainerEdits:
        return ContainerEdits(device_nodes=(DeviceNode(f"/dev/{device.name}", host_path="/dev/null"),))

    def prepare(self, claim: ClaimReference, grants: Sequence[Grant]) -> Preparation:
        if not self._specs:
            return Preparation()
        return Preparation(edits=ContainerEdits(env=(f"VISIBLE={','.join(g.device.name for g in grants)}",)))


def create(host: Host, node: str, *, specs: bool = False) -> Sequence[Vendor]:
    """As `fairlead driver --vendor devices_prepare:create` calls it."""
    return (BenchVendor(specs),)


@contextmanager
def _process(command: Sequence[str], **environment: str) -> Iterator[str]:
    """A process until the block ends; yields its first line."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, **environment}
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.startswith("ready"):
                raise RuntimeError(f"{command[:4]} did not start: {line!r}")
            yield line
        finally:
            process.terminate()
            process.wait(START_S)


async def _claims(client: Client, count: int, prefix: str) -> list[ClaimReference]:
    resource = RESOURCE_CLAIMS.as_unstructured()
    made = []
    for n in range(count):
        body = {
            "metadata": {"name": f"{prefix}-{n}", "namespace": "default"},
            "spec": {"devices": {"requests": [{"name": "card", "exactly": {"deviceClassName": "bench"}}]}},
        }
        claim = await client.create(resource, body, "default")
        result = {"request": "card", "driver": DRIVER, "pool": NODE, "device": f"card-{n % 8}"}
        status = {"status": {"allocation": {"devices": {"results": [result]}}}}
        await client.patch(resource, f"{prefix}-{n}", status, "default", subresource="status")
        made.append(ClaimReference("default", f"{prefix}-{n}", claim["metadata"]["uid"]))
    return made


class _Kubelet:
    def __init__(self, channel: Any) -> None:
        self._calls = stub(DRA_V1, channel)

    async def call(self, method: str, claims: Sequence[ClaimReference]) -> float:
        """Milliseconds of one call. Raises RuntimeError for a claim's error."""
        wire = [DRA_V1.message("Claim")(namespace=c.namespace, name=c.name, uid=c.uid) for c in claims]
        request = DRA_V1.message(f"{method}Request")(claims=wire)
        began_s = SYSTEM.monotonic_s()
        answer = await self._calls[method](request, timeout=30)
        took_ms = (SYSTEM.monotonic_s() - began_s) * 1000
        errors = [a.error for a in answer.claims.values() if a.error]
        if errors:
            raise RuntimeError(errors[0])
        return took_ms


async def _rounds(kubeconfig: str, root: Path, count: int, rounds: int, prefix: str) -> dict[str, tuple[float, ...]]:
    """Kind of call -> medians over rounds of the p50 and the p99: other work on the machine falls into some rounds."""
    found = [await _measure(kubeconfig, root, count, f"{prefix}-{n}") for n in range(rounds)]
    return {
        kind: tuple(statistics.median(_p(times[kind], percent) for times in found) for percent in (50, 99))
        for kind in found[0]
    }


async def _measure(kubeconfig: str, root: Path, count: int, prefix: str) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {"prepare": [], "again": [], "unprepare": [], "eight": []}
    async with (
        Client.load(kubeconfig) as client,
        grpc.aio.insecure_channel(f"unix:{root}/plugins/{DRIVER}/dra.sock") as channel,
    ):
        kubelet = _Kubelet(channel)
        claims = await _claims(client, count, prefix)
        for claim in claims:
            times["prepare"].append(await kubelet.call("NodePrepareResources", [claim]))
            times["again"].append(await kubelet.call("NodePrepareResources", [claim]))
            times["unprepare"].append(await kubelet.call("NodeUnprepareResources", [claim]))
        for start in range(0, count - 7, 8):
            batch = claims[start : start + 8]
            times["eight"].append(await kubelet.call("NodePrepareResources", batch))
            await kubelet.call("NodeUnprepareResources", batch)
    return times


async def _read_ms(kubeconfig: str, count: int) -> list[float]:
    """What reading a claim alone costs."""
    found = []
    async with Client.load(kubeconfig) as client:
        await _claims(client, 1, "read")
        for _ in range(count):
            began_s = SYSTEM.monotonic_s()
            await client.get(RESOURCE_CLAIMS, "read-0", "default")
            found.append((SYSTEM.monotonic_s() - began_s) * 1000)
    return found


def _write_ms(folder: Path, count: int) -> list[float]:
    """What writing a claim's spec alone costs on this disk."""
    found = []
    edits = ContainerEdits(env=("VISIBLE=card-0",))
    for n in range(count):
        spec = Spec("0.3.0", f"{DRIVER}/claim", devices=[CdiDevice(f"c{n}-card-0", container_edits=edits)])
        began_s = SYSTEM.monotonic_s()
        write_spec(folder, f"bench-{n}.json", spec)
        found.append((SYSTEM.monotonic_s() - began_s) * 1000)
    return found


def _p(times: Sequence[float], percent: int) -> float:
    return statistics.quantiles(times, n=100)[percent - 1]


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--claims", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    figures: list[Figure] = []
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fairlead-bench-")))
        apiserver = [
            sys.executable,
            "-m",
            "fairlead.embedded.apiserver",
            "--data",
            str(data / "api"),
            "--api-port",
            "0",
        ]
        line = stack.enter_context(_process(apiserver))
        kubeconfig = line.rpartition("kubeconfig ")[2].strip().removesuffix(")")
        reads = asyncio.run(_read_ms(kubeconfig, options.claims))
        figures.append(Figure("read of a claim from the API server, p50", _p(reads, 50), "ms"))
        figures.append(Figure("read of a claim from the API server, p99", _p(reads, 99), "ms"))
        writes = _write_ms(data / "write", options.claims)
        figures.append(Figure("write of a claim's CDI spec, p50", _p(writes, 50), "ms"))
        figures.append(Figure("write of a claim's CDI spec, p99", _p(writes, 99), "ms"))
        for what, flag in (("no spec of its own", "false"), ("with its own spec", "true")):
            root = data / flag
            command = [
                sys.executable, "-m", "fairlead.cli.main", "driver", "--vendor", "devices_prepare:create",
                "--option", f"specs={flag}", "--node-name", NODE, "--kubeconfig", kubeconfig,
                "--kubelet-root", str(root), "--cdi-root", str(root / "cdi"),
            ]  # fmt: skip
            with _process(command, PYTHONPATH=str(Path(__file__).parent)):
                times = asyncio.run(_rounds(kubeconfig, root, options.claims, options.rounds, f"claim-{flag}"))
            goal = GOAL_MS + (_p(writes, 99) if flag == "true" else 0.0)
            figures += [
                Figure(f"prepare, {what}, p50", times["prepare"][0], "ms"),
                Figure(f"prepare, {what}, p99", times["prepare"][1], "ms", goal),
                Figure(f"prepare again, {what}, p99", times["again"][1], "ms"),
                Figure(f"unprepare, {what}, p99", times["unprepare"][1], "ms"),
                Figure(f"prepare of 8 claims in one call, {what}, p50", times["eight"][0], "ms"),
            ]
    report(figures, options.json, f"medians of {options.rounds} rounds of {options.claims} claims, one after the other")


if __name__ == "__main__":
    main()
