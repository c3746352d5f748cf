"""Random events into a planner, with everything checked that it says. One seed is one story, told again at will.

python -m scheduling.chaos.churn --seed 7 --steps 100000      (with `tests` on PYTHONPATH)
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairlead.scheduling.planner import Planner
from fairlead.scheduling.settings import Settings
from fairlead.scheduling.verdict import Cleared, Placed, Refused, Verdict
from scheduling.chaos.afresh import disagreements, lost_devices, planner_afresh
from scheduling.chaos.cluster import Cluster, Profile
from scheduling.chaos.ledger import Ledger
from scheduling.chaos.verdict_rules import BrokenRuleError, Rules
from scheduling.chaos.writes import Writes

PROFILE = Profile()
SETTINGS = Settings()
ACTS = 3
"""Of people, kubelets, drivers and controllers in one step."""
REST_EVERY = 150
"""Steps between two times of rest, at which all is compared with a planner afresh."""
_REST_S = 100_000.0
"""Longer than anything that is held or paused."""


class _Log(logging.Handler):
    """What the planner takes in its stride and notes as its own fault is a fault all the same."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._faults: list[str] = []
        self._logger = logging.getLogger("fairlead.scheduling")

    def __enter__(self) -> _Log:
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self._faults.append(f"{record.getMessage()}: {record.exc_info[1] if record.exc_info else ''}")

    def check(self) -> None:
        if self._faults:
            raise BrokenRuleError(f"the planner notes: {self._faults[0]}")


class ChurnError(AssertionError):
    """What went wrong, and at which step."""


@dataclass
class Churn:
    """A cluster, a planner, and who watches over both."""

    seed: int
    profile: Profile = PROFILE
    settings: Settings = SETTINGS
    compares: bool = True
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        dice = random.Random(f"{self.seed}/start")
        self.cluster = Cluster(dice, self.profile)
        self.truth = self.cluster.truth
        self._begin()
        self.ledger = Ledger(self.truth)
        self.writes = Writes(self.cluster, dice)
        self.rules = Rules(self.ledger, self.cluster.facts.get)
        self.cluster.start()

    def _begin(self) -> None:
        self.planner = Planner(self.settings)
        self.planner.intake.follow_jobs()

    def run(self, steps: Collection[int]) -> None:
        """Each step's dice are its own: a story without some of its steps is still one."""
        with _Log() as log:
            for step in steps:
                self._roll(random.Random(f"{self.seed}/{step}"))
                try:
                    self.step(step)
                    log.check()
                except Exception as error:
                    raise ChurnError(f"seed {self.seed}, step {step}: {type(error).__name__}: {error}") from error

    def _roll(self, dice: random.Random) -> None:
        self.dice = self.cluster.dice = self.cluster.workshop.dice = self.writes.dice = dice

    def step(self, number: int) -> None:
        self.counts["steps"] += 1
        for _ in range(ACTS):
            self.cluster.act()
        for _ in range(self.dice.choice([0, 1, 1, 2, 4])):
            self.writes.step()
        if self.dice.random() < 0.7:
            self._tell()
        if self.dice.random() < 0.6:
            self.decide(self.dice.choice([1, 3, 1000]))
        if self.dice.random() < 0.002:
            self._restart()
        if number % REST_EVERY == REST_EVERY - 1:
            self.rest()

    def decide(self, most: int) -> None:
        """Until there is nothing to decide, or `most` verdicts."""
        bound = 3 * len(self.planner.gangs) + 20
        for number in range(most):
            verdict = self.planner.decide(self.cluster.now_s)
            if verdict is None:
                return
            self._take(verdict)
            if number >= bound:
                raise BrokenRuleError(f"{number} verdicts at one moment, the last: {verdict}")

    def _take(self, verdict: Verdict) -> None:
        self.counts[type(verdict).__name__] += 1
        if isinstance(verdict, Placed):
            self.counts["pods placed"] += len(verdict.assignments)
            self.ledger.note(verdict)
            self.rules.check_placed(verdict)
            self.writes.submit(verdict)
        elif isinstance(verdict, Cleared):
            self.counts[f"Cleared by {verdict.kind}"] += 1
            self.rules.check_cleared(verdict, self.cluster.now_s)
            self.writes.submit(verdict)
        elif isinstance(verdict, Refused):
            self.counts[f"Refused for {verdict.explanation.because.value}"] += 1
            if not verdict.explanation.sentence:
                raise BrokenRuleError(f"{verdict.gang.key} is refused without a word")

    def _tell(self, *, all_: bool = False) -> None:
        told = self.truth.tell_all if all_ else self.truth.tell_some
        told(self.planner, self.dice)
        self.ledger.settle()
        self.rules.note_devices()
        for pods in self.writes.failed:
            self.planner.failed([pod.uid for pod in pods], self.cluster.now_s)
            self.ledger.failed(pods)
        self.writes.failed.clear()

    def _restart(self) -> None:
        """The scheduler dies with all that was on its way; another begins with what the API shows."""
        self.counts["restarts"] += 1
        self.writes.crash()
        self.ledger.decided.clear()
        self.ledger.claims.clear()
        self.ledger.givers.clear()
        self._begin()
        self.truth.told.clear()
        self.truth.late = dict.fromkeys(self.truth.objects)
        self._tell(all_=True)

    def rest(self) -> None:
        """Everything is told and written, and nothing is held for anybody any more."""
        self.counts["rests"] += 1
        self._tell(all_=True)
        while self.writes.under_way or self.writes.leaving:
            self.writes.step(may_fail=False)
            self._tell(all_=True)
        if not self.compares:
            return
        fresh = planner_afresh(self.planner, self.truth.told, self.dice)
        then_s = self.cluster.now_s + _REST_S
        found = disagreements(self.planner, fresh, then_s, verdicts=not lost_devices(self.truth.told))
        if found:
            raise BrokenRuleError("not as afresh: " + "; ".join(found[:5]))

    def end(self) -> None:
        """All objects go; what a planner still remembers then it would remember for ever."""
        self.rest()
        for key in list(self.truth.objects):
            self.truth.drop(key)
        self._tell(all_=True)
        self.cluster.now_s += _REST_S
        assert self.planner.decide(self.cluster.now_s) is None
        left = remembered(self.planner)
        if left:
            raise BrokenRuleError(f"still remembered though all is gone: {left}")


