import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.perf import LinearCost, StepCost, prefill_pairs

COST = LinearCost(
    base_s=1e-3, prefill_token_s=1e-5, prefill_pair_s=1e-9, decode_token_s=1e-6, context_s=1e-8, prefill_base_s=2e-3
)


def test_it_is_a_step_cost():
    assert isinstance(COST, StepCost)


def test_every_coefficient_counts_once():
    assert COST.step_s(100, 5050, 8, 4000) == pytest.approx(1e-3 + 2e-3 + 1e-3 + 5050e-9 + 8e-6 + 4e-5)
    assert COST.step_s(0, 0, 8, 4000) == pytest.approx(1e-3 + 8e-6 + 4e-5)
    assert COST.step_s(0, 0, 0, 0) == 0.0


@given(st.integers(0, 8192), st.integers(0, 10**6), st.integers(1, 512), st.integers(0, 10**6), st.integers(0, 10**6))
def test_context_adds_its_slope(tokens, pairs, decoding, context, more):
    change = COST.step_s(tokens, pairs, decoding, context + more) - COST.step_s(tokens, pairs, decoding, context)
    assert change == pytest.approx(more * COST.context_s, abs=1e-12)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=10))
def test_pairs_of_chunks_add_up_to_those_of_the_prompt(chunks):
    done = total = 0
    for chunk in chunks:
        total += prefill_pairs(chunk, done)
        done += chunk
    assert total == prefill_pairs(done) == sum(range(1, done + 1))


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_impossible_coefficients_are_refused(value):
    with pytest.raises(ValueError, match="context_s is"):
        LinearCost(0, 0, 0, 0, value)
