"""Events that are asked for, from a server that answers as TensorRT-LLM does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
from aiohttp import web

from fairlead.clock import VirtualClock
from fairlead.gateway.prefix.http_events import HttpEventPoller
from fairlead.gateway.prefix.precise import PreciseIndex
from gateway.conftest import free_port
from gateway.prefix.test_precise import tokenized
from patience import PATIENCE_S

EIGHT = tuple(range(1, 9))


def stored(number: int, tokens: tuple[int, ...], first_hash: int, parent: int | None = None) -> dict:
    blocks = [
        {
            "type": "stored_block",
            "block_hash": first_hash + at,
            "tokens": [{"token_id": t} for t in tokens[4 * at :][:4]],
        }
        for at in range(len(tokens) // 4)
    ]
    return {"event_id": number, "data": {"type": "stored", "parent_hash": parent, "blocks": blocks}}


class Engine:
    """Gives out each event once."""

    def __init__(self) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.events: list[object] = []
        self.raw: str | None = None
        self.asked = 0

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/kv_cache_events", self.answer)
        self.runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port).start()

    async def answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        if self.raw is not None:
            raw, self.raw = self.raw, None
            return web.Response(text=raw)
        events, self.events = self.events, []
        return web.json_response(events)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - the condition changes in callbacks
            await asyncio.sleep(0.005)


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    one = Engine()
    await one.start()
    yield one
    await one.runner.cleanup()


@pytest.fixture
async def index(engine) -> AsyncIterator[PreciseIndex]:
    one = PreciseIndex(VirtualClock())
    async with aiohttp.ClientSession() as session:
        poller = HttpEventPoller(session, one, period_s=0.01)
        one.poller = poller  # type: ignore[attr-defined]
        poller.follow_all([engine.address])
        yield one
        await poller.close()


async def test_events_reach_the_index_in_order(engine, index) -> None:
    created = {"event_id": 0, "data": {"type": "created", "num_blocks_per_cache_level": [9]}}
    engine.events = [created, stored(1, EIGHT, 50)]
    await until(lambda: index.match(tokenized(*EIGHT)) == {engine.address: 8})
    assert index.is_complete(engine.address)
    engine.events = [{"event_id": 2, "data": {"type": "removed", "block_hashes": [51]}}]
    await until(lambda: index.match(tokenized(*EIGHT)) == {engine.address: 4})
    index.poller.follow_all([])
    assert not index.follows(engine.address) and index.poller.followed == []


async def test_lost_events_and_new_engines(engine, index) -> None:
    engine.events = [stored(0, EIGHT, 50)]
    await until(lambda: index.held_blocks(engine.address) == 2)
    engine.events = [stored(5, EIGHT[:4], 60)]
    await until(lambda: index.held_blocks(engine.address) == 1)
    assert index.poller.counts.lost == 4 and not index.is_complete(engine.address)
    engine.events = [stored(0, EIGHT, 70)]
    await until(lambda: index.held_blocks(engine.address) == 2)
    assert index.poller.counts.restarts == 1 and index.is_complete(engine.address)


async def test_garbage_and_an_engine_that_goes_and_comes(engine, index) -> None:
    engine.events = [stored(0, EIGHT, 50)]
    await until(lambda: index.held_blocks(engine.address) == 2)
    engine.raw = "garbage"
    await until(lambda: index.poller.counts.malformed == 1)
    assert index.held_blocks(engine.address) == 0
    engine.events = [stored(1, EIGHT, 50)]
    await until(lambda: index.held_blocks(engine.address) == 2)
    await engine.runner.cleanup()
    await until(lambda: index.held_blocks(engine.address) == 0)
    await engine.start()
    engine.events = [stored(0, EIGHT, 50)]
    await until(lambda: index.held_blocks(engine.address) == 2)
    assert index.poller.counts.disconnects >= 1
