"""How fast the planner decides, without an API server: pods with claims of their own, gangs, refusals, and memory.

Objects are made and told to the planner beforehand; the time is that of the decisions, from a waiting pod to its node
and its devices as they will be written. Each figure is the median of several runs in processes of their own.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec

from fairlead.kube.objects import Node, Pod
from fairlead.kube.objects.devices import DeviceClass, ResourceClaim, ResourceSlice
from fairlead.scheduling.planner import Planner
from fairlead.scheduling.settings import Settings
from fairlead.scheduling.verdict import Placed, Refused
from harness.fleets import (
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
NOW_S = 1_800_000_000.0
RACKS = "fabric.topograph.run/tier-0"
Json = dict[str, Any]


def feed(planner: Planner, model: Any, *bodies: Json) -> None:
    for body in bodies:
        planner.see(msgspec.convert(body, model))


def build_fleet(planner: Planner, nodes: int, devices: int, per_rack: int = 20) -> None:
    feed(planner, DeviceClass, device_class())
    for i in range(nodes):
        name = f"n-{i:05}"
        feed(planner, Node, node(name, {RACKS: f"rack-{i // per_rack:03}"}))
        feed(planner, ResourceSlice, node_slice(name, devices))


def build_partitions(planner: Planner, nodes: int, cards: int) -> None:
    feed(planner, DeviceClass, device_class("partition", "partition.example.com"))
    for i in range(nodes):
        name = f"n-{i:05}"
        feed(planner, Node, node(name))
        feed(planner, ResourceSlice, *partition_slices(name, cards))


def add_pods(planner: Planner, count: int, spec: Json | None, **extra: Any) -> None:
    """Pods with a claim each, as they are once the claim controller is done with them."""
    for i in range(count):
        name = f"p-{i:05}"
        body = pod(name, NAMESPACE, template_name="one" if spec is not None else "", **extra)
        body["metadata"] |= {"uid": f"uid-{name}", "creationTimestamp": "2026-11-28T00:00:00Z"}
        if spec is not None:
            claim = own_claim(body, spec)
            claim["metadata"]["uid"] = f"claim-{name}"
            body |= own_claim_status(body)
            feed(planner, ResourceClaim, claim)
        feed(planner, Pod, body)


def decide_all(planner: Planner) -> tuple[float, int, int]:
    """Seconds, pods placed, gangs refused."""
    gc.collect()
    gc.freeze()
    placed = refused = 0
    began = time.perf_counter()
    while (verdict := planner.decide(NOW_S)) is not None:
        if isinstance(verdict, Placed):
            placed += len(verdict.assignments)
        elif isinstance(verdict, Refused):
            refused += 1
    return time.perf_counter() - began, placed, refused


def gang_annotations(size: int, *, required: str = "", preferred: str = "") -> Json:
    topology = {key: [value] for key, value in (("required", required), ("preferred", preferred)) if value}
    spec = {"min": size, **({"topology": topology} if topology else {})}
    return {"fairlead.dev/gang-spec": json.dumps(spec)}


def template_claims(mode: str, pods: int) -> Json:
    planner = Planner(Settings(mode="upstream" if mode == "upstream" else "best"))
    build_fleet(planner, 500, 10)
    add_pods(planner, pods, claim_spec())
    return measured(planner, pods)


def match_attribute(mode: str, pods: int) -> Json:
    planner = Planner(Settings(mode="upstream" if mode == "upstream" else "best"))
    build_fleet(planner, 500, 10)
    add_pods(planner, pods, claim_spec(2, match="fairlead.dev/pcieSwitch"))
    return measured(planner, pods)


def partitionable(mode: str, pods: int) -> Json:
    planner = Planner(Settings(mode="upstream" if mode == "upstream" else "best"))
    build_partitions(planner, 500, 4)
    spec = claim_spec(selector='device.attributes["partition.example.com"].size == 2', class_name="partition")
    add_pods(planner, pods, spec)
    return measured(planner, pods)


def gangs_of_four(mode: str, pods: int) -> Json:
    planner = Planner()
    build_fleet(planner, 5000, 8)
    for i in range(pods // 4):
        add_gang(planner, f"g{i:04}", 4, gang_annotations(4, required="rack"))
    return measured(planner, pods)


def add_gang(planner: Planner, name: str, size: int, notes: Json) -> None:
    for k in range(size):
        labels = {"fairlead.dev/gang": name}
        body = pod(f"{name}-{k}", NAMESPACE, template_name="one", labels=labels, annotations=notes)
        body["metadata"] |= {"uid": f"uid-{name}-{k}", "creationTimestamp": "2026-11-28T00:00:00Z"}
        claim = own_claim(body, claim_spec())
        claim["metadata"]["uid"] = f"claim-{name}-{k}"
        body |= own_claim_status(body)
        feed(planner, ResourceClaim, claim)
        feed(planner, Pod, body)


def one_big_gang(mode: str, pods: int) -> Json:
    planner = Planner()
    build_fleet(planner, 500, 8)
    add_gang(planner, "big", pods, gang_annotations(pods, preferred="rack"))
    return measured(planner, pods)


def refused_gang(mode: str, pods: int) -> Json:
    """A gang that no rack of ten nodes can hold: all but forty devices are taken by work of the same priority."""
    planner = Planner()
    build_fleet(planner, 500, 8, per_rack=10)
    add_pods(planner, 3960, claim_spec())
    decide_all(planner)
    add_gang(planner, "big", pods, gang_annotations(pods, required="rack"))
    return measured(planner, 0)


def measured(planner: Planner, expected: int) -> Json:
    seconds, placed, refused = decide_all(planner)
    if placed != expected:
        raise RuntimeError(f"{placed} of {expected} pods were placed")
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "placed": placed, "refused": refused, "peak_mib": peak_mib}


CASES: dict[str, Callable[[str, int], Json]] = {
    each.__name__: each
    for each in (template_claims, match_attribute, partitionable, gangs_of_four, one_big_gang, refused_gang)
}


def run_case(name: str, mode: str, pods: int, rounds: int) -> Json:
    """The median run, each in a process of its own."""
    runs = []
    for _ in range(rounds):
        command = [sys.executable, __file__, "--case", name, "--mode", mode, "--pods", str(pods)]
        runs.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    runs.sort(key=lambda run: run["seconds"])
    return {**runs[len(runs) // 2], "peak_mib": statistics.median(run["peak_mib"] for run in runs)}


def figures(rounds: int) -> list[Figure]:
    found: list[Figure] = []

    def rate(label: str, case: str, pods: int, goal: float, mode: str = "best") -> Json:
        run = run_case(case, mode, pods, rounds)
        found.append(Figure(label, run["placed"] / run["seconds"], "pods/s", goal, "higher"))
        return run

    rate("template claims, 500 x 10, best", "template_claims", 4000, 3000)
    rate("template claims, 500 x 10, upstream", "template_claims", 4000, 3000, "upstream")
    rate("two under a switch, best", "match_attribute", 2000, 150)
    rate("two under a switch, upstream", "match_attribute", 2000, 150, "upstream")
    rate("partitions over counters, best", "partitionable", 4000, 200)
    rate("partitions over counters, upstream", "partitionable", 4000, 200, "upstream")
    many = rate("gangs of 4 in a rack, 5,000 x 8", "gangs_of_four", 8000, 500)
    found.append(Figure("peak memory, 5,000 x 8", many["peak_mib"], "MiB", 600))
    big = run_case("one_big_gang", "best", 512, rounds)
    found.append(Figure("gang of 512, preferred rack, 500 x 8", big["seconds"], "s", 1.5))
    no = run_case("refused_gang", "best", 80, rounds)
    found.append(Figure("80-device gang refused, with reasons", no["seconds"] * 1000, "ms", 300))
    return found


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--case", choices=sorted(CASES), help=argparse.SUPPRESS)
    parser.add_argument("--mode", default="best", help=argparse.SUPPRESS)
    parser.add_argument("--pods", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--profile", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.case:
        if options.profile:
            import cProfile
            import pstats

            profile = cProfile.Profile()
            profile.runcall(CASES[options.case], options.mode, options.pods)
            pstats.Stats(profile).sort_stats("tottime").print_stats(35)
            return
        print(json.dumps(CASES[options.case](options.mode, options.pods)))
        return
    notes = "published: KAI 48.7 s for the gang of 512, 249 s for the refusal; kube-scheduler on 6 cores 258-273 pods/s"
    report(figures(options.rounds), options.json, notes)


if __name__ == "__main__":
    main()
