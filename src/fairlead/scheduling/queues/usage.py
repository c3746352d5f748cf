"""What queues use: what their gangs hold now, kept as they start and end, and what they used lately."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from sortedcontainers import SortedDict

from fairlead.scheduling.queues.tree import ROOT, QueueTree
from fairlead.scheduling.snapshot import Amounts

_NOTHING: Amounts = {}
_Rank = tuple[bool, int, float, str]


@dataclass(frozen=True, slots=True)
class Running:
    """A gang, or a part of one that can be evicted by itself, that holds resources."""

    key: str
    queue: str
    """The leaf that it belongs to."""
    demand: Amounts
    """What it holds, all pods together."""
    priority: int = 0
    created_s: float = 0.0
    is_preemptible: bool = True
    started_s: float | None = None
    """When it began to run; None where it does not yet."""

    @property
    def rank(self) -> _Rank:
        """Its place in the queue: the first ones hold what is the queue's own, the last ones what it borrows."""
        return self.is_preemptible, -self.priority, self.created_s, self.key


class Holdings:
    """What every queue holds, those below it included. A gang counts once, however often it is put.

    Gangs of queues that are not in the tree count for the cluster alone.
    """

    def __init__(self, tree: QueueTree, running: Iterable[Running] = ()) -> None:
        self._tree = tree
        self._gangs: dict[str, Running] = {}
        self._own: dict[str, SortedDict[_Rank, Running]] = {}
        self._held: dict[str, dict[str, int]] = {}
        self._fixed: dict[str, dict[str, int]] = {}
        self._covered: dict[str, tuple[Amounts, frozenset[str]]] = {}  # queue -> a share, the gangs within it
        self._promises: dict[str, tuple[str, Amounts]] = {}
        self._promised: dict[str, dict[str, int]] = {}
        for gang in running:
            self.put(gang)

    def __contains__(self, key: object) -> bool:
        return key in self._gangs

    def __iter__(self) -> Iterator[Running]:
        return iter(self._gangs.values())

    def get(self, key: str) -> Running | None:
        return self._gangs.get(key)

    def put(self, gang: Running) -> None:
        """It holds its resources from now on; another of the same key is replaced."""
        self.drop(gang.key)
        self._gangs[gang.key] = gang
        own = self._own.get(gang.queue)
        if own is None:
            own = self._own[gang.queue] = SortedDict()
        own[gang.rank] = gang
        self._covered.pop(gang.queue, None)
        self._count(gang, 1)

    def drop(self, key: str) -> Running | None:
        """It holds nothing any more. The gang as it was put; None where it was not there."""
        gang = self._gangs.pop(key, None)
        if gang is None:
            return None
        del self._own[gang.queue][gang.rank]
        known = self._covered.get(gang.queue)
        if known is not None and key in known[1]:
            del self._covered[gang.queue]
        self._count(gang, -1)
        return gang

    def try_without(self, key: str, left: Running | None = None) -> Callable[[], None]:
        """It holds nothing, or only `left`, until the function that is returned is called: then all is as before.
        Whoever does this several times goes back in reverse, and changes nothing else meanwhile."""
        gang = self._gangs[key]
        known = self._covered.get(gang.queue)
        if left is None:
            self.drop(key)
        else:
            self.put(left)

        def back() -> None:
            self.put(gang)
            if known is not None:
                self._covered[gang.queue] = known

        return back

    def of(self, queue: str) -> Amounts:
        """What the queue and those below it hold; for "" all gangs. Not to be kept: it changes with them."""
        return self._held.get(queue, _NOTHING)

    def promise(self, key: str, queue: str, demand: Amounts) -> None:
        """Room is being made for a gang of the queue: what it will hold counts where its queues ask for more."""
        self.withdraw(key)
        self._promises[key] = queue, demand
        self._count_promise(queue, demand, 1)

    def withdraw(self, key: str) -> None:
        """No more room is being made for the gang; nothing where none was."""
        known = self._promises.pop(key, None)
        if known is not None:
            self._count_promise(*known, -1)

    def promised(self, queue: str) -> Amounts:
        """What gangs of the queue and those below it will hold once those have left who make room for them."""
        return self._promised.get(queue, _NOTHING)

    def fixed(self, queue: str) -> Amounts:
        """The part of `of` that gangs hold which cannot be preempted."""
        return self._fixed.get(queue, _NOTHING)

    def gangs(self, queue: str) -> Iterator[Running]:
        """The queue's own gangs, the last ones first: those whose resources it would miss least.

        The one just yielded may be dropped before the next is asked for.
        """
        own = self._own.get(queue)
        at = len(own) if own else 0
        while own and at > 0:
            at = min(at, len(own)) - 1
            yield own.peekitem(at)[1]

    def is_own(self, gang: Running, share: Amounts) -> bool:
        """Whether the gang holds what is its queue's own, given the queue's fair share; else it is on borrowed room.

        Gangs count in the order of their rank; one that does not fit in what is left of the share is passed over.
        """
        if gang.key not in self._gangs:
            return False
        known = self._covered.get(gang.queue)
        if known is None or known[0] is not share:
            known = self._covered[gang.queue] = share, self._cover(gang.queue, share)
        return gang.key in known[1]

    def _cover(self, queue: str, share: Amounts) -> frozenset[str]:
        within = set()
        left = dict(share)
        for gang in self._own[queue].values():
            if all(amount <= left.get(name, 0) for name, amount in gang.demand.items()):
                within.add(gang.key)
                for name, amount in gang.demand.items():
                    if amount:
                        left[name] -= amount
        return frozenset(within)

    def _count_promise(self, queue: str, demand: Amounts, sign: int) -> None:
        node = self._tree.nodes.get(queue)
        for name in node.path if node is not None else (queue,):
            _add(self._promised.setdefault(name, {}), demand, sign)

    def _count(self, gang: Running, sign: int) -> None:
        node = self._tree.nodes.get(gang.queue)
        for queue in (*(node.path if node is not None else (gang.queue,)), ROOT):
            _add(self._held.setdefault(queue, {}), gang.demand, sign)
            if not gang.is_preemptible:
                _add(self._fixed.setdefault(queue, {}), gang.demand, sign)


