"""Ages as kubectl users read them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.clock import format_time
from fairlead.embedded.apiserver.printing.duration import age, human_duration, until


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "<invalid>"),
        (-1.5, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (600, "10m"),
        (3 * 3600 - 1, "179m"),
        (3 * 3600 + 60, "3h1m"),
        (8 * 3600, "8h"),
        (50 * 3600, "2d2h"),
        (8 * 86400, "8d"),
        (731 * 86400, "2y1d"),
        (8 * 365 * 86400, "8y"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float, shown: str) -> None:
    assert human_duration(seconds) == shown


@given(st.integers(min_value=0, max_value=4_000_000_000))
def test_a_duration_is_never_longer_than_what_it_stands_for(seconds: int) -> None:
    shown = human_duration(seconds)
    assert re.fullmatch(r"(\d+[smhdy]){1,2}", shown)
    unit_s = {"s": 1, "m": 60, "h": 3600, "d": 86400, "y": 31_536_000}
    parts = re.findall(r"(\d+)([smhdy])", shown)
    total_s = sum(int(count) * unit_s[unit] for count, unit in parts)
    assert total_s <= seconds < total_s + unit_s[parts[-1][1]]


def test_ages_of_times() -> None:
    now = 1_700_000_000.0
    assert age(format_time(now - 90), now) == "90s"
    assert until(format_time(now + 90), now) == "90s"
    assert age(None, now) == "<unknown>"
    assert age("yesterday", now) == "<invalid>"
