"""How often the analysis of a rollout errs, and how many requests it takes, over many simulated rollouts.

Each rollout is made-up traffic of two versions (`harness.rollout_traffic`: heavy-tailed times that depend on the
prompt's length, load that comes and goes, engines with moods and with lasting differences) read once a second, as a
controller reads traffic reports, with the default analysis: four measures, false alarms 5 % in all, 5 % missed. A
*false alarm* is a version that is as good and is taken back, *missed* one that is worse by the margin in one measure
and passes; undecided ones after the time are neither. Beside it, on the same traffic and in TTFT alone: a test of fixed
size with the variance of independent requests, and the comparison of two means with the margin after 1,000 requests.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from fairlead.api.model_service import Analysis
from fairlead.serving.analysis.evidence import Arm, Arms, Engine, Evidence, add
from fairlead.serving.analysis.judge import judge
from fairlead.serving.analysis.sums import Counts, Sums
from harness.report import Figure, arguments, report
from harness.rollout_traffic import Effect, Seconds, Traffic, simulate

ANALYSIS = Analysis(max_seconds=0)
FIXED_REQUESTS = 4300
"""Of the new version: what a test of fixed size needs for 5 % and 5 % at 3 %, with this spread and share."""
SIMPLE_REQUESTS = 1000

TRAFFIC = {
    "steady": Traffic(common=0.0),
    "busy hours": Traffic(),
    "engines with moods of 10 % for 5 s": Traffic(mood=0.1, mood_s=5.0),
    "engines that differ by 1 %": Traffic(lasting=0.01),
    "one canary engine, 5 % of the traffic": Traffic(share=0.05, engines=20, per_s=100.0),
}
EFFECTS = {
    "TTFT 3 % worse": Effect(ttft=1.03),
    "ITL 3 % worse": Effect(itl=1.03),
    "answers 5 % longer": Effect(length=1.05),
    "1 point more failures": Effect(failed=0.01),
}


@dataclass(frozen=True, slots=True)
class Run:
    """One rollout."""

    traffic: Traffic
    effect: Effect
    seconds: int
    seed: int


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended: outcome, requests of the new version until then, and what the other two tests say."""

    outcome: str
    requests: int
    fixed_worse: bool
    simple_worse: bool


def counts(cell: list[list[float]], requests: int, errors: int) -> Counts:
    ttft, itl, length = (Sums(int(s[0]), *s[1:]) for s in cell)
    return Counts(requests, errors, ttft, itl, length)


def run(one: Run) -> Ended:
    """Read second by second until it is decided."""
    seen = simulate(np.random.default_rng(one.seed), one.traffic, one.effect, one.seconds)
    evidence, outcome = Evidence(Arms(Arm("new"), Arm("stable"))), "Undecided"
    names: list[Engine] = [("new" if e < seen.new else "stable", str(e)) for e in range(one.traffic.engines)]
    sums, requests, errors = seen.sums.tolist(), seen.requests.tolist(), seen.errors.tolist()
    for second in range(one.seconds):
        gain = {
            name: counts(sums[second][e], requests[second][e], errors[second][e])
            for e, name in enumerate(names)
            if requests[second][e]
        }
        before = evidence.batches
        evidence = add(evidence, gain, float(second))
        if evidence.batches is not before:
            verdict, evidence = judge(evidence, ANALYSIS, 0.0, float(second))
            outcome = verdict.outcome
            if outcome != "Undecided":
                break
    return Ended(
        outcome, evidence.total.new.requests, fixed_worse(seen), simple_worse(seen)
    )  # fmt: skip


def until(seen: Seconds, requests: int) -> tuple[Sums, Sums]:
    """TTFT of both versions until the new one has had so many requests."""
    end = int(np.searchsorted(np.cumsum(seen.requests[:, : seen.new].sum(axis=1)), requests)) + 1
    new, stable = (part.sum(axis=(0, 1)) for part in (seen.sums[:end, : seen.new, 0], seen.sums[:end, seen.new :, 0]))
    return Sums(int(new[0]), *new[1:]), Sums(int(stable[0]), *stable[1:])


def fixed_worse(seen: Seconds) -> bool:
    """A one-sided test at 5 %, the variance as of independent requests."""
    new, stable = until(seen, FIXED_REQUESTS)
    variance = sum((s.yy / s.n - (s.y / s.n) ** 2) / s.n for s in (new, stable))
    return (new.y / new.n - stable.y / stable.n) / math.sqrt(variance) > 1.645


def simple_worse(seen: Seconds) -> bool:
    """Whether the means differ by more than the margin."""
    new, stable = until(seen, SIMPLE_REQUESTS)
    return new.y / new.n - stable.y / stable.n > math.log(1.03)


def percent(values: Iterable[bool]) -> float:
    found = list(values)
    return 100.0 * sum(found) / len(found)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--rollouts", type=int, default=300, help="of each kind")
    parser.add_argument("--seconds", type=int, default=2400, help="until an undecided rollout is given up")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    figures: list[Figure] = []

    def runs(traffic: Traffic, effect: Effect) -> list[Ended]:
        first = Run(traffic, effect, options.seconds, 0)
        return pool.map(run, [replace(first, seed=seed) for seed in range(options.rollouts)], chunksize=5)

    def told(name: str, good: list[Ended], bad: list[Ended]) -> None:
        figures.extend(
            [
                Figure(f"{name}: false alarms", percent(e.outcome == "Worse" for e in good), "%", 5.0),
                Figure(f"{name}: missed", percent(e.outcome == "AsGood" for e in bad), "%", 5.0),
                Figure(f"{name}: undecided", percent(e.outcome == "Undecided" for e in (*good, *bad)), "%"),
                Figure(f"{name}: requests to pass", statistics.fmean(e.requests for e in good), ""),
                Figure(f"{name}: requests to be taken back", statistics.fmean(e.requests for e in bad), ""),
            ]
        )

    with multiprocessing.Pool(options.jobs) as pool:
        for name, traffic in TRAFFIC.items():
            good, bad = runs(traffic, Effect()), runs(traffic, EFFECTS["TTFT 3 % worse"])
            told(name, good, bad)
            figures += [
                Figure("… test of fixed size: false alarms", percent(e.fixed_worse for e in good), "%"),
                Figure("… its missed", percent(not e.fixed_worse for e in bad), "%"),
                Figure(f"… margin after {SIMPLE_REQUESTS}: false alarms", percent(e.simple_worse for e in good), "%"),
                Figure("… its missed", percent(not e.simple_worse for e in bad), "%"),
            ]
        for name, effect in list(EFFECTS.items())[1:]:
            bad = runs(TRAFFIC["busy hours"], effect)
            figures += [
                Figure(f"{name}: missed", percent(e.outcome == "AsGood" for e in bad), "%", 5.0),
                Figure(f"{name}: requests to be taken back", statistics.fmean(e.requests for e in bad), ""),
            ]
    report(figures, options.json)


if __name__ == "__main__":
    main()