def _add(total: dict[str, int], amounts: Amounts, sign: int) -> None:
    for name, amount in amounts.items():
        total[name] = total.get(name, 0) + sign * amount


class DecayedUsage:
    """Which part of the cluster each queue used lately, per resource, 0 to 1.

    A moving average: while a queue holds the part p of a resource, its usage u becomes
    u * 2^(-dt / half life) + p * (1 - 2^(-dt / half life)). For a queue that always held the same part it is that part.
    Queues without a half life have none.

    A clock that goes back counts as no time. No step is longer than `max_step_s`: what happened while nobody looked is
    not known, so a leap forward neither charges a queue for it nor forgives it.
    """

    def __init__(self, now_s: float, max_step_s: float = 300.0) -> None:
        self._now_s = now_s
        self._max_step_s = max_step_s
        self._used: dict[str, dict[str, float]] = {}

    @property
    def values(self) -> Mapping[str, Mapping[str, float]]:
        """Queue -> resource -> usage. To be kept elsewhere, and given back to `restore`."""
        return self._used

    def advance(self, tree: QueueTree, holdings: Holdings, capacity: Amounts, now_s: float) -> None:
        """Bring the values to `now_s`; `holdings` is what was held since the last call."""
        step_s = min(max(now_s - self._now_s, 0.0), self._max_step_s)
        self._now_s = now_s
        for gone in [queue for queue in self._used if queue not in tree]:
            del self._used[gone]
        if not step_s:
            return
        for queue, node in tree.nodes.items():
            if not node.view.half_life_s:
                self._used.pop(queue, None)
                continue
            keep = 2.0 ** (-step_s / node.view.half_life_s)
            self._used[queue] = _blend(self._used.get(queue, {}), keep, holdings.of(queue), capacity)

    def restore(self, values: Mapping[str, Mapping[str, float]]) -> None:
        """Take up values of an earlier process. Raises ValueError for one that is not between 0 and 1."""
        for queue, amounts in values.items():
            for resource, value in amounts.items():
                if not (math.isfinite(value) and 0 <= value <= 1):
                    where = f"usage of {resource} by queue {queue}"
                    raise ValueError(f"{where} is {value}; it must be between 0 and 1: remove it to start from 0")
        self._used = {queue: dict(amounts) for queue, amounts in values.items()}


def _blend(used: Mapping[str, float], keep: float, held: Amounts, capacity: Amounts) -> dict[str, float]:
    blended = {}
    for resource in used.keys() | held.keys():
        total = capacity.get(resource, 0)
        part = min(1.0, held.get(resource, 0) / total) if total > 0 else 0.0
        value = used.get(resource, 0.0) * keep + part * (1 - keep)
        if value > 1e-9:
            blended[resource] = value
    return blended
