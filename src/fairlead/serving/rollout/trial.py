"""A new revision on trial beside the stable one: which share of the traffic, how many replicas, and what follows. Pure.

One step of a state machine whose whole state is the service's status: called again with fresh facts it comes to the
same end, whenever it was stopped. `canary` and `blue_green` say with which steps.

    Stable ──> Progressing ──> Promoting ──> Stable          the new revision serves
                │  ↑  │
       Paused <─┘  │  └──> Reverted                          it is rejected, the stable one serves
       Stuck  <────┘

The new revision's weight is raised only once its replicas are ready; until then, and when one is lost, it is what those
that are there can carry, and none if there are none. A revision that is taken back for being slow gives its traffic
back as the stable one gets room for it; one that fails, at once. Where nothing of the stable revision serves when the
new one comes, there is nothing to compare with nor to lose: it is replaced without a trial.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from fairlead.api.model_service import Analysis, CanaryStep, Rollout, RolloutStatus
from fairlead.clock import format_time, parse_time
from fairlead.serving.analysis.judge import Verdict
from fairlead.serving.rollout.intent import RoleIntent
from fairlead.serving.rollout.ratio import Sets
from fairlead.serving.rollout.trial_facts import Decision, Facts, Way, asked_of

SETTLE_S: Final = 2.0
"""How long every gateway has to hear of a weight of 0 before the pool is emptied."""
_LOOK_S: Final = 1.0
_HOW_TO_RESUME: Final = "`fairlead rollout resume` goes on, `fairlead rollout undo` takes it back"


@dataclass(slots=True)
class _Trial:
    """One step while it is decided."""

    way: Way
    spec: Rollout
    facts: Facts
    verdict: Verdict | None
    now_s: float
    status: RolloutStatus
    sets: Sets = field(init=False)

    def __post_init__(self) -> None:
        self.sets = Sets.of(self.facts.roles)

    # Numbers

    @property
    def step(self) -> CanaryStep:
        return self.way.steps[min(self.status.step, len(self.way.steps) - 1)]

    @property
    def is_last(self) -> bool:
        return self.status.step >= len(self.way.steps) - 1

    def trial_sets(self) -> int:
        """How many sets of replicas the new revision is to have in this step: as many as its share, at least one."""
        total = self.sets.total
        if self.way.whole_fleet:
            return total
        return min(total, max(1, -(-self.step.weight * total // 100)))

    def stable_sets(self) -> int:
        """And the stable one: together as many as are wanted, or up to the surge more where replicas of both versions
        then have more nearly the same to do. Times of engines that have more to do than others are hard to compare."""
        total, trial, weight = self.sets.total, self.trial_sets(), self.step.weight
        if self.way.whole_fleet:
            return total
        least = 0 if weight == 100 else 1
        as_busy = total if weight == 0 else round(trial * (100 - weight) / weight)
        return min(total, max(least, min(total - trial + self.sets.surge, max(total - trial, as_busy))))

    def roles(self) -> tuple[RoleIntent, ...]:
        trial, stable = self.trial_sets(), self.stable_sets()
        return tuple(
            replace(r, stable=self.sets.share(r.role, stable), canary=self.sets.share(r.role, trial))
            for r in self.facts.roles
        )

    def kept_roles(self) -> tuple[RoleIntent, ...]:
        """What is there, for a planner that is told to stand still."""
        there = self.facts.fleet.trial_there
        return tuple(replace(r, stable=None, canary=there.get(r.role, 0)) for r in self.facts.roles)

    def ready_sets(self) -> int:
        return self.sets.complete(self.facts.fleet.trial)

    def carried(self, most: int) -> int:
        """The weight that the new revision's replicas can carry as things are."""
        ready = self.ready_sets()
        if ready == 0:
            return 0
        if ready >= self.trial_sets():
            return most
        share = 100 * ready // (ready + self.sets.complete(self.facts.fleet.old))
        # What they were enough for in the step before they are enough for while more of them come.
        return min(most, max(share, min(self.status.weight, 100 * ready // self.sets.total)))

    # Decisions

    def decision(self, roles: tuple[RoleIntent, ...], again_s: float | None = None, *, asks: bool = False) -> Decision:
        facts, analysis = self.facts, self.way.analysis
        # Before the new revision has a share, only requests that begin then would be compared with all that are there.
        asks = asks and analysis is not None and self.status.weight > 0
        asked = asked_of(self.status, facts.wanted, analysis) if asks and analysis is not None else ""
        return Decision(self.status, roles, facts.stable, facts.rejected, self.status.weight, asked, again_s)

    def progress(self, **changes: object) -> None:
        self.change(last_progress_at=format_time(self.now_s), **changes)

    def change(self, **changes: object) -> None:
        self.status = msgspec.structs.replace(self.status, **changes)


def trial_step(way: Way, spec: Rollout, facts: Facts, verdict: Verdict | None, now_s: float) -> Decision:
    """What is to be now. `verdict` is the comparison's, None where there is none (yet)."""
    at_rest = tuple(replace(r, stable=None, canary=0) for r in facts.roles)
    before = facts.status if facts.status is not None and facts.status_revision == facts.wanted else None
    trial = _Trial(way, spec, facts, verdict, now_s, before or RolloutStatus())
    if facts.wanted == facts.rejected and facts.stable:
        return _retreat(trial, at_rest)
    if not facts.stable or facts.wanted == facts.stable:
        return _rest(trial, at_rest)
    # One that was held back before it could begin has no times yet.
    begins = before is None or before.phase in ("Stable", "Reverted") or not before.last_progress_at
    if begins:
        now = format_time(now_s)
        trial.status = RolloutStatus("Progressing", started_at=now, last_progress_at=now)
    nothing_serves = begins and trial.sets.complete(facts.fleet.old) == 0 and not spec.paused
    if trial.status.phase == "Promoting" or trial.sets.total == 0 or nothing_serves:
        return _promote(trial, at_rest)
    if verdict is not None and (verdict.comparisons or verdict.message):
        trial.change(analysis=list(verdict.comparisons))
    if (decided := _by_verdict(trial, at_rest)) is not None:
        return decided
    return _go_on(trial, at_rest)


def _rest(trial: _Trial, at_rest: tuple[RoleIntent, ...]) -> Decision:
    """Nothing is on trial. What has been gives its traffic back."""
    weight = _given_back(trial)
    trial.change(phase="Stable", weight=weight, message="", step=0, step_started_at="")
    if not trial.facts.stable and trial.sets.complete(trial.facts.fleet.new) > 0:
        trial.facts = replace(trial.facts, stable=trial.facts.wanted)
    return trial.decision(at_rest, _LOOK_S if weight else None)


def _retreat(trial: _Trial, at_rest: tuple[RoleIntent, ...]) -> Decision:
    """The revision was rejected."""
    weight = _given_back(trial)
    trial.change(phase="Reverted", weight=weight)
    return trial.decision(at_rest, _LOOK_S if weight else None)


def _given_back(trial: _Trial) -> int:
    """The weight that is left of the new revision's while the stable one has not got room for all; 0 where it fails."""
    facts, total = trial.facts, trial.sets.total
    weight = facts.status.weight if facts.status is not None else 0
    fails = any(c.measure == "errorRate" and c.verdict == "Worse" for c in trial.status.analysis)
    # On the way back what is in the canary's pool are replicas of an unwanted revision.
    if weight == 0 or fails or total == 0 or trial.ready_sets() == 0:
        return 0
    return min(weight, max(0, 100 - 100 * trial.sets.complete(facts.fleet.old) // total))


def _promote(trial: _Trial, at_rest: tuple[RoleIntent, ...]) -> Decision:
    """The new revision becomes the stable one: its replicas change pools, and the others leave."""
    facts, status = trial.facts, trial.status
    if status.phase != "Promoting":
        started = format_time(trial.now_s)
        trial.progress(phase="Promoting", step_started_at=started, message=f"revision {facts.wanted} is promoted")
    elif facts.progressed:
        trial.progress()
    since_s = trial.now_s - parse_time(trial.status.step_started_at)
    empties = trial.way.empties_first and trial.ready_sets() > 0
    weight = 0 if trial.way.empties_first else min(status.weight, _share(trial))
    trial.change(weight=weight)
    if empties and since_s < SETTLE_S:
        roles = trial.roles() if trial.sets.total else at_rest
        return trial.decision(roles, SETTLE_S - since_s)
    new_sets = trial.sets.complete(facts.fleet.new)
    if new_sets >= trial.sets.total and facts.fleet.old_there == 0 and trial.ready_sets() == 0:
        done = RolloutStatus(
            "Stable", started_at=status.started_at, last_progress_at=format_time(trial.now_s),
            message=f"revision {facts.wanted} serves", analysis=status.analysis,
        )  # fmt: skip
        return Decision(done, at_rest, facts.wanted, facts.rejected)
    left_s = _left_s(trial)
    if left_s <= 0:
        trial.change(message=f"revision {facts.wanted} is promoted; {_no_progress(trial)}")
    return trial.decision(at_rest, left_s if left_s > 0 else None)


def _share(trial: _Trial) -> int:
    """What part of all ready sets is in the canary's pool, percent."""
    ready = trial.ready_sets()
    rest = trial.sets.complete(trial.facts.fleet.old) + trial.sets.complete(trial.facts.fleet.new) - ready
    return 100 * ready // (ready + rest) if ready + rest > 0 else 0


def _by_verdict(trial: _Trial, at_rest: tuple[RoleIntent, ...]) -> Decision | None:
    """What the comparison alone decides: to take the revision back, or to wait for a person."""
    verdict, analysis, facts = trial.verdict, trial.way.analysis, trial.facts
    if analysis is None or verdict is None:
        return None
    undecided = verdict.outcome == "Inconclusive"
    if verdict.outcome == "Worse" or (undecided and analysis.inconclusive == "Revert"):
        message = f"revision {facts.wanted} is taken back: {verdict.message}"
        trial.facts = replace(facts, rejected=facts.wanted)
        trial.progress(message=message)
        return _retreat(trial, at_rest)
    if undecided and analysis.inconclusive == "Promote":
        return _promote(trial, at_rest)
    if undecided and not _is_resumed(trial):
        return _hold(trial, trial.roles(), f"{verdict.message}. {_HOW_TO_RESUME}")
    return None


def _hold(trial: _Trial, roles: tuple[RoleIntent, ...], message: str) -> Decision:
    """Everything stays as it is, but replicas that are lost carry nothing."""
    weight = trial.carried(trial.status.weight)
    trial.change(phase="Paused", weight=weight, message=message)
    return trial.decision(roles, asks=True)


def _go_on(trial: _Trial, at_rest: tuple[RoleIntent, ...]) -> Decision:
    """The way through the steps."""
    while True:
        if trial.spec.paused:
            return _hold(trial, trial.kept_roles(), "spec.rollout.paused is set")
        waits = _enter(trial)
        if waits is None:
            waits = _stay(trial)
        if waits is not None:
            return waits
        if trial.is_last:
            return _promote(trial, at_rest)
        trial.progress(step=trial.status.step + 1, step_started_at="")
        # What was seen in the step before says nothing of the next one's requests.
        trial.verdict = None


def _enter(trial: _Trial) -> Decision | None:
    """Until the step's replicas are ready and it has its weight; None once that is so."""
    target, before = trial.step.weight, trial.status.weight
    weight = trial.carried(target)
    ready, wanted = trial.ready_sets(), trial.trial_sets()
    if weight > before or trial.facts.progressed:
        trial.progress()
    trial.change(weight=weight, phase="Progressing")
    if ready >= wanted:
        if not trial.status.step_started_at:
            trial.progress(step_started_at=format_time(trial.now_s))
        return None
    message = f"{ready} of {wanted} replicas of revision {trial.facts.wanted} are ready"
    left_s = _left_s(trial)
    if left_s <= 0:
        trial.change(phase="Stuck", message=f"{message}; {_no_progress(trial)}")
    else:
        trial.change(message=f"{_place(trial)}: {message}")
    return trial.decision(trial.roles(), left_s if left_s > 0 else None, asks=True)


def _stay(trial: _Trial) -> Decision | None:
    """While the step goes on; None once it is over."""
    step, status = trial.step, trial.status
    left_s = step.seconds - (trial.now_s - parse_time(status.step_started_at))
    reason = ""
    if left_s > 0:
        reason = f"{left_s:.0f} of {step.seconds} s are left"
    elif trial.way.analysis is not None and not _is_resumed(trial):
        reason = _compares(trial, trial.way.analysis)
    if reason:
        trial.change(message=f"{_place(trial)}: {reason}")
        return trial.decision(trial.roles(), left_s if left_s > 0 else _LOOK_S, asks=True)
    if step.pause and not _is_resumed(trial):
        return _hold(trial, trial.roles(), f"{_place(trial)}: a person is to say go on. {_HOW_TO_RESUME}")
    return None


def _compares(trial: _Trial, analysis: Analysis) -> str:
    """What the comparison still needs before the step can end; empty where that is nothing."""
    verdict = trial.verdict
    if trial.is_last:
        if verdict is not None and verdict.outcome == "AsGood":
            return ""
        return verdict.message if verdict is not None and verdict.message else "no requests were compared yet"
    if trial.step.weight == 0 or (verdict is not None and verdict.outcome == "AsGood"):
        return ""
    seen = verdict.step_requests if verdict is not None else 0
    if seen >= analysis.min_requests:
        return ""
    return f"{seen:,} of {analysis.min_requests:,} requests were seen (analysis.minRequests)"


def _is_resumed(trial: _Trial) -> bool:
    """Whether a person said go on at this step."""
    status, annotation = trial.status, trial.facts.resumed
    if annotation == f"{trial.facts.wanted}/{status.step}" and status.resumed_step < status.step:
        trial.change(resumed_step=status.step)
    return trial.status.resumed_step >= trial.status.step


def _left_s(trial: _Trial) -> float:
    """How long until the lack of progress is too long."""
    return trial.spec.progress_deadline_seconds - (trial.now_s - parse_time(trial.status.last_progress_at))


def _no_progress(trial: _Trial) -> str:
    return f"no progress for {trial.now_s - parse_time(trial.status.last_progress_at):.0f} s"


def _place(trial: _Trial) -> str:
    return f"step {trial.status.step + 1} of {len(trial.way.steps)}, {trial.status.weight} %"
