"""How long it takes to decide who makes room: reclaim for a queue's own share, preemption by gangs, consolidation.

The planner is told of API objects and decides, without an API server: each figure is the time from gangs that wait to
verdicts with victims, all of them proven. Then the victims are taken away and the gangs placed, to see that what was
cleared is enough. Each figure is the median of several runs in processes of their own.

The sizes are those of KAI Scheduler's published scale tests (500 nodes of eight devices), which measure the whole way
through a cluster; these measure the decisions alone.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from fairlead.clock import format_time
from fairlead.kube.objects import Node, Pod
from fairlead.kube.objects.devices import DeviceClass, ResourceClaim, ResourceSlice
from fairlead.scheduling.planner import Planner
from fairlead.scheduling.settings import Settings
from fairlead.scheduling.verdict import Cleared, Placed, Refused
from harness.fleets import CLASS, claim_spec, device_class, node, node_slice, own_claim, own_claim_status, pod
from harness.report import Figure, arguments, report

NAMESPACE = "bench"
NOW_S = 1_800_000_000.0
RECLAIM_GOAL_S = 30.0
REFUSAL_GOAL_MS = 300.0
QUOTA = f"{CLASS}.deviceclass.resource.k8s.io/devices"
NODES, DEVICES = 500, 8
Json = dict[str, Any]


class Cluster:
    """A planner, and the objects that it was told of."""

    def __init__(self, nodes: int = NODES, devices: int = DEVICES) -> None:
        self.planner = Planner(Settings(hold_s=10_000.0))
        self.now_s = NOW_S
        self._created = 0
        self.pods: dict[str, Json] = {}
        self.claims: dict[str, Json] = {}
        self._see(DeviceClass, device_class())
        for i in range(nodes):
            self._see(Node, node(f"n-{i:05}"))
            self._see(ResourceSlice, node_slice(f"n-{i:05}", devices))

    def add_queue(self, name: str, quota: int) -> None:
        self.planner.see(
            {
                "apiVersion": "fairlead.dev/v1alpha1",
                "kind": "Queue",
                "metadata": {"name": name, "uid": f"queue-{name}"},
                "spec": {"resources": {QUOTA: {"quota": quota}}},
            }
        )

    def add_gang(self, name: str, size: int, *, devices: int = 1, queue: str = "", priority: int = 0) -> None:
        """Pods with a claim for `devices` each; more than one form a gang."""
        labels = {"fairlead.dev/queue": queue} if queue else {}
        annotations = {}
        if size > 1:
            labels["fairlead.dev/gang"] = name
            annotations["fairlead.dev/gang-spec"] = json.dumps({"min": size})
        for k in range(size):
            body = pod(f"{name}-{k}", NAMESPACE, template_name="one", labels=labels, annotations=annotations)
            body["metadata"] |= {"uid": f"uid-{name}-{k}", "creationTimestamp": self._next_time()}
            body["spec"]["priority"] = priority
            claim = own_claim(body, claim_spec(devices))
            claim["metadata"]["uid"] = f"claim-{name}-{k}"
            body |= own_claim_status(body)
            self.pods[body["metadata"]["uid"]] = body
            self.claims[claim["metadata"]["name"]] = claim
            self._see(ResourceClaim, claim)
            self._see(Pod, body)

    def decide(self) -> Iterator[Placed | Cleared | Refused]:
        while (verdict := self.planner.decide(self.now_s)) is not None:
            yield verdict

    def settle(self) -> int:
        """Decides what can be placed, and shows it to the planner as bound and written. Pods placed."""
        placed = [verdict for verdict in self.decide() if isinstance(verdict, Placed)]
        count = 0
        for verdict in placed:
            for each in verdict.assignments:
                self._show(each.pod.uid, each.node, each.allocations)
                count += 1
        # Shares are reckoned anew from time to time.
        self.now_s += 60
        if any(True for _ in self.decide()):
            raise RuntimeError("not all that was to be there before was placed")
        return count

    def start_on(self, name: str, node_name: str) -> None:
        """A pod that is there already, with the first free device of the node."""
        body = self.pods[f"uid-{name}-0"]
        standing = self.planner.fleet.row_of[node_name]
        taken = len(self.planner.fleet.on[standing])
        result = {"request": "gpus", "driver": CLASS, "pool": node_name, "device": f"gpu-{taken}"}
        self._show(body["metadata"]["uid"], node_name, {f"{name}-0-gpus": {"devices": {"results": [result]}}})

    def evict(self, cleared: Cleared) -> int:
        """The victims are gone, and what they held. Pods."""
        count = 0
        for victims in cleared.victims:
            for each in victims.pods:
                body = self.pods.pop(each.uid)
                self.planner.lose(msgspec.convert(body, Pod))
                for name in each.claims:
                    self.planner.lose(msgspec.convert(self.claims.pop(name), ResourceClaim))
                count += 1
        return count

    def _next_time(self) -> str:
        """One second after the one before: jobs come one by one."""
        self._created += 1
        return format_time(NOW_S - 10 * 3600 + self._created)

    def _show(self, uid: str, node_name: str, allocations: Any) -> None:
        for name, allocation in allocations.items():
            claim = self.claims[name]
            given = allocation if isinstance(allocation, dict) else msgspec.to_builtins(allocation)
            claim["status"] = {"allocation": given}
            self._see(ResourceClaim, claim)
        body = self.pods[uid]
        body["spec"]["nodeName"] = node_name
        body.setdefault("status", {})["startTime"] = body["metadata"]["creationTimestamp"]
        self._see(Pod, body)

    def _see(self, model: Any, body: Json) -> None:
        self.planner.see(msgspec.convert(body, model))


def measured(cluster: Cluster, expected: int) -> Json:
    """Decides until nothing is left to decide; then lets the victims go, and places who was to be placed."""
    gc.collect()
    gc.freeze()
    began, cpu_began = time.perf_counter(), time.process_time()
    verdicts = list(cluster.decide())
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    cleared = [verdict for verdict in verdicts if isinstance(verdict, Cleared)]
    victims = sum(len(each.pods) for verdict in cleared for each in verdict.victims)
    uids = {each.uid for verdict in cleared for group in verdict.victims for each in group.pods}
    if len(uids) != victims:
        raise RuntimeError(f"{victims - len(uids)} pods were told to leave twice")
    nominated = sum(len(verdict.nominations) for verdict in cleared)
    if nominated != expected:
        raise RuntimeError(f"room was cleared for {nominated} of {expected} pods")
    for verdict in cleared:
        cluster.evict(verdict)
    moved = sum(len(verdict.moves) for verdict in cleared)
    for i in range(moved):
        # Their owner makes them anew.
        cluster.add_gang(f"again-{i:04}", 1)
    began = time.perf_counter()
    placed = sum(len(v.assignments) for v in cluster.decide() if isinstance(v, Placed))
    placing = time.perf_counter() - began
    if placed != expected + moved:
        raise RuntimeError(f"{placed} of {expected + moved} pods were placed once the victims were gone")
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "seconds": seconds,
        "cpu_s": cpu_s,
        "gangs": len(cleared),
        "victims": victims,
        "placed": expected,
        "placing_s": placing,
        "peak_mib": peak_mib,
    }


def reclaim() -> Json:
    """4,000 jobs of one queue hold everything; another queue takes back its half, in gangs of ten."""
    cluster = Cluster()
    half = NODES * DEVICES // 2
    cluster.add_queue("team-a", half)
    cluster.add_queue("team-b", half)
    for i in range(NODES * DEVICES):
        cluster.add_gang(f"a-{i:04}", 1, queue="team-a")
    cluster.settle()
    for i in range(half // 10):
        cluster.add_gang(f"b-{i:03}", 10, queue="team-b")
    return measured(cluster, half)


def fifty_gangs() -> Json:
    """4,000 jobs of a low priority hold everything; fifty gangs of ten of a higher one come."""
    cluster = Cluster()
    for i in range(NODES * DEVICES):
        cluster.add_gang(f"a-{i:04}", 1)
    cluster.settle()
    for i in range(50):
        cluster.add_gang(f"b-{i:03}", 10, priority=10)
    return measured(cluster, 500)


def whole_nodes() -> Json:
    """The same, but every pod of the gangs takes a whole node."""
    cluster = Cluster()
    for i in range(NODES * DEVICES):
        cluster.add_gang(f"a-{i:04}", 1)
    cluster.settle()
    for i in range(40):
        cluster.add_gang(f"b-{i:03}", 10, devices=8, priority=10)
    return measured(cluster, 400)


def consolidation() -> Json:
    """640 jobs are spread over 500 nodes so that no node is free; 41 gangs of ten whole nodes each come, of the same
    priority: everything has to be put together on the 90 nodes that are left."""
    cluster = Cluster()
    for i in range(640):
        cluster.add_gang(f"a-{i:04}", 1)
        cluster.start_on(f"a-{i:04}", f"n-{i % NODES:05}")
    for i in range(41):
        cluster.add_gang(f"b-{i:03}", 10, devices=8)
    return measured(cluster, 410)


def nobody() -> Json:
    """4,000 jobs of a higher priority hold everything: a gang of eighty is told that nobody may be evicted."""
    cluster = Cluster()
    for i in range(NODES * DEVICES):
        cluster.add_gang(f"a-{i:04}", 1, priority=10)
    cluster.settle()
    cluster.add_gang("b", 80)
    return measured(cluster, 0)


CASES: dict[str, Callable[[], Json]] = {
    each.__name__: each for each in (reclaim, fifty_gangs, whole_nodes, consolidation, nobody)
}


def run_case(name: str, rounds: int) -> Json:
    """The median run, each in a process of its own."""
    runs = []
    for _ in range(rounds):
        command = [sys.executable, __file__, "--case", name]
        runs.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    runs.sort(key=lambda run: run["seconds"])
    median: Json = runs[len(runs) // 2]
    return median


def figures(rounds: int) -> list[Figure]:
    found: list[Figure] = []
    labels = {
        "reclaim": ("reclaim half of 4,000 jobs for gangs of 10", RECLAIM_GOAL_S),
        "fifty_gangs": ("preempt for 50 gangs of 10", RECLAIM_GOAL_S),
        "whole_nodes": ("preempt for 40 gangs of 10 whole nodes", None),
        "consolidation": ("consolidate for 41 gangs of 10 whole nodes", RECLAIM_GOAL_S),
    }
    for case, (label, goal) in labels.items():
        run = run_case(case, rounds)
        verb = "moved" if case == "consolidation" else "evicted"
        found += [
            Figure(label, run["seconds"], "s", goal),
            Figure("  of which on a core of this shared machine", run["cpu_s"], "s"),
            Figure(f"  pods {verb}", run["victims"], "pods"),
            Figure("  pods that get a place", run["placed"], "pods", better="higher"),
            Figure("  placing them once the others are gone", run["placing_s"], "s"),
            Figure("  memory", run["peak_mib"], "MiB"),
        ]
    run = run_case("nobody", rounds)
    found.append(
        Figure("say that nobody may be evicted for a gang of 80", run["seconds"] * 1000, "ms", REFUSAL_GOAL_MS)
    )
    return found


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", choices=sorted(CASES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(CASES[options.case]()))
        return
    report(figures(options.rounds), options.json)


if __name__ == "__main__":
    main()
