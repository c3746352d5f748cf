"""Calls come when they are due, in order, and one that fails silences no other."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from fairlead.bench.worker.alarm import Alarm
from fairlead.clock import SYSTEM


@pytest.fixture
async def alarm() -> AsyncIterator[Alarm]:
    made = Alarm(asyncio.get_running_loop())
    yield made
    made.close()


async def test_calls_come_in_order_and_never_early(alarm: Alarm) -> None:
    done, came = asyncio.Event(), []
    start_s, rng = SYSTEM.monotonic_s(), random.Random(1)
    due = [start_s + rng.uniform(-0.01, 0.1) for _ in range(300)]

    def call(due_s: float) -> None:
        assert SYSTEM.monotonic_s() >= due_s
        came.append(due_s)
        if len(came) == len(due):
            done.set()

    for due_s in due:
        alarm.at(due_s, lambda due_s=due_s: call(due_s))  # type: ignore[misc]
    await asyncio.wait_for(done.wait(), 30)
    assert came == sorted(due)


async def test_calls_of_one_time_come_as_they_were_asked_for(alarm: Alarm) -> None:
    done, came, due_s = asyncio.Event(), [], SYSTEM.monotonic_s() + 0.01
    for number in range(20):
        alarm.at(due_s, lambda number=number: came.append(number))  # type: ignore[misc]
    alarm.at(due_s, done.set)
    await asyncio.wait_for(done.wait(), 30)
    assert came == list(range(20))


async def test_a_call_that_fails_silences_no_other(alarm: Alarm) -> None:
    failed: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(str(context["exception"])))
    done, now_s = asyncio.Event(), SYSTEM.monotonic_s()

    def fail() -> None:
        raise ValueError("on purpose")

    alarm.at(now_s + 0.005, fail)
    alarm.at(now_s + 0.010, done.set)
    await asyncio.wait_for(done.wait(), 30)
    assert failed == ["on purpose"]


async def test_an_earlier_call_asked_for_later_is_not_held_up(alarm: Alarm) -> None:
    done, now_s = asyncio.Event(), SYSTEM.monotonic_s()
    alarm.at(now_s + 3600.0, lambda: None)
    alarm.at(now_s + 0.01, done.set)
    await asyncio.wait_for(done.wait(), 30)
