"""What it takes until devices are in the API, and until a fault of one is: against an embedded server of its own.

(a) probing a node's hardware and publishing it, anew each time; (b) a thousand simulated nodes of eight devices from
one process; (c) from a fault of the hardware to all of its signals (taint in the slice, Event on the node,
DeviceTaintRule), as another client's watches see them, at the default periods.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from fairlead.clock import SYSTEM
from fairlead.devices.cdi import ContainerEdits
from fairlead.devices.cdi.spec import NO_EDITS
from fairlead.devices.driver.calls import VendorCalls
from fairlead.devices.driver.damping import DampingSettings
from fairlead.devices.driver.holders import ClaimLookup
from fairlead.devices.driver.reactions import HealthReactions
from fairlead.devices.driver.state import NodeView
from fairlead.devices.driver.taint_rules import TaintRuleHub
from fairlead.devices.driver.watch import NodeWatch, WatchSettings
from fairlead.devices.health import HEALTHY, Health, unhealthy
from fairlead.devices.host import Host
from fairlead.devices.inventory import Device, Inventory
from fairlead.devices.slices.hub import SlicePublisherHub
from fairlead.devices.vendor import Vendor
from fairlead.devices.vendors.registry import create
from fairlead.devices.vendors.simulated.fleet import parse_fleet
from fairlead.devices.vendors.simulated.vendor import create_fleet
from fairlead.kube import Client, EventRecorder
from fairlead.kube.informer import Handler, Informer
from fairlead.kube.kinds import DEVICE_TAINT_RULES, EVENTS, NODES, RESOURCE_SLICES
from fairlead.kube.objects import Node, ObjectMeta
from harness.report import Figure, arguments, report

PUBLISH_GOAL_MS = 300.0
FLEET_GOAL_S = 20.0
SIGNAL_GOAL_S = 2.0
LIMIT_S = 120.0


class FaultyVendor(Vendor):
    """Eight devices that the benchmark makes unhealthy. Its calls go through threads, as those of hardware do."""

    name = "faulty"
    driver = "faulty.example.com"
    cdi_kind = "example.com/faulty"

    def __init__(self) -> None:
        self.states: dict[str, Health] = {}
        self._inventory = Inventory(tuple(Device(f"card-{n}", {"index": n}) for n in range(8)))

    def probe(self) -> Inventory:
        return self._inventory

    def health(self) -> Mapping[str, Health]:
        return {device.name: self.states.get(device.name, HEALTHY) for device in self._inventory.devices}

    def edits(self, device: Device) -> ContainerEdits:
        return NO_EDITS


@contextmanager
def serving(folder: Path) -> Iterator[Path]:
    """A fresh embedded API server on this machine's disk; yields its kubeconfig."""
    command = [sys.executable, "-m", "fairlead.embedded.apiserver", "--data", str(folder), "--api-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if not process.stdout.readline().startswith("ready"):
                raise RuntimeError("the API server did not start")
            yield folder / "kubeconfig"
        finally:
            process.terminate()
            process.wait(LIMIT_S)


@asynccontextmanager
async def running(*loops: Awaitable[Any]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(loop) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def publish_ms(client: Client, vendors: Sequence[Vendor], node: str, times: int) -> tuple[list[float], int]:
    """Milliseconds from the first probe to slices in the API, and how many devices that is."""
    found, devices = [], 0
    await client.create(NODES, Node(metadata=ObjectMeta(name=node)))
    for number in range(times + 1):
        hub = SlicePublisherHub(client, node=node)
        publishers = {vendor.driver: hub.add(vendor.driver, node) for vendor in vendors}
        async with running(hub.run()):
            began_s = SYSTEM.monotonic_s()
            devices = 0
            for vendor in vendors:
                inventory = await VendorCalls(vendor.driver).call("probe", vendor.probe, limit_s=LIMIT_S)
                publishers[vendor.driver].want(inventory)
                devices += len(inventory.devices)
            for publisher in publishers.values():
                await publisher.settled(LIMIT_S)
            took_ms = (SYSTEM.monotonic_s() - began_s) * 1000
            for publisher in publishers.values():
                await publisher.withdraw(timeout_s=LIMIT_S)
        # The first pays for imports and connections, as a process does once.
        if number:
            found.append(took_ms)
    return found, devices


async def fleet_s(client: Client, nodes: int) -> float:
    """Seconds from the vendors of a fleet to all of their slices in the API."""
    text = f"nodes: [{{name: sim, count: {nodes}, devices: [{{model: mi300x, count: 8}}]}}]"
    vendors = create_fleet(parse_fleet(text, "bench"))
    gate = asyncio.Semaphore(16)

    async def make(name: str) -> None:
        async with gate:
            await client.create(NODES, Node(metadata=ObjectMeta(name=name)))

    await asyncio.gather(*(make(vendor.node) for vendor in vendors))
    hub = SlicePublisherHub(client)
    began_s = SYSTEM.monotonic_s()
    publishers = [hub.add(vendor.driver, vendor.node) for vendor in vendors]
    async with running(hub.run()):
        for vendor, publisher in zip(vendors, publishers, strict=True):
            publisher.want(vendor.probe())
        await asyncio.gather(*(publisher.settled(LIMIT_S) for publisher in publishers))
        took_s = SYSTEM.monotonic_s() - began_s
    stored = (await client.list(RESOURCE_SLICES, field_selector=f"spec.driver={vendors[0].driver}")).items
    count = sum(len(s.spec.devices) for s in stored)
    if len(stored) != nodes or count != 8 * nodes:
        raise RuntimeError(f"{len(stored)} slices with {count} devices are stored, not {nodes} with {8 * nodes}")
    return took_s


class Seen:
    """What watches of another client have seen of a node's devices."""

    def __init__(self, client: Client, driver: str, node: str) -> None:
        self._node = node
        self.slices = Informer(client, RESOURCE_SLICES, field_selector=f"spec.driver={driver}")
        self.rules = Informer(client, DEVICE_TAINT_RULES)
        self.events = Informer(client, EVENTS, "default")
        self._changed = asyncio.Event()
        for informer in (self.slices, self.rules, self.events):
            informer.add_handler(Handler.every(self._change))

    def _change(self, _: object) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def taint(self, device: str) -> bool:
        mine = (s for s in self.slices.store if s.spec.node_name == self._node)
        return any(d.name == device and d.taints for s in mine for d in s.spec.devices)

    def rule(self, device: str) -> bool:
        selectors = (rule.spec.device_selector for rule in self.rules.store)
        return any(s and (s.pool, s.device) == (self._node, device) for s in selectors)

    def event(self, device: str) -> bool:
        mine = (e for e in self.events.store if e.involved_object and e.involved_object.name == self._node)
        return any(e.reason == "DeviceUnhealthy" and f"device {device} " in e.message for e in mine)

    async def when(self, condition: Callable[[str], bool], device: str) -> float:
        async with asyncio.timeout(LIMIT_S):
            while not condition(device):
                await self._changed.wait()
        return SYSTEM.monotonic_s()


async def signals_s(client: Client, reader: Client, rounds: int) -> dict[str, list[float]]:
    """Seconds from a fault to each of its signals, and to the last of them."""
    times: dict[str, list[float]] = {"taint": [], "rule": [], "event": [], "all": []}
    damping = DampingSettings(recovery_s=0.0, max_recovery_s=0.0, flapping_from=1000)
    for number in range(rounds):
        node, vendor = f"faulty-{number}", FaultyVendor()
        await client.create(NODES, Node(metadata=ObjectMeta(name=node)))
        seen = Seen(reader, vendor.driver, node)
        slices, rules = SlicePublisherHub(client, node=node), TaintRuleHub(client, node=node)
        publisher = slices.add(vendor.driver, node)
        watch = NodeWatch(vendor, VendorCalls(node), settings=WatchSettings(damping=damping))
        async with AsyncExitStack() as stack:
            recorder = await stack.enter_async_context(EventRecorder(client, "bench"))
            reactions = HealthReactions(
                client, driver=vendor.driver, node=node, recorder=recorder, claims=ClaimLookup(client),
                rules=rules.add(vendor.driver, node), settings=damping,
            )  # fmt: skip

            def tell(view: NodeView, publisher: Any = publisher, reactions: HealthReactions = reactions) -> None:
                publisher.want(view.inventory, view.taints)
                reactions.note(view)

            loops = [slices.run(), rules.run(), reactions.run(), watch.run(tell)]
            watching = [informer.run() for informer in (seen.slices, seen.rules, seen.events)]
            await stack.enter_async_context(running(*loops, *watching))
            await watch.looked()
            await publisher.settled(LIMIT_S)
            for device in range(8):
                # Not in step with the polls.
                await SYSTEM.sleep(0.17 * (device % 4))
                name = f"card-{device}"
                began_s = SYSTEM.monotonic_s()
                vendor.states[name] = unhealthy("XidError", "XID 79")
                conditions = {"taint": seen.taint, "rule": seen.rule, "event": seen.event}
                ends = await asyncio.gather(*(seen.when(condition, name) for condition in conditions.values()))
                for what, end_s in zip(conditions, ends, strict=True):
                    times[what].append(end_s - began_s)
                times["all"].append(max(ends) - began_s)
            await publisher.withdraw(timeout_s=LIMIT_S)
    return times


async def measure(options: argparse.Namespace, kubeconfig: Path) -> list[Figure]:
    if options.vendor.startswith("simulated"):
        fleet = options.vendor.partition(":")[2] or "mi300x8"
        simulated = create_fleet(fleet)
        vendors: Sequence[Vendor] = [v for v in simulated if v.node == simulated[0].node]
    else:
        vendors = create(options.vendor, Host(options.root), "bench-node")
    async with Client.load(kubeconfig) as client, Client.load(kubeconfig) as reader:
        took_ms, devices = await publish_ms(client, vendors, "bench-node", options.rounds)
        what = f"probe and publish a node of {devices} devices ({options.vendor})"
        figures = [
            Figure(f"{what}, median", statistics.median(took_ms), "ms", PUBLISH_GOAL_MS),
            Figure(f"{what}, slowest of {len(took_ms)}", max(took_ms), "ms"),
        ]
        took_s = await fleet_s(client, options.nodes)
        figures += [
            Figure(f"publish {options.nodes} simulated nodes of 8 devices", took_s, "s", FLEET_GOAL_S),
            Figure("nodes published a second", options.nodes / took_s, "1/s", better="higher"),
        ]
        times = await signals_s(client, reader, options.faults)
        for name, label in (
            ("taint", "taint in the slice"),
            ("rule", "DeviceTaintRule"),
            ("event", "Event on the node"),
        ):
            figures.append(Figure(f"fault to {label}, median", statistics.median(times[name]), "s"))
        figures += [
            Figure("fault to all signals, median", statistics.median(times["all"]), "s", SIGNAL_GOAL_S),
            Figure(f"fault to all signals, slowest of {len(times['all'])}", max(times["all"]), "s", SIGNAL_GOAL_S),
        ]
    return figures


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--vendor", default="simulated:mi300x8", help="simulated[:FLEET], or a vendor's name")
    parser.add_argument("--root", default="/", help="where the vendor finds the machine's files")
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=15, help="times that a node is published")
    parser.add_argument("--faults", type=int, default=3, help="rounds of eight faults")
    parser.add_argument("--kubeconfig", type=Path, help="a server to use instead of an embedded one")
    options = parser.parse_args()
    if options.kubeconfig:
        report(asyncio.run(measure(options, options.kubeconfig)), options.json)
        return
    with tempfile.TemporaryDirectory(prefix="fairlead-bench-") as folder, serving(Path(folder)) as kubeconfig:
        report(asyncio.run(measure(options, kubeconfig)), options.json)


if __name__ == "__main__":
    main()
