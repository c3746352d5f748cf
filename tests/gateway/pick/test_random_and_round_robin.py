"""Invariants of the random and the round-robin decision."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.pick import MAX_FALLBACKS, Candidate, NoPick, pick_random, pick_round_robin

candidates = st.lists(
    st.builds(
        Candidate,
        address=st.integers(1, 999).map(lambda n: f"127.0.0.{n % 256}:{n}"),
        in_flight=st.integers(0, 50),
        others=st.none() | st.integers(0, 50),
        reachable=st.booleans(),
        last_pick=st.integers(0, 1000),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda c: c.address,
)


@given(candidates, st.floats(0, 1, exclude_max=True))
def test_a_drawn_endpoint_is_reachable_where_one_is_and_fallbacks_are_others(given_candidates, draw):
    decision = pick_random(given_candidates, draw)
    reachable = {c.address for c in given_candidates if c.reachable} or {c.address for c in given_candidates}
    everyone = (decision.address, *decision.fallbacks)
    assert set(everyone) <= reachable
    assert len(set(everyone)) == len(everyone) == min(len(reachable), 1 + MAX_FALLBACKS)


def test_draws_reach_every_endpoint_equally():
    four = [Candidate(f"e{i}", 0, 0) for i in range(4)]
    assert Counter(pick_random(four, n / 100).address for n in range(100)) == {f"e{i}": 25 for i in range(4)}


@given(candidates, st.randoms())
def test_the_turn_does_not_depend_on_the_order_of_candidates(given_candidates, random):
    shuffled = list(given_candidates)
    random.shuffle(shuffled)
    assert pick_round_robin(shuffled) == pick_round_robin(given_candidates)


@given(candidates)
def test_the_turn_goes_to_the_oldest_pick_among_reachable_endpoints(given_candidates):
    decision = pick_round_robin(given_candidates)
    by_address = {c.address: c for c in given_candidates}
    usable = [c for c in given_candidates if c.reachable] or given_candidates
    assert by_address[decision.address].last_pick == min(c.last_pick for c in usable)
    everyone = (decision.address, *decision.fallbacks)
    assert len(set(everyone)) == len(everyone) == min(len(given_candidates), 1 + MAX_FALLBACKS)


def test_turns_go_round_and_a_new_endpoint_is_first_in_line():
    last, picked = {f"e{i}": 0 for i in range(3)}, []
    for turn in range(1, 7):
        address = pick_round_robin([Candidate(a, 9 - turn, 0, last_pick=n) for a, n in last.items()]).address
        last[address] = turn
        picked.append(address)
    assert picked == ["e0", "e1", "e2"] * 2
    last["e9"] = 0
    assert pick_round_robin([Candidate(a, 0, 0, last_pick=n) for a, n in last.items()]).address == "e9"


def test_nobody_to_pick_says_why():
    assert pick_random([], 0.5) == pick_round_robin([]) == NoPick("no_ready_endpoints", "no replica is ready")
