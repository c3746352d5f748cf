"""The driver's promises to receivers: one that fails stops nobody else, and nothing comes after the end."""

from __future__ import annotations

import asyncio

from fairlead.clock import SYSTEM
from fairlead.simulator.engine import Engine, EngineSettings
from fairlead.simulator.server.answers.outcome import LENGTH, Outcome
from fairlead.simulator.server.driver import Driver
from fairlead.simulator.server.live_request import LiveRequest
from fairlead.simulator.server.metrics.metrics_page import Rank
from fairlead.simulator.server.pace import PacedCost
from patience import PATIENCE_S


class Noting:
    """Notes what it is told; `breaks_at` tokens it raises."""

    def __init__(self, breaks_at=None):
        self.breaks_at = breaks_at
        self.told = []
        self.begun = asyncio.Event()
        self.over = asyncio.get_running_loop().create_future()

    def tokens(self, live, count):
        if self.breaks_at is not None and count >= self.breaks_at:
            raise ValueError("cannot be written")
        self.told.append(count)
        self.begun.set()

    def ended(self, live):
        if self.breaks_at is not None:
            raise ValueError("cannot be written")
        self.told.append("ended")
        self.over.set_result("ended")

    def failed(self, error):
        self.told.append("failed")
        self.over.set_result("failed")


def driver_of(engine, **fields):
    return Driver([Rank(engine)], SYSTEM, **fields)


def paced():
    return Engine(EngineSettings(), PacedCost(0.002, 0.002))


def live_request(tokens):
    return LiveRequest(
        id="a", prompt_tokens=8, output_tokens=tokens, outcome=Outcome([1] * tokens, ["x"] * tokens, LENGTH)
    )


async def test_a_receiver_that_fails_stops_nobody_else():
    for breaks_at in (3, 1000):  # in the middle, and at its end
        driver = driver_of(paced())
        bad, good = Noting(breaks_at), Noting()
        driver.submit(live_request(10), 0, bad)
        driver.submit(live_request(30), 0, good)
        assert await asyncio.wait_for(good.over, PATIENCE_S) == "ended"
        assert await asyncio.wait_for(bad.over, PATIENCE_S) == "failed"
        assert bad.told.count("failed") == 1 and bad.told[-1] == "failed"
        driver.close()


async def test_an_engine_that_fails_ends_its_streams():
    class Broken(Engine):
        def advance(self, now_s):
            if self.next_s <= now_s and self.counters.iterations:
                raise RuntimeError("broken")
            super().advance(now_s)

    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    driver = driver_of(Broken(EngineSettings(), PacedCost(0.002, 0.002)))
    receiver = Noting()
    driver.submit(live_request(30), 0, receiver)
    assert await asyncio.wait_for(receiver.over, PATIENCE_S) == "failed"
    assert driver.num_live == 0
    driver.close()


async def test_nothing_comes_after_the_end_that_the_server_made():
    driver = driver_of(paced(), response_s=0.05)
    receiver = Noting()
    live = driver.submit(live_request(1000), 0, receiver)
    async with asyncio.timeout(PATIENCE_S):
        await receiver.begun.wait()
    driver.end(live)
    await asyncio.sleep(0.15)
    assert receiver.told[-1] == "ended"
    assert receiver.told.count("ended") == 1
    driver.close()
