"""How a new version of an adapter takes over: beside the old one, with a growing share of its requests, compared by the
same test and stepped by the same machine as revisions of a service (`rollout.trial`). Pure.

What replicas are there, copies are here: engines that have a version loaded. No engine is restarted for any of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from fairlead.api.model_adapter import AdapterRollout
from fairlead.api.model_service import Analysis, CanaryStep, Rollout, RolloutStatus
from fairlead.serving.analysis.judge import Verdict
from fairlead.serving.rollout.intent import RoleIntent
from fairlead.serving.rollout.trial import trial_step
from fairlead.serving.rollout.trial_facts import Decision, Facts, Fleet, Way

DEFAULT_STEPS: Final = (CanaryStep(10), CanaryStep(50))


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """What a step is decided from. Copies are engines of the pool that answers."""

    wanted: str
    """Hash of the version that the spec asks for."""
    stable: str
    """Hash of the one that serves; empty where none ever has."""
    rejected: str
    status: RolloutStatus | None
    status_version: str
    """Version that `status` is about."""
    stable_copies: int
    """Engines that have the stable version."""
    new_copies: int
    is_kept: bool = True
    """The stable version is loaded whether anybody asks for it or not. One that is not, and is nowhere, has nobody who
    would notice: then there is nothing to compare."""
    resumed: str = ""
    """VERSION/STEP at which a person said go on."""
    progressed: bool = False


@dataclass(frozen=True, slots=True)
class VersionStep:
    """What is to be now."""

    stable: str
    rejected: str
    status: RolloutStatus
    weight: int
    """Percent of the requests that the wanted version gets; the others are the stable one's."""
    copies: int
    """Of the wanted version beside the stable one; 0 where only one is to be loaded."""
    asked: str = ""
    """Under which name the pickers are to report; empty: no need."""
    again_s: float | None = None


def way_of(rollout: AdapterRollout) -> Way:
    """Steps and analysis with their defaults."""
    return Way(tuple(rollout.steps) or DEFAULT_STEPS, rollout.analysis or Analysis())


def version_step(rollout: AdapterRollout, facts: VersionFacts, verdict: Verdict | None, now_s: float) -> VersionStep:
    """The next step. The first version of all serves at once: there is nothing to compare it with."""
    if not facts.stable:
        return VersionStep(facts.wanted, "", RolloutStatus(), 0, 0)
    rejected = "" if facts.wanted == facts.stable else facts.rejected
    total = max(1, facts.stable_copies)
    is_promoting = facts.status is not None and facts.status.phase == "Promoting" and _is_about(facts)
    taken_over = is_promoting and facts.new_copies >= total
    # A promotion is over when the new version is wherever the old one is: from then on it gets all requests.
    fleet = Fleet(
        trial={"unified": 0 if taken_over else facts.new_copies},
        new={"unified": facts.new_copies},
        old={"unified": max(facts.stable_copies, int(facts.is_kept))},
        old_there=0 if taken_over else facts.stable_copies,
    )
    decision = trial_step(
        way_of(rollout),
        Rollout(paused=rollout.paused),
        Facts(
            facts.wanted, facts.stable, (RoleIntent("unified", total, surge=total),), fleet, facts.status,
            facts.status_version, rejected, facts.progressed, facts.resumed,
        ),
        verdict,
        now_s,
    )  # fmt: skip
    return VersionStep(
        decision.revision,
        decision.rejected,
        _in_words_of_adapters(decision.status),
        decision.weight,
        _copies(decision, total),
        decision.asked,
        decision.again_s,
    )


def _is_about(facts: VersionFacts) -> bool:
    return facts.status_version == facts.wanted and facts.wanted not in (facts.stable, facts.rejected)


def _copies(decision: Decision, total: int) -> int:
    if decision.status.phase == "Promoting":
        return total
    return decision.roles[0].canary or int(decision.weight > 0)


def _in_words_of_adapters(status: RolloutStatus) -> RolloutStatus:
    message = status.message
    for said, meant in (
        ("replicas of revision", "engines with version"),
        ("revision ", "version "),
        ("fairlead rollout", "fairlead adapter"),
    ):
        message = message.replace(said, meant)
    return msgspec.structs.replace(status, message=message)
