"""Durations in Go's form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.config.durations import format_duration, parse_duration_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("200ms", 0.2),
        ("1m30s", 90),
        ("1.5h", 5400),
        ("2h0m.5s", 7200.5),
        ("10us", 1e-5),
        ("5µs", 5e-6),
    ],
)
def test_durations_are_read(text, seconds):
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "1 s", "-1s", "1s ", "1d", "١s", "1e3s", "999999999h"])
def test_what_is_none_is_refused(text):
    with pytest.raises(ValueError, match=r"duration|longer"):
        parse_duration_s(text)


@given(st.floats(0, 1e6))
def test_what_is_written_reads_back(seconds):
    assert parse_duration_s(format_duration(seconds)) == pytest.approx(seconds, abs=1e-9)
