"""The picker as a drop-in for Envoys that are not Fairlead's: both bodies through it, TLS, subsets, fallbacks."""

import asyncio

import aiohttp
import pytest

from fairlead.gateway.extproc import FOREIGN, Listener
from gateway.envoy.front import request_for, until

FAST = ("--ttft-ms", "0", "--itl-ms", "2")


@pytest.mark.parametrize("mode", ["FULL_DUPLEX_STREAMED", "BUFFERED"])
@pytest.mark.parametrize("stream", [False, True])
async def test_answers_pass_and_are_observed(front, mode, stream):
    await front.add_engine(*FAST)
    await front.start_foreign(FOREIGN, body_mode=mode)
    body = request_for("", stream=stream, stream_options={"include_usage": True} if stream else None)
    async with (
        aiohttp.ClientSession() as session,
        session.post(front.url + "/v1/chat/completions", json=body) as response,
    ):
        assert response.status == 200
        text = await response.text()
    (done,) = await front.turns.next_completions(1)
    assert (done.code, done.output_tokens, done.served) == (200, 4, front.turns.addresses[0])
    assert not (done.client_left or done.died or done.connect_failed)
    assert done.stream_events == (text.count("data:") if stream else None)
    assert 0 < done.first_byte_s <= done.last_byte_s <= done.duration_s


@pytest.mark.parametrize("size", [10, 62_001, 220_000, 5_000_000])
async def test_bodies_of_any_size_arrive(front, size):
    await front.add_engine(*FAST, "--max-model-len", "10000000", "--num-gpu-blocks", "100000")
    await front.start_foreign(FOREIGN)
    status, answer = await front.ask(messages=[{"role": "user", "content": "x" * size}], max_tokens=1)
    assert status == 200
    assert answer["usage"]["prompt_tokens"] == -(-size // 4) + 5


async def test_an_answer_streams_through_the_picker_piece_by_piece(front):
    await front.add_engine("--ttft-ms", "0", "--itl-ms", "40")
    await front.start_foreign(FOREIGN, tls=False)
    loop = asyncio.get_running_loop()
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            front.url + "/v1/chat/completions", json=request_for("", stream=True, max_tokens=10, ignore_eos=True)
        ) as response,
    ):
        times = [loop.time() async for line in response.content if line.startswith(b"data:")]
    assert times[-1] - times[0] > 0.3


async def test_subset_hints_are_obeyed(front):
    for _ in range(2):
        await front.add_engine(*FAST)
    await front.start_foreign(FOREIGN, subset_header="x-subset")
    chosen = front.turns.addresses[1]
    for _ in range(3):
        assert (await front.ask(headers={"x-subset": chosen}))[0] == 200
    assert {done.served for done in await front.turns.next_completions(3)} == {chosen}
    status, answer = await front.ask(headers={"x-subset": "10.0.0.1:80"})
    assert (status, answer["error"]["code"]) == (503, "no_ready_endpoints")


async def test_a_list_of_endpoints_is_gone_through_in_order(front):
    await front.add_engine(*FAST)
    front.turns.addresses.insert(0, "127.0.0.1:1")
    listener = Listener(foreign=True, observes=True, fallbacks=1)
    await front.start_foreign(listener, endpoints=tuple(front.turns.addresses))
    for _ in range(4):
        assert (await front.ask())[0] == 200
    done = await front.turns.next_completions(4)
    assert {d.served for d in done} == {front.turns.addresses[1]}
    assert [d.connect_failed for d in done] == [False, True, False, True]


async def test_a_client_that_leaves_ends_the_count(front):
    await front.add_engine("--ttft-ms", "0", "--itl-ms", "20")
    await front.start_foreign(FOREIGN)
    body = request_for("", stream=True, max_tokens=1000, ignore_eos=True)
    async with (
        aiohttp.ClientSession() as session,
        session.post(front.url + "/v1/chat/completions", json=body) as response,
    ):
        await response.content.readany()
    (done,) = await front.turns.next_completions(1)
    assert (done.client_left, done.code) == (True, 200)


async def test_a_held_request_is_answered_later(front):
    await front.add_engine(*FAST)
    front.turns.held = True
    await front.start_foreign(FOREIGN)
    asking = asyncio.create_task(front.ask())
    await until(lambda: front.turns.waiting)
    held = front.turns.waiting.pop()
    held.decide(front.turns.outcome(held.head))
    assert (await asking)[0] == 200
