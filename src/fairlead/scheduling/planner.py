"""The planner: API objects in, verdicts about gangs out. Pure: no I/O, no clock.

The live scheduler feeds it from informers and writes what it decides; simulations, explanations, benchmarks and tests
feed it from lists. What is decided counts at once: the next decision sees it, whether it is written yet or not.

A gang that is refused is asked again when something has happened that may help it, and not sooner than a growing pause
after its last refusal. Gangs that are alike are refused together: what stood in the way of the first stands in the way
of all of them until then.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from fairlead.scheduling.eviction.at_limit import make_room_within_limit
from fairlead.scheduling.eviction.budgets import Budgets
from fairlead.scheduling.eviction.bystanders import Bystander, serves, yields
from fairlead.scheduling.eviction.needs import need_of
from fairlead.scheduling.eviction.reasons import NoRoom
from fairlead.scheduling.eviction.reservations import Reservations
from fairlead.scheduling.eviction.room import EvictionLimits, find_room
from fairlead.scheduling.fleet.device_book import DeviceBook
from fairlead.scheduling.fleet.fleet import ClaimKey, ClaimState, Fleet
from fairlead.scheduling.fleet.options import Outlook
from fairlead.scheduling.gangs.likeness import likeness
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.gangs.search import Limits, place_gang
from fairlead.scheduling.intake import Intake
from fairlead.scheduling.queues.rights import Ground, Right
from fairlead.scheduling.roster import Identity
from fairlead.scheduling.settings import Settings
from fairlead.scheduling.snapshot import PodView
from fairlead.scheduling.supply import capacity_of
from fairlead.scheduling.turns import Turns
from fairlead.scheduling.verdict import Assignment, Because, Cleared, Explanation, Placed, Refused, Verdict

_LOG = logging.getLogger("fairlead.scheduling")

_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 10.0
_FEW: Final = 200
_OFFERS_PER_S: Final = 4000.0
"""Where more than a few gangs wait, all of them are offered again no more often than this many a second."""
_COMMITS: Final = 4096
"""Commits remembered before those are sorted out that the API shows."""
_MAKES_ROOM: Final = frozenset([Because.NODES, Because.DEVICES, Because.ROOM, Because.TOPOLOGY])
"""What the leaving of others may help against."""


@dataclass(slots=True)
class _Pause:
    """How often a gang was refused in a row, and until when it is left alone."""

    refusals: int
    until_s: float


class Planner:
    """Decisions about one fleet."""

    def __init__(self, settings: Settings = Settings()) -> None:  # noqa: B008 (frozen)
        self.settings = settings
        self.fleet = Fleet(DeviceBook(mode=settings.mode))
        self.outlook = Outlook(self.fleet)
        self.intake = Intake(self.fleet, settings.names)
        self.roster = self.intake.roster
        self.turns = Turns()
        self.reservations = Reservations(self.fleet, self.turns.queue_of, self.turns)
        self._stirred = -1
        self._supplied = -1
        self._pauses: dict[str, _Pause] = {}
        self._paused: dict[str, float] = {}  # gang key -> when it may be offered again though nothing happens
        # What was refused since something happened last; the gang is kept so that its shapes are.
        self._refused: dict[Hashable, tuple[Gang, Explanation]] = {}
        self._failures: dict[str, int] = {}  # gang key -> how often what was decided for it could not be written
        self._next_round_s = 0.0  # before which waiting gangs are not all offered again
        self._ask_again_s: float | None = None  # when a guarantee ends that kept others from leaving
        self._told: dict[str, Explanation] = {}  # gang key -> what was said of it last
        self._ready: dict[str, Refused] = {}  # gang key -> what is to be said of it, though it is not its turn
        self._running: dict[str, Gang] = {}  # by key: those with pods on nodes
        self._bystanders: dict[str, Bystander] = {}
        self._keys: dict[Identity, str] = {}
        self._commits: dict[str, tuple[ClaimState, ...]] = {}  # pod uid -> claims that get devices with it
        self._most_commits = _COMMITS

    # Facts

    def see(self, obj: Any) -> None:
        """An API object is there, or is different. Raises TypeError for a kind that scheduling does not look at."""
        self.intake.see(obj)

    def lose(self, obj: Any) -> None:
        """An API object is gone."""
        self.intake.lose(obj)

    @property
    def gangs(self) -> Mapping[str, Gang]:
        """All gangs, pending and placed, as people name them (`Gang.key`)."""
        self.intake.settle()
        return {gang.key: gang for gang in self.roster.gangs()}

    def find(self, namespace: str, name: str) -> list[Gang]:
        """The gangs of a name, and the gang of the pod of that name."""
        self.intake.settle()
        return self.roster.find(namespace, name)

    def failed(self, uids: Iterable[str], now_s: float) -> None:
        """What was decided for these pods is not written, or not known to be: it is taken back and decided anew. Room
        that was to be cleared for them is not kept any longer."""
        loose: dict[ClaimKey, None] = {}
        keys: dict[str, None] = {}
        for uid in uids:
            for state in self._commits.pop(uid, ()):
                state.giver = ""
                loose[state.claim.metadata.namespace, state.claim.metadata.name] = None
            gang = self.roster.gang_of(uid)
            if gang is not None:
                self.reservations.drop(gang.key)
                keys[gang.key] = None
            standing = self.fleet.pods.get(uid)
            if standing is not None and standing.pod.node:
                continue
            member = self.roster.members.get(uid)
            if member is not None:
                loose |= dict.fromkeys((member.view.namespace, name) for name in member.view.claims)
            self.intake.take_back(uid)
        # Devices that another pod was given with the same claim stay.
        self.fleet.forget_decided(key for key in loose if not self.fleet.users.get(key))
        # What cannot be written now can hardly be written at once.
        for key in keys:
            self._failures[key] = self._failures.get(key, 0) + 1
            self._pause(key, self._failures[key], now_s)
        self.intake.stirred += 1

    # Decisions

    def decide(self, now_s: float) -> Verdict | None:
        """The verdict about the next gang whose turn it is; None when there is nothing to decide until something
        happens, or until `next_s`."""
        self._sync(now_s)
        while not self._ready:
            waiting = self.turns.next()
            if waiting is None:
                return None
            pause = self._pauses.get(waiting.key)
            if pause is not None and now_s < pause.until_s <= now_s + _LONGEST_PAUSE_S:
                self._paused[waiting.key] = pause.until_s
                continue
            verdict = self._decide_guarded(waiting.gang, now_s)
            self._note(waiting.key, verdict, now_s)
            if isinstance(verdict, Refused):
                if self._told.get(waiting.key) == verdict.explanation:
                    continue
                self._told[waiting.key] = verdict.explanation
            return verdict
        return self._ready.pop(next(iter(self._ready)))

    def next_s(self) -> float | None:
        """When a gang may be asked about again that was refused a moment ago; None for never of itself."""
        times = [*self._paused.values(), *(each.until_s for each in self.reservations)]
        if self._ask_again_s is not None:
            times.append(self._ask_again_s)
        if self._stirred != self.intake.stirred:
            times.append(self._next_round_s)
        return min(times, default=None)

    def verdict_of(self, gang: Gang, now_s: float) -> Verdict:
        """What would be decided about a gang now. Nothing is changed; nobody else's turn is considered."""
        self._sync(now_s)
        with self.trial():
            return self._decide(gang, now_s, explains=True)

    @contextmanager
    def trial(self) -> Iterator[None]:
        """Whatever is put on the fleet inside is taken off again."""
        with self.fleet.trial():
            yield

    def _decide_guarded(self, gang: Gang, now_s: float) -> Verdict:
        """A mistake that one gang brings to light must not keep all others waiting."""
        mark = self.fleet.mark()
        try:
            verdict = self._decide(gang, now_s)
        except Exception as error:
            self.fleet.undo(mark)
            _LOG.exception("%s cannot be decided about", gang.key)
            sentence = f"the scheduler failed at it, please report this: {type(error).__name__}: {error}"
            return Refused(gang, Explanation(Because.CLAIM, sentence))
        self.fleet.keep(mark)
        return verdict

    def _decide(self, gang: Gang, now_s: float, explains: bool = False) -> Verdict:
        if gang.waits_for:
            return Refused(gang, Explanation(Because.GATE, gang.waits_for))
        if self.reservations.are_behind(gang):
            # Room that is held for lesser ones is theirs as long as there is other room: else work that was moved
            # away for them would come back to the same place.
            with self.reservations.opened(gang, keeps=explains, own_only=True):
                verdict = self._place(gang, now_s, explains, is_first=True)
            if isinstance(verdict, Placed):
                return verdict
        with self.reservations.opened(gang, keeps=explains):
            return self._place(gang, now_s, explains)

    def _place(self, gang: Gang, now_s: float, explains: bool, *, is_first: bool = False) -> Verdict:
        """With the room that is free at the moment; `is_first`: not by the leaving of others."""
        allowed = self._allowed(gang)
        if isinstance(allowed, Right):
            cleared = None if is_first else self._make_room_within_limit(gang, allowed, now_s)
            return cleared or Refused(gang, Explanation(Because.QUOTA, allowed.sentence))
        is_held = gang.key in self.reservations
        memo = None if explains or is_held else self._memo(allowed, is_first)
        if memo is not None and memo in self._refused:
            return Refused(gang, replace(self._refused[memo][1], pod=gang.pods[0].full_name))
        verdict: Verdict = place_gang(self.outlook, allowed, Limits(self.settings.search_budget))
        if isinstance(verdict, Placed):
            if not explains:
                self.reservations.drop(gang.key)
            return verdict
        if is_held and not is_first and not explains and self.reservations.is_possible(gang.key):
            return Refused(gang, Explanation(Because.ROOM, "waits for those to leave who make room for it"))
        because = verdict.explanation.because if isinstance(verdict, Refused) else None
        if self.settings.evicts and not is_first and isinstance(verdict, Refused) and because in _MAKES_ROOM:
            verdict = self._make_room(allowed, verdict, now_s)
        if memo is not None and isinstance(verdict, Refused):
            self._refused[memo] = allowed, verdict.explanation
        return verdict

    def _allowed(self, gang: Gang) -> Gang | Right:
        """What of a gang its queue lets in: all of it, or what is needed and as many more as there may be. A right that
        is denied where not even that."""
        right = self._right(gang, gang.pods)
        if right.is_allowed:
            return gang
        needed = need_of(gang).all_pods
        if not needed or len(needed) == len(gang.pods):
            return right
        right = self._right(gang, needed)
        if not right.is_allowed:
            return right
        chosen = list(needed)
        uids = {pod.uid for pod in needed}
        for pod in gang.pods:
            if pod.uid not in uids and self._right(gang, [*chosen, pod]).is_allowed:
                chosen.append(pod)
                uids.add(pod.uid)
        return gang.only(uids)

    def _memo(self, gang: Gang, is_first: bool) -> Hashable | None:
        """Equal for gangs that are refused for the same reasons: at the same places, with the same rights."""
        kind = likeness(gang)
        if kind is None:
            return None
        may_preempt = all(pod.may_preempt for pod in gang.pods)
        return kind, self.turns.queue_of(gang), gang.priority, may_preempt, serves(gang), yields(gang), is_first

    def _right(self, gang: Gang, pods: Sequence[PodView]) -> Right:
        return self.turns.rules.may_start(self.turns.queue_of(gang), self.turns.demand(pods), gang.is_preemptible)

    def _budgets(self) -> Budgets:
        return Budgets.of_objects(self.intake.budgets.values())

    def _make_room_within_limit(self, gang: Gang, right: Right, now_s: float) -> Cleared | None:
        if not self.settings.evicts or right.ground is not Ground.OVER_LIMIT or gang.key in self.reservations:
            return None
        needed = need_of(gang).all_pods
        return make_room_within_limit(
            self.outlook,
            gang.only({pod.uid for pod in needed}),
            self.turns.queue_of(gang),
            self.turns.demand(needed),
            self._candidates(),
            self.turns.rules,
            self.turns.eviction_rights(),
            self.turns.holdings,
            self._budgets().tally(),
            now_s,
        )

    def _make_room(self, gang: Gang, refused: Refused, now_s: float) -> Verdict:
        found = find_room(
            self.outlook,
            gang,
            self._candidates(),
            self.turns.eviction_rights(),
            self._budgets(),
            now_s,
            EvictionLimits(),
            self.reservations.told,
            self.reservations.moving,
        )
        if isinstance(found, Cleared):
            return found
        if found.until_s is not None:
            self._ask_again_s = min(found.until_s, self._ask_again_s or found.until_s)
        return Refused(gang, _with_reasons(refused.explanation, found))

    def _candidates(self) -> list[Bystander]:
        """All that run, as what could make room."""
        found: list[Bystander] = []
        for key, gang in self._running.items():
            known = self._bystanders.get(key)
            if known is None or known.gang is not gang:
                is_ours = all(self.intake.is_ours(pod.uid) for pod in gang.bound)
                known = self._bystanders[key] = Bystander(gang, self.turns.queue_of(gang), is_ours)
            found.append(known)
        if len(self._bystanders) > 2 * len(found) + 64:
            self._bystanders = {each.gang.key: each for each in found}
        return found

    def _note(self, key: str, verdict: Verdict, now_s: float) -> None:
        """What a verdict means for turns, pauses and rooms held."""
        if isinstance(verdict, Placed):
            self._forget(key)
            self.turns.backlog.placed(key, self.turns.demand([each.pod for each in verdict.assignments]))
            for assignment in verdict.assignments:
                self.roster.touch_pod(assignment.pod.uid)
                if assignment.allocations:
                    self._note_commit(assignment)
            if _is_asked_for(verdict):
                self.intake.stirred += 1
            return
        if isinstance(verdict, Cleared):
            grace_s = max((_grace_s(pod) for each in verdict.victims for pod in each.pods), default=0.0)
            self.reservations.hold(verdict, now_s + self.settings.hold_s + grace_s)
            self.turns.backlog.refused(key)
            return
        because = verdict.explanation.because
        self.turns.backlog.refused(key, can_wait=because not in (Because.CLAIM, Because.GATE))
        before = self._pauses.get(key)
        # Where room is held for it, it is to have it soon after it is free.
        refusals = 1 if before is None or key in self.reservations else before.refusals + 1
        self._pause(key, refusals, now_s)

    def _pause(self, key: str, refusals: int, now_s: float) -> None:
        """A gang is left alone for a while."""
        pause_s = min(_LONGEST_PAUSE_S, _PAUSE_S * 2 ** min(refusals - 1, 10))
        self._pauses[key] = _Pause(refusals, now_s + pause_s)

    def _note_commit(self, assignment: Assignment) -> None:
        """Devices are being written. Forgotten when that fails, or when the API shows them."""
        pod = assignment.pod
        states = tuple(self.fleet.claims[pod.namespace, name] for name in assignment.allocations)
        for state in states:
            state.giver = pod.uid
        self._commits[pod.uid] = states
        if len(self._commits) > self._most_commits:
            known = self.fleet.claims.values()
            there = {id(state) for state in known if not state.is_written}
            self._commits = {
                uid: states for uid, states in self._commits.items() if any(id(state) in there for state in states)
            }
            self._most_commits = max(_COMMITS, 2 * len(self._commits))

    def _sync(self, now_s: float) -> None:
        """Everything that has changed since the last decision."""
        self.intake.settle()
        if self.intake.queues_changed:
            self.intake.queues_changed = False
            self.turns.set_queues(self.intake.queues, now_s)
            self._supplied = -1
            # What queues may do is told by the tree that was: another round, however soon.
            self._next_round_s = now_s
            for identity in list(self._keys):
                self._sync_gang(identity)
        expired = self.reservations.expire(now_s)
        has_new = bool(expired)
        for identity in self.roster.take_changed():
            has_new = self._sync_gang(identity) or has_new
        due = [key for key, until_s in self._paused.items() if not now_s < until_s <= now_s + _LONGEST_PAUSE_S]
        is_over = self._ask_again_s is not None and now_s >= self._ask_again_s
        if (
            self._stirred != self.intake.stirred
            or due
            or is_over
            or (has_new and self.turns.is_stale(now_s))
            or expired
        ) and not now_s < self._next_round_s <= now_s + _LONGEST_PAUSE_S:
            self._next_round_s = now_s + len(self.turns.backlog) / _OFFERS_PER_S if self._is_long else now_s
            self._ask_again_s = None
            self._stirred = self.intake.stirred
            self._refused.clear()
            self._paused.clear()
            self._tell_capacity()
            self.turns.renew(now_s)

    @property
    def _is_long(self) -> bool:
        """Whether so many wait that offering all of them again takes a while."""
        return len(self.turns.backlog) > _FEW

    def _tell_capacity(self) -> None:
        """Queues share what the fleet has, which is counted anew only when it may be different."""
        if self.turns.has_queues and self._supplied != self.intake.supplied:
            self._supplied = self.intake.supplied
            self.turns.set_capacity(capacity_of(self.fleet, self.turns.resources()))

    def _sync_gang(self, identity: Identity) -> bool:
        """A gang was touched. Whether it waits."""
        gang = self.roster.gang(identity)
        key = self._keys.get(identity)
        unsaid = self._ready.pop(key, None) if key is not None else None
        if gang is None:
            if key is not None:
                del self._keys[identity]
                self._forget(key)
                self._failures.pop(key, None)
                self.turns.drop(key)
                self._running.pop(key, None)
                if self.reservations.drop(key):
                    self.intake.stirred += 1
            return False
        self._keys[identity] = gang.key
        if gang.bound:
            self._running[gang.key] = gang
        else:
            self._running.pop(gang.key, None)
        why_not = self.turns.put(gang)
        if why_not:
            explanation = Explanation(Because.GATE if gang.waits_for else Because.QUOTA, why_not)
            if unsaid is not None or self._told.get(gang.key) != explanation:
                self._told[gang.key] = explanation
                self._ready[gang.key] = Refused(gang, explanation)
        return bool(gang.pods)

    def _forget(self, key: str) -> None:
        self._pauses.pop(key, None)
        self._paused.pop(key, None)
        self._told.pop(key, None)


def _with_reasons(explanation: Explanation, found: NoRoom) -> Explanation:
    """Why it has no place, and why nobody makes one."""
    return replace(explanation, held_back=found.lines, steps=explanation.steps + found.steps)


def _is_asked_for(verdict: Placed) -> bool:
    """Whether others may wish to be near its pods: what was refused for lack of them may fit now."""
    return any(assignment.pod.shape.labels for assignment in verdict.assignments)


def _grace_s(pod: PodView) -> float:
    return pod.facts.grace_s if pod.facts is not None else 30.0
