"""The rights that queues give: to take back from others what is a queue's own, and to preempt within a queue."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from fairlead.scheduling.eviction.bystanders import Bystander
from fairlead.scheduling.eviction.needs import need_of
from fairlead.scheduling.eviction.rights import Cause, Denial, Ledger, Right
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.queues.rights import Ground
from fairlead.scheduling.queues.rights import Right as QueueRight
from fairlead.scheduling.queues.rights import Rights as QueueRules
from fairlead.scheduling.queues.usage import Holdings, Running
from fairlead.scheduling.snapshot import Amounts, PodView, add

_ABOVE_ALL: Final = 2**31
_CAUSES: Final = {
    Ground.PRIORITY: Cause.PRIORITY,
    Ground.MIN_RUNTIME: Cause.MIN_RUNTIME,
    Ground.NOT_PREEMPTIBLE: Cause.FIXED,
}


def demand_of(pods: Sequence[PodView]) -> Amounts:
    """What pods count for in quotas, together."""
    total: dict[str, int] = {}
    counts: dict[int, tuple[PodView, int]] = {}
    for pod in pods:
        known = counts.get(id(pod.shape))
        counts[id(pod.shape)] = pod, 1 if known is None else known[1] + 1
    for pod, count in counts.values():
        total = add(total, {name: amount * count for name, amount in pod.shape.demand.items()})
    return total


class QueueRights:
    """The queues' rules for one state of shares and holdings. While a plan is made, what it takes leaves the holdings;
    they are as before at its end."""

    def __init__(self, rules: QueueRules, holdings: Holdings, queue_of: Callable[[Gang], str]) -> None:
        """`queue_of` tells the queue in which a gang counts; running gangs are in the holdings by their key."""
        self._rules = rules
        self._holdings = holdings
        self._queue_of = queue_of
        self._last: tuple[Gang, str, Amounts] | None = None

    def to_evict(self, gang: Gang, other: Bystander, now_s: float) -> Right | Denial:
        queue, demand = self._of(gang)
        victim = self._running(other)
        if victim.queue == queue:
            answer = self._rules.may_preempt(queue, gang.priority, victim, now_s)
        else:
            answer = self._rules.may_reclaim(queue, demand, victim, now_s)
        if not answer.is_allowed:
            return _denial(answer, other)
        return Right("preemption" if answer.ground is Ground.PREEMPTS else "reclaim", answer.sentence)

    def to_move(self, gang: Gang, other: Bystander, now_s: float) -> Right | Denial:
        queue, demand = self._of(gang)
        victim = self._running(other)
        if victim.queue == queue:
            answer = self._rules.may_preempt(queue, _ABOVE_ALL, victim, now_s)
        else:
            answer = self._rules.may_reclaim(queue, demand, victim, now_s)
        if answer.ground in (Ground.MIN_RUNTIME, Ground.NOT_PREEMPTIBLE):
            return _denial(answer, other)
        return Right("consolidation", "it has a place elsewhere")

    def ledger(self, gang: Gang) -> Ledger:
        return _QueueLedger(self, gang, self._holdings)

    def again(self, gang: Gang, other: Bystander) -> Denial | None:
        """Whether what held for each still holds after what has been taken: of shares, all else was asked before."""
        if self._running(other).queue == self._of(gang)[0]:
            return None
        answer = self.to_evict(gang, other, math.inf)
        return answer if isinstance(answer, Denial) else None

    def _running(self, other: Bystander) -> Running:
        known = self._holdings.get(other.gang.key)
        if known is not None:
            return known
        gang = other.gang
        return Running(
            gang.key,
            self._queue_of(gang),
            demand_of(other.pods),
            gang.priority,
            gang.created_s,
            gang.is_preemptible,
            other.started_s,
        )

    def _of(self, gang: Gang) -> tuple[str, Amounts]:
        if self._last is None or self._last[0] is not gang:
            self._last = gang, self._queue_of(gang), demand_of(need_of(gang).all_pods)
        return self._last[1], self._last[2]


class _QueueLedger:
    """Takes what a plan takes out of the holdings, so that the next question is about what is left."""

    def __init__(self, rights: QueueRights, gang: Gang, holdings: Holdings) -> None:
        self._rights = rights
        self._gang = gang
        self._holdings = holdings
        self._back: list[Callable[[], None] | None] = []

    def take(self, other: Bystander, pods: Sequence[PodView]) -> Denial | None:
        held = self._holdings.get(other.gang.key)
        denial = self._rights.again(self._gang, other)
        if denial is not None:
            return denial
        if held is None:
            self._back.append(None)
            return None
        rest: Running | None = None
        if len(pods) < len(other.pods):
            going = demand_of(pods)
            left = {name: max(0, amount - going.get(name, 0)) for name, amount in held.demand.items()}
            rest = replace(held, demand=left) if any(left.values()) else None
        self._back.append(self._holdings.try_without(other.gang.key, rest))
        return None

    def give_back(self, other: Bystander, pods: Sequence[PodView]) -> None:
        back = self._back.pop()
        if back is not None:
            back()


def _denial(answer: QueueRight, other: Bystander) -> Denial:
    """The queues' sentence names the gang; here it is about all whom the same protects."""
    cause = _CAUSES.get(answer.ground, Cause.SHARE)
    match answer.ground:
        case Ground.MIN_RUNTIME:
            sentence = "within its min-runtime"
        case Ground.PRIORITY:
            sentence = f"its priority {other.gang.priority} is not lower"
        case Ground.VICTIM_WITHIN_SHARE:
            sentence = f"queue {answer.queue} holds no more of what is needed than its fair share"
        case Ground.VICTIM_OWN:
            sentence = f"within the fair share of queue {answer.queue}"
        case _:
            sentence = answer.sentence
    verb = "preemptible" if cause is Cause.PRIORITY else "reclaimable"
    return Denial(cause, f"not {verb}: {sentence}", answer.until_s)
