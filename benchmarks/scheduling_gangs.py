"""How long the search for a gang's place takes, by itself: large gangs with a topology, many small ones on a large
fleet, and gangs that fit nowhere, with the reason why.

The fleet is made beforehand; the time is that of `place_gang`, devices chosen and the explanation written. Below the
table stand figures that others published for the like, end to end on clusters of simulated nodes: they bound what such
a search costs there, and are no measurement of this machine.
"""

from __future__ import annotations

import gc
import random
import resource
import statistics
from collections.abc import Callable, Mapping, Sequence

import msgspec

from fairlead.clock import SYSTEM
from fairlead.kube.objects.devices import DeviceClass, ResourceClaim, ResourceSlice
from fairlead.scheduling.fleet.device_book import DeviceBook
from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.fleet.options import Outlook
from fairlead.scheduling.gangs.model import Gang, Group, Topology, gang_of_one
from fairlead.scheduling.gangs.search import place_gang
from fairlead.scheduling.snapshot import NodeView, PodView, Shape
from fairlead.scheduling.verdict import Placed, Refused
from harness.fleets import CLASS, claim_spec, device_class, node_slice
from harness.report import Figure, arguments, report

NAMESPACE = "bench"
RACK, ZONE = "fabric.topograph.run/tier-0", "topology.kubernetes.io/zone"
REQUESTS = {"cpu": 1000, "memory": 1 << 30, "pods": 1}
NODE = {"cpu": 128_000, "memory": 1 << 40, "pods": 110}

PUBLISHED = """Published by others, end to end, on machines of their own:
  KAI Scheduler 0.17, one gang of 512 pods on 500 nodes: 48.7 s with a preferred topology, 49.4 s without
  KAI Scheduler 0.17, a gang of 80 GPUs found unschedulable: 249.5 s
  kube-scheduler, gangs of 4 on 5,000 nodes in 50 racks: 492 to 630 pods/s, 104 to 114 where all racks are scored"""


def template(count: int) -> Shape:
    """A pod with a claim for so many accelerators."""
    body = {"metadata": {"name": "gpus", "namespace": NAMESPACE}, "spec": claim_spec(count)}
    devices = {f"{CLASS}.deviceclass.resource.k8s.io/devices": count}
    return Shape(NAMESPACE, REQUESTS, own_claims=(msgspec.convert(body, ResourceClaim),), devices=devices)


ONE, EIGHT = template(1), template(8)


def build(nodes: int, devices: int, racks: int) -> Outlook:
    """Equal nodes in equal racks, ten racks in a zone."""
    fleet = Fleet(DeviceBook())
    fleet.devices.set_class(msgspec.convert(device_class(), DeviceClass))
    for i in range(nodes):
        rack = i * racks // nodes
        name = f"n-{i:05}"
        fleet.set_node(NodeView(name, NODE, {RACK: f"rack-{rack:03}", ZONE: f"zone-{rack // 10}"}))
        fleet.devices.set_slice(msgspec.convert(node_slice(name, devices), ResourceSlice))
    return Outlook(fleet)


class Pods:
    """Pods with claims of their own, known to the fleet, each with a name of its own."""

    def __init__(self, outlook: Outlook) -> None:
        self._fleet = outlook.fleet
        self._made = 0

    def make(self, shape: Shape, count: int) -> tuple[PodView, ...]:
        return tuple(self._one(shape) for _ in range(count))

    def _one(self, shape: Shape) -> PodView:
        self._made += 1
        name = f"pod-{self._made}"
        claim = shape.own_claims[0]
        meta = msgspec.structs.replace(claim.metadata, name=f"{name}-gpus", uid=f"uid-{name}-gpus")
        self._fleet.set_claim(msgspec.structs.replace(claim, metadata=meta))
        return PodView(NAMESPACE, name, f"uid-{name}", shape, own_claims=(meta.name,), claims=(meta.name,))


def gang(pods: Sequence[PodView], topology: Topology = Topology(), groups: Sequence[Group] = ()) -> Gang:  # noqa: B008
    minimum = len(pods) + sum(group.minimum for group in groups)
    return Gang(NAMESPACE, "gang", Group("gang", tuple(pods), tuple(groups), minimum, topology=topology), "PodGroup")


def took_s(call: Callable[[], object]) -> float:
    began_s = SYSTEM.monotonic_s()
    call()
    return SYSTEM.monotonic_s() - began_s


def placed(outlook: Outlook, wanted: Gang) -> Placed:
    verdict = place_gang(outlook, wanted)
    if not isinstance(verdict, Placed) or len(verdict.assignments) != len(wanted.pods):
        raise RuntimeError(f"the gang should fit: {verdict}")
    return verdict


def refused(outlook: Outlook, wanted: Gang) -> Refused:
    verdict = place_gang(outlook, wanted)
    if isinstance(verdict, Placed):
        raise RuntimeError("the gang should not fit")
    return verdict


