"""How often the analysis of a canary errs where times come from batching: replays through the simulated engine.

Beside `serving_analysis`, whose traffic is made up in the analysis' own terms, this is the adversary: engines, picker
and steps as they are (`harness.rollout_replay`). By scenario: how often a version that is as good is taken back
(stated: 5 % over all measures), how often one whose iterations are 3 % slower passes in ITL (stated: 5 %), how many
requests of the new version ITL takes; and what happens if stable replicas are kept in surplus, so that the loads are
unlike.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable
from functools import partial

from fairlead.api.model_service import Analysis
from harness.report import Figure, arguments, report
from harness.rollout_replay import Ended, Scenario, Worse, median, roll_out

ANALYSIS = Analysis(max_seconds=0)
SCENARIOS = {
    "steady": Scenario(),
    "bursts": Scenario(bursts=True),
    "a few users": Scenario(users=6),
    "heavy-tailed prompts": Scenario(per_s=14.0, prompt=(5.8, 1.6)),
    "all get slower by 30 %": Scenario(drift=1.3),
    "ten replicas": Scenario(replicas=10, per_s=60.0),
}


def one(seed: int, *, scenario: Scenario, worse: Worse, balanced: bool) -> Ended:
    return roll_out(scenario, worse, seed, ANALYSIS, balanced=balanced)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--rollouts", type=int, default=200, help="of each kind")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    figures: list[Figure] = []
    with multiprocessing.Pool(options.jobs) as pool:

        def runs(scenario: Scenario, worse: Worse, *, balanced: bool = True) -> list[Ended]:
            made = partial(one, scenario=scenario, worse=worse, balanced=balanced)
            return pool.map(made, range(1, options.rollouts + 1), chunksize=2)

        for name, scenario in SCENARIOS.items():
            good, bad = runs(scenario, Worse()), runs(scenario, Worse(slower=1.03))
            figures += [
                Figure(f"{name}: false alarms", share(e.outcome == "Worse" for e in good), "%", 5.0),
                Figure(f"{name}: 3 % slower, taken back", share(e.outcome == "Worse" for e in bad), "%"),
                Figure(
                    f"{name}: 3 % slower, ITL missed", share(e.verdicts.get("itl") == "AsGood" for e in bad), "%", 5.0
                ),
                Figure(f"{name}: requests to be taken back", median([e.requests for e in bad]), ""),
            ]
        surplus = runs(SCENARIOS["steady"], Worse(), balanced=False)
        figures.append(Figure("unlike loads: false alarms", share(e.outcome == "Worse" for e in surplus), "%", 5.0))
    report(figures, options.json)


def share(found: Iterable[bool]) -> float:
    values = list(found)
    return 100.0 * sum(values) / len(values)


if __name__ == "__main__":
    main()
