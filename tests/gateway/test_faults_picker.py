"""The picker killed, stopped, ended and short of disk, and Envoy killed, each under load."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal

import aiohttp
import pytest

from fairlead.gateway.run import picker_admin_socket
from gateway.faults import CHAT_PATH, ask, eventually, is_error, many, nothing_in_flight, stream
from patience import PATIENCE_S


def _prompt(n: int) -> list[dict]:
    return [{"role": "user", "content": f"conversation {n} " + f"word{n} " * 400}]


async def _endpoints_of(stack, session, numbers) -> dict[int, str]:
    """Where each conversation goes, by the picker's own record."""
    for n in numbers:
        status, answer = await ask(
            session, stack, messages=_prompt(n), max_tokens=1, headers={"x-request-id": f"c-{n}"}
        )
        assert status == 200, answer
    connector = aiohttp.UnixConnector(str(picker_admin_socket(stack.folder)))
    async with (
        aiohttp.ClientSession(connector=connector) as admin,
        admin.get("http://picker/decisions?limit=200") as response,
    ):
        rows = await response.json()
    newest = {}
    for row in reversed(rows):
        newest[row["request_id"]] = row
    return {n: newest[f"c-{n}"]["endpoint"] for n in numbers}


async def _saved(stack) -> None:
    path = stack.folder / "prefixes.bin"
    before = path.stat().st_mtime_ns if path.exists() else 0

    async def is_so() -> bool:
        return path.exists() and path.stat().st_mtime_ns > before

    await eventually(is_so, 20)


async def test_a_killed_picker_cuts_no_stream_and_the_next_decides_as_it_did(stack):
    await stack.start(3, "--ttft-ms", "10", "--itl-ms", "60")
    numbers = range(9)
    async with many() as session:
        before = await _endpoints_of(stack, session, numbers)
        assert len(set(before.values())) == 3
        await _saved(stack)
        running = [asyncio.create_task(stream(session, stack, max_tokens=80, ignore_eos=True)) for _ in range(30)]

        async def all_run() -> bool:
            return await stack.metric("fairlead_gateway_in_flight_requests") == 30

        await eventually(all_run)
        await stack.kill(stack.picker)
        status, answer = await ask(session, stack)
        assert (status, answer["error"]["code"]) == (503, "picker_unavailable")
        status, answer = await ask(session, stack, "/v1/messages", max_tokens=1)
        assert (status, answer["type"], answer["error"]["type"]) == (503, "error", "overloaded_error")
        await stack.start_picker()
        await stack.until_ready()
        assert await _endpoints_of(stack, session, numbers) == before
        results = await asyncio.gather(*running)
        assert [(status, complete) for status, _, complete in results] == [(200, True)] * 30
    await nothing_in_flight(stack)


async def test_requests_under_way_to_a_picker_that_dies_get_an_error_and_others_come_through(stack):
    """Killed and started over and over, while requests come without a pause."""
    await stack.start(2, "--ttft-ms", "5", "--itl-ms", "1")
    ended, codes = asyncio.Event(), []

    async def client(session) -> None:
        while not ended.is_set():
            status, answer = await ask(session, stack, max_tokens=2)
            assert status == 200 or is_error(answer), (status, answer)
            codes.append(status)

    async with many() as session, asyncio.TaskGroup() as tasks:
        for _ in range(10):
            tasks.create_task(client(session))
        for _ in range(3):
            await asyncio.sleep(0.3)
            await stack.kill(stack.picker)
            await asyncio.sleep(0.1)
            await stack.start_picker()
            await stack.until_ready()
        ended.set()
    assert set(codes) == {200, 503}
    await nothing_in_flight(stack)


async def test_sigterm_ends_the_picker_soon_and_no_stream(stack):
    await stack.start(1, "--ttft-ms", "10", "--itl-ms", "30", "--max-num-seqs", "16")
    async with many() as session:
        running = [asyncio.create_task(stream(session, stack, max_tokens=20, ignore_eos=True)) for _ in range(100)]

        async def some_wait() -> bool:
            return await stack.metric("fairlead_gateway_flow_control_queue_size") > 0

        await eventually(some_wait)
        os.kill(stack.picker.pid, signal.SIGTERM)
        assert await asyncio.wait_for(stack.picker.wait(), PATIENCE_S) == 0
        results = await asyncio.gather(*running)
    assert {status for status, _, _ in results} == {200, 503}
    assert all(complete for status, _, complete in results if status == 200)


