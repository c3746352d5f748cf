"""Each way in which a client can spoil a stage is told as such, with its limit, its value and a remedy."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from fairlead.bench.config import ClientLimits
from fairlead.bench.measure.client import ClientMeter
from fairlead.bench.measure.group import distribution_of
from fairlead.bench.measure.sketch import Sketch
from fairlead.bench.measure.validity import Evidence, judge
from fairlead.bench.summary import Answers, ClientHealth, Distribution, Metrics, Verdict
from fairlead.bench.wire import Pulse

QUIET = ClientHealth(1e-4, 1e-3, 1e-3, 0.3, 1e-4)


def spread(*values: float) -> Distribution:
    sketch = Sketch()
    sketch.add(np.array(values))
    found = distribution_of(sketch, "s")
    assert found is not None
    return found


METRICS = Metrics(
    1000, 1000, {}, 100.0, 10.0, 100.0, 100.0, ttft=spread(0.1), itl=spread(0.02), in_flight=spread(8.0, 8.0)
)
SOUND = Evidence(ClientLimits(), METRICS, QUIET, 1000, 1000, 1000.0, 0.0, None, 0, 0.0, 0.0, None)


def test_a_quiet_client_is_believed() -> None:
    assert judge(SOUND) == Verdict(True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"client": {"lag_p99_s": 0.011}}, ["client lag p99 is 11 ms", "above 10 ms", "workers"]),
        ({"client": {"cpu_share": 0.9}}, ["busy 90%", "client.cpu_share 85%", "workers"]),
        ({"client": {"loop_lag_p99_s": 0.02}}, ["late by 20 ms", "client.loop_lag_ms 10", "workers"]),
        ({"metrics": {"client_error": spread(0.02)}}, ["client error p99 is 20 ms", "above 10 ms", "stamped"]),
        ({"metrics": {"ttft": spread(0.02)}, "client": {"lag_p99_s": 0.006}}, ["client lag p99 is 6 ms", "above 5 ms"]),
        ({"metrics": {"ttft": None, "e2e": spread(0.02)}, "client": {"lag_p99_s": 0.006}}, ["6 ms, above 5 ms"]),
        ({"client": {"loop_lag_p99_s": 0.006}}, ["late by 6 ms (p99), above 5 ms", "gap between tokens"]),
        ({"metrics": {"failures": {"CLIENT_LIMIT": 7}}}, ["7 requests found no file or port", "ulimit -n"]),
        ({"waited_share": 0.05}, ["users waited 5.0% of their time for the client", "client.rate_error 2.0%"]),
        ({"sent": 970, "metrics": {"hold": spread(1.0)}, "held_by": "load.max_in_flight 4"}, ["max_in_flight 4"]),
        ({"client": {"loop_lag_p50_s": 0.006}}, ["late by 6 ms (median)", "25% of the median gap", "workers"]),
        ({"client": {"stalled_share": 0.05}}, ["stood still for 5.0%", "above 1%", "swapped out"]),
        ({"client": {"silent_s": 3.0}}, ["said nothing for 3.0 s", "above 2 s"]),
        ({"client": {"workers_lost": 1}}, ["1 of the workers were lost", "run it again"]),
        ({"sent": 970}, ["970 of 1000", "3.0% too few", "client.rate_error 2.0%"]),
        ({"expected": 1100.0}, ["1000 requests were due where the rate has 1100", "content ended"]),
        ({"users": 10.0}, ["8.0 requests were in flight where 10 users", "content"]),
        ({"negative": 3}, ["3 times are below nought", "clock"]),
        ({"metrics": {"seconds": 0.0}, "cut_s": 20.0}, ["cut leaves nothing", "20 s"]),
        ({"metrics": {"requests": 0}}, ["no request was due"]),
        ({"reasons": ("a disk was full",)}, ["a disk was full"]),
    ],
)
def test_what_spoils_a_stage_is_named(change: dict[str, Any], said: list[str]) -> None:
    parts = {
        name: msgspec.structs.replace(getattr(SOUND, name), **value) if isinstance(value, dict) else value
        for name, value in change.items()
    }
    verdict = judge(msgspec.structs.replace(SOUND, **parts))
    assert not verdict.valid
    (reason,) = verdict.reasons
    for words in said:
        assert words in reason


def test_lag_may_be_as_long_as_a_share_of_a_slow_server() -> None:
    slow = msgspec.structs.replace(METRICS, ttft=spread(5.0))
    late = msgspec.structs.replace(QUIET, lag_p99_s=0.09)
    assert judge(msgspec.structs.replace(SOUND, metrics=slow, client=late)).valid
    assert not judge(msgspec.structs.replace(SOUND, client=late)).valid


def test_what_was_held_and_paused_is_a_note_and_users_who_back_off_are_not_lazy() -> None:
    answers = Answers(held=30, backoff_s=200.0, unfinished=2)
    metrics = msgspec.structs.replace(METRICS, hold=spread(0.5), answers=answers, failures={"UNAVAILABLE": 9})
    verdict = judge(msgspec.structs.replace(SOUND, metrics=metrics, held_by="load.max_in_flight 4", users=10.0))
    assert verdict.valid, verdict
    told = " ".join(verdict.notes)
    for words in (
        "30 requests (3.0%) were held by load.max_in_flight 4",
        "paused 200 s in all after 9 failed",
        "2 sess",
    ):
        assert words in told


def test_a_few_requests_that_the_client_spoilt_are_told() -> None:
    metrics = msgspec.structs.replace(METRICS, client_error=spread(*[0.0] * 300, 0.3))
    verdict = judge(msgspec.structs.replace(SOUND, metrics=metrics))
    assert verdict.valid and any("wrong by up to 300 ms" in note for note in verdict.notes)


def test_chance_is_allowed_for_in_random_arrivals() -> None:
    off = msgspec.structs.replace(SOUND, due=900, sent=900)
    assert not judge(off).valid
    assert judge(msgspec.structs.replace(off, spread=1.0)).valid


def test_a_stop_that_percentiles_do_not_show_shows_in_stalls() -> None:
    """Three seconds of thirty, in one sample of fifteen hundred."""
    meter = ClientMeter(stall_s=0.01)
    for k in range(27):
        meter.pulse(Pulse(0, k + 1.0, 0.1, 1.0, 0, 0, 0, 0, 0.0, [1e-4] * 50))
    meter.pulse(Pulse(0, 30.0, 0.0, 3.0, 0, 0, 0, 0, 0.0, [3.0]))
    health = meter.health(0.0, 0.0, 30.0, 0)
    assert health.loop_lag_p99_s < 0.001
    assert health.stalled_share == pytest.approx(0.1)
    assert health.silent_s == 3.0


def test_the_worst_worker_counts_and_one_that_stops_telling_is_noticed() -> None:
    meter = ClientMeter(stall_s=0.01)
    for k in range(10):
        meter.pulse(Pulse(0, k + 1.0, 0.2, 1.0, 0, 0, 700 + 10 * k, 0, 0.0, [1e-4]))
        if k < 4:
            meter.pulse(Pulse(1, k + 1.0, 0.9, 1.0, 0, 0, 20 * k, 0, 0.0, [1e-2]))
    health = meter.health(0.0, 0.0, 10.0, 0)
    assert health.cpu_share == pytest.approx(0.9)
    assert health.loop_lag_p99_s == pytest.approx(1e-2)
    assert health.silent_s == pytest.approx(6.0)
    assert health.cpu_s_per_request == pytest.approx((9 * 0.2 + 3 * 0.9) / (90 + 60))
