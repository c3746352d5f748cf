"""The memory of sessions: bound while used, per pool, bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.pick.sessions import SessionTable


def test_a_session_stays_where_it_was_while_it_is_used():
    table = SessionTable(ttl_s=10)
    table.served("p", "s", "a:1", 0.0)
    assert table.endpoint_of("p", "s", 10.0) == "a:1"
    assert table.endpoint_of("p", "s", 10.1) == ""
    table.served("p", "s", "b:1", 10.0)
    assert table.endpoint_of("p", "s", 19.0) == "b:1"
    assert table.endpoint_of("q", "s", 19.0) == table.endpoint_of("p", "t", 19.0) == ""


def test_no_session_is_no_session():
    table = SessionTable()
    table.served("p", "", "a:1", 0.0)
    assert table.endpoint_of("p", "", 0.0) == ""
    assert len(table) == 0


def test_old_sessions_make_room_for_new_ones_as_these_come():
    table = SessionTable(ttl_s=10, most_sessions=100)
    for n in range(50):
        table.served("p", str(n), "a:1", 0.0)
    for n in range(30):
        table.served("p", f"new{n}", "a:1", 20.0)
    assert len(table) == 30


@given(st.lists(st.tuples(st.text(max_size=2), st.floats(0, 100)), max_size=80))
def test_memory_is_bounded_and_the_latest_is_known(uses):
    table, now_s = SessionTable(ttl_s=5, most_sessions=4), 0.0
    for session, pause_s in uses:
        now_s += pause_s
        table.served("p", session, "a:1", now_s)
        assert len(table) <= 4
        assert table.endpoint_of("p", session, now_s) == ("a:1" if session else "")


@pytest.mark.parametrize("bad", [{"ttl_s": 0}, {"most_sessions": 0}])
def test_limits_must_be_limits(bad):
    with pytest.raises(ValueError, match=r"must be above 0 and most_sessions"):
        SessionTable(**bad)
