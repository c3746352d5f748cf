"""Legs beside the answer, as SGLang has them: two servers that meet in a room."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from fairlead.engines import engine_for
from fairlead.gateway.disaggregation import LegRequest, Split
from fairlead.gateway.pick import Pick, Query
from fairlead.gateway.requests import Api
from patience import PATIENCE_S

SGLANG = engine_for("sglang").handoff
assert SGLANG is not None
BODY = b'{"model":"tiny","prompt":"Hello","max_tokens":4}'


@dataclass
class Rooms:
    """What a bootstrap server does: who comes first waits for the other."""

    waiting: dict[int, asyncio.Event] = field(default_factory=dict)
    left: list[int] = field(default_factory=list)
    somebody: asyncio.Event = field(default_factory=asyncio.Event)

    def room(self, number: int) -> asyncio.Event:
        return self.waiting.setdefault(number, asyncio.Event())

    async def prefill(self, request: web.Request) -> web.Response:
        number = json.loads(await request.read())["bootstrap_room"]
        self.room(number)
        self.somebody.set()
        try:
            await asyncio.wait_for(self.room(number).wait(), PATIENCE_S)
        except asyncio.CancelledError:
            self.left.append(number)
            raise
        return web.json_response({"choices": [{"text": ""}]})

    async def closed(self, request: web.Request) -> web.Response:
        return web.Response(status=503)

    async def decode(self, body: bytes) -> bool:
        """Whether prefill was there."""
        number = json.loads(body)["bootstrap_room"]
        for _ in range(200):
            if number in self.waiting:
                self.room(number).set()
                return True
            await asyncio.sleep(0.01)
        return False


@pytest.fixture
async def rooms() -> AsyncIterator[tuple[Rooms, str, str]]:
    """The rooms, a prefill server, and one that fails."""
    rooms = Rooms()
    app, broken = web.Application(), web.Application()
    app.router.add_post("/v1/completions", rooms.prefill)
    broken.router.add_post("/v1/completions", rooms.closed)
    runners = [web.AppRunner(app, handler_cancellation=True), web.AppRunner(broken)]
    for runner in runners:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
    one, two = (f"127.0.0.1:{runner.addresses[0][1]}" for runner in runners)
    yield rooms, one, two
    for runner in runners:
        await runner.cleanup()


def request() -> LegRequest:
    return LegRequest(Api.COMPLETIONS, "/v1/completions", BODY, {}, Query("tiny", prompt_tokens=5), "127.0.0.1:9")


def to(*addresses: str) -> Split:
    return Split(Pick(addresses[0], addresses[1:], ""), dict.fromkeys(addresses, 0), "test")


async def test_the_answer_does_not_wait_for_the_prompt(rooms, legs, picker):
    meet, prefill, _ = rooms
    leg = await legs.run(request(), to(prefill), SGLANG)
    assert leg.prefill == prefill and leg.background is not None and not leg.background.done()
    assert picker.loads.of(prefill).candidate.in_flight == 1
    assert await meet.decode(leg.body)
    await asyncio.wait_for(leg.background, PATIENCE_S)
    assert picker.loads.of(prefill).candidate.in_flight == 0
    legs.ended(leg)


async def test_each_request_has_a_room_of_its_own(rooms, legs):
    _, prefill, _ = rooms
    bodies = [(await legs.run(request(), to(prefill), SGLANG)).body for _ in range(20)]
    assert len({json.loads(body)["bootstrap_room"] for body in bodies}) == 20
    assert {json.loads(body)["bootstrap_host"] for body in bodies} == {"127.0.0.1"}


async def test_an_endpoint_that_takes_no_connection_is_passed_over_before_the_answer(rooms, legs, picker):
    meet, prefill, _ = rooms
    leg = await legs.run(request(), to("127.0.0.1:1", prefill), SGLANG)
    assert leg.prefill == prefill and len(leg.failures) == 1
    assert await meet.decode(leg.body)
    none = await legs.run(request(), to("127.0.0.1:1"), SGLANG)
    assert (none.prefill, none.body) == ("", BODY)


async def test_a_leg_whose_answer_is_over_is_cancelled(rooms, legs, picker):
    meet, prefill, _ = rooms
    leg = await legs.run(request(), to(prefill), SGLANG)
    await asyncio.wait_for(meet.somebody.wait(), PATIENCE_S)
    legs.ended(leg)
    for _ in range(200):
        if meet.left:
            break
        await asyncio.sleep(0.01)
    assert meet.left == [json.loads(leg.body)["bootstrap_room"]]
    assert picker.loads.of(prefill).candidate.in_flight == 0


async def test_closing_leaves_no_leg_behind(rooms, legs, picker):
    _, prefill, _ = rooms
    leg = await legs.run(request(), to(prefill), SGLANG)
    await legs.close()
    assert leg.background is not None and leg.background.cancelled()
    assert picker.loads.of(prefill).candidate.in_flight == 0
