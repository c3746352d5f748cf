"""Bad news at once, good news when it lasts, and few changes whatever the input."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.devices.driver.damping import VANISHED, DampingSettings, DeviceCondition, damp
from fairlead.devices.health import HEALTHY, Health, unhealthy, unknown

SETTINGS = DampingSettings()
XID = unhealthy("XidError", "XID 79", "NoExecute")
HOT = unhealthy("Throttled", "91 degrees", "NoSchedule")
WARM = unhealthy("Warm", "80 degrees", "None")
GONE = unhealthy(VANISHED, "not there")
UNSURE = unknown("NotReported", "nothing said")
ANY = st.sampled_from([HEALTHY, XID, HOT, WARM, GONE, UNSURE, unhealthy("Ecc", "row 4", "NoExecute")])


def run(*said: tuple[float, Health], settings: DampingSettings = SETTINGS) -> list[DeviceCondition]:
    """The conditions after each thing said at its time."""
    condition, found = None, []
    for now_s, raw in said:
        condition = damp(condition, raw, now_s, settings)
        found.append(condition)
    return found


def test_a_fault_counts_at_once_and_ends_when_health_lasted() -> None:
    states = run((0, HEALTHY), (1, XID), (2, HEALTHY), (11.9, HEALTHY), (12, HEALTHY))
    assert [c.health.state for c in states] == ["healthy", "unhealthy", "unhealthy", "unhealthy", "healthy"]
    assert [c.since_s for c in states] == [0, 1, 1, 1, 12]


def test_health_must_last_without_a_break() -> None:
    states = run((0, XID), (1, HEALTHY), (9, UNSURE), (10, HEALTHY), (15, HEALTHY), (20, HEALTHY))
    assert [c.health.state for c in states] == ["unhealthy"] * 5 + ["healthy"]


def test_each_fault_doubles_the_recovery_time_up_to_the_limit() -> None:
    said, at = [(0.0, XID)], 0.0
    for _ in range(9):
        said += [(at + 1, HEALTHY), (at + 2, XID)]
        at += 2
    last = run(*said)[-1]
    assert last.flaps == 10
    assert last.is_flapping(SETTINGS)
    assert SETTINGS.recovery_after(last.flaps) == 300
    assert [SETTINGS.recovery_after(n) for n in range(1, 7)] == [10, 20, 40, 80, 160, 300]


def test_old_faults_are_forgotten() -> None:
    (*_, fresh) = run((0, XID), (1, HEALTHY), (2, XID), (3, HEALTHY), (30, HEALTHY), (700, XID))
    assert fresh.flaps == 1


def test_what_demands_more_counts_at_once_and_what_demands_less_must_last() -> None:
    states = run((0, WARM), (1, HOT), (2, XID), (3, GONE), (4, HOT), (5, HOT))
    assert [c.health for c in states] == [WARM, HOT, XID, GONE, GONE, GONE]
    lasting = run((0, XID), (1, HOT), (2, HOT), (30, HOT))
    assert [c.health for c in lasting] == [XID, XID, XID, HOT]


def test_not_knowing_hides_health_and_ends_no_fault() -> None:
    assert [c.health for c in run((0, HEALTHY), (1, UNSURE), (2, HEALTHY))] == [HEALTHY, UNSURE, HEALTHY]
    assert [c.health.state for c in run((0, XID), (1, UNSURE), (1000, UNSURE))] == ["unhealthy"] * 3


def test_a_new_sentence_for_the_same_fault_is_told_without_a_change() -> None:
    again = unhealthy("XidError", "XID 79 again", "NoExecute")
    before, after = run((0, XID), (5, again))
    assert (after.health, after.since_s, after.flaps) == (again, before.since_s, 1)


def test_zero_recovery_turns_damping_off() -> None:
    off = DampingSettings(recovery_s=0, max_recovery_s=0)
    assert [c.health.state for c in run((0, XID), (0.5, HEALTHY), (1, XID), (1.5, HEALTHY), settings=off)] == [
        "unhealthy", "healthy", "unhealthy", "healthy",
    ]  # fmt: skip


def test_it_prints_for_people() -> None:
    (*_, last) = run((0, XID), (1, HEALTHY), (2, XID), (3.5, HEALTHY))
    assert str(last) == "unhealthy (XidError, NoExecute) since 0.0 s; vendor says healthy; 2 flaps"


@pytest.mark.parametrize(
    "wrong", [{"recovery_s": -1}, {"flap_window_s": math.inf}, {"recovery_s": 400}, {"flapping_from": 0}]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="damping: "):
        DampingSettings(**wrong)


inputs = st.lists(st.tuples(st.floats(0.1, 120), ANY), min_size=1, max_size=120)


def timed(steps: list[tuple[float, Health]]) -> list[tuple[float, Health]]:
    now_s, found = 0.0, []
    for step_s, raw in steps:
        now_s += step_s
        found.append((now_s, raw))
    return found


@given(inputs)
def test_a_fault_is_never_hidden(steps: list[tuple[float, Health]]) -> None:
    for (_, raw), condition in zip(timed(steps), run(*timed(steps)), strict=True):
        if raw.state == "unhealthy":
            assert condition.health.state == "unhealthy"
        assert condition.raw == raw


@given(inputs)
def test_health_comes_back_only_after_the_time_it_takes(steps: list[tuple[float, Health]]) -> None:
    said = timed(steps)
    states = run(*said)
    for index, (before, after) in enumerate(pairwise(states), start=1):
        if before.health.state == "unhealthy" and after.health.state == "healthy":
            needed_s = SETTINGS.recovery_after(after.flaps)
            calm = [raw for at_s, raw in said[: index + 1] if at_s > said[index][0] - needed_s]
            assert all(raw.state == "healthy" for raw in calm)


@given(st.lists(st.tuples(st.floats(0.1, 60), st.sampled_from([HEALTHY, XID])), min_size=2, max_size=400))
def test_flapping_recovers_few_times_in_any_window(steps: list[tuple[float, Health]]) -> None:
    said = timed(steps)
    states = run(*said)
    recoveries = [
        at_s
        for (at_s, _), (before, after) in zip(said[1:], pairwise(states), strict=True)
        if before.health.state == "unhealthy" and after.health.state == "healthy"
    ]
    most = math.floor(math.log2(SETTINGS.flap_window_s / SETTINGS.recovery_s + 1)) + 1
    for first in recoveries:
        assert len([at_s for at_s in recoveries if first <= at_s < first + SETTINGS.flap_window_s]) <= most


@settings(max_examples=50)
@given(st.lists(ANY, min_size=2, max_size=6), st.floats(0.2, 200))
def test_no_rhythm_of_anything_changes_the_state_often(pattern: list[Health], period_s: float) -> None:
    """Whatever repeats, at whatever period: changes of what is tainted stay bounded by the recovery times."""
    said = [(n * period_s, pattern[n % len(pattern)]) for n in range(int(3600 / period_s) + 2)]
    taints = [c.health if c.health.state == "unhealthy" else None for c in run(*said)]
    keys = [(t.reason, t.effect) if t else None for t in taints]
    changes = sum(a != b for a, b in pairwise(keys))
    windows = 3600 / SETTINGS.flap_window_s + 1
    per_window = 6 * (math.log2(SETTINGS.flap_window_s / SETTINGS.recovery_s + 1) + 2)
    assert changes <= windows * per_window
