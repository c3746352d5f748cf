"""Least cost: what makes an endpoint cheaper or dearer, and objectives."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.pick import Candidate, Context, Query, Speed, decide, default_profile
from fairlead.gateway.pick.scorers.least_cost import LeastCostParameters, least_cost, predicted_costs

FAST = Speed(0.02, 5e-5, 0.008, 1e-4)
SLOW = Speed(0.02, 2e-4, 0.030, 4e-4)

speeds = st.builds(
    Speed,
    overhead_s=st.floats(0, 5),
    prefill_token_s=st.floats(0, 0.01),
    itl_base_s=st.floats(0, 1),
    itl_request_s=st.floats(0, 0.01),
)
candidates = st.lists(
    st.builds(
        Candidate,
        address=st.integers(1, 10**6).map(str),
        in_flight=st.integers(0, 300),
        others=st.none() | st.integers(0, 300),
        kv_cache_usage_ratio=st.none() | st.floats(0, 1),
        kv_capacity_tokens=st.none() | st.integers(0, 10**6),
        prefill_backlog_tokens=st.floats(0, 1e6),
        running_adapters=st.none() | st.frozensets(st.sampled_from("xyz")),
        max_adapters=st.none() | st.integers(0, 4),
        speed=st.none() | speeds,
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda c: c.address,
)
queries = st.builds(
    Query,
    model=st.just("m"),
    adapter=st.sampled_from(["", "x"]),
    prompt_tokens=st.integers(0, 200_000),
    output_tokens=st.floats(0, 10_000),
    ttft_slo_s=st.none() | st.floats(0.001, 100),
    itl_slo_s=st.none() | st.floats(0.001, 1),
)
parameters = st.builds(
    LeastCostParameters, slo_choice=st.sampled_from(["cost", "least", "most"]), harm_weight=st.floats(0, 5)
)


def scores(*given_candidates, matched=None, **query):
    cs = list(given_candidates)
    return least_cost(LeastCostParameters())(Context(Query("m", **query), cs, matched or [0] * len(cs)))


@given(queries, candidates, parameters, st.data())
def test_scores_are_between_0_and_1_whatever_is_known(query, given_candidates, given_parameters, data):
    n = len(given_candidates)
    matched = data.draw(st.lists(st.integers(0, 200_000), min_size=n, max_size=n))
    context = Context(query, given_candidates, matched)
    given_scores = least_cost(given_parameters)(context)
    assert len(given_scores) == n
    assert all(0.0 <= s <= 1.0 for s in given_scores)
    costs, _, _ = predicted_costs(context, given_parameters)
    assert all(c >= 0.0 for c in costs)
    if query.ttft_slo_s is None and query.itl_slo_s is None:
        assert max(given_scores) == pytest.approx(1.0)


def test_a_cached_prefix_is_worth_going_to_until_others_wait_there_longer():
    def winner(backlog):
        holder = Candidate("holder", prefill_backlog_tokens=backlog, speed=FAST)
        got = scores(holder, Candidate("idle", speed=FAST), prompt_tokens=8000, matched=[8000, 0])
        return "holder" if got[0] > got[1] else "idle"

    assert winner(0) == winner(7000) == "holder"
    assert winner(30_000) == "idle"


def test_fast_hardware_gets_more_before_slow_hardware_gets_any():
    assert scores(Candidate("f", 3, 0, speed=FAST), Candidate("s", 0, 0, speed=SLOW), prompt_tokens=1000)[0] == 1.0
    got = scores(Candidate("f", 200, 0, speed=FAST), Candidate("s", 0, 0, speed=SLOW), prompt_tokens=1000)
    assert got[1] == 1.0


def test_the_smaller_batch_is_cheaper_and_silence_is_neither():
    got = scores(Candidate("a", 1, 0), Candidate("b", 9, 0), Candidate("c", 0, None), prompt_tokens=100)
    assert got[0] > got[1]
    assert got[2] >= got[0]  # nothing of its own, and the others' mean of 0 beyond that


def test_an_unknown_speed_is_taken_for_the_mean():
    got = scores(Candidate("f", speed=FAST), Candidate("?"), Candidate("s", speed=SLOW), prompt_tokens=1000)
    assert got[0] > got[1] > got[2]


def test_a_full_cache_costs_the_wait_for_room():
    def cost(usage):
        candidate = Candidate("a", 10, 0, kv_cache_usage_ratio=usage, kv_capacity_tokens=100_000, speed=FAST)
        return predicted_costs(
            Context(Query("m", prompt_tokens=4000, output_tokens=200), [candidate], [0]), LeastCostParameters()
        )[0][0]

    assert cost(None) == cost(0.2) == cost(0.9)
    assert cost(0.97) > cost(0.9)
    assert cost(1.0) > cost(0.97)


def test_an_adapter_in_use_is_cheaper_than_a_free_slot_and_that_than_none():
    slots = [
        Candidate("used", running_adapters=frozenset("xy"), max_adapters=2),
        Candidate("free", running_adapters=frozenset("y"), max_adapters=2),
        Candidate("full", running_adapters=frozenset("yz"), max_adapters=2),
    ]
    used, free, full = scores(*slots, adapter="x", prompt_tokens=100)
    assert used > free > full
    assert len(set(scores(*slots, prompt_tokens=100))) == 1


def test_endpoints_that_keep_the_objectives_come_first():
    fast, slow = Candidate("f", 30, 0, speed=FAST), Candidate("s", 0, 0, speed=SLOW)
    got = scores(fast, slow, prompt_tokens=2000, itl_slo_s=0.02)
    assert got[0] >= 0.5 > got[1]
    missed = scores(fast, slow, prompt_tokens=2000, itl_slo_s=0.001)
    assert 0.5 > missed[0] > missed[1]


@pytest.mark.parametrize(("choice", "best"), [("least", "s"), ("most", "f"), ("cost", "f")])
def test_among_those_that_keep_them_the_choice_decides(choice, best):
    pair = [Candidate("f", speed=FAST), Candidate("s", speed=SLOW)]
    profile = default_profile(LeastCostParameters(slo_choice=choice))
    query = Query("m", prompt_tokens=1000, ttft_slo_s=5.0)
    assert decide(profile, Context(query, pair, [0, 0])).address == best


@pytest.mark.parametrize(
    ("given_parameters", "told"),
    [
        ({"harmWeight": -1}, "harmWeight must be 0 or more, got -1"),
        ({"sloMargin": 0}, "sloMargin must be above 0 and at most 1, got 0"),
        ({"sloChoice": "best"}, "Invalid enum value 'best'"),
        ({"defaultOutputTokens": 0}, "defaultOutputTokens must be at least 1"),
    ],
)
def test_bad_parameters_are_named(given_parameters, told):
    with pytest.raises(msgspec.ValidationError, match=told):
        msgspec.convert(given_parameters, LeastCostParameters)


def test_an_idle_adapter_that_is_still_loaded_is_as_cheap_as_one_in_use():
    slots = [
        Candidate("used", running_adapters=frozenset("x"), max_adapters=4),
        Candidate("loaded", running_adapters=frozenset(), max_adapters=4, loaded_adapters={"x": None}),
        Candidate("other", running_adapters=frozenset(), max_adapters=4, loaded_adapters={"y": None}),
    ]
    used, loaded, other = scores(*slots, adapter="x", prompt_tokens=100)
    assert used == loaded > other


def test_nearly_equal_costs_are_equal_and_clearly_different_ones_are_not():
    near = [Candidate("a", prefill_backlog_tokens=0, speed=FAST), Candidate("b", prefill_backlog_tokens=50, speed=FAST)]
    assert scores(*near, prompt_tokens=1000) == [1.0, 1.0]
    far = [
        Candidate("a", prefill_backlog_tokens=0, speed=FAST),
        Candidate("b", prefill_backlog_tokens=9000, speed=FAST),
    ]
    first, second = scores(*far, prompt_tokens=1000)
    assert first == 1.0 > second
