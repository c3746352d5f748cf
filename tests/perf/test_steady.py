import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.perf import (
    Limits,
    LinearCost,
    Roofline,
    Workload,
    accelerator,
    model_geometry,
    prefill_pairs,
    steady_state,
)

PUBLISHED = json.loads((Path(__file__).parents[1] / "data" / "perf" / "models.json").read_text())
EIGHT = Roofline(accelerator("H100"), model_geometry(PUBLISHED["Llama-3.1-8B"]["config"]))

workloads = st.builds(Workload, st.integers(1, 16384), st.integers(1, 2048), st.integers(1, 512))


@given(workloads, st.integers(64, 16384), st.integers(1, 512))
def test_littles_law_and_the_token_budget_hold(workload, budget, seqs):
    state = steady_state(EIGHT, workload, Limits(budget, seqs))
    latency_s = state.ttft_s + (workload.output_tokens - 1) * state.tpot_s
    assert state.ttft_s > 0 and state.tpot_s > 0 and 0 < state.mixed_share <= 1
    assert state.running <= min(seqs, workload.concurrency)
    # Requests in the system = rate · latency, up to the half iteration that a first token waits and shared prompts.
    assert workload.concurrency <= state.requests_per_s * latency_s * 1.5 + 1
    tokens_per_iteration = state.requests_per_s * state.tpot_s * (workload.input_tokens + workload.output_tokens - 1)
    assert tokens_per_iteration <= budget * 1.01 + 1


@given(st.integers(1, 8192), st.integers(2, 1024), st.integers(1, 400))
def test_more_requests_at_once_are_not_faster_and_no_fewer_end(prompt, output, concurrency):
    few = steady_state(EIGHT, Workload(prompt, output, concurrency), Limits(max_seqs=1024))
    many = steady_state(EIGHT, Workload(prompt, output, concurrency + 64), Limits(max_seqs=1024))
    assert many.tpot_s >= few.tpot_s * 0.99
    assert many.requests_per_s >= few.requests_per_s * 0.99


def test_one_request_alone_is_its_prefill_and_its_decoding():
    cost = LinearCost(5e-3, 1e-5, 0, 0, 0)
    state = steady_state(cost, Workload(1000, 101, 1))
    assert state.requests_per_s == pytest.approx(1 / (101 * 5e-3 + 1000 * 1e-5), rel=0.02)
    assert state.burst_ttft_s == pytest.approx(5e-3 + 1e-2, rel=0.01)


def test_a_burst_is_computed_budget_by_budget():
    cost = LinearCost(0, 1e-5, 0, 0, 0)
    state = steady_state(cost, Workload(1000, 1000, 99), Limits(max_batched_tokens=8192))
    # On average half of the prompts come first.
    assert state.burst_ttft_s == pytest.approx(50 * 1000 * 1e-5, rel=0.01)


def test_cached_tokens_are_attended_to_but_not_computed():
    plain = steady_state(EIGHT, Workload(4000, 100, 8))
    cached = steady_state(EIGHT, Workload(4000, 100, 8, cached_tokens=3900))
    short = steady_state(EIGHT, Workload(100, 100, 8))
    assert short.ttft_s < cached.ttft_s < plain.ttft_s
    assert EIGHT.step_s(100, prefill_pairs(100, 3900), 0, 0) > EIGHT.step_s(100, prefill_pairs(100), 0, 0)


def test_a_full_cache_makes_requests_wait():
    free = steady_state(EIGHT, Workload(1000, 1000, 64))
    tight = steady_state(EIGHT, Workload(1000, 1000, 64), Limits(kv_capacity_tokens=48_000))
    assert tight.running == 32
    assert tight.requests_per_s < free.requests_per_s
    waited = (64 - 32) / tight.requests_per_s
    assert tight.ttft_s > waited > free.ttft_s


def test_batches_in_a_pipeline_end_as_often_as_there_are_stages():
    cost = LinearCost(10e-3, 0, 0, 0, 0)
    one = steady_state(cost, Workload(10, 101, 8))
    two = steady_state(cost, Workload(10, 101, 8), Limits(pipeline=2))
    assert two.tpot_s == pytest.approx(one.tpot_s)
    assert two.requests_per_s == pytest.approx(one.requests_per_s, rel=0.01)


def test_bad_workloads_are_named():
    with pytest.raises(ValueError, match="output_tokens is 0"):
        Workload(1, 0, 1)
    with pytest.raises(ValueError, match=r"cached_tokens is 10; .*below input_tokens"):
        Workload(10, 1, 1, cached_tokens=10)
    with pytest.raises(ValueError, match="kv_capacity_tokens is 100; a request of 1000 input and 10 output"):
        steady_state(EIGHT, Workload(1000, 10, 1), Limits(kv_capacity_tokens=100))
