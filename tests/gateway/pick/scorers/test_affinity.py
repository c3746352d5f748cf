"""Scorers of adapters and sessions."""

from fairlead.gateway.pick import Candidate, Context, Query
from fairlead.gateway.pick.scorers.affinity import score_lora_affinity, score_session_affinity


def adapters(*candidates, adapter="x"):
    return score_lora_affinity(Context(Query("m", adapter=adapter), list(candidates), [0] * len(candidates)))


def at(address, running, waiting=(), slots=2):
    return Candidate(
        address, running_adapters=frozenset(running), waiting_adapters=frozenset(waiting), max_adapters=slots
    )


def test_an_adapter_in_use_beats_a_free_slot_beats_a_place_in_the_queue_beats_none():
    assert adapters(at("a", "xy"), at("b", "y"), at("c", "yz", "x"), at("d", "yz")) == [1.0, 0.8, 0.6, 0.0]


def test_adapters_that_wait_take_the_free_slots():
    assert adapters(at("a", "y", "z"), at("b", "y", "x")) == [0.0, 0.6]


def test_endpoints_that_do_not_tell_are_worth_the_mean_of_those_that_do():
    assert adapters(at("a", "x"), Candidate("b"), at("c", "yz")) == [1.0, 0.5, 0.0]
    assert len(set(adapters(Candidate("a"), Candidate("b")))) == 1


def test_the_base_model_needs_no_adapter():
    assert adapters(at("a", "yz"), at("b", ""), adapter="") == [1.0, 1.0]


def test_a_session_returns_to_its_endpoint_by_address_or_pod():
    candidates = [Candidate("10.0.0.1:8000", pod="ns/p1"), Candidate("10.0.0.2:8000", pod="ns/p2")]
    for wanted in ("10.0.0.2:8000", "ns/p2"):
        assert score_session_affinity(Context(Query("m", session_endpoint=wanted), candidates, [0, 0])) == [0.0, 1.0]
    for wanted in ("", "ns/gone"):
        assert score_session_affinity(Context(Query("m", session_endpoint=wanted), candidates, [0, 0])) == [0.0, 0.0]
