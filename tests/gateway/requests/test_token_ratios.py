"""Estimates that learn from what engines counted."""

from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.requests import TokenRatios


def test_a_model_that_needs_more_tokens_is_found_out():
    ratios = TokenRatios()
    assert ratios.corrected("m", 1000) == 1000
    for _ in range(20):
        ratios.observe("m", 1000, 1600)
    assert 1550 < ratios.corrected("m", 1000) <= 1600
    assert ratios.corrected("other", 1000) == 1000
    for _ in range(300):
        ratios.observe("m", 1000, 800)
    assert 790 < ratios.corrected("m", 1000) < 820


def test_one_short_prompt_moves_little():
    ratios = TokenRatios()
    ratios.observe("m", 3, 30)
    assert ratios.corrected("m", 1000) < 1200


def test_memory_is_bounded_and_the_model_heard_of_last_is_kept():
    ratios = TokenRatios()
    for number in range(20_000):
        ratios.observe("kept", 1000, 2000)
        ratios.observe(f"m{number}", 1000, 2000)
    assert ratios.corrected("kept", 1000) > 1900
    assert ratios.corrected("m0", 1000) == 1000
    assert ratios.corrected("m19999", 1000) > 1700


@given(st.lists(st.tuples(st.integers(-5, 10**9), st.integers(-5, 10**9))), st.integers(0, 10**9))
def test_lies_of_engines_are_bounded(observed, estimated):
    ratios = TokenRatios()
    for pair in observed:
        ratios.observe("m", *pair)
    assert estimated * 0.19 <= ratios.corrected("m", estimated) <= estimated * 5 + 1


def test_one_lie_is_soon_made_up_for():
    ratios = TokenRatios()
    for number in range(50):
        ratios.observe("m", 1000, 10**12 if number == 10 else 1000)
    assert ratios.corrected("m", 1000) < 1200
