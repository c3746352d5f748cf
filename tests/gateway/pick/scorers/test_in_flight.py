"""Scorers of requests and tokens in flight."""

import pytest

from fairlead.gateway.pick import Candidate, Context, Query
from fairlead.gateway.pick.scorers.in_flight import (
    ActiveRequestParameters,
    TokenLoadParameters,
    active_requests,
    token_load,
)


def counts(*pairs):
    candidates = [Candidate(f"e{i}", n, others) for i, (n, others) in enumerate(pairs)]
    return Context(Query("m"), candidates, [0] * len(candidates))


@pytest.mark.parametrize(
    ("parameters", "pairs", "scores"),
    [
        ({}, [(0, 0), (0, 0)], [1.0, 1.0]),
        ({}, [(3, 0), (0, 0), (6, 0)], [0.5, 1.0, 0.0]),
        ({}, [(1, 2), (0, 0), (2, 4)], [0.5, 1.0, 0.0]),
        ({"idle_threshold": 2}, [(2, 0), (3, 0), (6, 0)], [1.0, 0.5, 0.0]),
        ({"idle_threshold": 1, "max_busy_score": 0.5}, [(1, 0), (2, 0), (4, 0)], [1.0, 0.25, 0.0]),
        ({"max_busy_score": 7.0}, [(2, 0), (4, 0)], [0.5, 0.0]),
        ({"idle_threshold": -1}, [(0, 0), (4, 0)], [1.0, 0.0]),
        ({}, [(0, 2), (0, None), (0, 4)], [0.5, 0.25, 0.0]),
    ],
)
def test_idle_endpoints_score_one_and_the_busiest_nothing(parameters, pairs, scores):
    assert active_requests(ActiveRequestParameters(**parameters))(counts(*pairs)) == pytest.approx(scores)


@pytest.mark.parametrize(
    ("threshold", "in_flight", "prompt", "matched", "scores"),
    [
        (1000, [0, 500, 2000], 0, [0, 0, 0], [1.0, 0.5, 0.0]),
        (1000, [0, 400], 100, [0, 100], [0.9, 0.6]),
        (0, [0, 4_194_304], 0, [0, 0], [1.0, 0.0]),
    ],
)
def test_tokens_in_flight_and_the_uncached_ones_of_the_request_count(threshold, in_flight, prompt, matched, scores):
    candidates = [Candidate(f"e{i}", in_flight_tokens=n) for i, n in enumerate(in_flight)]
    score = token_load(TokenLoadParameters(queue_threshold_tokens=threshold))
    assert score(Context(Query("m", prompt_tokens=prompt), candidates, matched)) == pytest.approx(scores)
