"""What an eviction costs, and which of two plans is the better one.

The cost of a pod is in pod-hours: one for the disturbance, and one for every hour that it has run, as that work is
lost; times

- what it does: serving 2, batch 1/1000 (it is written to be stopped), anything else 1;
- how near its end it is: 1 / (1 - progress), at most 10. What is lost, set against what is left to do, is
  progress / (1 - progress): it doubles the cost at one half and makes it tenfold at nine tenths;
- how warm its caches are: 1 + 3 × warmth, as a warm server takes a while to be of the same use elsewhere.

The formula is Fairlead's own. Kubernetes knows priorities and pods only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from fairlead.scheduling.snapshot import PodFacts, PodView

WORK_FACTORS: Final[Mapping[str, float]] = {"serving": 2.0, "": 1.0, "batch": 0.001}
MOST_NEAR_END: Final = 10.0
WARMTH_FACTOR: Final = 3.0
_HOUR_S: Final = 3600.0


def weight_of(facts: PodFacts | None) -> float:
    """Pod-hours that one hour of such a pod counts for. Shares outside 0 to 1 count as the nearest of the two."""
    if facts is None:
        return 1.0
    weight = WORK_FACTORS.get(facts.work, 1.0)
    if facts.progress is not None:
        left = 1.0 - min(1.0, max(0.0, facts.progress))
        weight *= min(MOST_NEAR_END, 1.0 / left) if left else MOST_NEAR_END
    if facts.warmth is not None:
        weight *= 1.0 + WARMTH_FACTOR * min(1.0, max(0.0, facts.warmth))
    return weight


@dataclass(frozen=True, slots=True)
class Price:
    """The cost of evicting some pods together, as a line over time."""

    pods: int
    disturbance: float
    """Pod-hours, as if none had run."""
    slope: float
    """Pod-hours per hour: the weights of those that run."""
    origin: float
    """Of all that run, weight × the hour in which it started."""

    def at(self, now_s: float) -> float:
        """Pod-hours lost by an eviction now. A clock that has been set back makes nothing cheaper than a new pod."""
        return self.disturbance + max(0.0, self.slope * now_s / _HOUR_S - self.origin)

    def text(self, now_s: float) -> str:
        lost = self.at(now_s) - self.disturbance
        plural = "" if self.pods == 1 else "s"
        return f"{self.at(now_s):.3g} ({self.pods} pod{plural}: {self.disturbance:.3g} + {lost:.3g} of work lost)"


def price_of(pods: Iterable[PodView]) -> Price:
    """The cost of evicting these pods."""
    count, disturbance, slope, origin = 0, 0.0, 0.0, 0.0
    for pod in pods:
        weight = weight_of(pod.facts)
        count += 1
        disturbance += weight
        if pod.started_s is not None:
            slope += weight
            origin += weight * pod.started_s / _HOUR_S
    return Price(count, disturbance, slope, origin)


class Rank(NamedTuple):
    """How bad a plan is: compared from the left, the smallest is the best.

    Fewer pods come before fewer gangs: one training run of 512 pods is no better a victim than two single pods.
    """

    violations: int = 0
    """Pods evicted in spite of a disruption budget."""
    level: float = float("-inf")
    """The highest priority among the victims."""
    pods: int = 0
    gangs: int = 0
    priorities: int = 0
    """Sum over the gangs."""
    cost: float = 0.0
    """Pod-hours."""

    def __str__(self) -> str:
        if not self.pods:
            return "nothing evicted"
        budgets = f", {self.violations} against a disruption budget" if self.violations else ""
        return (
            f"{self.pods} pods of {self.gangs} gangs, the highest priority {self.level:.0f}, "
            f"cost {self.cost:.3g} pod-hours{budgets}"
        )
