"""Blue-green: a whole new fleet beside the old one, then all traffic at once. Pure."""

from __future__ import annotations

from typing import Final

from fairlead.api.model_service import CanaryStep, Rollout
from fairlead.serving.analysis.judge import Verdict
from fairlead.serving.rollout.trial import trial_step
from fairlead.serving.rollout.trial_facts import Decision, Facts, Way

COMPARED_WEIGHT: Final = 10
"""Percent of the traffic that the new fleet gets while it is compared, where an analysis is asked for."""


def blue_green_step(spec: Rollout, facts: Facts, verdict: Verdict | None, now_s: float) -> Decision:
    """What is to be now. With an analysis the new fleet first gets a small share."""
    return trial_step(blue_green_way(spec), spec, facts, verdict, now_s)


def blue_green_way(spec: Rollout) -> Way:
    """One step, with all replicas."""
    weight = COMPARED_WEIGHT if spec.analysis is not None else 0
    return Way((CanaryStep(weight),), spec.analysis, whole_fleet=True)
