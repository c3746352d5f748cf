"""The engine under a virtual clock: pacing, order of admission, and nothing lost or leaked."""

import asyncio
from contextlib import aclosing

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.clock import VirtualClock
from fairlead.simulator.paced import EngineSettings, SimulatedEngine
from fairlead.simulator.requests import Served, parse_completion
from fairlead.simulator.text import count_tokens, natural_length, token_text

SERVED = Served(("m",), 100_000)


def _request(prompt="p", **fields):
    body = {"model": "m", "prompt": prompt, "max_tokens": 5, "ignore_eos": True, **fields}
    return parse_completion(msgspec.json.encode(body), SERVED)


async def _collect(engine, request, clock, into):
    async with aclosing(engine.generate(request)) as pieces:
        async for piece in pieces:
            into.append((clock.monotonic_s(), piece))


async def test_tokens_come_at_their_deadlines():
    clock, got = VirtualClock(), []
    engine = SimulatedEngine("m", EngineSettings(ttft_s=0.5, itl_s=0.1), clock)
    task = asyncio.create_task(_collect(engine, _request(), clock, got))
    await clock.advance(2)
    await task
    assert [at for at, _ in got] == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9])
    assert [p.tokens for _, p in got] == [1, 2, 3, 4, 5]
    assert got[-1][1].finish_reason == "length"


async def test_waiting_requests_are_admitted_in_order():
    clock, order = VirtualClock(), []
    engine = SimulatedEngine("m", EngineSettings(ttft_s=1, itl_s=0, max_num_seqs=1), clock)

    async def ask(name):
        await _collect(engine, _request(max_tokens=1), clock, [])
        order.append((name, clock.monotonic_s()))

    tasks = [asyncio.create_task(ask(name)) for name in "abc"]
    await clock.advance(0.5)
    assert (engine.running, engine.waiting) == (1, 2)
    await clock.advance(5)
    await asyncio.gather(*tasks)
    assert order == [("a", 1.0), ("b", 2.0), ("c", 3.0)]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 3), st.integers(1, 40), st.integers(0, 400), st.none() | st.floats(0, 3)),
        max_size=12,
    ),
    st.integers(1, 4),
)
def test_whatever_is_cancelled_nothing_leaks(requests, max_num_seqs):
    async def scenario():
        clock = VirtualClock()
        engine = SimulatedEngine("m", EngineSettings(ttft_s=0.1, itl_s=0.05, max_num_seqs=max_num_seqs), clock)
        peak = 0

        async def ask(at_s, tokens, prompt_bytes, leaves_after_s):
            await clock.sleep(at_s)
            work = asyncio.create_task(_collect(engine, _request("x" * prompt_bytes, max_tokens=tokens), clock, []))
            if leaves_after_s is not None:
                await clock.sleep(leaves_after_s)
                work.cancel()
            await asyncio.gather(work, return_exceptions=True)

        tasks = [asyncio.create_task(ask(*r)) for r in requests]
        for _ in range(100):
            await clock.advance(0.5)
            peak = max(peak, engine.running)
        assert all(task.done() for task in tasks)
        assert peak <= max_num_seqs
        assert (engine.running, engine.waiting, engine.kv_cache_usage) == (0, 0, 0.0)

    asyncio.run(scenario())


@given(st.integers(0, 2**32 - 1))
def test_text_is_a_function_of_seed_and_position(seed):
    assert token_text(seed, 3) == token_text(seed, 3)
    assert token_text(seed, 0)[0].isupper()
    assert token_text(seed, 1).startswith(" ")
    assert 32 <= natural_length(seed) <= 160


@given(st.text())
def test_token_counts_follow_bytes(text):
    assert count_tokens(text) * 4 >= len(text.encode()) > (count_tokens(text) - 1) * 4
