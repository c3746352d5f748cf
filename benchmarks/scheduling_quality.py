"""What choosing well is worth: the same random work on a fleet of 64 nodes, by least waste and by first fit.

Both modes see the same arrivals at the same times: single pods and gangs, whole cards and parts of them, for random
times; what finds no place at once is turned away, so that the share placed shows what fragmentation costs. Half of the
nodes have eight GPUs under four PCIe switches and two sockets, half eight NPUs that can be cut in eight. First fit is
`upstream` mode: devices as Kubernetes' allocator takes them, nodes as kube-scheduler scores them.
"""

from __future__ import annotations

import heapq
import json
import random
import statistics
from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import msgspec

from fairlead.kube.objects import Node, Pod
from fairlead.kube.objects.devices import DeviceClass, ResourceClaim, ResourceSlice
from fairlead.scheduling.fragmentation import class_report
from fairlead.scheduling.planner import Planner
from fairlead.scheduling.settings import Settings
from fairlead.scheduling.verdict import Placed
from harness.fleets import (
    CLASS,
    claim_spec,
    device_class,
    node,
    node_slice,
    own_claim,
    own_claim_status,
    partition_slices,
    pod,
)
from harness.report import Figure, arguments, report

NAMESPACE = "bench"
RACK = "fabric.topograph.run/tier-0"
SWITCH = "fairlead.dev/pcieSwitch"
SOCKET = "fairlead.dev/socket"
PARTS = "partition.example.com"
Mode = Literal["best", "upstream"]
Json = dict[str, Any]
LINKS = {"switch": 30, "socket": 20, "apart": 10}
"""Score of a pair of GPUs by what they share, as Furiosa's tools give it."""


@dataclass(frozen=True, slots=True)
class Job:
    """A gang that arrives. `devices` for each pod; of a card for parts: processing elements."""

    name: str
    at: float
    lasts: float
    pods: int
    devices: int
    kind: Literal["gpu", "part"]


@dataclass(slots=True)
class Outcome:
    placed: Counter[str]
    asked: Counter[str]
    fragmentation: list[float]
    links: list[float]
    racks: list[float]
    device_time: float = 0.0


def make_jobs(seed: int, count: int) -> list[Job]:
    """Arrivals such that the fleet is nearly full: small work most often, large gangs seldom."""
    random_ = random.Random(seed)
    jobs, now = [], 0.0
    for i in range(count):
        now += random_.expovariate(1.0)
        lasts = random_.expovariate(1 / 80.0)
        if random_.random() < 0.45:
            pods, devices = random_.choices([(1, 1), (1, 2), (1, 4), (1, 8)], [8, 4, 2, 1])[0]
            jobs.append(Job(f"j{i:04}", now, lasts * 2, pods, devices, "part"))
            continue
        sizes = [(1, 1), (1, 2), (1, 4), (1, 8), (4, 1), (4, 2), (2, 8), (4, 8), (8, 4)]
        pods, devices = random_.choices(sizes, [10, 8, 4, 2, 3, 3, 1, 1, 1])[0]
        jobs.append(Job(f"j{i:04}", now, lasts, pods, devices, "gpu"))
    return jobs


