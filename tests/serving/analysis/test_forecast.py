"""What a comparison will yet take: less with every request, none where it is decided, and right in the mean."""

from __future__ import annotations

import statistics

from fairlead.api.model_service import Analysis, Criterion
from fairlead.serving.analysis import Arm, Arms, Evidence, gather, judge
from fairlead.serving.analysis.forecast import Forecast, spoken
from serving.analysis.traffic import ASKED, Engines

ARMS = Arms(Arm("new"), Arm("old"))
TTFT = Analysis(criteria=[Criterion("ttft", 3.0)], max_seconds=0)


def _until_decided(seed, **engines):
    """The comparisons of a rollout, second by second."""
    traffic, evidence, told = Engines(seed, **engines), Evidence(ARMS), []
    for second in range(2000):
        evidence = gather(evidence, traffic.second(), ASKED, float(second))
        verdict, evidence = judge(evidence, TTFT, 0.0, float(second))
        told.append((evidence.total.new.requests, second, verdict.comparisons[0]))
        if verdict.outcome != "Undecided":
            break
    return told


def test_an_undecided_measure_says_how_many_requests_it_will_take_and_how_long():
    told = _until_decided(1)
    _, _, first = next(entry for entry in told if entry[2].remaining_requests is not None)
    assert f"some {first.remaining_requests:,} more requests to it will tell" in first.message
    assert "at the present rate" in first.message and first.remaining_seconds > 0
    last = told[-1][2]
    assert last.verdict == "AsGood"
    assert (last.remaining_requests, last.remaining_seconds) == (None, None)


def test_half_way_the_forecasts_are_right_in_the_mean():
    ratios = []
    for seed in range(12):
        told = _until_decided(seed, spread=0.2)
        requests, second, half = told[len(told) // 2]
        ratios.append((requests + half.remaining_requests) / told[-1][0])
        # Five requests a second come to the one engine of the new version.
        assert half.remaining_seconds == -(-half.remaining_requests * second // requests)
    assert 0.5 < statistics.median(ratios) < 2.0


def test_durations_are_said_in_units_that_fit():
    assert [spoken(s) for s in (12.3, 400.0, 9000.0)] == ["12 s", "7 min", "2.5 h"]
    assert Forecast(2600, None).sentence == "if it is as good, some 2,600 more requests to it will tell"
