"""Canary: a new revision gets a growing share of the traffic while it is compared with the stable one. Pure."""

from __future__ import annotations

from typing import Final

from fairlead.api.model_service import Analysis, Canary, CanaryStep, Rollout
from fairlead.serving.analysis.judge import Verdict
from fairlead.serving.rollout.trial import trial_step
from fairlead.serving.rollout.trial_facts import Decision, Facts, Way

DEFAULT_WEIGHTS: Final = (5, 20, 50)


def canary_step(spec: Rollout, facts: Facts, verdict: Verdict | None, now_s: float) -> Decision:
    """What is to be now. The comparison runs over all steps; a step ends when its time is over and the new revision has
    had `minRequests` in it, the last one when the revision is as good."""
    return trial_step(canary_way(spec), spec, facts, verdict, now_s)


def canary_way(spec: Rollout) -> Way:
    """The steps and the analysis of a canary, with their defaults."""
    canary = spec.canary or Canary()
    steps = tuple(canary.steps) or tuple([CanaryStep(weight) for weight in DEFAULT_WEIGHTS])
    return Way(steps, spec.analysis or Analysis(), empties_first=bool(canary.http_route))
