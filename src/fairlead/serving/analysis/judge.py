"""From the evidence to a verdict: each measure by its test, and what the version as a whole is worth. Pure.

False alarms are kept to the stated chance over all measures together by dividing it by their number (Bonferroni): any
measure that is worse takes the version back. All of them have to be as good for it to pass, so that a version that is
worse in one passes with the stated chance at most, whatever the others say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import msgspec

from fairlead.api.model_service import Analysis, Comparison, Criterion, default_criteria
from fairlead.serving.analysis.error_rate import rates, weigh_errors
from fairlead.serving.analysis.estimate import LEAST_BATCHES, Estimate, estimate
from fairlead.serving.analysis.evidence import Evidence
from fairlead.serving.analysis.forecast import forecast
from fairlead.serving.analysis.sequential import Weighing, lately, weigh
from fairlead.serving.analysis.sums import Mean

Outcome = Literal["Undecided", "AsGood", "Worse", "Inconclusive"]

LATE_FAILURES: Final = 4
LATE_MEANS: Final = 12
"""Batches by which a version is found out that has gone bad after it was good."""
_MOST_MARGIN: Final = 0.9
_NORMAL: Final = 1.959964
"""Half the width of the 95 % interval of a normal distribution of variance 1."""
_NAMES: Final = {"errorRate": "errors", "ttft": "TTFT", "itl": "ITL", "outputLength": "length of answers"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the comparison says so far. `Inconclusive`: it has come to its end without a decision."""

    outcome: Outcome
    comparisons: tuple[Comparison, ...]
    message: str
    """One sentence, with the numbers that count."""
    step_requests: int = 0
    """Of the new version, since what the pools are asked for last changed."""


def judge(evidence: Evidence, analysis: Analysis, began_s: float, now_s: float) -> tuple[Verdict, Evidence]:
    """The verdict, and the evidence with what is settled by it. `began_s` is when the new version got its first share
    of the traffic (wall-clock seconds)."""
    criteria = analysis.criteria or default_criteria()
    if min(evidence.total.new.requests, evidence.total.stable.requests) < analysis.min_requests:
        comparisons = [_too_few(evidence, criterion, analysis.min_requests) for criterion in criteria]
    else:
        comparisons = [_compared(evidence, criterion, analysis, len(criteria), now_s) for criterion in criteria]
    settled = {c.measure: c.verdict for c in comparisons if c.verdict in ("AsGood", "Worse")}
    evidence = replace(evidence, settled=settled)
    outcome, message = _outcome(evidence, comparisons, analysis, now_s - began_s)
    return Verdict(outcome, tuple(comparisons), message, evidence.step_requests), evidence


def _outcome(
    evidence: Evidence, comparisons: Sequence[Comparison], analysis: Analysis, seconds: float
) -> tuple[Outcome, str]:
    worse = [c for c in comparisons if c.verdict == "Worse"]
    if worse:
        return "Worse", _told(worse)
    good = [c for c in comparisons if c.verdict == "AsGood"]
    undecided = [c for c in comparisons if c.verdict == "Undecided"]
    if good and not undecided:
        return "AsGood", _told(good)
    end = _its_end(evidence, analysis, seconds)
    if end:
        return "Inconclusive", f"undecided after {end}: {_told(undecided) or 'nothing that is compared was seen'}"
    return "Undecided", _told(undecided)


def _its_end(evidence: Evidence, analysis: Analysis, seconds: float) -> str:
    """Which bound of the comparison is reached; empty = none."""
    requests = evidence.total.new.requests
    if analysis.max_requests and requests >= analysis.max_requests:
        return f"{requests:,} requests (analysis.maxRequests {analysis.max_requests:,})"
    if analysis.max_seconds and seconds >= analysis.max_seconds:
        return f"{seconds:,.0f} s (analysis.maxSeconds {analysis.max_seconds:,})"
    return ""


def _compared(
    evidence: Evidence, criterion: Criterion, analysis: Analysis, measures: int, now_s: float
) -> Comparison:  # fmt: skip
    alpha, beta = analysis.false_alarm_percent / 100.0 / measures, analysis.missed_percent / 100.0
    if criterion.measure == "errorRate":
        margin = min(criterion.margin_percent / 100.0, _MOST_MARGIN)
        weighed = lately(
            weigh_errors(evidence.batches, margin), weigh_errors(evidence.batches[-LATE_FAILURES:], margin)
        )
        verdict = _decided(weighed, alpha, beta, evidence.settled.get("errorRate"))
        told, found_rates = _errors_told(evidence, criterion, verdict), rates(evidence.batches)
        return _foreseen(
            told, evidence, found_rates.spread, found_rates.design_effect, margin, beta, found_rates.new, now_s
        )  # fmt: skip
    measure: Mean = criterion.measure
    found = estimate(evidence.batches, evidence.leans.get(measure, {}), measure)
    if found is None:
        return _not_yet(evidence, criterion, analysis.min_requests)
    verdict = "Undecided"
    if min(found.new, found.stable) >= analysis.min_requests:
        margin, either = math.log1p(criterion.margin_percent / 100.0), measure == "outputLength"
        weighed = weigh(found, margin, either_direction=either)
        late = estimate(evidence.batches[-LATE_MEANS:], evidence.leans.get(measure, {}), measure)
        if late is not None:
            weighed = lately(weighed, weigh(late, margin, either_direction=either))
        verdict = _decided(weighed, alpha, beta, evidence.settled.get(measure))
    margin = math.log1p(criterion.margin_percent / 100.0)
    told = _mean_told(found, criterion, verdict)
    return _foreseen(told, evidence, found.spread, found.design_effect, margin, beta, found.new, now_s)