def large_gang_s(rounds: int) -> Mapping[str, float]:
    """Seconds for a gang of 512 pods on an empty fleet of 500 nodes with eight devices, by topology."""
    topologies = {
        "none": Topology(),
        "preferred zone and rack": Topology(preferred=(ZONE, RACK)),
        "slices of 32, each in a rack": Topology(slice_size=32, slice_level=RACK),
    }
    found = {}
    for name, topology in topologies.items():
        times = []
        for _ in range(rounds):
            outlook = build(500, 8, 50)
            pods = Pods(outlook)
            placed(outlook, gang(pods.make(ONE, 1)))
            wanted = gang(pods.make(ONE, 512), topology)
            times.append(took_s(lambda outlook=outlook, wanted=wanted: placed(outlook, wanted)))  # type: ignore[misc]
        found[name] = statistics.median(times)
    return found


def unschedulable_s(rounds: int) -> tuple[Mapping[str, float], str]:
    """Seconds until a gang of 80 accelerators is refused on 300 nodes with 72 free ones, and a sentence that it got."""
    times: dict[str, list[float]] = {}
    sentence = ""
    for _ in range(rounds):
        outlook = build(300, 8, 10)
        pods = Pods(outlook)
        placed(outlook, gang(pods.make(ONE, 300 * 8 - 72)))
        cases = {
            "80 pods of one": gang(pods.make(ONE, 80), Topology((RACK,))),
            "10 pods of eight": gang(pods.make(EIGHT, 10), Topology((RACK,))),
            "40 of one and 5 of eight": gang((*pods.make(ONE, 40), *pods.make(EIGHT, 5)), Topology((RACK,))),
        }
        for name, wanted in cases.items():
            began_s = SYSTEM.monotonic_s()
            verdict = refused(outlook, wanted)
            times.setdefault(name, []).append(SYSTEM.monotonic_s() - began_s)
            sentence = sentence or verdict.explanation.sentence
    return {name: statistics.median(each) for name, each in times.items()}, sentence


def small_gangs(nodes: int, gangs: int, rounds: int, *, is_worn: bool) -> tuple[float, float, float]:
    """Pods a second for gangs of four in one rack each; for pods of their own; and resident MiB at most. Medians of
    rounds on one fleet, which fills up: empty at first, or, worn, with none to seven devices of each node taken."""
    outlook = build(nodes, 8, 50)
    pods = Pods(outlook)
    if is_worn:
        wear(outlook, pods)
    every = [
        (
            [gang(pods.make(ONE, 4), Topology((RACK,))) for _ in range(gangs // rounds)],
            [gang_of_one(pod) for pod in pods.make(ONE, 2 * gangs // rounds)],
        )
        for _ in range(rounds)
    ]
    placed(outlook, gang(pods.make(ONE, 4), Topology((RACK,))))
    gc.collect()

    def rate(each: Sequence[Gang]) -> float:
        took = took_s(lambda: [placed(outlook, one) for one in each])
        return sum(len(one.pods) for one in each) / took

    in_gangs, alone = zip(*((rate(wanted), rate(singles)) for wanted, singles in every), strict=True)
    resident_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return statistics.median(in_gangs), statistics.median(alone), resident_mib


def wear(outlook: Outlook, pods: Pods) -> None:
    """Takes a number of devices of each node and gives some back, so that few nodes are alike."""
    chance = random.Random(6)
    fleet = outlook.fleet
    for row in range(len(fleet.nodes)):
        there = pods.make(ONE, chance.randint(0, 7))
        for pod in there:
            fleet.place(pod, row)
        for pod in there:
            if chance.random() < 0.3:
                fleet.take_back(pod.uid)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=5, help="runs of which each figure is the median")
    parser.add_argument("--nodes", type=int, default=5000, help="nodes of the large fleet")
    parser.add_argument("--gangs", type=int, default=1000, help="gangs of four on the large fleet")
    options = parser.parse_args()
    in_gangs, alone, resident_mib = small_gangs(options.nodes, options.gangs, options.rounds, is_worn=False)
    worn_gangs, worn_alone, worn_mib = small_gangs(options.nodes, options.gangs, options.rounds, is_worn=True)
    large = large_gang_s(options.rounds)
    refusals, sentence = unschedulable_s(options.rounds)
    figures = [Figure(f"gang of 512 pods on 500 nodes, {name}", took, "s", 1.5) for name, took in large.items()]
    figures += [
        Figure(f"80 accelerators on 300 nodes refused and explained, {name}", took * 1000, "ms", 300.0)
        for name, took in refusals.items()
    ]
    fleet = f"{options.nodes} nodes of 8 devices"
    figures += [
        Figure(f"gangs of 4 in a rack, {fleet}", in_gangs, "pods/s", 500.0, better="higher"),
        Figure(f"pods of their own, {fleet}", alone, "pods/s", better="higher"),
        Figure(f"resident at most, {fleet}, {6 * options.gangs} pods", resident_mib, "MiB", 600.0),
        Figure("gangs of 4, the same with nodes partly taken", worn_gangs, "pods/s", 500.0, better="higher"),
        Figure("pods of their own, the same", worn_alone, "pods/s", better="higher"),
        Figure("resident at most, both fleets", worn_mib, "MiB"),
    ]
    report(figures, options.json, f"{PUBLISHED}\nA refusal: {sentence}")


if __name__ == "__main__":
    main()
