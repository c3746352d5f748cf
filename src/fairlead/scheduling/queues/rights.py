"""What a gang may do under the rules of queues: start, take back what others borrow, take the place of lesser ones.

*Start*: no queue on the way to the root exceeds its limit. Gangs that cannot be preempted stay within the quotas as
well, since what they borrow could not be taken back. Others may borrow whatever is idle.

Resources that no queue speaks of are not shared out (`Shares.capacity` is without them), and nobody's by right.

*Reclaim*, from another queue: every queue of the reclaimer, up to where the two part, stays within its fair share with
the gang. Every queue of the victim up to there holds more than its fair share of some resource that the reclaimer needs
and the victim holds, and the victim itself is on borrowed room: not among the first gangs of its queue that fit in the
queue's fair share (`Holdings.is_own`).

Reclaims never take turns. What a reclaimer gains is its queue's own, and only borrowed room is ever taken; so the gangs
that hold their own can only become more or more important, queue by queue, whatever the order, and starts in idle room
do not change that. As long as demand and capacity, and so the shares, stay, reclaiming comes to an end.

*Preempt*, within one queue: strictly lower priority.

Both spare gangs that cannot be preempted, and those whose guaranteed run time (the victim's queue's, or of the nearest
queue above it that states one) is not over.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fairlead.scheduling.queues.amounts import of_resource, quantity_text
from fairlead.scheduling.queues.shares import Shares
from fairlead.scheduling.queues.standing import Standing, standing
from fairlead.scheduling.queues.tree import QueueTree
from fairlead.scheduling.queues.usage import Holdings, Running
from fairlead.scheduling.snapshot import Amounts

_LAST_DATE_S = 253_402_300_799


class Ground(enum.Enum):
    """What a verdict rests on; machine-readable."""

    WITHIN_QUOTA = "withinQuota"
    WITHIN_SHARE = "withinFairShare"
    BORROWS = "borrows"
    RECLAIMS = "reclaims"
    PREEMPTS = "preempts"
    NO_QUEUE = "noQueue"
    OVER_LIMIT = "overLimit"
    OVER_QUOTA = "overQuota"
    OVER_SHARE = "overFairShare"
    VICTIM_WITHIN_SHARE = "victimWithinFairShare"
    VICTIM_OWN = "victimOnItsOwnShare"
    SAME_QUEUE = "sameQueue"
    OTHER_QUEUE = "otherQueue"
    PRIORITY = "priority"
    NOT_PREEMPTIBLE = "notPreemptible"
    MIN_RUNTIME = "minRuntime"


@dataclass(frozen=True, slots=True)
class Right:
    """Whether something is allowed, and the sentence that says why."""

    is_allowed: bool
    ground: Ground
    sentence: str
    queue: str = ""
    """The queue whose rule decided."""
    resource: str = ""
    until_s: float | None = None
    """Until when a refusal holds at the latest; None where time alone changes nothing."""


class Rights:
    """The rules applied to one state of the shares. `holdings` may change meanwhile and is always asked anew."""

    def __init__(self, tree: QueueTree, shares: Shares, holdings: Holdings) -> None:
        self._tree = tree
        self._shares = shares
        self._holdings = holdings

    def may_start(
        self, queue: str, demand: Amounts, is_preemptible: bool = True, leaving: Iterable[Running] = ()
    ) -> Right:
        """Whether a gang of the queue may take `demand`, once those that are `leaving` have gone."""
        if not queue or queue not in self._tree:
            return Right(False, Ground.NO_QUEUE, f"there is no queue {queue}", queue)
        going = list(leaving)
        path = self._tree.nodes[queue].path
        for name in path:
            refusal = self._over_limit(name, demand, going)
            if refusal is None and not is_preemptible:
                refusal = self._over_quota(name, demand, going)
            if refusal is not None:
                return refusal
        return self._ground_of_start(path, demand, going)

    def may_reclaim(self, queue: str, demand: Amounts, victim: Running, now_s: float) -> Right:
        """Whether a gang of the queue that needs `demand` may have `victim`, of another queue, evicted.

        Ask again after each victim: what is evicted must have left `holdings` by then.
        """
        refusal = self._spared(victim, now_s, self._reclaim_min_runtime_s(victim), "reclaimed")
        if refusal is None and victim.queue == queue:
            sentence = f"{victim.key} is of the same queue {queue}, where priority decides, not fair shares"
            refusal = Right(False, Ground.SAME_QUEUE, sentence, queue)
        if refusal is None:
            refusal = self._missing(queue) or self._missing(victim.queue)
        if refusal is not None:
            return refusal
        mine, theirs = self._tree.parting(queue, victim.queue)
        if not mine:
            sentence = f"{victim.key} is of a queue below {queue}, which has no share beside it"
            return Right(False, Ground.SAME_QUEUE, sentence, queue)
        refusal = self._beyond_share(mine, demand) or self._not_reclaimable(theirs, demand, victim)
        if refusal is not None:
            return refusal
        resource = self._exceeded(theirs, demand, victim.demand)
        sentence = (
            f"queue {victim.queue} borrows {resource} for {victim.key}, and queue {queue} stays within its fair share"
        )
        return Right(True, Ground.RECLAIMS, sentence, victim.queue, resource)

    def may_preempt(self, queue: str, priority: int, victim: Running, now_s: float) -> Right:
        """Whether a gang of the queue and priority may take the place of `victim`, of the same queue."""
        if victim.queue != queue:
            sentence = f"{victim.key} is of queue {victim.queue}, and priorities count within a queue only"
            return Right(False, Ground.OTHER_QUEUE, sentence, victim.queue)
        if victim.priority >= priority:
            sentence = f"{victim.key} has priority {victim.priority}, which is not lower than {priority}"
            return Right(False, Ground.PRIORITY, sentence, queue)
        minimum_s = self._tree.preempt_min_runtime_s(queue) if queue in self._tree else 0.0
        spared = self._spared(victim, now_s, minimum_s, "preempted")
        if spared is not None:
            return spared
        sentence = f"{victim.key} has priority {victim.priority}, lower than {priority}"
        return Right(True, Ground.PREEMPTS, sentence, queue)

    def reclaimable(self, queue: str, demand: Amounts, now_s: float) -> Iterator[Running]:
        """Gangs that `may_reclaim` allows to evict, one at a time: those of the queue furthest above its share first.

        Within a queue the least important and youngest come first. Each is checked when it is asked for, so that those
        yielded before may have left `holdings` by then.
        """
        if queue not in self._tree:
            return
        above = set(self._tree.nodes[queue].path)
        found = [name for name in self._over_share(above, demand) if name != queue]
        for name in sorted(found, key=lambda name: (-self._excess(name, demand), name)):
            for gang in self._holdings.gangs(name):
                if self.may_reclaim(queue, demand, gang, now_s).is_allowed:
                    yield gang

    def _over_share(self, above: set[str], demand: Amounts) -> Iterator[str]:
        """Leaves that hold more than their share of something in `demand`, as do the queues above them."""
        waiting = list(self._tree.nodes[""].children)
        while waiting:
            name = waiting.pop()
            if name not in above and self._exceeded((name,), demand, demand) == "":
                continue
            waiting.extend(self._tree.nodes[name].children)
            yield name

    def _excess(self, queue: str, demand: Amounts) -> float:
        """How far the queue is above its share, as part of the cluster, in the resource where it is most so."""
        share, held = self._shares.of(queue), self._holdings.of(queue)
        capacity = self._shares.capacity
        return max(
            (held.get(name, 0) - share.get(name, 0)) / (capacity.get(name, 0) or 1)
            for name, amount in demand.items()
            if amount
        )

    def _over_limit(self, queue: str, demand: Amounts, leaving: Sequence[Running]) -> Right | None:
        for resource, given in self._tree.nodes[queue].view.resources.items():
            wanted = demand.get(resource, 0)
            if given.limit is None or not wanted:
                continue
            has = self._left(queue, resource, leaving)
            if has + wanted > given.limit:
                text = quantity_text(resource, wanted)
                sentence = (
                    f"queue {queue} has {quantity_text(resource, has)} of at most "
                    f"{of_resource(resource, given.limit)}, {text} more would exceed its limit; "
                    f"raise spec.resources[{resource}].limit or wait until "
                    f"{quantity_text(resource, has + wanted - given.limit)} are released"
                )
                if wanted > given.limit:
                    sentence = (
                        f"queue {queue} may never have more than {of_resource(resource, given.limit)}, "
                        f"and the gang needs {text}; raise spec.resources[{resource}].limit"
                    )
                return Right(False, Ground.OVER_LIMIT, sentence, queue, resource)
        return None

    def _over_quota(self, queue: str, demand: Amounts, leaving: Sequence[Running]) -> Right | None:
        fixed = self._holdings.fixed(queue)
        for resource, wanted in demand.items():
            if not wanted or resource not in self._tree.governed:
                continue
            quota = self._tree.quotas[queue].get(resource, 0)
            has = fixed.get(resource, 0) - sum(
                gang.demand.get(resource, 0) for gang in leaving if self._is_in(gang, queue) and not gang.is_preemptible
            )
            if has + wanted > quota:
                sentence = (
                    f"a gang that cannot be preempted must stay within the quota of queue {queue}, "
                    f"{of_resource(resource, quota)}, of which such gangs hold {quantity_text(resource, has)}; "
                    f"it needs {quantity_text(resource, wanted)}: raise spec.resources[{resource}].quota "
                    "or make the gang preemptible"
                )
                return Right(False, Ground.OVER_QUOTA, sentence, queue, resource)
        return None

    def _ground_of_start(self, path: Sequence[str], demand: Amounts, leaving: Sequence[Running]) -> Right:
        worst = Standing.WITHIN_QUOTA
        for name in path:
            held = {resource: self._left(name, resource, leaving) for resource in demand}
            share = self._shares.of(name)
            stands, resource = standing(held, demand, self._tree.quotas[name], share, self._tree.governed)
            if stands == Standing.BORROWS:
                after = held[resource] + demand[resource]
                sentence = (
                    f"queue {name} borrows: it will hold {of_resource(resource, after)}, "
                    f"more than its fair share of {quantity_text(resource, share.get(resource, 0))}, "
                    "until others need it"
                )
                return Right(True, Ground.BORROWS, sentence, name, resource)
            worst = max(worst, stands)
        if worst == Standing.WITHIN_QUOTA:
            return Right(True, Ground.WITHIN_QUOTA, f"queue {path[0]} stays within its quota", path[0])
        return Right(True, Ground.WITHIN_SHARE, f"queue {path[0]} stays within its fair share", path[0])

    def _beyond_share(self, path: Sequence[str], demand: Amounts) -> Right | None:
        """The first queue of the reclaimer's that would exceed its share."""
        for name in path:
            share, held, promised = self._shares.of(name), self._holdings.of(name), self._holdings.promised(name)
            for resource, wanted in demand.items():
                after = held.get(resource, 0) + promised.get(resource, 0) + wanted
                fair = share.get(resource, 0)
                if wanted and after > fair and resource in self._shares.capacity:
                    sentence = (
                        f"queue {name} would hold {of_resource(resource, after)}, more than its fair share of "
                        f"{quantity_text(resource, fair)}, and beyond that nothing is taken from others"
                    )
                    return Right(False, Ground.OVER_SHARE, sentence, name, resource)
        return None

    def _not_reclaimable(self, path: Sequence[str], demand: Amounts, victim: Running) -> Right | None:
        if not self._exceeded(path, demand, victim.demand):
            # Without a path the victim's queue is one above the reclaimer's, and the two share no resource.
            within = (n for n in reversed(path) if not self._exceeded((n,), demand, victim.demand))
            name = next(within, victim.queue)
            sentence = (
                f"queue {name}, to which {victim.key} belongs, holds no more of what is needed than its fair share"
            )
            return Right(False, Ground.VICTIM_WITHIN_SHARE, sentence, name)
        # Gangs that a queue had before it got queues below it hold what is those queues'.
        has_children = bool(self._tree.nodes[victim.queue].children)
        if not has_children and self._holdings.is_own(victim, self._shares.of(victim.queue)):
            sentence = (
                f"{victim.key} is among the first gangs of queue {victim.queue}, which fit in the queue's fair share; "
                "its less important and younger gangs are what it borrows"
            )
            return Right(False, Ground.VICTIM_OWN, sentence, victim.queue)
        return None

    def _exceeded(self, path: Sequence[str], demand: Amounts, victim: Amounts) -> str:
        """A resource of both of which every queue of the path holds more than its share; "" if none."""
        for resource, wanted in demand.items():
            if not wanted or not victim.get(resource, 0) or resource not in self._shares.capacity:
                continue
            for name in path:
                if self._holdings.of(name).get(resource, 0) <= self._shares.of(name).get(resource, 0):
                    break
            else:
                return resource
        return ""

    def _spared(self, victim: Running, now_s: float, minimum_s: float, done: str) -> Right | None:
        if not victim.is_preemptible:
            sentence = f"{victim.key} cannot be preempted"
            return Right(False, Ground.NOT_PREEMPTIBLE, sentence, victim.queue)
        if victim.started_s is None or not minimum_s:
            return None
        until_s = victim.started_s + minimum_s
        # A start that lies further ahead than this was told by a clock that has been set back since.
        if now_s < until_s and victim.started_s <= now_s + minimum_s:
            sentence = (
                f"{victim.key} may not be {done} before {_date(until_s)}: queue {victim.queue} guarantees its gangs "
                f"{minimum_s:g} s"
            )
            return Right(False, Ground.MIN_RUNTIME, sentence, victim.queue, until_s=until_s)
        return None

    def _missing(self, queue: str) -> Right | None:
        if queue and queue in self._tree:
            return None
        return Right(False, Ground.NO_QUEUE, f"there is no queue {queue} whose share could be compared", queue)

    def _reclaim_min_runtime_s(self, victim: Running) -> float:
        return self._tree.reclaim_min_runtime_s(victim.queue) if victim.queue in self._tree else 0.0

    def _left(self, queue: str, resource: str, leaving: Sequence[Running]) -> int:
        held = self._holdings.of(queue).get(resource, 0) + self._holdings.promised(queue).get(resource, 0)
        return held - sum(gang.demand.get(resource, 0) for gang in leaving if self._is_in(gang, queue))

    def _is_in(self, gang: Running, queue: str) -> bool:
        node = self._tree.nodes.get(gang.queue)
        return node is not None and queue in node.path


def _date(moment_s: float) -> str:
    if not 0 <= moment_s <= _LAST_DATE_S:
        return f"second {moment_s:g} of the epoch"
    return datetime.fromtimestamp(moment_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