def build(mode: Mode) -> Planner:
    planner = Planner(Settings(mode=mode, evicts=False))
    planner.see(msgspec.convert(device_class(), DeviceClass))
    planner.see(msgspec.convert(device_class(PARTS, PARTS), DeviceClass))
    for i in range(64):
        name = f"n-{i:02}"
        planner.see(msgspec.convert(node(name, {RACK: f"rack-{i // 8}"}), Node))
        if i % 2:
            for body in partition_slices(name, 8):
                planner.see(msgspec.convert(body, ResourceSlice))
            continue
        body = node_slice(name, 8)
        for k, device in enumerate(body["spec"]["devices"]):
            device["attributes"][SOCKET] = {"int": k // 4}
            del device["attributes"]["resource.kubernetes.io/pcieRoot"]
        planner.see(msgspec.convert(body, ResourceSlice))
    return planner


def spec_of(job: Job) -> Json:
    if job.kind == "gpu":
        return claim_spec(job.devices)
    return claim_spec(selector=f'device.attributes["{PARTS}"].size == {job.devices}', class_name=PARTS)


def arrive(planner: Planner, job: Job) -> list[Pod]:
    gang = {"min": job.pods, "topology": {"preferred": ["rack"]}}
    labels = {"fairlead.dev/gang": job.name} if job.pods > 1 else {}
    annotations = {"fairlead.dev/gang-spec": json.dumps(gang)} if job.pods > 1 else {}
    pods = []
    for k in range(job.pods):
        name = f"{job.name}-{k}"
        body = pod(name, NAMESPACE, template_name="one", labels=labels, annotations=annotations)
        body["metadata"] |= {"uid": f"uid-{name}", "creationTimestamp": "2026-11-28T00:00:00Z"}
        claim = own_claim(body, spec_of(job))
        claim["metadata"]["uid"] = f"claim-{name}"
        body |= own_claim_status(body)
        planner.see(msgspec.convert(claim, ResourceClaim))
        pods.append(msgspec.convert(body, Pod))
    for each in pods:
        planner.see(each)
    return pods


def leave(planner: Planner, pods: list[Pod]) -> None:
    for each in pods:
        planner.lose(each)
        name = f"{each.metadata.name}-gpus"
        planner.lose(planner.intake.claims[NAMESPACE, name])


def link_scores(planner: Planner, verdict: Placed) -> list[float]:
    """The mean score over the pairs of devices of each pod that has several."""
    found = []
    for each in verdict.assignments:
        for allocation in each.allocations.values():
            results = allocation.devices.results if allocation.devices is not None else ()
            indexes = [int(r.device.removeprefix("gpu-")) for r in results if r.driver == CLASS]
            pairs = [
                LINKS["switch"] if a // 2 == b // 2 else LINKS["socket"] if a // 4 == b // 4 else LINKS["apart"]
                for a, b in combinations(indexes, 2)
            ]
            if pairs:
                found.append(statistics.fmean(pairs))
    return found


def simulate(mode: Mode, jobs: list[Job]) -> Outcome:
    planner = build(mode)
    outcome = Outcome(Counter(), Counter(), [], [], [])
    running: list[tuple[float, str, list[Pod]]] = []
    for number, job in enumerate(jobs):
        while running and running[0][0] <= job.at:
            leave(planner, heapq.heappop(running)[2])
        pods = arrive(planner, job)
        kind = "gang" if job.pods > 1 else "whole node" if job.kind == "gpu" and job.devices == 8 else "pod"
        outcome.asked[kind] += 1
        placed = None
        while (verdict := planner.decide(1.8e9 + job.at)) is not None:
            if isinstance(verdict, Placed) and verdict.assignments[0].pod.name.startswith(job.name):
                placed = verdict
        if placed is None:
            leave(planner, pods)
            continue
        outcome.placed[kind] += 1
        outcome.device_time += job.pods * job.devices * (8 if job.kind == "gpu" else 1) * job.lasts
        outcome.links += link_scores(planner, placed)
        if job.pods > 1:
            rows = {planner.fleet.nodes[planner.fleet.row_of[a.node]] for a in placed.assignments}
            outcome.racks.append(float(len({n.labels[RACK] for n in rows if n is not None}) == 1))
        heapq.heappush(running, (job.at + job.lasts, job.name, pods))
        if number % 20 == 0 and number > len(jobs) // 5:
            for name in (CLASS, PARTS):
                index = class_report(planner.fleet, name, RACK).index
                if index is not None:
                    outcome.fragmentation.append(index)
    return outcome


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1200)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    rows: dict[str, dict[Mode, list[float]]] = {}
    for seed in range(options.seeds):
        jobs = make_jobs(seed, options.jobs)
        for mode in ("upstream", "best"):
            seen = simulate(mode, jobs)
            values = {
                **{f"{kind}s placed": 100 * seen.placed[kind] / seen.asked[kind] for kind in sorted(seen.asked)},
                "device time served": seen.device_time / 1e5,
                "fragmentation index": statistics.fmean(seen.fragmentation),
                "mean link score of a pair": statistics.fmean(seen.links),
                "gangs in one rack": 100 * statistics.fmean(seen.racks),
            }
            for label, value in values.items():
                rows.setdefault(label, {"upstream": [], "best": []})[mode].append(value)
    units = {"fragmentation index": "", "mean link score of a pair": "", "device time served": "1e5"}
    figures = [
        Figure(
            f"{label}, {'first fit' if mode == 'upstream' else 'best'}", statistics.fmean(values), units.get(label, "%")
        )
        for label, by_mode in rows.items()
        for mode, values in by_mode.items()
    ]
    report(figures, options.json, f"{options.seeds} x {options.jobs} arrivals; averages over the seeds")


if __name__ == "__main__":
    main()
