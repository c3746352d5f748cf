"""Comparisons of versions that are under way: what was seen of each so far, kept between reconciles.

A controller that starts anew compares anew from then on: it has not seen over which time older sums were gathered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fairlead.api.model_service import Analysis
from fairlead.api.traffic_report import TrafficReport
from fairlead.serving.analysis.evidence import Arm, Arms, Evidence, gather
from fairlead.serving.analysis.judge import Verdict, judge


class Trials:
    """By ModelAdapter (namespace/name)."""

    def __init__(self) -> None:
        self._evidence: dict[str, Evidence] = {}

    def verdict(
        self, key: str, stable: str, new: str, reports: Sequence[TrafficReport], asked: str, analysis: Analysis,
        began_s: float, now_s: float,
    ) -> Verdict:  # fmt: skip
        """What the comparison of two names says so far. `asked` is what the pool is asked to report now."""
        arms = Arms(Arm(models=frozenset((new,))), Arm(models=frozenset((stable,))))
        evidence = self._evidence.get(key)
        if evidence is None or evidence.arms != arms:
            first = gather(Evidence(arms), reports, asked, now_s)
            evidence = replace(Evidence(arms), asked=first.asked, seen=first.seen)
        evidence = gather(evidence, reports, asked, now_s)
        verdict, self._evidence[key] = judge(evidence, analysis, began_s, now_s)
        return verdict

    def forget(self, key: str) -> None:
        """No comparison is under way."""
        self._evidence.pop(key, None)
