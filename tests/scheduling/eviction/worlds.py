"""Small fleets with gangs on them, and a plain search that tries every placement: what evictions are compared with."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from fairlead.scheduling.eviction import Bystander
from fairlead.scheduling.fleet.device_book import DeviceBook
from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.fleet.options import Mask, Outlook
from fairlead.scheduling.gangs.model import Gang, Group, Topology
from fairlead.scheduling.gangs.search import Limits
from fairlead.scheduling.snapshot import HOST, NodeView, PodFacts, PodView, Shape
from fairlead.scheduling.verdict import Assignment, Because, Explanation, Placed, Refused

GPU = "nvidia.com/gpu"
HOUR_S = 3600.0
NOW_S = 1_000 * HOUR_S
NO_LIMITS = Limits()

_SHAPES: dict[int, Shape] = {}


def shape(gpus: int) -> Shape:
    """Pods of as many devices, all of one shape."""
    return _SHAPES.setdefault(gpus, Shape("ns", {"pods": 1, GPU: gpus}))


def fleet_of(*gpus: int, racks: Sequence[str] = ()) -> Fleet:
    """Nodes n0, n1 … with so many devices each, in these racks."""
    fleet = Fleet(DeviceBook())
    for number, count in enumerate(gpus):
        labels = {HOST: f"n{number}"} | ({"rack": racks[number]} if racks else {})
        fleet.set_node(NodeView(f"n{number}", {"pods": 110, GPU: count}, labels))
    return fleet


def gang(
    name: str,
    *sizes: int,
    on: Sequence[str] = (),
    priority: int = 0,
    minimum: int | None = None,
    required: tuple[str, ...] = (),
    facts: PodFacts | None = None,
    started_s: float | None = NOW_S - HOUR_S,
    **fields: object,
) -> Gang:
    """Pods of these sizes; bound to the nodes of `on` where given, one each."""
    pods = tuple(
        PodView(
            "ns",
            f"{name}-{number}",
            f"{name}-{number}",
            shape(size),
            priority,
            node=on[number] if on else "",
            started_s=started_s if on else None,
            facts=facts,
        )
        for number, size in enumerate(sizes)
    )
    pending, bound = ((), pods) if on else (pods, ())
    root = Group(
        name, pending, minimum=len(pods) if minimum is None else minimum, bound=bound, topology=Topology(required)
    )
    return Gang("ns", name, root, "PodGroup", priority=priority, **fields)  # type: ignore[arg-type]


def run(fleet: Fleet, *gangs: Gang, queue: str = "") -> list[Bystander]:
    """The gangs stand on the fleet."""
    for each in gangs:
        for pod in each.bound:
            fleet.put(pod, fleet.row_of[pod.node])
    return [Bystander(each, queue) for each in gangs]


def leaving(each: Gang) -> Gang:
    """All of its pods are being deleted."""
    root = replace(each.root, bound=tuple(replace(pod, is_leaving=True) for pod in each.root.bound))
    return replace(each, root=root)


def state_of(fleet: Fleet) -> object:
    """All that a trial could leave changed."""
    return (
        [dict(sorted((k, v) for k, v in used.items() if v)) for used in fleet.used],
        [sorted(on) for on in fleet.on],
        sorted((uid, standing.row) for uid, standing in fleet.pods.items()),
        sorted((key, repr(state.allocation)) for key, state in fleet.claims.items()),
    )


def fits(free: Mapping[str, int], wanted: Gang, racks: Mapping[str, str] | None = None) -> bool:
    """Whether the must-have pods of a flat gang fit, tried out pod by pod on every node."""
    sizes = sorted((pod.shape.requests[GPU] for pod in wanted.root.pods), reverse=True)[-wanted.root.minimum :]
    if not wanted.root.topology.required:
        return _fits(dict(free), sizes)
    (level,) = wanted.root.topology.required
    domains = {name: name if level == HOST else (racks or {})[name] for name in free}
    return any(
        _fits({name: amount for name, amount in free.items() if domains[name] == domain}, sizes)
        for domain in set(domains.values())
    )


def _fits(free: dict[str, int], sizes: Sequence[int]) -> bool:
    if not sizes:
        return True
    for name in free:
        if free[name] >= sizes[0]:
            free[name] -= sizes[0]
            if _fits(free, sizes[1:]):
                return True
            free[name] += sizes[0]
    return False


def place_plainly(outlook: Outlook, wanted: Gang, limits: Limits = NO_LIMITS) -> Placed | Refused:
    """`place_gang` for small flat gangs: every placement is tried."""
    fleet = outlook.fleet
    smallest = sorted(wanted.root.pods, key=lambda pod: pod.shape.requests[GPU])
    pods = smallest[: max(0, wanted.root.minimum - len(wanted.root.bound))]
    rows = [row for row, node in enumerate(fleet.nodes) if node is not None and _may(limits.rows, row)]
    for domain in _domains(fleet, rows, wanted.root):
        with_marks = fleet.mark()
        placed = _place(outlook, list(pods), domain)
        if placed is not None:
            fleet.keep(with_marks)
            return Placed(wanted, tuple(placed), steps=1)
        fleet.undo(with_marks)
    return Refused(wanted, Explanation(Because.ROOM, "no room", steps=1))


def _may(mask: Mask | None, row: int) -> bool:
    return mask is None or bool(mask[row])


def _domains(fleet: Fleet, rows: Iterable[int], group: Group) -> list[list[int]]:
    by_domain: dict[tuple[str | None, ...], list[int]] = {}
    for row in rows:
        node = fleet.nodes[row]
        assert node is not None
        domain = tuple(node.value(level) for level in group.topology.required)
        if None not in domain:
            by_domain.setdefault(domain, []).append(row)
    return list(by_domain.values())


def _place(outlook: Outlook, pods: list[PodView], rows: Sequence[int]) -> list[Assignment] | None:
    if not pods:
        return []
    fleet, pod = outlook.fleet, pods[0]
    for row in rows:
        if not outlook.of(pod.shape).fits(row):
            continue
        node = fleet.nodes[row]
        assert node is not None
        mark = fleet.mark()
        allocations = fleet.place(pod, row)
        rest = _place(outlook, pods[1:], rows)
        if rest is not None:
            fleet.keep(mark)
            return [Assignment(pod, node.name, allocations), *rest]
        fleet.undo(mark)
    return None


def subsets(count: int) -> Iterable[tuple[int, ...]]:
    """Every set of the numbers below `count`."""
    return itertools.chain.from_iterable(itertools.combinations(range(count), size) for size in range(count + 1))
