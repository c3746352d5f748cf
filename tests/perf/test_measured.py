"""Costs from a table of batch sizes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.perf import LinearCost, MeasuredCost, StepCost

COST = MeasuredCost(
    batch=(1, 2, 8), batch_s=(0.002, 0.003, 0.006), prefill_token_s=1e-5, prefill_pair_s=1e-9, context_s=1e-8,
    prefill_base_s=1e-3,
)  # fmt: skip


def test_it_is_a_step_cost():
    assert isinstance(COST, StepCost)


def test_sizes_are_met_and_what_lies_between_is_interpolated():
    assert [COST.step_s(0, 0, n, 0) for n in (1, 2, 5, 8)] == pytest.approx([0.002, 0.003, 0.0045, 0.006])
    assert COST.step_s(0, 0, 22, 0) == pytest.approx(0.006 + 14 * 0.004 / 7)
    assert COST.step_s(0, 0, 0, 0) == 0.0
    assert COST.step_s(100, 5050, 2, 1000) == pytest.approx(0.003 + 1e-3 + 1e-3 + 5050e-9 + 1e-5)
    assert COST.step_s(100, 0, 0, 0) == pytest.approx(0.002 + 1e-3 + 1e-3)


@given(st.integers(1, 300), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 4096))
def test_it_is_affine_in_context_and_rises_with_the_batch(decoding, context, more, tokens):
    change = COST.step_s(tokens, tokens, decoding, context + more) - COST.step_s(tokens, tokens, decoding, context)
    assert change == pytest.approx(more * COST.context_s, abs=1e-12)
    assert COST.step_s(tokens, 0, decoding + 1, context) >= COST.step_s(tokens, 0, decoding, context)


@given(st.integers(0, 300), st.integers(0, 1000), st.integers(0, 10**5))
def test_a_straight_table_is_a_linear_cost(decoding, tokens, context):
    linear = LinearCost(0.002, 1e-5, 1e-9, 5e-4, 1e-8, prefill_base_s=0.001)
    table = MeasuredCost((1, 3, 9), (0.0025, 0.0035, 0.0065), 1e-5, 1e-9, 1e-8, 0.001)
    if decoding:
        assert table.step_s(tokens, tokens, decoding, context) == pytest.approx(
            linear.step_s(tokens, tokens, decoding, context)
        )


@pytest.mark.parametrize(
    ("batch", "batch_s", "says"),
    [
        ((), (), "0 sizes"),
        ((1, 2), (0.1,), "2 sizes"),
        ((2, 3), (0.1, 0.2), "start at 1"),
        ((1, 1), (0.1, 0.2), "rise"),
        ((1, 2), (0.2, 0.1), "cannot take less"),
        ((1,), (float("nan"),), "batch_s is nan"),
    ],
)
def test_impossible_tables_are_refused(batch, batch_s, says):
    with pytest.raises(ValueError, match=says):
        MeasuredCost(batch, batch_s, 0, 0, 0)
