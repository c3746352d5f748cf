"""The virtual clock wakes sleepers in deadline order, each at its own time."""

import asyncio

from fairlead.clock import SYSTEM, VirtualClock, format_micro_time, format_time, parse_time


async def test_sleepers_wake_in_deadline_order_at_their_own_time() -> None:
    clock = VirtualClock()
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, duration_s: float) -> None:
        await clock.sleep(duration_s)
        woken.append((name, clock.monotonic_s()))

    tasks = [asyncio.create_task(sleeper(n, d)) for n, d in (("b", 2.0), ("a", 1.0), ("c", 2.0), ("d", 9.0))]
    await clock.advance(3.0)
    assert woken == [("a", 1.0), ("b", 2.0), ("c", 2.0)]
    assert clock.monotonic_s() == 3.0
    await clock.advance(6.0)
    assert woken[-1] == ("d", 9.0)
    await asyncio.gather(*tasks)


async def test_a_woken_sleeper_may_sleep_again_within_one_advance() -> None:
    clock = VirtualClock()
    beats: list[float] = []

    async def beat() -> None:
        while True:
            await clock.sleep(1.0)
            beats.append(clock.monotonic_s())

    task = asyncio.create_task(beat())
    await clock.advance(3.5)
    task.cancel()
    assert beats == [1.0, 2.0, 3.0]


def test_times_have_kubernetes_forms() -> None:
    assert format_time(0.9) == "1970-01-01T00:00:00Z"
    assert format_micro_time(0.5) == "1970-01-01T00:00:00.500000Z"
    assert parse_time("1970-01-01T00:00:01Z") == 1.0
    assert SYSTEM.wall_s() > 1.7e9
