from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.clock import VirtualClock
from fairlead.kube.backoff import Backoff
from fairlead.kube.rate_limit import RateLimit
from fairlead.kube.work_queue import QueueClosed, WorkQueue


async def take_nowait(queue: WorkQueue[str]) -> str | None:
    task = asyncio.ensure_future(queue.get())
    for _ in range(3):
        await asyncio.sleep(0)
    if not task.done():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return None
    return task.result().key


async def test_a_key_is_queued_once_and_keys_come_in_order() -> None:
    queue: WorkQueue[str] = WorkQueue(clock=VirtualClock())
    for key in "abab":
        queue.add(key)
    assert len(queue) == 2
    assert [await take_nowait(queue), await take_nowait(queue), await take_nowait(queue)] == ["a", "b", None]


async def test_a_key_added_while_worked_on_comes_again_afterwards() -> None:
    queue: WorkQueue[str] = WorkQueue(clock=VirtualClock())
    queue.add("a")
    assert await take_nowait(queue) == "a"
    queue.add("a")
    assert await take_nowait(queue) is None
    queue.done("a")
    assert await take_nowait(queue) == "a"
    queue.done("a")
    assert await take_nowait(queue) is None


async def test_the_earliest_of_several_delays_counts() -> None:
    clock = VirtualClock()
    queue: WorkQueue[str] = WorkQueue(clock=clock)
    queue.add_after("a", 10)
    queue.add_after("a", 5)
    queue.add_after("a", 20)
    queue.add_after("b", 7)
    await clock.advance(4.9)
    assert len(queue) == 0
    await clock.advance(0.2)
    assert await take_nowait(queue) == "a"
    queue.done("a")
    await clock.advance(2)
    assert await take_nowait(queue) == "b"
    await clock.advance(60)
    assert len(queue) == 0


async def test_closing_wakes_those_who_wait() -> None:
    queue: WorkQueue[str] = WorkQueue(clock=VirtualClock())
    waiting = [asyncio.ensure_future(queue.get()) for _ in range(2)]
    await asyncio.sleep(0)
    queue.close()
    for getter in waiting:
        with pytest.raises(QueueClosed):
            await getter
    queue.add("a")
    with pytest.raises(QueueClosed):
        await queue.get()


async def test_a_cancelled_getter_passes_its_key_on() -> None:
    queue: WorkQueue[str] = WorkQueue(clock=VirtualClock())
    first, second = asyncio.ensure_future(queue.get()), asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    assert (await asyncio.wait_for(second, 1)).key == "a"


@given(st.integers(1, 200), st.floats(0, 0.999), st.floats(0.01, 5), st.floats(5, 300), st.floats(0, 1))
def test_backoff_stays_in_its_bounds(failures: int, chance: float, first_s: float, max_s: float, jitter: float) -> None:
    backoff = Backoff(first_s, max_s, jitter)
    delay_s = backoff.delay_s(failures, chance)
    whole_s = min(max_s, first_s * 2.0 ** min(failures - 1, 64))
    assert whole_s * (1 - jitter) <= delay_s <= whole_s
    assert backoff.delay_s(failures + 1, chance) >= delay_s


async def test_failures_grow_the_delay_until_forgotten() -> None:
    queue: WorkQueue[str] = WorkQueue(backoff=Backoff(1, 8, jitter=0), clock=VirtualClock())
    assert [queue.add_failed("a") for _ in range(5)] == [1, 2, 4, 8, 8]
    assert queue.failures("a") == 5
    queue.forget("a")
    assert queue.add_failed("a") == 1


steps = st.lists(
    st.tuples(st.sampled_from(["add", "after", "failed", "advance", "cancel"]), st.sampled_from("abc")), max_size=60
)


@given(steps, st.integers(1, 4), st.integers(0, 10**6))
@settings(deadline=None, max_examples=60)
def test_no_key_is_worked_on_twice_at_once_and_none_is_lost(
    script: list[tuple[str, str]], workers: int, seed: int
) -> None:
    asyncio.run(_play(script, workers, seed))


async def _play(script: list[tuple[str, str]], workers: int, seed: int) -> None:
    clock = VirtualClock()
    chosen = random.Random(seed)
    queue: WorkQueue[str] = WorkQueue(backoff=Backoff(0.5, 4), clock=clock)
    working: set[str] = set()
    # Key -> when it was last asked for, and when work on it last began.
    asked: dict[str, int] = {}
    begun: dict[str, int] = {}
    step = 0

    async def work() -> None:
        nonlocal step
        while True:
            key = (await queue.get()).key
            assert key not in working
            working.add(key)
            begun[key] = step
            await clock.sleep(chosen.random())
            working.discard(key)
            queue.done(key)

    tasks = [asyncio.create_task(work()) for _ in range(workers)]
    for action, key in script:
        step += 1
        if action == "advance":
            await clock.advance(chosen.random())
        elif action == "cancel":
            idle = asyncio.ensure_future(queue.get())
            await asyncio.sleep(0)
            if idle.done():
                queue.add(idle.result().key)
                queue.done(idle.result().key)
            idle.cancel()
            await asyncio.gather(idle, return_exceptions=True)
        else:
            asked[key] = step
            {"add": queue.add, "after": lambda k: queue.add_after(k, 1.5), "failed": queue.add_failed}[action](key)
    step += 1
    await clock.advance(60)
    assert not working
    assert len(queue) == queue.delayed == 0
    for key, at in asked.items():
        assert begun[key] >= at
    for task in tasks:
        assert not task.done() or task.cancelled(), task.exception()
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_rate_limit_lets_a_burst_through_and_then_so_many_a_second() -> None:
    clock = VirtualClock()
    limit = RateLimit(2, burst=3, clock=clock)
    assert [limit.try_take() for _ in range(4)] == [True, True, True, False]
    taken: list[float] = []

    async def take() -> None:
        await limit.take()
        taken.append(clock.monotonic_s())

    tasks = [asyncio.create_task(take()) for _ in range(3)]
    await clock.advance(5)
    await asyncio.gather(*tasks)
    assert taken == [0.5, 1.0, 1.5]
