"""The tree of queues: who belongs to which, what each is entitled to, and what is wrong with those that cannot be used.

Gangs belong to leaves. A quota is what a queue can count on, a limit what it never exceeds. Quotas of children may add
up to more than their parent's: then the parent's binds, and the children's are honoured in proportion. A queue with
children that states no quota of a resource is entitled to the sum of theirs. Limits bind level by level: what a queue
uses counts against every queue above it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

DEFAULT_QUEUE = "default"
"""The queue of gangs that name none. It is there even where nobody defines it: no quota, weight 1, no limit."""

ROOT = ""
"""The parent of queues that name none: the whole cluster."""

_WEIGHT_UNITS = 10**6
_MAX_WEIGHT = 10**6


@dataclass(frozen=True, slots=True)
class Entitlement:
    """What a queue may have of one resource, in its base unit."""

    quota: int | None = None
    """None where it is not stated: 0 for a leaf, the children's sum for others."""
    over_quota_weight: float = 1.0
    """Its part of what is left beyond quotas, relative to its siblings'; 0 for none. Kept to a millionth."""
    limit: int | None = None
    """None for no limit."""

    @property
    def weight_units(self) -> int:
        """The weight in whole millionths; a positive weight never becomes 0."""
        units = round(self.over_quota_weight * _WEIGHT_UNITS)
        return max(units, 1) if self.over_quota_weight > 0 else 0


_UNSTATED = Entitlement()


@dataclass(frozen=True, slots=True)
class QueueView:
    """A queue as its object describes it."""

    name: str
    parent: str = ROOT
    priority: int = 0
    """Queues of a higher priority get what is left beyond quotas first."""
    resources: Mapping[str, Entitlement] = field(default_factory=dict)
    reclaim_min_runtime_s: float | None = None
    """How long its gangs run before other queues may take back what they borrow; None for the parent's value."""
    preempt_min_runtime_s: float | None = None
    """How long its gangs run before more important gangs of the same queue may take their place; None likewise."""
    half_life_s: float = 0.0
    """After this time past usage counts half; 0 where the past does not matter."""
    namespaces: tuple[str, ...] = ()
    """Only gangs of these may use the queue, and those that name none belong to it; empty for all."""

    def entitlement(self, resource: str) -> Entitlement:
        return self.resources.get(resource, _UNSTATED)


@dataclass(frozen=True, slots=True, eq=False)
class QueueNode:
    """A usable queue in its place."""

    view: QueueView
    children: tuple[str, ...]
    """By name."""
    path: tuple[str, ...]
    """Itself, its parent, and so on to the topmost queue; empty for the root."""

    @property
    def name(self) -> str:
        return self.view.name


@dataclass(frozen=True, slots=True)
class Membership:
    """Where a gang belongs."""

    queue: str
    note: str = ""
    """What the gang's owner should know though it is no obstacle."""
    waits_for: str = ""
    """Why the gang cannot be scheduled until a queue, or its choice of one, is changed; empty if nothing."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a queue cannot be used."""

    reason: Literal["ParentMissing", "Cycle", "Invalid"]
    """Machine-readable; that of the queue above where the fault is."""
    sentence: str

    def __str__(self) -> str:
        return self.sentence


