"""Counting requests in flight."""

from hypothesis import given
from hypothesis import strategies as st

from fairlead.engines import EngineSignals
from fairlead.gateway.load import LOST_AFTER_S, MAX_UNCOUNTED, SETTLE_S, STALE_AFTER_S, LoadTable, PeerLoad


def _report(running, waiting=0):
    return EngineSignals(running_requests=running, waiting_requests=waiting)


@given(st.lists(st.tuples(st.sampled_from("pef"), st.integers(0, 5), st.sampled_from("ab")), max_size=60))
def test_counts_are_picks_minus_ends(operations):
    loads, alive = LoadTable(), {}
    for kind, request, address in operations:
        if kind == "p":
            alive[loads.picked(address, 0.0)] = address
        elif kind == "e":
            pick_id = sorted(alive)[request % len(alive)] if alive else "unknown"
            request = loads.ended(pick_id)
            assert (request.address if request else None) == alive.pop(pick_id, None)
        else:
            loads.forget(address)
            alive = {r: a for r, a in alive.items() if a != address}
    for address in "ab":
        in_flight = sum(a == address for a in alive.values())
        assert len(loads.of(address).in_flight) == loads.candidate(address, 0.0).in_flight == in_flight


def test_others_are_what_the_engine_reports_beyond_our_own():
    loads = LoadTable()
    loads.picked("a", 0.0)
    loads.scraped("a", _report(2, 3), 0.1, 0.2)
    assert loads.candidate("a", 0.2).others == 4
    assert loads.candidate("a", 0.2 + STALE_AFTER_S + 0.1).others is None


def test_a_scrape_drops_requests_that_the_engine_no_longer_has_but_not_young_ones():
    loads = LoadTable()
    old = [loads.picked("a", 0.0) for _ in range(3)]
    young = loads.picked("a", 5.0 - SETTLE_S / 2)
    loads.scraped("a", _report(1), 5.0, 5.1)
    assert list(loads.of("a").in_flight) == [old[2], young]


def test_a_report_without_counts_leaves_others_unknown_and_drops_nothing():
    loads = LoadTable()
    loads.picked("a", 0.0)
    loads.scraped("a", EngineSignals(), 10.0, 10.0)
    assert loads.candidate("a", 10.0).others is None
    assert loads.candidate("a", 10.0).in_flight == 1


def test_reachability_is_lost_by_connections_and_restored_by_scrapes():
    loads = LoadTable()
    loads.of("a")
    loads.connect_failed("a")
    assert not loads.candidate("a", 0.0).reachable
    loads.scraped("a", _report(0), 0.0, 0.0)
    assert loads.candidate("a", 0.0).reachable
    loads.scrape_failed("a", "timeout", refused=False)
    assert loads.candidate("a", 0.0).reachable
    loads.scrape_failed("a", "refused", refused=True)
    assert not loads.candidate("a", 0.0).reachable


def test_an_engine_that_stays_silent_is_taken_for_hung():
    loads = LoadTable()
    for expected in (True, True, False, False):
        loads.scrape_failed("a", "timeout", refused=False)
        assert loads.candidate("a", 0.0).reachable is expected


def test_requests_of_which_nothing_is_heard_expire():
    loads = LoadTable()
    loads.picked("a", 0.0)
    assert loads.expire(LOST_AFTER_S) == 0
    assert loads.expire(LOST_AFTER_S + 1) == 1
    assert loads.candidate("a", 0.0).in_flight == 0


def test_no_work_is_left_at_an_endpoint_when_the_picker_that_sent_it_is_gone():
    loads = LoadTable()
    loads.of("a")
    loads.peer_loads("other", {"a": PeerLoad(1, 5000, 5000.0)}, 1.0, whole=True)
    assert loads.candidate("a", 1.0).prefill_backlog_tokens == 5000
    loads.peer_gone("other")
    assert loads.candidate("a", 1.0).prefill_backlog_tokens == 0


def test_requests_that_are_not_counted_any_more_are_remembered_up_to_a_number():
    loads, lost = LoadTable(), []
    loads.on_lost = lost.append
    picks = [loads.picked("a", 0.0) for _ in range(MAX_UNCOUNTED + 1)]
    loads.forget("a")
    assert len(lost) == len(picks)
    assert loads.in_flight(picks[0]) is None
    assert loads.ended(picks[1]) is lost[1]
    assert loads.ended(picks[1]) is None
    loads.expire(LOST_AFTER_S + 1.0)
    assert loads.in_flight(picks[2]) is None


def test_an_endpoint_without_a_page_of_metrics_is_not_lost_by_one_connection():
    loads = LoadTable()
    loads.of("a")
    loads.connect_failed("a")
    loads.scrape_failed("a", "404", refused=False, silent=False)
    assert loads.candidate("a", 0.0).reachable
    loads.set_out("a", out=True)
    loads.scrape_failed("a", "404", refused=False, silent=False)
    assert not loads.candidate("a", 0.0).reachable
