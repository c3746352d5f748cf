"""How many pods a budget lets go, against its definition."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fairlead.clock import format_time
from fairlead.embedded.controllers.disruption import compute_budget, failed_budget

Object = dict[str, Any]
T0 = 1_700_000_000.0


def pod(name: str, ready: bool = True, **meta: Any) -> Object:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {"metadata": {"name": name} | meta, "status": {"phase": "Running", "conditions": conditions}}


def budget(status: Object | None = None, **spec: Any) -> Object:
    return {"metadata": {"name": "b", "generation": 3}, "spec": spec, "status": status or {}}


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 100))
def test_what_is_allowed_never_goes_below_what_is_wanted(ready: int, unready: int, scale: int, percent: int) -> None:
    pods = [pod(f"r{i}") for i in range(ready)] + [pod(f"u{i}", False) for i in range(unready)]
    for spec in ({"minAvailable": percent}, {"minAvailable": f"{percent}%"}, {"maxUnavailable": f"{percent}%"}):
        status = compute_budget(budget(**spec), pods, scale, T0)
        assert status["currentHealthy"] == ready
        assert 0 <= status["disruptionsAllowed"] <= max(0, ready - status["desiredHealthy"])
        if status["disruptionsAllowed"]:
            assert ready - status["disruptionsAllowed"] == status["desiredHealthy"]
        (told,) = status["conditions"]
        assert (told["status"] == "True") == (status["disruptionsAllowed"] > 0)


def test_percentages_of_the_scale_round_up() -> None:
    pods = [pod(f"r{i}") for i in range(7)]
    assert compute_budget(budget(minAvailable="50%"), pods, 7, T0)["desiredHealthy"] == 4
    assert compute_budget(budget(maxUnavailable="30%"), pods, 7, T0)["desiredHealthy"] == 4
    assert compute_budget(budget(minAvailable=2), pods, 99, T0)["expectedPods"] == 7


def test_an_eviction_counts_until_its_pod_is_going_or_two_minutes_have_passed() -> None:
    recorded = {"disruptedPods": {"a": format_time(T0 - 60), "b": format_time(T0 - 200), "gone": format_time(T0)}}
    pods = [pod("a"), pod("b"), pod("c")]
    status = compute_budget(budget(recorded, minAvailable=1), pods, 3, T0)
    assert set(status["disruptedPods"]) == {"a"}
    assert (status["currentHealthy"], status["disruptionsAllowed"]) == (2, 1)
    going = [pod("a", deletionTimestamp=format_time(T0)), *pods[1:]]
    assert "disruptedPods" not in compute_budget(budget(recorded, minAvailable=1), going, 3, T0)


def test_a_second_look_changes_nothing_and_a_failure_allows_nothing() -> None:
    pods = [pod("a"), pod("b")]
    first = compute_budget(budget(minAvailable=1), pods, 2, T0)
    assert compute_budget(budget(first, minAvailable=1), pods, 2, T0 + 9) == first
    failed = failed_budget(budget(first, minAvailable=1), "no scale", T0)
    assert failed["disruptionsAllowed"] == 0 and failed["conditions"][0]["reason"] == "SyncFailed"