async def test_a_stopped_picker_is_given_up_in_bounded_time_and_may_go_on(stack):
    await stack.start(1, "--ttft-ms", "10", "--itl-ms", "20")
    async with many() as session:
        running = asyncio.create_task(stream(session, stack, max_tokens=100, ignore_eos=True))
        assert (await ask(session, stack, max_tokens=1))[0] == 200
        os.kill(stack.picker.pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(PATIENCE_S):
                answers = await asyncio.gather(*(ask(session, stack) for _ in range(20)))
            assert {status for status, _ in answers} == {503}
            assert {answer["error"]["code"] for _, answer in answers} == {"picker_unavailable"}
            # Again, on a connection that was never answered.
            async with asyncio.timeout(PATIENCE_S):
                assert (await ask(session, stack))[0] == 503
        finally:
            os.kill(stack.picker.pid, signal.SIGCONT)
        assert (await running)[2]

        async def serves() -> bool:
            return (await ask(session, stack, max_tokens=1))[0] == 200

        await eventually(serves)
    await nothing_in_flight(stack)


@pytest.mark.parametrize("what", ["nothing", "garbage", "zeros", "folder"])
async def test_a_spoilt_memory_is_no_reason_not_to_start(stack, what):
    content = {"nothing": b"", "garbage": b"garbage" * 1000, "zeros": bytes(3_000_000), "folder": None}[what]
    path = stack.folder / "prefixes.bin"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    await stack.start(1, "--ttft-ms", "1", "--itl-ms", "0")
    async with many() as session:
        assert (await ask(session, stack, max_tokens=1))[0] == 200
    os.kill(stack.picker.pid, signal.SIGTERM)
    assert await asyncio.wait_for(stack.picker.wait(), PATIENCE_S) == 0


async def test_a_picker_that_cannot_write_serves_and_writes_when_it_can(stack):
    await stack.start(1, "--ttft-ms", "1", "--itl-ms", "0")
    # As on a full disk: every write to a file fails.
    resource.prlimit(stack.picker.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    async with many() as session:
        for n in range(3):
            assert (await ask(session, stack, messages=_prompt(n), max_tokens=1))[0] == 200
        await asyncio.sleep(5.5)
        assert not (stack.folder / "prefixes.bin").exists()
        assert (await ask(session, stack, messages=_prompt(4), max_tokens=1))[0] == 200
        resource.prlimit(stack.picker.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await _saved(stack)
    os.kill(stack.picker.pid, signal.SIGTERM)
    assert await asyncio.wait_for(stack.picker.wait(), PATIENCE_S) == 0


async def test_a_killed_envoy_leaves_nothing_counted(stack):
    await stack.start(2, "--ttft-ms", "10", "--itl-ms", "30")
    async with many() as session:
        running = [asyncio.create_task(stream(session, stack, max_tokens=500, ignore_eos=True)) for _ in range(20)]

        async def all_run() -> bool:
            return await stack.metric("fairlead_gateway_in_flight_requests") == 20

        await eventually(all_run)
        await stack.kill(stack.envoy)
        results = await asyncio.gather(*running)
        assert not any(complete for _, _, complete in results)
        await stack.start_envoy()
        await stack.until_ready()
        assert (await ask(session, stack, max_tokens=1))[0] == 200
    await nothing_in_flight(stack)


async def test_the_access_log_is_whole_lines_after_a_kill(stack):
    await stack.start(1, "--ttft-ms", "1", "--itl-ms", "0")
    async with many() as session:
        answers = await asyncio.gather(*(ask(session, stack, CHAT_PATH, max_tokens=1) for _ in range(20)))
        assert {status for status, _ in answers} == {200}

    async def all_are_written() -> bool:
        return (stack.folder / "access.log").read_bytes().count(b'"code":200') >= 20

    await eventually(all_are_written)
    await stack.kill(stack.envoy)
    lines = (stack.folder / "access.log").read_text().splitlines()
    assert sum(json.loads(line)["code"] == 200 for line in lines) >= 20
