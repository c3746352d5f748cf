"""Filters by held prefixes, load and objectives."""

import msgspec
import pytest

from fairlead.gateway.pick import Candidate, Context, NoPick, Query, Speed, Use, build_profile, decide
from fairlead.gateway.pick.filters.limits import (
    SloHeadroomParameters,
    UtilizationParameters,
    slo_headroom,
    utilization,
)
from fairlead.gateway.pick.filters.prefix_affinity import PrefixAffinityParameters, prefix_affinity
from fairlead.gateway.pick.scorers.affinity import keep_session_endpoint


def held(*pairs, prompt=1000, draw=0.5, **parameters):
    """Whom the filter keeps of endpoints with (matched, in flight) tokens."""
    candidates = [Candidate(f"e{i}", in_flight_tokens=load) for i, (_, load) in enumerate(pairs)]
    context = Context(Query("m", prompt_tokens=prompt), candidates, [m for m, _ in pairs], draw=draw)
    return prefix_affinity(PrefixAffinityParameters(**parameters))(context)


def test_those_that_hold_most_of_the_prompt_are_kept():
    assert held((800, 0), (799, 0), (1000, 0)) == [0, 2]
    assert held((0, 0), (500, 0)) is None
    assert held((900, 0), (900, 0)) is None
    assert held((0, 0), (0, 0), prompt=0) is None


def test_a_wait_that_is_too_long_lets_them_go():
    assert held((1000, 20_000), (0, 0), max_ttft_penalty_ms=1000.0) is None
    assert held((1000, 10_000), (0, 0), max_ttft_penalty_ms=1000.0) == [0]
    assert held((1000, 10**9), (0, 0), max_ttft_penalty_ms=0.0) == [0]
    assert held((1000, 20_000), (0, 0), max_ttft_penalty_ms=1000.0, peak_prefill_throughput=1e5) == [0]


def test_learned_speeds_can_tell_the_wait():
    slow = Candidate("s", prefill_backlog_tokens=10_000, speed=Speed(0.0, 1e-3, 0.01, 0.0))
    context = Context(
        Query("m", prompt_tokens=100), [slow, Candidate("f", speed=Speed(0.0, 1e-5, 0.01, 0.0))], [100, 0]
    )
    learned = {"ttft_source": "latencyPredictor"}
    assert prefix_affinity(PrefixAffinityParameters(max_ttft_penalty_ms=5000.0, **learned))(context) is None
    assert prefix_affinity(PrefixAffinityParameters(max_ttft_penalty_ms=50_000.0, **learned))(context) == [0]


def test_a_share_of_requests_explores_and_a_threshold_of_0_turns_it_off():
    assert held((1000, 0), (0, 0), exploration_probability=0.2, draw=0.1) is None
    assert held((1000, 0), (0, 0), exploration_probability=0.2, draw=0.3) == [0]
    assert held((1000, 0), (0, 0), affinity_threshold=0.0) is None


def test_the_name_of_the_penalty_is_the_one_configurations_use():
    parameters = msgspec.convert({"maxTTFTPenaltyMs": 5, "ttftSource": "latencyPredictor"}, PrefixAffinityParameters)
    assert parameters.max_ttft_penalty_ms == 5


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"affinityThreshold": 1.1}, "affinityThreshold must be at most 1"),
        ({"explorationProbability": 2}, "explorationProbability must be from 0 to 1"),
        ({"maxTTFTPenaltyMs": -1}, "maxTTFTPenaltyMs must be 0 or more"),
        ({"peakPrefillThroughput": 0}, "peakPrefillThroughput must be above 0"),
    ],
)
def test_bad_parameters_are_named(given, told):
    with pytest.raises(msgspec.ValidationError, match=told):
        msgspec.convert(given, PrefixAffinityParameters)


BUSY = Candidate("busy", 9, running=9, waiting=4, kv_cache_usage_ratio=0.95)
IDLE = Candidate("idle", 0, running=0, waiting=0, kv_cache_usage_ratio=0.1)


@pytest.mark.parametrize(
    ("metric", "most"),
    [("active-requests", 5), ("running-requests", 5), ("waiting-queue", 1), ("kv-cache-utilization", 0.9)],
)
def test_a_signal_above_its_limit_drops_and_an_unknown_one_does_not(metric, most):
    parameters = msgspec.convert({"conditions": [{"metric": metric, "maxValue": most}]}, UtilizationParameters)
    context = Context(Query("m"), [BUSY, IDLE, Candidate("silent")], [0, 0, 0])
    assert utilization(parameters)(context) == [1, 2]


def test_nobody_below_the_limits_ends_the_decision_unless_told_otherwise():
    conditions = [{"metric": "waiting-queue", "maxValue": 0}]
    context = Context(Query("m"), [BUSY], [0])
    strict = build_profile("p", [Use("utilization-filter", parameters={"conditions": conditions})])
    assert isinstance(decide(strict, context), NoPick)
    given = {"conditions": conditions, "fallbackOnEmpty": True}
    assert decide(build_profile("p", [Use("utilization-filter", parameters=given)]), context).address == "busy"


@pytest.mark.parametrize(
    "conditions", [[], [{"metric": "kv-cache-utilization", "maxValue": 2}], [{"metric": "temperature", "maxValue": 1}]]
)
def test_bad_conditions_are_refused(conditions):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"conditions": conditions}, UtilizationParameters)


def test_those_that_keep_the_objectives_are_kept():
    pair = [Candidate("s", speed=Speed(1.0, 0, 0.1, 0)), Candidate("f", speed=Speed(0.1, 0, 0.01, 0))]

    def kept(draw=0.5, epsilon=0.0, **query):
        return slo_headroom(SloHeadroomParameters(epsilon_explore_neg=epsilon))(
            Context(Query("m", **query), pair, [0, 0], draw=draw)
        )

    assert kept(ttft_slo_s=0.5) == kept(itl_slo_s=0.05) == kept(ttft_slo_s=5.0, itl_slo_s=0.05) == [1]
    assert kept() is kept(ttft_slo_s=5.0) is kept(ttft_slo_s=0.01) is None
    assert kept(ttft_slo_s=0.5, epsilon=0.1, draw=0.05) == [0]


def test_a_session_keeps_its_endpoint_while_it_is_there():
    candidates = [Candidate("a:1", pod="ns/a"), Candidate("b:1", pod="ns/b")]
    assert keep_session_endpoint(Context(Query("m", session_endpoint="ns/b"), candidates, [0, 0])) == [1]
    assert keep_session_endpoint(Context(Query("m", session_endpoint="ns/c"), candidates, [0, 0])) is None
    assert keep_session_endpoint(Context(Query("m"), candidates, [0, 0])) is None
