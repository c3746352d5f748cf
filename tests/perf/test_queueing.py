import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.perf import BatchQueue, max_arrivals_per_s, queue_state, replicas_for
from fairlead.perf.queueing import stationary

queues = st.builds(
    BatchQueue,
    alpha_s=st.floats(1e-3, 0.1),
    beta_s=st.floats(0, 1e-3),
    gamma_s=st.floats(0, 1e-6),
    input_tokens=st.integers(1, 8192),
    output_tokens=st.integers(1, 2048),
    max_batch=st.integers(1, 64),
    max_queue=st.integers(0, 20),
)
loads = st.floats(0.01, 1.5)


def solved_chain(queue: BatchQueue, arrivals_per_s: float) -> np.ndarray:
    """The stationary distribution from the generator matrix of the chain: π·G = 0, Σπ = 1."""
    states = queue.capacity + 1
    generator = np.zeros((states, states))
    for n in range(states):
        if n + 1 < states:
            generator[n, n + 1] = arrivals_per_s
        if n:
            running = min(n, queue.max_batch)
            per_request_s = (queue.output_tokens + 1) * (queue.alpha_s + running * queue.delta_s)
            generator[n, n - 1] = running / per_request_s
        generator[n, n] = -generator[n].sum()
    system = np.vstack([generator.T, np.ones(states)])
    right = np.zeros(states + 1)
    right[-1] = 1.0
    return np.linalg.lstsq(system, right, rcond=None)[0]


@given(queues, loads)
def test_it_is_the_exact_markov_chain(queue, load):
    rate = load * queue.peak_per_s
    chances = stationary(queue, rate)
    assert math.fsum(chances) == pytest.approx(1)
    assert np.allclose(chances, solved_chain(queue, rate), atol=1e-6)


@given(queues, loads)
def test_flow_is_conserved(queue, load):
    rate = load * queue.peak_per_s
    state = queue_state(queue, rate)
    chances = stationary(queue, rate)
    ends = math.fsum(queue.rate_per_s(n) * chance for n, chance in enumerate(chances) if n)
    assert state.throughput_per_s == pytest.approx(ends, rel=1e-6)
    assert state.throughput_per_s <= queue.peak_per_s * (1 + 1e-9)
    assert 0 <= state.running <= queue.max_batch and 0 <= state.waiting <= queue.max_queue


@given(queues, loads, st.floats(1.01, 2))
def test_more_arrivals_are_never_faster(queue, load, factor):
    rate = load * queue.peak_per_s
    less, more = queue_state(queue, rate), queue_state(queue, rate * factor)
    for field in ("ttft_s", "itl_s", "wait_s", "refused_share", "throughput_per_s", "running"):
        assert getattr(more, field) >= getattr(less, field) * (1 - 1e-9) - 1e-12, field


@given(queues, loads, st.integers(1, 20))
def test_room_to_wait_refuses_fewer(queue, load, room):
    rate = load * queue.peak_per_s
    wider = BatchQueue(
        queue.alpha_s, queue.beta_s, queue.gamma_s, queue.input_tokens, queue.output_tokens,
        queue.max_batch, queue.max_queue + room,
    )  # fmt: skip
    assert queue_state(wider, rate).refused_share <= queue_state(queue, rate).refused_share + 1e-12


@given(queues)
def test_an_empty_system_is_as_fast_as_one_request(queue):
    state = queue_state(queue, queue.peak_per_s * 1e-9)
    assert state.iteration_s == pytest.approx(queue.iteration_s(1), rel=1e-3)
    assert state.wait_s == pytest.approx(0, abs=1e-6)


def test_a_large_batch_approaches_the_closed_form():
    """With room for every request, T → α/(1 − ρ); the chain differs by the spread of the batch."""
    queue = BatchQueue(0.01, 2e-5, 1e-8, 512, 128, max_batch=2000, max_queue=0)
    rate = 0.5 / ((queue.output_tokens + 1) * queue.delta_s)
    assert queue.utilisation(rate) == pytest.approx(0.5)
    assert queue.unbounded_iteration_s(rate) == pytest.approx(0.02)
    assert queue_state(queue, rate).iteration_s == pytest.approx(0.02, rel=0.03)


def test_the_default_objective_of_the_autoscaler_is_two_thirds_of_the_load():
    queue = BatchQueue(0.01, 2e-5, 1e-8, 512, 128)
    rate = (2 / 3) / ((queue.output_tokens + 1) * queue.delta_s)
    assert queue.unbounded_iteration_s(rate) == pytest.approx(3 * queue.alpha_s)
    assert queue.unbounded_iteration_s(2 * rate) == math.inf


@given(queues, st.floats(1.05, 4), st.floats(1.05, 4))
def test_the_largest_rate_meets_the_objective_and_hardly_more_does(queue, ttft_factor, itl_factor):
    idle = queue_state(queue, queue.peak_per_s * 1e-9)
    ttft_s, itl_s = idle.ttft_s * ttft_factor, idle.itl_s * itl_factor
    rate = max_arrivals_per_s(queue, ttft_s=ttft_s, itl_s=itl_s)
    assert rate > 0

    def met(rate):
        state = queue_state(queue, rate)
        return state.ttft_s <= ttft_s and state.itl_s <= itl_s and state.refused_share <= 0.01

    assert met(rate)
    highest = queue.peak_per_s / 0.99
    assert rate == pytest.approx(highest) or not met(rate * 1.001)


def test_an_objective_below_a_single_request_is_met_at_no_rate():
    queue = BatchQueue(0.01, 2e-5, 1e-8, 512, 128)
    assert max_arrivals_per_s(queue, itl_s=0.005) == 0
    assert replicas_for(10, 0) is None


def test_replicas():
    assert replicas_for(0, 3) == 0
    assert replicas_for(9, 3) == 3
    assert replicas_for(9.1, 3) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha_s": -1}, "alpha_s is -1"),
        ({"output_tokens": 0}, "output_tokens is 0"),
        ({"max_batch": 0}, "max_batch is 0"),
        ({"alpha_s": 0, "beta_s": 0, "gamma_s": 0}, "are all 0"),
    ],
)
def test_impossible_queues_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        BatchQueue(**{"alpha_s": 0.01, "beta_s": 1e-5, "gamma_s": 0, "input_tokens": 1, "output_tokens": 1, **change})


def test_an_impossible_rate_is_refused():
    with pytest.raises(ValueError, match="arrivals_per_s is -1"):
        queue_state(BatchQueue(0.01, 0, 0, 1, 1), -1)
