"""Several pickers, pickers that die under load, and what happens without any."""

import asyncio
import json
import os
import signal
import sys
from collections import Counter

import aiohttp
import pytest

from fairlead.gateway.envoy import EnvoyOptions, PickerAddress
from gateway.envoy.front import Turns, request_for, until
from patience import PATIENCE_S

FAST = ("--ttft-ms", "0", "--itl-ms", "1")


async def _two(front, *, names: tuple[str, str]) -> tuple[Turns, Turns]:
    await front.add_engine(*FAST)
    both = Turns(front.turns.addresses, replica="a"), Turns(front.turns.addresses, replica="b")
    pickers = []
    for turns, name in zip(both, names, strict=True):
        where = front.folder / f"{turns.replica}.sock"
        await front.add_picker(f"unix:{where}", turns=turns)
        pickers.append(PickerAddress(where, name))
    await front.start_own(EnvoyOptions(pickers=tuple(pickers)))
    return both


@pytest.mark.parametrize("names", [("a", "b"), ("", "")])
async def test_pickers_share_requests_and_hear_of_the_ends_of_their_own(front, names):
    both = await _two(front, names=names)
    for _ in range(20):
        assert (await front.ask())[0] == 200
    assert min(turns.count for turns in both) > 3
    for turns in both:
        done = await turns.next_completions(turns.count if names[0] else 20)
        own = [d for d in done if d.pick_id.startswith(turns.replica)]
        assert len(own) == turns.count
        if names[0]:
            assert own == done


async def test_a_picker_that_stops_is_not_asked_any_more(front):
    a, b = await _two(front, names=("a", "b"))
    await front.servers[0].stop(1)
    statuses = Counter([(await front.ask())[0] for _ in range(30)])
    assert statuses[200] >= 28, "at most the requests before the first failure was noticed"
    assert b.count > a.count


async def _picker_process(front):
    """The real picker, as a process of its own."""
    endpoints = front.folder / "endpoints.json"
    pool = {"key": "default/tiny", "models": ["tiny"], "runtime": "simulated", "endpoints": front.turns.addresses}
    endpoints.write_text(json.dumps({"pools": [pool]}))
    argv = ("-m", "fairlead.gateway", "--endpoints", str(endpoints), "--data", str(front.folder))
    return await front._spawn(sys.executable, *argv)


async def _load(front, ended: asyncio.Event, tally: Counter) -> None:
    """Ask on and on; every answer must be whole or a clean error."""
    async with aiohttp.ClientSession() as session:
        while not ended.is_set():
            body = request_for("", stream=True, max_tokens=5, ignore_eos=True)
            async with session.post(front.url + "/v1/chat/completions", json=body) as response:
                text = await response.read()
                if response.status == 200:
                    assert text.endswith(b"data: [DONE]\n\n"), text
                    tally["whole"] += 1
                else:
                    assert response.status == 503, (response.status, text)
                    assert json.loads(text)["error"]["code"] == "picker_unavailable"
                    tally["refused"] += 1
                    await asyncio.sleep(0.05)


async def test_every_answer_is_whole_or_a_clean_error_while_the_picker_is_killed(front):
    await front.add_engine(*FAST)
    running = await _picker_process(front)
    await front.start_own()
    tally: Counter = Counter()
    ended = asyncio.Event()
    async with asyncio.TaskGroup() as loads:
        for _ in range(4):
            loads.create_task(_load(front, ended, tally))
        for life in range(1, 4):
            # Each picker has answered before it is killed, and is missed before the next one comes.
            await until(lambda life=life: tally["whole"] >= 40 * life)
            refused = tally["refused"]
            os.kill(running.pid, signal.SIGKILL)
            await running.wait()
            await until(lambda refused=refused: tally["refused"] > refused)
            running = await _picker_process(front)
        await until(lambda: tally["whole"] >= 160)
        ended.set()


@pytest.mark.parametrize("size", [10, 700_000, 5_000_000])
async def test_failing_open_goes_to_the_endpoints_that_are_named(front, size):
    room = ("--max-model-len", "10000000", "--num-gpu-blocks", "100000")
    await front.start(arguments=(*FAST, *room))
    for process in front.processes[1:]:
        process.kill()
        await process.wait()
    await front.start_own(EnvoyOptions(without_picker=tuple(front.turns.addresses)))
    messages = [{"role": "user", "content": "x" * size}]
    assert (await front.ask(messages=messages, max_tokens=1))[0] == 200
    assert front.turns.count == 1
    await front.servers[0].stop(0)
    status, _ = await front.ask(messages=messages, max_tokens=1)
    assert status == 200
    assert front.turns.count == 1


async def test_failing_closed_is_503_in_the_form_of_the_api(front):
    await front.add_engine(*FAST)
    await front.start_own()
    status, answer = await front.ask()
    assert (status, answer["error"]["code"]) == (503, "picker_unavailable")
    status, answer = await front.ask("/v1/messages")
    assert (status, answer["error"]["type"]) == (503, "overloaded_error")


async def test_a_picker_that_hangs_is_taken_for_dead_until_it_answers_again(front):
    await front.add_engine(*FAST)
    picker = await _picker_process(front)
    await front.start_own()
    await _until_served(front)
    os.kill(picker.pid, signal.SIGSTOP)
    assert (await front.ask())[0] == 503
    os.kill(picker.pid, signal.SIGCONT)
    await _until_served(front)


async def _until_served(front) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while (await front.ask())[0] != 200:  # noqa: ASYNC110 - only requests tell
            await asyncio.sleep(0.1)
