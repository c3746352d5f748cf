"""Expected answer lengths: by tenant once it is known, by model before, bounded always."""

from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.latency import OutputLengths
from fairlead.gateway.latency.output_lengths import FIRST_TOKENS, LONGEST_TOKENS


def test_a_tenant_is_known_by_its_own_answers_and_a_new_one_by_the_models():
    lengths = OutputLengths()
    assert lengths.expected_tokens("m", "t") == FIRST_TOKENS
    for _ in range(100):
        lengths.observe("m", "short", 10)
        lengths.observe("m", "long", 1000)
    assert lengths.expected_tokens("m", "short") == 10
    assert lengths.expected_tokens("m", "long") == 1000
    assert 300 < lengths.expected_tokens("m", "new") < 700
    assert lengths.expected_tokens("other", "short") == FIRST_TOKENS


def test_few_answers_of_a_tenant_count_in_part():
    lengths = OutputLengths()
    for _ in range(50):
        lengths.observe("m", "many", 100)
    lengths.observe("m", "few", 1100)
    assert 150 < lengths.expected_tokens("m", "few") < 350


def test_a_requests_own_limit_holds():
    lengths = OutputLengths()
    lengths.observe("m", "", 500)
    assert lengths.expected_tokens("m", limit_tokens=64) == 64
    assert lengths.expected_tokens("m", limit_tokens=0) == 1


def test_it_follows_a_change():
    lengths = OutputLengths()
    for _ in range(1000):
        lengths.observe("m", "t", 100)
    for _ in range(200):
        lengths.observe("m", "t", 900)
    assert lengths.expected_tokens("m", "t") > 850


@given(st.lists(st.tuples(st.text(max_size=2), st.text(max_size=2), st.integers(-5, 10**9)), max_size=100))
def test_memory_and_values_are_bounded(answers):
    lengths = OutputLengths(most_keys=8)
    for model, tenant, tokens in answers:
        lengths.observe(model, tenant, tokens)
        assert 1.0 <= lengths.expected_tokens(model, tenant) <= LONGEST_TOKENS
    assert len(lengths) <= 8