class QueueTree:
    """Queues that can be used, top-down, and the faults of the others. Immutable: a changed queue makes a new tree."""

    def __init__(self, views: Iterable[QueueView] = ()) -> None:
        known, self.errors = _sort_out(views)
        if DEFAULT_QUEUE not in known and DEFAULT_QUEUE not in self.errors:
            known[DEFAULT_QUEUE] = QueueView(DEFAULT_QUEUE)
        self.nodes: Mapping[str, QueueNode] = _nodes(known)
        """By name, parents before their children; the root is "" and first."""
        self.quotas: Mapping[str, Mapping[str, int]] = _quotas(self.nodes)
        """What each queue can count on; resources of which that is nothing are left out. The root has none."""
        self.governed = frozenset(name for quotas in self.quotas.values() for name in quotas)
        """Resources of which some queue has a quota: those who have none hold what is others' by right."""
        self._homes = _homes(self.nodes)

    def __contains__(self, queue: object) -> bool:
        return queue in self.nodes

    def belongs(self, queue: str, namespace: str = "") -> Membership:
        """Where a gang of `namespace` that names `queue` belongs; "" names none.

        An unknown queue's gangs go to the default one and are told so; a broken queue's wait.
        """
        if not queue:
            return self._home(namespace)
        if queue in self.errors:
            return Membership(queue, waits_for=f"queue {queue} cannot be used: {self.errors[queue]}")
        node = self.nodes.get(queue)
        if node is None:
            home = self._home(namespace)
            where = home.waits_for or f"the gang is in queue {home.queue} until it is there"
            return Membership(home.queue, f"there is no queue {queue}; {where}", home.waits_for)
        if node.children:
            leaves = ", ".join(node.children[:5])
            return Membership(queue, waits_for=f"queue {queue} has queues below it; name one of them ({leaves})")
        if node.view.namespaces and namespace not in node.view.namespaces:
            allowed = ", ".join(node.view.namespaces)
            sentence = f"queue {queue} is not for namespace {namespace}; it is for {allowed} (spec.namespaces)"
            return Membership(queue, waits_for=sentence)
        return Membership(queue)

    def parting(self, one: str, other: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Both queues' paths from themselves up to just below the queue that they share."""
        above = self.nodes[other].path
        shared = set(above)
        mine = tuple(name for name in self.nodes[one].path if name not in shared)
        shared = set(self.nodes[one].path)
        return mine, tuple(name for name in above if name not in shared)

    def reclaim_min_runtime_s(self, queue: str) -> float:
        """The queue's own value, or that of the nearest queue above it that states one; 0 without any."""
        return next((s for s in (self._view(q).reclaim_min_runtime_s for q in self._path(queue)) if s is not None), 0.0)

    def preempt_min_runtime_s(self, queue: str) -> float:
        """Likewise."""
        return next((s for s in (self._view(q).preempt_min_runtime_s for q in self._path(queue)) if s is not None), 0.0)

    def _path(self, queue: str) -> tuple[str, ...]:
        return self.nodes[queue].path

    def _view(self, queue: str) -> QueueView:
        return self.nodes[queue].view

    def _home(self, namespace: str) -> Membership:
        homes = self._homes.get(namespace, ())
        if len(homes) == 1:
            return Membership(homes[0])
        at_default = self.belongs(DEFAULT_QUEUE, namespace)
        if not homes or at_default.waits_for:
            return at_default
        choices = ", ".join(homes)
        return Membership(
            DEFAULT_QUEUE,
            f"queues {choices} are all for namespace {namespace}; name one with the label fairlead.dev/queue",
        )


def _sort_out(views: Iterable[QueueView]) -> tuple[dict[str, QueueView], dict[str, Problem]]:
    """The queues that can be used, and why the others cannot."""
    known: dict[str, QueueView] = {}
    errors: dict[str, Problem] = {}
    for view in views:
        if view.name in known:
            errors[view.name] = Problem("Invalid", f"there are two queues of the name {view.name}; remove one")
        known[view.name] = view
    for view in known.values():
        fault = _fault(view)
        if fault:
            errors[view.name] = Problem("Invalid", fault)
    above = {name: _fault_above(name, known, errors) for name in known if name not in errors}
    errors.update((name, problem) for name, problem in above.items() if problem is not None)
    return {name: known[name] for name in sorted(known) if name not in errors}, errors


def _fault(view: QueueView) -> str:
    """What is wrong with a queue by itself; "" if nothing."""
    if not view.name:
        return "it has no name; set metadata.name"
    for resource, given in sorted(view.resources.items()):
        where = f"spec.resources[{resource}]"
        if given.quota is not None and given.quota < 0:
            return f"{where}.quota is {given.quota}; it must be 0 or more"
        if given.limit is not None and given.limit < 0:
            return f"{where}.limit is {given.limit}; it must be 0 or more, or absent for none"
        if not 0 <= given.over_quota_weight <= _MAX_WEIGHT:
            return f"{where}.overQuotaWeight is {given.over_quota_weight:g}; it must be between 0 and {_MAX_WEIGHT}"
    for field_name, value in (
        ("reclaimMinRuntimeSeconds", view.reclaim_min_runtime_s),
        ("preemptMinRuntimeSeconds", view.preempt_min_runtime_s),
        ("usageHalfLifeSeconds", view.half_life_s),
    ):
        if value is not None and not (math.isfinite(value) and value >= 0):
            return f"spec.{field_name} is {value:g}; it must be 0 or more"
    return ""


def _fault_above(name: str, known: Mapping[str, QueueView], faults: Mapping[str, Problem]) -> Problem | None:
    """What is wrong with the queues above one, the nearest first."""
    way = {name: None}  # in order
    child = name
    while (parent := known[child].parent) != ROOT:
        who = f"queue {child} above it" if child != name else "it"
        if parent not in known:
            sentence = f"{who} names the parent {parent}, which is not there; create it or change spec.parent"
            return Problem("ParentMissing", sentence)
        if parent in way:
            ring = " -> ".join([*[*way][[*way].index(parent) :], parent])
            return Problem("Cycle", f"its parents run in a circle ({ring}); change spec.parent of one of them")
        if parent in faults:
            return Problem(faults[parent].reason, f"queue {parent} above it cannot be used: {faults[parent]}")
        way[parent] = None
        child = parent
    return None


def _nodes(known: Mapping[str, QueueView]) -> dict[str, QueueNode]:
    children: dict[str, list[str]] = {}
    for name in sorted(known):
        children.setdefault(known[name].parent, []).append(name)
    nodes: dict[str, QueueNode] = {}
    paths: list[tuple[str, tuple[str, ...]]] = [(ROOT, ())]
    for name, path in paths:  # grows while it is walked: level by level
        below = tuple(children.get(name, ()))
        nodes[name] = QueueNode(known.get(name, QueueView(ROOT)), below, path)
        paths.extend((child, (child, *path)) for child in below)
    return nodes


def _quotas(nodes: Mapping[str, QueueNode]) -> dict[str, dict[str, int]]:
    quotas: dict[str, dict[str, int]] = {name: {} for name in nodes}
    for name in reversed(list(nodes)):
        if name == ROOT:
            continue
        node, mine = nodes[name], quotas[name]
        for child in node.children:
            for resource, amount in quotas[child].items():
                mine[resource] = mine.get(resource, 0) + amount
        for resource, given in node.view.resources.items():
            if given.quota is not None:
                mine[resource] = given.quota
        for resource in [resource for resource, amount in mine.items() if not amount]:
            del mine[resource]
    return quotas


def _homes(nodes: Mapping[str, QueueNode]) -> dict[str, tuple[str, ...]]:
    """Namespace -> the leaves that are for it alone."""
    homes: dict[str, list[str]] = {}
    for name in sorted(nodes):
        if name != ROOT and not nodes[name].children:
            for namespace in nodes[name].view.namespaces:
                homes.setdefault(namespace, []).append(name)
    return {namespace: tuple(names) for namespace, names in homes.items()}
