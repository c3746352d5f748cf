"""Long events are read the same in whatever pieces they come, and one without an end is given up."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.worker.answers import pieces
from fairlead.bench.worker import events
from fairlead.bench.worker.events import LARGEST_EVENT, LONG, Events, TooLong


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(["a", "bc", "d" * 40, ": x", "e\nf"]), min_size=1, max_size=6),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.lists(st.integers(0, 400), max_size=12),
)
def test_events_longer_than_what_is_kept_together(said: list[str], end: str, cuts: list[int]) -> None:
    monkey = pytest.MonkeyPatch()
    monkey.setattr(events, "LONG", 8)
    lines = ["".join(f"data: {line}{end}" for line in text.split("\n")) + end for text in said]
    body = "".join(lines).encode()
    feed = Events()
    found = [data for piece in pieces(body, cuts) for data in feed.feed(piece)]
    if end == "\r" and feed.pending:  # its last line may yet be CR LF
        found += feed.feed(b"\n")
    monkey.undo()
    assert [data.decode() for data in found] == said


def test_an_event_without_an_end_is_too_long_whether_or_not_it_has_lines() -> None:
    for piece in (b"x" * LONG, b"data: x\n" * (LONG // 8)):
        feed = Events()
        feed.feed(b"data: ")
        with pytest.raises(TooLong):
            for _ in range(LARGEST_EVENT // LONG + 2):
                feed.feed(piece)
