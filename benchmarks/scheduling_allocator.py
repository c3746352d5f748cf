"""Device allocation as a decision alone: claims of a template one after the other, each looked at on every node that
has changed, and taken, until the fleet is full.

No API server and no other filters: what is measured is the time of one core from a claim to its AllocationResult (the
process's own time: the machine is shared). `best` chooses
the cheapest devices of the node, `upstream` those that Kubernetes' scheduler would take. The node is the first that
offers devices.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import process_time
from typing import Any

import msgspec

from fairlead.kube.objects.devices import DeviceClass, ResourceClaim, ResourceSlice
from fairlead.kube.objects.meta import ObjectMeta
from fairlead.scheduling.fleet.device_book import DeviceBook, Offer
from fairlead.scheduling.fleet.device_profiles import Mode
from harness.report import Figure, arguments, report

DRIVER = "gpu.example.com"
POD_CLAIM = "resource.kubernetes.io/pod-claim-name"
MODES: tuple[Mode, ...] = ("best", "upstream")


@dataclass(frozen=True)
class Workload:
    """Nodes of one make, and claims of one template for them. `goal` is in decisions a second."""

    name: str
    slices: Callable[[str], list[dict[str, Any]]]
    claim: Mapping[str, Any]
    goal: float
    published: str


def whole_slices(node: str, devices: int = 10) -> list[dict[str, Any]]:
    """Devices that are given out whole, two under each PCIe root."""
    return [_slice(node, "devices", 1, devices=[_gpu(node, i) for i in range(devices)])]


def divided_slices(node: str, cards: int = 4) -> list[dict[str, Any]]:
    """Cards with eight processing elements, offered whole and in aligned groups of one, two and four: 15 devices each
    over a counter for each element, and one for the memory."""
    sets, devices = [], []
    for card in range(cards):
        amounts = {f"pe{i}": {"value": "1"} for i in range(8)} | {"memory": {"value": "48Gi"}}
        sets.append({"name": f"npu{card}", "counters": amounts})
    for size in (8, 4, 2, 1):
        for card in range(cards):
            for start in range(0, 8, size):
                used = {f"pe{i}": {"value": "1"} for i in range(start, start + size)}
                used["memory"] = {"value": f"{6 * size}Gi"}
                devices.append(
                    {
                        "name": f"npu{card}pe{start}-{start + size - 1}",
                        "attributes": {
                            "cores": {"int": size},
                            "resource.kubernetes.io/pciBusID": {"string": f"0000:{card:02x}:00.0"},
                            "resource.kubernetes.io/numaNode": {"int": card // 2},
                        },
                        "consumesCounters": [{"counterSet": f"npu{card}", "counters": used}],
                    }
                )
    return [_slice(node, "counters", 2, sharedCounters=sets), _slice(node, "devices", 2, devices=devices)]


def _gpu(node: str, number: int) -> dict[str, Any]:
    return {
        "name": f"gpu-{number}",
        "attributes": {
            "type": {"string": "gpu"},
            "uuid": {"string": f"GPU-{node}-{number}"},
            "productName": {"string": "NVIDIA H100 80GB HBM3"},
            "model": {"string": "large" if number % 2 else "small"},
            "fairlead.dev/socket": {"int": number // 4},
            "resource.kubernetes.io/pcieRoot": {"string": f"pci0000:{number // 2:02x}"},
            "resource.kubernetes.io/numaNode": {"int": number // 4},
        },
        "capacity": {"memory": {"value": "80Gi"}},
    }


def _slice(node: str, what: str, count: int, **spec: Any) -> dict[str, Any]:
    pool = {"name": node, "generation": 1, "resourceSliceCount": count}
    return {
        "metadata": {"name": f"{node}-{what}", "uid": f"{node}-{what}"},
        "spec": {"driver": DRIVER, "nodeName": node, "pool": pool, **spec},
    }


def _wanted(count: int, expression: str = "") -> dict[str, Any]:
    selectors = [{"cel": {"expression": expression}}] if expression else []
    return {"deviceClassName": "device", "allocationMode": "ExactCount", "count": count, "selectors": selectors}


def _attribute(name: str, value: str) -> str:
    return f'device.attributes["{DRIVER}"].{name} == {value}'


WORKLOADS = (
    Workload("template", whole_slices, {"requests": [{"name": "r", "exactly": _wanted(1)}]}, 3000,
             "kube-scheduler end to end 258-273/s (kubernetes#140877)"),
    Workload("matchAttribute", whole_slices, {
        "requests": [{"name": "r", "exactly": _wanted(2)}],
        "constraints": [{"requests": ["r"], "matchAttribute": "resource.kubernetes.io/pcieRoot"}],
    }, 3000, "kube-scheduler end to end 117/s (kubernetes#140877)"),
    Workload("partitionable", divided_slices, {
        "requests": [{"name": "r", "exactly": _wanted(1, _attribute("cores", "2"))}],
    }, 3000, "kube-scheduler end to end 3/s before a fix, 100/s after (kubernetes#138917)"),
    Workload("firstAvailable", whole_slices, {
        "requests": [{"name": "r", "firstAvailable": [
            {"name": "large", **_wanted(1, _attribute("model", '"large"'))},
            {"name": "small", **_wanted(1, _attribute("model", '"small"'))},
        ]}],
    }, 3000, "no published figure"),
)  # fmt: skip


def claims_of(devices: Mapping[str, Any]) -> Iterator[ResourceClaim]:
    """Claims of one template, each an object of its own as an API server makes it."""
    number = 0
    while True:
        number += 1
        yield msgspec.convert(
            {
                "metadata": {
                    "name": f"pod-{number}-gpu",
                    "namespace": "bench",
                    "uid": f"uid-{number}",
                    "annotations": {POD_CLAIM: "gpu"},
                },
                "spec": {"devices": devices},
            },
            ResourceClaim,
        )


def book_of(mode: Mode, names: Sequence[str], slices: Callable[[str], list[dict[str, Any]]]) -> DeviceBook:
    book = DeviceBook(mode=mode)
    expression = f'device.driver == "{DRIVER}"'
    spec = {"selectors": [{"cel": {"expression": expression}}]}
    book.set_class(msgspec.convert({"metadata": {"name": "device"}, "spec": spec}, DeviceClass))
    for name in names:
        book.set_node(name, {"kubernetes.io/hostname": name})
        for each in msgspec.convert(slices(name), list[ResourceSlice]):
            book.set_slice(each)
    return book


def fill(book: DeviceBook, names: Sequence[str], claims: Iterator[ResourceClaim], most: int) -> tuple[int, float]:
    """Places claims until nothing fits or `most` are placed, spread over the nodes in turn. How many, and how many
    seconds that took; the first look at all nodes is part of it."""
    pods = [next(claims) for _ in range(most)]
    offers: dict[str, Offer] = {}
    began_s = process_time()
    placed = 0
    for claim in pods:
        wants = book.wants([claim])
        changed = book.take_changed()
        for name in names if changed is None else changed:
            offer = book.offer(wants, name)
            if isinstance(offer, Offer):
                offers[name] = offer
            else:
                offers.pop(name, None)
        if not offers:
            break
        name = next(iter(offers))
        # It comes back at the end, with what changed: every node is taken from in turn.
        offer = offers.pop(name)
        book.take(wants, name, offer, [claim])
        placed += 1
    return placed, process_time() - began_s


def decisions_per_s(workload: Workload, mode: Mode, nodes: int, rounds: int) -> float:
    names = [f"node-{i}" for i in range(nodes)]
    rates: list[float] = []
    for _ in range(rounds):
        book = book_of(mode, names, workload.slices)
        gc.collect()
        placed, took_s = fill(book, names, claims_of(workload.claim), 10 * nodes)
        rates.append(placed / took_s)
    return statistics.median(rates)


def quality(mode: Mode, wanted: Sequence[tuple[int, int]], nodes: int = 16, events: int = 6000) -> tuple[float, float]:
    """Cards and parts of cards that come and go at random on nodes of four cards, nine tenths full. `wanted` are the
    claims to draw from: processing elements, and devices of so many; each goes to the first node that offers them.

    Percent of claims for a whole card that were refused though as many elements were free on one node; and the mean
    distance of the two devices of claims for two (see `links`).
    """
    chance = random.Random(1)
    names = [f"node-{i}" for i in range(nodes)]
    book = book_of(mode, names, divided_slices)
    held: list[tuple[str, str, int]] = []
    free = dict.fromkeys(names, 32)
    asked = refused = pairs = distance = 0
    for number in range(events):
        if held and chance.random() < (0.4 if sum(free.values()) > nodes * 3 else 0.6):
            uid, name, size = held.pop(chance.randrange(len(held)))
            book.release(uid)
            free[name] += size
            continue
        size, count = chance.choice(wanted)
        claim = msgspec.structs.replace(
            next(claims_of({"requests": [{"name": "r", "exactly": _wanted(count, _attribute("cores", str(size)))}]})),
            metadata=ObjectMeta(name=f"c{number}", uid=f"c{number}"),
        )
        wants = book.wants([claim])
        offers = ((name, book.offer(wants, name)) for name in names)
        found = next(((name, offer) for name, offer in offers if isinstance(offer, Offer)), None)
        asked += size == 8
        if found is None:
            refused += size == 8 and max(free.values()) >= 8
            continue
        name, offer = found
        book.take(wants, name, offer, [claim])
        if count == 2:
            pairs, distance = pairs + 1, distance + offer.cost.link
        free[name] -= size * count
        held.append((claim.metadata.uid, name, size * count))
    return 100.0 * refused / max(asked, 1), distance / max(pairs, 1)


def first_look_ms(nodes: int, devices: int) -> tuple[float, float]:
    """Milliseconds to read a fleet's slices, and to answer a new template's first question about all nodes."""
    names = [f"node-{i}" for i in range(nodes)]
    began_s = process_time()
    book = book_of("best", names, lambda node: whole_slices(node, devices))
    read_s = process_time()
    wants = book.wants([next(claims_of(WORKLOADS[0].claim))])
    if not all(isinstance(book.offer(wants, name), Offer) for name in names):
        raise RuntimeError("an empty node has no devices")
    return (read_s - began_s) * 1000, (process_time() - read_s) * 1000


def memory_mib(nodes: int, devices: int) -> float:
    """What a fleet's devices take in a process once a template was answered on all nodes, slices included."""
    command = [sys.executable, __file__, "--memory", "--large-nodes", str(nodes), "--large-devices", str(devices)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def resident_mib() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


def print_memory(options: argparse.Namespace) -> None:
    gc.collect()
    before_mib = resident_mib()
    names = [f"node-{i}" for i in range(options.large_nodes)]
    book = book_of("best", names, lambda node: whole_slices(node, options.large_devices))
    fill(book, names, claims_of(WORKLOADS[0].claim), 1)
    gc.collect()
    print(resident_mib() - before_mib)


def measure(options: argparse.Namespace) -> list[Figure]:
    figures: list[Figure] = []
    for workload in WORKLOADS:
        for mode in MODES:
            rate = decisions_per_s(workload, mode, options.nodes, options.rounds)
            goal = workload.goal if mode == "best" else None
            figures.append(Figure(f"{workload.name}, {mode}", rate, "1/s", goal, "higher"))
    for mode in MODES:
        refused, _ = quality(mode, [(1, 1), (2, 1), (4, 1), (8, 1)])
        _, distance = quality(mode, [(1, 1), (1, 2), (2, 2), (8, 2)])
        figures.append(Figure(f"cards refused for fragments, {mode}", refused, "%"))
        figures.append(Figure(f"distance of two devices of a claim, {mode}", distance, ""))
    read_ms, look_ms = first_look_ms(options.large_nodes, options.large_devices)
    size = f"{options.large_nodes} nodes of {options.large_devices}"
    figures.append(Figure(f"read the slices of {size}", read_ms, "ms"))
    figures.append(Figure(f"first question of a template to {size}", look_ms, "ms"))
    mib = memory_mib(options.large_nodes, options.large_devices)
    figures.append(Figure(f"memory of {size}, slices included", mib, "MiB", 200))
    return figures


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large-nodes", type=int, default=5000)
    parser.add_argument("--large-devices", type=int, default=8)
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        print_memory(options)
        return
    notes = "\n".join(f"  {each.name}: {each.published}" for each in WORKLOADS)
    report(measure(options), options.json, f"for comparison, published:\n{notes}")


if __name__ == "__main__":
    main()