def remembered(planner: Planner) -> dict[str, int]:
    """How much there is of what should be empty when nothing is there."""
    intake, roster, fleet, turns = planner.intake, planner.roster, planner.fleet, planner.turns
    sizes = {
        "fleet.pods": fleet.pods, "fleet.claims": fleet.claims, "fleet.users": fleet.users,
        "fleet.row_of": fleet.row_of,
        "roster.members": roster.members, "roster._uids": roster._uids, "roster._gangs": roster._gangs,
        "intake.claims": intake.claims, "intake._users": intake._users, "intake.queues": intake.queues,
        "intake._homeless": [pod for pods in intake._homeless.values() for pod in pods],
        "intake._namespace_queues": intake._namespace_queues, "intake._raw": intake._raw,
        "turns.places": turns.places, "turns.holdings": list(turns.holdings),
        "planner._keys": planner._keys, "planner._pauses": planner._pauses, "planner._paused": planner._paused,
        "planner._told": planner._told, "planner._bystanders": [
            key for key in planner._bystanders if key not in planner.gangs and planner._candidates()],
        "reservations": list(planner.reservations),
        "devices": fleet.devices._holdings._claims,
    }  # fmt: skip
    return {name: len(found) for name, found in sizes.items() if len(found)}


def shrink(seed: int, steps: Sequence[int], **how: Any) -> list[int]:
    """Fewer steps after which the same goes wrong."""

    def wrong(some: Sequence[int]) -> str:
        churn = Churn(seed, **how)
        try:
            churn.run(some)
        except ChurnError as error:
            return str(error).partition(": ")[2][:40]
        return ""

    kept, wanted = list(steps), wrong(steps)
    size = max(1, len(kept) // 2)
    while size and wanted:
        at = 0
        while at < len(kept):
            fewer = kept[:at] + kept[at + size :]
            if wrong(fewer) == wanted:
                kept = fewer
            else:
                at += size
        size //= 2
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=1, help="how many, from --seed on")
    parser.add_argument("--no-devices", action="store_true")
    parser.add_argument("--no-queues", action="store_true")
    parser.add_argument("--upstream", action="store_true", help="choose devices as Kubernetes' allocator would")
    parser.add_argument("--nodes", type=int, default=6)
    parser.add_argument("--pods", type=int, default=40)
    parser.add_argument("--shrink", action="store_true", help="say which steps are enough for it to go wrong")
    asked = parser.parse_args()
    profile = Profile(asked.nodes, asked.pods, not asked.no_devices, not asked.no_queues)
    settings = Settings(mode="upstream" if asked.upstream else "best")
    wrong = 0
    for seed in range(asked.seed, asked.seed + asked.seeds):
        churn, begun = Churn(seed, profile, settings), time.monotonic()
        try:
            churn.run(range(asked.steps))
            churn.end()
        except AssertionError as error:
            wrong += 1
            print(error, file=sys.stderr)
            if asked.shrink:
                print(f"enough: {shrink(seed, range(churn.counts['steps']), profile=profile, settings=settings)}")
        print(f"seed {seed}: {time.monotonic() - begun:.1f} s, {dict(churn.counts)}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
