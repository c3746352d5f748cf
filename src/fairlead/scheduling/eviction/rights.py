"""Whether a running gang may be evicted, or moved, for another, and why not.

Here is what holds whatever the queues are, and a plain rule by priority for clusters without queues. Shares, reclaim
and runtimes that a queue guarantees are the queues' business: `queue_rights` asks them.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from fairlead.scheduling.eviction.bystanders import Bystander, serves, yields
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.snapshot import PodView

YIELDING: Final = -(2**31) - 1
"""The level of batch work that gives way to serving: below every priority."""
SYSTEM_CRITICAL: Final = 2_000_000_000
"""The priority of `system-cluster-critical`; user classes end at one billion."""


class Cause(enum.Enum):
    """The kind of thing that protects a gang; machine-readable."""

    PINNED = "pinned"
    """It belongs to its node: static pods, DaemonSets."""
    FIXED = "fixed"
    """It said that it is not preemptible."""
    PRIORITY = "priority"
    MIN_RUNTIME = "min-runtime"
    """It has not yet had the time that its queue guarantees it."""
    SHARE = "share"
    """Its queue holds no more than it should, or the other's would hold more."""
    BUDGET = "budget"
    """A PodDisruptionBudget."""


@dataclass(frozen=True, slots=True)
class Denial:
    """It may not. `sentence` follows on "2 held by QUEUE, ": "not reclaimable: within its min-runtime"."""

    cause: Cause
    sentence: str
    until_s: float | None = None
    """Until when that holds at the latest; None where time alone changes nothing."""


@dataclass(frozen=True, slots=True)
class Right:
    """It may."""

    kind: Literal["preemption", "reclaim", "consolidation"]
    why: str
    """Told to the victim's owner: "its priority 0 is below 100"."""


class Ledger(Protocol):
    """What has been taken so far in a plan: rights that hold for one may not hold for many together."""

    def take(self, other: Bystander, pods: Sequence[PodView]) -> Denial | None:
        """Pods of a gang are to go. None: noted; else nothing is changed, and why not."""

    def give_back(self, other: Bystander, pods: Sequence[PodView]) -> None:
        """They stay after all. What was taken last is given back first."""


class Rights(Protocol):
    """What one gang may do to others, as far as queues and priorities say. `objection` has been asked before."""

    def to_evict(self, gang: Gang, other: Bystander, now_s: float) -> Right | Denial:
        """Whether all of `other` may be evicted for `gang`."""

    def to_move(self, gang: Gang, other: Bystander, now_s: float) -> Right | Denial:
        """Whether `other` may be restarted elsewhere for `gang`. Priorities and shares do not matter: it loses nothing
        but its start; a runtime that it was guaranteed does."""

    def ledger(self, gang: Gang) -> Ledger:
        """An empty one."""


def objection(other: Bystander) -> Denial | None:
    """What protects a gang from all others whatever the queues are."""
    if other.is_pinned:
        return Denial(Cause.PINNED, "never evicted: static pods and those of DaemonSets belong to their node")
    if not other.gang.is_preemptible:
        return Denial(Cause.FIXED, "not preemptible")
    return None


def fixture(gang: Gang, other: Bystander) -> Denial | None:
    """What keeps `other` from being moved for `gang` whatever the queues are: a move is a restart."""
    if any(pod.facts is not None and not pod.facts.comes_back for pod in other.pods):
        return Denial(Cause.FIXED, "not moved: it has no controller that would make it anew")
    if serves(other.gang) and not serves(gang):
        return Denial(Cause.FIXED, "not moved: it serves, and the other does not")
    return None


class BackfillRights:
    """Rights of queues, and above them: serving takes back what batch work has filled.

    Neither the priority of batch work nor a guaranteed runtime protects it from serving: it has its grace period to
    write down what it has done. What its own queue is entitled to stays its own. In return its priority does not let
    it preempt serving, or the two would take turns for ever.
    """

    def __init__(self, rights: Rights) -> None:
        self._rights = rights
        self._last: tuple[Gang, bool] | None = None

    def to_evict(self, gang: Gang, other: Bystander, now_s: float) -> Right | Denial:
        if not (other.yields and self._serves(gang)):
            right = self._rights.to_evict(gang, other, now_s)
            if isinstance(right, Right) and right.kind == "preemption" and yields(gang) and serves(other.gang):
                return Denial(Cause.PRIORITY, "not preemptible: batch work gives way to serving whatever its priority")
            return right
        # As if it had run for ever: whatever time it was guaranteed is over.
        answer = self._rights.to_evict(gang, other, math.inf)
        if isinstance(answer, Denial) and answer.cause is not Cause.PRIORITY:
            return answer
        grace_s = max((pod.facts.grace_s for pod in other.pods if pod.facts is not None), default=30.0)
        return Right("reclaim", f"batch work gives way to serving, within its grace period of {grace_s:g} s")

    def to_move(self, gang: Gang, other: Bystander, now_s: float) -> Right | Denial:
        return self._rights.to_move(gang, other, now_s)

    def ledger(self, gang: Gang) -> Ledger:
        return self._rights.ledger(gang)

    def _serves(self, gang: Gang) -> bool:
        if self._last is None or self._last[0] is not gang:
            self._last = gang, serves(gang)
        return self._last[1]


class PriorityRights:
    """Rights where there are no queues: the lower priority goes, once it has run for long enough."""

    def __init__(self, min_runtime_s: float = 0.0) -> None:
        self.min_runtime_s = min_runtime_s

    def to_evict(self, gang: Gang, other: Bystander, now_s: float) -> Right | Denial:
        theirs, ours = other.gang.priority, gang.priority
        if theirs >= ours:
            return Denial(Cause.PRIORITY, f"not preemptible: its priority {theirs} is not below {ours}")
        denial = self._too_early(other, now_s, "preemptible")
        return denial or Right("preemption", f"its priority {theirs} is below {ours}")

    def to_move(self, gang: Gang, other: Bystander, now_s: float) -> Right | Denial:
        denial = self._too_early(other, now_s, "movable")
        return denial or Right("consolidation", "it has a place elsewhere")

    def ledger(self, gang: Gang) -> Ledger:
        return NoLedger()

    def _too_early(self, other: Bystander, now_s: float, what: str) -> Denial | None:
        if other.started_s is None or now_s >= other.started_s + self.min_runtime_s:
            return None
        return Denial(Cause.MIN_RUNTIME, f"not {what}: within its min-runtime", other.started_s + self.min_runtime_s)


class NoLedger:
    """Where rights over many are no different from rights over each."""

    def take(self, other: Bystander, pods: Sequence[PodView]) -> Denial | None:
        return None

    def give_back(self, other: Bystander, pods: Sequence[PodView]) -> None:
        return None
