"""What scaled, of two runs: what the fleets cost, how long they took to react, and what was lost meanwhile."""

from __future__ import annotations

from fairlead.bench.results.changes import Figure, Unit
from fairlead.bench.results.significance import Test, of_shares
from fairlead.bench.scaling_summary import Reaction, ScalingSummary
from fairlead.bench.summary import RunSummary

BASIS = "one course of events in each run"
STAGE = "scaling"


def scaling_changes(base: RunSummary, other: RunSummary) -> list[Figure]:
    """Of runs that both watched what scales; less is better of all. Times and costs happen once in a run and have no
    spread: they count by their size. Whether a request kept the objective happens often."""
    one, two = base.scaling, other.scaling
    if one is None or two is None:
        return []
    found: list[Figure] = []
    if one.efficiency.unit == two.efficiency.unit:
        found += _figure(f"{one.efficiency.unit}-seconds", "s", one.efficiency.paid_s, two.efficiency.paid_s)
    found += _figure("wanted after a rise", "s", _decision(one), _decision(two))
    found += _figure("ready after a rise", "s", _capacity(one), _capacity(two))
    found += _figure("too few good", "s", one.short_s, two.short_s)
    if one.judged and two.judged and one.good is not None and two.good is not None:
        lost = one.judged - one.good, two.judged - two.good
        test = of_shares((lost[0], one.judged), (lost[1], two.judged))
        if test is not None:
            found.append(
                Figure(STAGE, "not good", "share", lost[0] / one.judged, lost[1] / two.judged, False, test)
            )  # fmt: skip
    return found


def _figure(name: str, unit: Unit, one: float | None, two: float | None) -> list[Figure]:
    """None where it is not known of both, or was nought: nothing is a share of that."""
    if one is None or two is None or one <= 0:
        return []
    return [Figure(STAGE, name, unit, one, two, False, Test(two / one - 1, None, None, None, None, BASIS))]


def _decision(of: ScalingSummary) -> float | None:
    """Mean of all reactions in which the wanted number rose."""
    return _mean([r.desired_s - r.rise_s for r in _reactions(of) if r.desired_s is not None])


def _capacity(of: ScalingSummary) -> float | None:
    """Mean of all reactions that came to their end."""
    return _mean([r.ready_s - r.rise_s for r in _reactions(of) if r.ready_s is not None])


def _reactions(of: ScalingSummary) -> list[Reaction]:
    return [reaction for workload in of.workloads for reaction in workload.reactions]


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