def _foreseen(
    told: Comparison, evidence: Evidence, spread: float, effect: float, margin: float, missed: float, seen: int,
    now_s: float,
) -> Comparison:  # fmt: skip
    """With what an undecided comparison will yet take."""
    if told.verdict != "Undecided":
        return told
    left = forecast(evidence, spread, effect, margin, missed, seen, now_s)
    if left is None:
        return told
    return msgspec.structs.replace(
        told, message=f"{told.message}; {left.sentence}", remaining_requests=left.requests,
        remaining_seconds=None if left.seconds is None else math.ceil(left.seconds),
    )  # fmt: skip


def _decided(weighed: Weighing, alpha: float, beta: float, before: str | None) -> str:
    """A verdict that was reached stays, but one that is as good may yet turn out worse."""
    if before == "Worse" or weighed.worse >= math.log(1.0 / alpha):
        return "Worse"
    if before == "AsGood" or weighed.as_good >= math.log(1.0 / beta):
        return "AsGood"
    return "Undecided"


def _mean_told(found: Estimate, criterion: Criterion, verdict: str) -> Comparison:
    half = _student(found.freedom) * found.error
    difference = math.expm1(found.difference) * 100.0
    # Of a ratio, to the first order; wide ones are no more than a hint anyway.
    uncertainty = math.exp(found.difference) * math.sinh(min(half, 20.0)) * 100.0
    numbers = f"{_NAMES[criterion.measure]} {difference:+.1f} % ± {uncertainty:.1f} % over {found.new:,} requests"
    engines, much = "", 0.25 * math.log1p(criterion.margin_percent / 100.0)
    if verdict == "Undecided" and found.correction_error > much:
        engines = (
            f"; the versions' engines have unlike loads, which leaves {100.0 * found.correction_error:.1f} % open: a "
            "step of 50 %, or of as many replicas as its share is, would tell it"
        )
    elif verdict == "Undecided" and found.engine_spread > much:
        engines = (
            f"; engines of one version differ by {100.0 * found.engine_spread:.1f} %, more of them would tell it sooner"
        )
    return Comparison(
        criterion.measure, verdict, round(difference, 3), round(uncertainty, 3), found.new, found.stable,
        f"{numbers}: {_verdict_words(verdict, criterion)}{engines}",
    )  # fmt: skip


def _errors_told(evidence: Evidence, criterion: Criterion, verdict: str) -> Comparison:
    found = rates(evidence.batches)
    difference, uncertainty = 100.0 * found.difference, 100.0 * _NORMAL * found.error
    new = 100.0 * found.new_failed / found.new if found.new else 0.0
    stable = 100.0 * found.stable_failed / found.stable if found.stable else 0.0
    numbers = (
        f"errors {new:.2f} % against {stable:.2f} % ({difference:+.2f} ± {uncertainty:.2f} points) over "
        f"{found.new:,} requests"
    )
    return Comparison(
        "errorRate", verdict, round(difference, 3), round(uncertainty, 3), found.new, found.stable,
        f"{numbers}: {_verdict_words(verdict, criterion)}",
    )  # fmt: skip


def _verdict_words(verdict: str, criterion: Criterion) -> str:
    unit = "points" if criterion.measure == "errorRate" else "%"
    margin = f"{criterion.margin_percent:g} {unit}"
    if criterion.measure == "outputLength":
        words = {"Worse": f"further off than the margin of {margin}", "AsGood": f"within the margin of {margin}"}
    else:
        words = {"Worse": f"worse by the margin of {margin}", "AsGood": f"not worse by the margin of {margin}"}
    return words.get(verdict, f"undecided at a margin of {margin}")


def _too_few(evidence: Evidence, criterion: Criterion, least: int) -> Comparison:
    new, stable = evidence.total.new.requests, evidence.total.stable.requests
    return Comparison(
        criterion.measure, "Undecided", requests=new, stable_requests=stable,
        message=f"{_NAMES[criterion.measure]}: {new:,} requests to the new version and {stable:,} to the stable one of "
        f"{least:,} each (analysis.minRequests)",
    )  # fmt: skip


def _not_yet(evidence: Evidence, criterion: Criterion, least: int) -> Comparison:
    """There is no estimate of a measure though there are requests enough."""
    assert criterion.measure != "errorRate"
    total, name = evidence.total, _NAMES[criterion.measure]
    new, stable = total.new.of(criterion.measure).n, total.stable.of(criterion.measure).n
    if new == stable == 0 and min(total.new.requests - total.new.errors, total.stable.requests) >= least:
        return Comparison(criterion.measure, "NotMeasured", message=f"{name}: no request tells it; passed over")
    return Comparison(
        criterion.measure, "Undecided", requests=new, stable_requests=stable,
        message=f"{name}: {new:,} and {stable:,} requests in {len(evidence.batches)} spans of time; at least "
        f"{LEAST_BATCHES} are needed to know how much it varies",
    )  # fmt: skip


def _told(comparisons: Sequence[Comparison]) -> str:
    return "; ".join(c.message for c in comparisons)


def _student(freedom: float) -> float:
    """The same of Student's distribution, by the expansion in 1 / freedom (Abramowitz and Stegun, 26.7.5)."""
    z = _NORMAL
    return z + (z**3 + z) / (4.0 * freedom) + (5.0 * z**5 + 16.0 * z**3 + 3.0 * z) / (96.0 * freedom**2)
