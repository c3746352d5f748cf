"""What would make a refused gang fit: the decision made again with one constraint weaker, smallest change first.

Each was tried on the fleet, with the same search, and is told with where the gang would go then; only how many devices
are missing is reckoned, since devices that are not there cannot be tried. What stands in the way decides what is tried,
so that a refusal for lack of devices does not try tolerations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from fairlead.scheduling.explain import relaxed
from fairlead.scheduling.explain.neighbours import Holder
from fairlead.scheduling.explain.trials import Trials
from fairlead.scheduling.explain.words import amount, counted, level_name
from fairlead.scheduling.fragmentation import most_on_a_node
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.snapshot import Shape
from fairlead.scheduling.verdict import Because, Explanation, Placed

Kind = Literal[
    "tolerate",
    "topology",
    "selector",
    "affinity",
    "spread",
    "devices",
    "count",
    "more",
    "resources",
    "size",
    "evict",
    "quota",
    "budget",
]

_TAINT: Final = re.compile(r"node\(s\) had untolerated taint \{(?P<key>[^:}]+): ?(?P<value>[^}]*)\}")
_INSUFFICIENT: Final = re.compile(r"Insufficient (?P<name>\S+)")
_MOST_HOLDERS: Final = 6
_MOST_OF_A_KIND: Final = 2
_ONE_OF_A_KIND: Final = frozenset({"count"})
"""Of which the first that helps is the best."""
_MOST_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Remedy:
    """One change that would do."""

    kind: Kind
    text: str
    """What to change, as an order: "tolerate the taint dedicated=db:NoSchedule"."""
    nodes: tuple[str, ...] = ()
    """Where the gang would go then; empty where that was not tried."""
    placed: int = 0
    """How many of its pods would have a place then."""

    def __str__(self) -> str:
        if not self.nodes:
            return f"{self.text} (reckoned, not tried)" if self.kind == "more" else self.text
        shown = ", ".join(self.nodes[:_MOST_SHOWN]) + (
            f" and {len(self.nodes) - _MOST_SHOWN} more" if len(self.nodes) > _MOST_SHOWN else ""
        )
        return f"{self.text} (then on {shown})"


@dataclass(frozen=True, slots=True)
class _Change:
    kind: Kind
    text: str
    gang: Gang
    leaving: tuple[str, ...] = ()


def find_remedies(
    trials: Trials, gang: Gang, explanation: Explanation, holders: Sequence[Holder] = (), most: int = 4
) -> tuple[Remedy, ...]:
    """At most `most` single changes that let the gang be placed, smallest first, and how far it gets with fewer pods.

    `holders` are who holds what the gang lacks, the first to leave first.
    """
    if gang.waits_for or explanation.because in (Because.GATE, Because.CLAIM):
        return ()
    if explanation.because is Because.QUOTA:
        return _within_quota(trials, gang)
    if explanation.because is Because.BUDGET:
        return (Remedy("budget", "search longer: the search was cut off, whether it fits is not known"),)
    found: list[Remedy] = []
    for change in _changes(trials, gang, explanation, holders):
        if len(found) >= most or trials.is_cut:
            break
        if sum(each.kind == change.kind for each in found) >= (1 if change.kind in _ONE_OF_A_KIND else _MOST_OF_A_KIND):
            continue
        placed = trials.place_without(change.gang, change.leaving)
        if placed is not None:
            found.append(_remedy(change, placed))
    smaller = _smaller(trials, gang) if len(gang.pods) > 1 else None
    return tuple(found) if smaller is None else (*found, smaller)


def _within_quota(trials: Trials, gang: Gang) -> tuple[Remedy, ...]:
    placed = trials.place_without(gang)
    where = f"its queue {gang.queue}" if gang.queue else "its queue"
    if placed is None:
        return (Remedy("quota", f"raise the limit or the quota of {where}; there is no room on the nodes either"),)
    return (Remedy("quota", f"raise the limit or the quota of {where}", _nodes(placed), len(placed.assignments)),)


def _remedy(change: _Change, placed: Placed) -> Remedy:
    return Remedy(change.kind, change.text, _nodes(placed), len(placed.assignments))


def _nodes(placed: Placed) -> tuple[str, ...]:
    return tuple(dict.fromkeys(assignment.node for assignment in placed.assignments))


def _smaller(trials: Trials, gang: Gang) -> Remedy | None:
    """How many of its pods fit as things are."""
    placed = trials.place_without(relaxed.of_any_size(gang))
    if placed is None or len(placed.assignments) >= len(gang.pods):
        return None
    count = len(placed.assignments)
    text = f"lower the gang to {counted(count, 'pod')}: so many of its {len(gang.pods)} fit now"
    return Remedy("size", text, _nodes(placed), count)


def _changes(trials: Trials, gang: Gang, explanation: Explanation, holders: Sequence[Holder]) -> Iterator[_Change]:
    """What may help, the least first."""
    yield from _tolerations(trials, gang, explanation.rejections)
    yield from _selectors(gang)
    yield from _neighbourhood(gang)
    yield from _topology(gang)
    yield from _device_rules(gang)
    yield from _requests(trials, gang, explanation.rejections)
    yield from _evictions(gang, holders)
    yield from _fewer_devices(trials, gang)


def _tolerations(trials: Trials, gang: Gang, rejections: Mapping[str, int]) -> Iterator[_Change]:
    found = sorted(
        ((count, matched) for reason, count in rejections.items() if (matched := _TAINT.search(reason))),
        key=lambda each: -each[0],
    )
    taints = {matched["key"].strip(): matched["value"].strip() for _, matched in found}
    for key, value in taints.items():
        changed = relaxed.with_shapes(gang, lambda shape, key=key: relaxed.tolerating(shape, {key: ""}))  # type: ignore[misc]
        yield _Change("tolerate", f"tolerate the taint {key}{f'={value}' if value else ''}", changed)
    if len(taints) > 1:
        every = dict.fromkeys(taints, "")
        changed = relaxed.with_shapes(gang, lambda shape: relaxed.tolerating(shape, every))
        yield _Change("tolerate", f"tolerate the taints {', '.join(taints)}", changed)
    if any(node is not None and node.unschedulable for node in trials.outlook.fleet.nodes):
        cordon = {"node.kubernetes.io/unschedulable": ""}
        changed = relaxed.with_shapes(gang, lambda shape: relaxed.tolerating(shape, cordon))
        yield _Change("tolerate", "uncordon nodes (kubectl uncordon)", changed)


def _selectors(gang: Gang) -> Iterator[_Change]:
    keys = dict.fromkeys((key, value) for shape in _shapes(gang) for key, value in shape.node_selector.items())
    for key, value in keys:
        changed = relaxed.with_shapes(gang, lambda shape, key=key: relaxed.without_selector(shape, key))  # type: ignore[misc]
        yield _Change("selector", f"leave {key}={value} out of the node selector", changed)
    if any(shape.affinity_terms is not None for shape in _shapes(gang)):
        changed = relaxed.with_shapes(gang, relaxed.without_affinity)
        yield _Change("affinity", "leave the required node affinity out", changed)


def _neighbourhood(gang: Gang) -> Iterator[_Change]:
    shapes = _shapes(gang)
    if any(each.is_required for shape in shapes for each in shape.spread):
        changed = relaxed.with_shapes(gang, relaxed.without_spread)
        yield _Change(
            "spread", "make the topology spread constraints wishes (whenUnsatisfiable: ScheduleAnyway)", changed
        )
    if any(not term.weight for shape in shapes for term in (*shape.near, *shape.far)):
        changed = relaxed.with_shapes(gang, relaxed.without_neighbours)
        yield _Change("affinity", "make the pod affinity and anti-affinity preferred", changed)


def _topology(gang: Gang) -> Iterator[_Change]:
    groups = list(gang.root.walk())
    levels = dict.fromkeys(level for group in groups for level in group.topology.required)
    for level in levels:
        yield _Change(
            "topology", f"prefer one {level_name(level)} instead of requiring it", relaxed.without_required(gang, level)
        )
    if len(levels) > 1:
        changed = gang
        for level in levels:
            changed = relaxed.without_required(changed, level)
        yield _Change("topology", f"require none of {', '.join(map(level_name, levels))}", changed)
    if any(group.topology.slice_size for group in groups):
        yield _Change("topology", "do not cut the pods into slices", relaxed.without_slices(gang))


def _device_rules(gang: Gang) -> Iterator[_Change]:
    shapes = [shape for shape in _shapes(gang) if shape.own_claims]
    if any(claim.spec.devices and claim.spec.devices.constraints for shape in shapes for claim in shape.own_claims):
        changed = relaxed.with_shapes(gang, relaxed.without_constraints)
        yield _Change("devices", "leave the constraints between devices (matchAttribute, …) out of the claims", changed)
    if shapes:
        changed = relaxed.with_shapes(gang, lambda shape: relaxed.with_devices(shape, relaxed.tolerating_devices))
        yield _Change("devices", "tolerate device taints in the claims", changed)


def _fewer_devices(trials: Trials, gang: Gang) -> Iterator[_Change]:
    """Fewer in the largest request, as many as a node has left first."""
    requests = [request for shape in _shapes(gang) for _, request in relaxed.device_requests(shape)]
    largest = max(requests, key=lambda each: each.count or 1, default=None)
    wanted = largest.count or 1 if largest is not None else 0
    if largest is None or wanted < 2:
        return
    _, left = most_on_a_node(trials.outlook.fleet, largest.device_class_name, wanted - 1)
    for count in sorted({left, wanted - 1, wanted // 2, wanted // 4, 1} - {0}, reverse=True):
        change = relaxed.fewer_devices(count)
        changed = relaxed.with_shapes(gang, lambda shape, change=change: relaxed.with_devices(shape, change))  # type: ignore[misc]
        yield _Change("count", f"ask for {counted(count, 'device')} in a request, not {wanted}", changed)


def _requests(trials: Trials, gang: Gang, rejections: Mapping[str, int]) -> Iterator[_Change]:
    """Requests that no node has room for, lowered to what the best node has."""
    names = dict.fromkeys(
        matched["name"].rstrip(".,") for reason in rejections if (matched := _INSUFFICIENT.search(reason))
    )
    fleet = trials.outlook.fleet
    for name in names:
        wanted = max((shape.requests.get(name, 0) for shape in _shapes(gang)), default=0)
        rows = [row for row, node in enumerate(fleet.nodes) if node is not None]
        most = max((fleet.free(row, name) for row in rows), default=0)
        if not 0 < most < wanted:
            continue

        def lowered(shape: Shape, name: str = name, most: int = most) -> Shape:
            return shape if shape.requests.get(name, 0) <= most else relaxed.asking(shape, name, most)

        text = f"request {amount(name, most)} {name} a pod, not {amount(name, wanted)}"
        yield _Change("resources", text, relaxed.with_shapes(gang, lowered))


def _evictions(gang: Gang, holders: Sequence[Holder]) -> Iterator[_Change]:
    """Others gone: one gang, then the first two, three, … together."""
    standing = [each for each in holders if each.pods]
    near = sorted(standing, key=lambda each: (bool(each.spared), each.priority, len(each.pods), -each.total))
    near = near[:_MOST_HOLDERS]
    for holder in near:
        yield _Change("evict", f"end {holder.gang}", gang, holder.pods)
    for count in range(2, len(near) + 1):
        together = near[:count]
        names = ", ".join(each.gang for each in together)
        yield _Change("evict", f"end {names}", gang, tuple(uid for each in together for uid in each.pods))


def _shapes(gang: Gang) -> list[Shape]:
    return list({id(pod.shape): pod.shape for pod in gang.pods}.values())
