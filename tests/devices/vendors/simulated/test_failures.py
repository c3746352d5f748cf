"""Ordered failures as a function of the annotation and the moment."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.clock import format_micro_time
from fairlead.devices.inventory import Device
from fairlead.devices.vendors.simulated.failures import (
    MODES,
    Failure,
    FailuresError,
    NodeState,
    active,
    compute_state,
    format_failures,
    parse_failures,
)

NOW_S = 1_700_000_000.0
CARD, PART, OTHER = Device("npu0"), Device("npu0pe0-3", parent="npu0"), Device("npu1")
DEVICES = (CARD, PART, OTHER)


def at(offset_s: float) -> str:
    return format_micro_time(NOW_S + offset_s)


def state(failures: dict[str, Failure], after_s: float = 1.0) -> NodeState:
    return compute_state(failures, "npu.furiosa.ai", DEVICES, NOW_S + after_s)


def test_a_tainted_card_takes_its_parts_along_and_no_other() -> None:
    found = state({"npu.furiosa.ai/npu0": Failure("taint", at(0), reason="XidError")})
    assert set(found.devices) == {"npu0", "npu0pe0-3"}
    health = found.of("npu0").health
    assert (health.state, health.reason, health.effect) == ("unhealthy", "XidError", "NoExecute")
    assert found.of("npu1").health.state == "healthy"
    assert found.changes_at_s is None


def test_throttling_keeps_new_claims_away_only() -> None:
    assert state({"npu1": Failure("throttle", at(0))}).of("npu1").health.effect == "NoSchedule"
    assert state({"npu1": Failure("throttle", at(0), effect="None")}).of("npu1").health.effect == "None"


def test_another_drivers_failure_is_not_ours() -> None:
    assert state({"gpu.nvidia.com/npu0": Failure("taint", at(0))}) == NodeState()


def test_the_nearest_name_wins() -> None:
    found = state({"*": Failure("taint", at(0)), "npu0": Failure("vanish", at(0)), "npu0pe0-3": Failure("slow", at(0))})
    assert not found.of("npu0").is_there
    assert found.of("npu0pe0-3").is_there and found.of("npu0pe0-3").prepare_delay_s == 5.0
    assert found.of("npu1").health.state == "unhealthy"


def test_a_failure_that_is_over_is_no_failure() -> None:
    failures = {"npu0": Failure("vanish", at(0), until=at(10))}
    assert not state(failures, 9.9).of("npu0").is_there
    assert state(failures, 9.9).changes_at_s == NOW_S + 10
    assert state(failures, 10) == NodeState()
    assert active(failures, NOW_S + 10) == {} and active(failures, NOW_S) == failures


def test_a_failure_of_the_future_waits() -> None:
    found = state({"npu0": Failure("taint", at(5))})
    assert found == NodeState({}, NOW_S + 5)


@given(st.floats(0.1, 100), st.floats(0, 10_000))
def test_flapping_turns_at_its_edges_unhealthy_first(period_s: float, after_s: float) -> None:
    failures = {"npu1": Failure("flap", at(0), period_seconds=period_s)}
    assert state(failures, 0).of("npu1").health.state == "unhealthy"
    found = state(failures, after_s)
    assert found.changes_at_s is not None and NOW_S + after_s < found.changes_at_s + 1e-3
    assert found.changes_at_s <= NOW_S + after_s + period_s + 1e-3
    turned = compute_state(failures, "d", DEVICES, found.changes_at_s + period_s / 2)
    assert turned.of("npu1").health.state != found.of("npu1").health.state


def test_unknown_is_neither_healthy_nor_broken() -> None:
    assert state({"npu1": Failure("unknown", at(0))}).of("npu1").health.state == "unknown"


texts = st.text("abcdef-", min_size=1, max_size=5)


moments = st.floats(-9, 9).map(at)
ordered = st.builds(Failure, st.sampled_from(MODES), moments, st.none() | moments)


@given(st.dictionaries(texts, ordered))
def test_an_annotation_says_what_was_written(failures: dict[str, Failure]) -> None:
    assert parse_failures(format_failures(failures)) == failures


def test_nothing_is_said_by_no_annotation() -> None:
    assert parse_failures("") == {} == parse_failures("{}")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{", "simulated.fairlead.dev/failures"),
        ("[]", "Expected object, got array"),
        ({"npu0": {"mode": "explode", "since": at(0)}}, "Invalid enum value 'explode'"),
        ({"npu0": {"mode": "taint"}}, "missing required field since"),
        ({"npu0": {"mode": "taint", "since": "yesterday"}}, 'npu0.since: expected a time such as .*, got "yesterday"'),
        ({"npu0": {"mode": "taint", "since": at(0), "sicne": 1}}, "unknown field sicne"),
        ({"npu0": {"mode": "flap", "since": at(0), "periodSeconds": -1}}, "npu0.periodSeconds: expected 0 to 86400"),
    ],
)
def test_an_annotation_that_is_not_understood_is_named(value: object, said: str) -> None:
    with pytest.raises(FailuresError, match=said):
        parse_failures(value if isinstance(value, str) else json.dumps(value))
