"""Invariants of the least-loaded decision."""

from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.pick import MAX_FALLBACKS, Candidate, NoPick, Pick, pick_least_loaded

candidates = st.lists(
    st.builds(
        Candidate,
        address=st.integers(1, 999).map(lambda n: f"127.0.0.{n % 256}:{n}"),
        in_flight=st.integers(0, 50),
        others=st.none() | st.integers(0, 50),
        kv_cache_usage_ratio=st.none() | st.floats(0, 1),
        reachable=st.booleans(),
        last_pick=st.integers(0, 1000),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda c: c.address,
)


@given(candidates, st.randoms())
def test_the_decision_does_not_depend_on_the_order_of_candidates(given_candidates, random):
    shuffled = list(given_candidates)
    random.shuffle(shuffled)
    assert pick_least_loaded(shuffled) == pick_least_loaded(given_candidates)


@given(candidates)
def test_no_reachable_endpoint_with_known_load_is_less_loaded_than_the_picked(given_candidates):
    decision = pick_least_loaded(given_candidates)
    assert isinstance(decision, Pick)
    by_address = {c.address: c for c in given_candidates}
    picked = by_address[decision.address]
    if any(c.reachable for c in given_candidates):
        assert picked.reachable
    if picked.others is not None:
        for other in given_candidates:
            if other.reachable and other.others is not None:
                assert picked.in_flight + picked.others <= other.in_flight + other.others


@given(candidates)
def test_fallbacks_are_other_endpoints_without_repetition(given_candidates):
    decision = pick_least_loaded(given_candidates)
    everyone = (decision.address, *decision.fallbacks)
    assert len(set(everyone)) == len(everyone) == min(len(given_candidates), 1 + MAX_FALLBACKS)


def test_nobody_to_pick_says_why():
    assert pick_least_loaded([]) == NoPick("no_ready_endpoints", "no replica is ready")


def test_equal_endpoints_take_turns():
    picked, last = [], {f"e{i}": 0 for i in range(3)}
    for turn in range(1, 10):
        decision = pick_least_loaded([Candidate(a, 0, 0, last_pick=n) for a, n in last.items()])
        last[decision.address] = turn
        picked.append(decision.address)
    assert picked == ["e0", "e1", "e2"] * 3


def test_an_endpoint_of_unknown_load_is_neither_preferred_nor_avoided():
    known = [Candidate("a", 0, 4, last_pick=1), Candidate("b", 0, 6, last_pick=1)]
    assert pick_least_loaded([*known, Candidate("c", 0, None)]).address == "a"
    assert pick_least_loaded([known[1], Candidate("c", 0, None)]).address == "c"


def test_a_fuller_cache_loses_among_equals():
    fuller = Candidate("a", 1, 0, kv_cache_usage_ratio=0.9)
    assert pick_least_loaded([fuller, Candidate("b", 1, 0, kv_cache_usage_ratio=0.2, last_pick=9)]).address == "b"
