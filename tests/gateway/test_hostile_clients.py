"""Clients that misbehave, leave early or send too much; and the OpenAI SDK, which does none of that."""

import asyncio
import time
from pathlib import Path

import aiohttp
import openai

from patience import PATIENCE_S

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}


async def _raw(stack, text, timeout_s=5.0):
    """Bytes of the answer to bytes on the wire."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
    try:
        writer.write(text)
        await writer.drain()
        return await asyncio.wait_for(reader.read(4096), timeout_s)
    finally:
        writer.close()


def _resident_mb(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


async def test_the_openai_sdk_streams_and_lists_and_gets_typed_errors(stack):
    await stack.start(1, "--ttft-ms", "5", "--itl-ms", "2")
    async with openai.AsyncOpenAI(base_url=stack.url + "/v1", api_key="none", max_retries=0) as client:
        assert {m.id async for m in client.models.list()} == {"tiny", "alias"}
        stream = await client.chat.completions.create(
            model="tiny", messages=CHAT["messages"], max_tokens=12, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        assert chunks[-1].usage.completion_tokens == 12
        whole = await client.chat.completions.create(model="tiny", messages=CHAT["messages"], max_tokens=12)
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert whole.choices[0].message.content == text
        try:
            await client.chat.completions.create(model="nope", messages=CHAT["messages"])
        except openai.NotFoundError as error:
            assert error.code == "model_not_found"
            assert error.param == "model"


async def test_ambiguous_framing_is_refused(stack):
    await stack.start(1)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
    both = (
        head
        + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    assert (await _raw(stack, both)).startswith(b"HTTP/1.1 400")
    twice = head + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde"
    assert (await _raw(stack, twice)).startswith(b"HTTP/1.1 400")
    escaped = b"POST /v1%2Fchat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    assert (await _raw(stack, escaped)).startswith(b"HTTP/1.1 400")


async def test_a_body_that_never_ends_is_refused_in_bounded_memory(stack):
    await stack.start(1)

    async def endless():
        for _ in range(200):
            yield b"x" * 1_000_000

    before_mb = _resident_mb(stack.picker.pid), _resident_mb(stack.envoy.pid)
    async with aiohttp.ClientSession() as session:
        try:
            async with session.post(stack.url + "/v1/chat/completions", data=endless()) as response:
                assert response.status == 413
                assert (await response.json())["error"]["code"] == "request_too_large"
        except aiohttp.ClientOSError:
            pass  # The answer came while the body was still being written, and the connection closed.
        assert _resident_mb(stack.picker.pid) - before_mb[0] < 200
        assert _resident_mb(stack.envoy.pid) - before_mb[1] < 100
        async with session.post(stack.url + "/v1/chat/completions", json={**CHAT, "max_tokens": 1}) as response:
            assert response.status == 200


async def test_a_client_that_leaves_frees_its_place_at_the_engine_and_in_the_count(stack):
    await stack.start(1, "--ttft-ms", "10", "--itl-ms", "10")
    body = {**CHAT, "stream": True, "max_tokens": 10_000, "ignore_eos": True}
    async with aiohttp.ClientSession() as session:
        responses = [await session.post(stack.url + "/v1/chat/completions", json=body) for _ in range(5)]
        assert await stack.metric("fairlead_gateway_in_flight_requests") == 5
        for response in responses:
            response.close()
        deadline = time.monotonic() + PATIENCE_S
        while await stack.metric("fairlead_gateway_in_flight_requests") or await _running(session, stack):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


async def test_clients_that_share_a_request_id_are_counted_apart(stack):
    await stack.start(2, "--ttft-ms", "2000", "--itl-ms", "0")
    async with aiohttp.ClientSession() as session:

        async def ask():
            headers = {"x-request-id": "the-same", "x-fairlead-pick": "the-same"}
            body = {**CHAT, "max_tokens": 1}
            async with session.post(stack.url + "/v1/chat/completions", json=body, headers=headers) as response:
                return response.status

        tasks = [asyncio.create_task(ask()) for _ in range(6)]
        await stack.until_in_flight(6)
        assert await asyncio.gather(*tasks) == [200] * 6


async def test_clients_cannot_change_timeouts_and_long_nonsense_is_not_sent_back(stack):
    await stack.start(1, "--ttft-ms", "200", "--itl-ms", "0")
    async with aiohttp.ClientSession() as session:
        headers = {"x-envoy-upstream-rq-timeout-ms": "50", "x-request-id": "mine"}
        body = {**CHAT, "max_tokens": 1}
        async with session.post(stack.url + "/v1/chat/completions", json=body, headers=headers) as response:
            assert response.status == 200
            assert response.headers["x-request-id"] == "mine"
        async with session.post(stack.url + "/v1/chat/completions", json={**CHAT, "model": "x" * 100_000}) as response:
            assert response.status == 404
            assert len(await response.read()) < 1000


async def test_a_hung_engine_is_left_alone_while_others_serve(stack):
    import os
    import signal

    await stack.start(2, "--ttft-ms", "1", "--itl-ms", "0")
    hung = stack.engines[0][0]
    os.kill(hung.pid, signal.SIGSTOP)
    try:
        async with aiohttp.ClientSession() as session:
            deadline = time.monotonic() + PATIENCE_S
            while await stack.metric('fairlead_gateway_endpoints{pool="default/tiny",state="unreachable"}') != 1:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)
            for _ in range(5):
                async with session.post(stack.url + "/v1/chat/completions", json={**CHAT, "max_tokens": 1}) as response:
                    assert response.status == 200
    finally:
        os.kill(hung.pid, signal.SIGCONT)


async def test_a_restarted_envoy_serves_again(stack):
    await stack.start(1, "--ttft-ms", "1", "--itl-ms", "0")
    await stack.kill(stack.envoy)
    await stack.start_envoy()
    await stack.until_ready()
    async with (
        aiohttp.ClientSession() as session,
        session.post(stack.url + "/v1/chat/completions", json=CHAT) as response,
    ):
        assert response.status == 200


async def _running(session, stack):
    async with session.get(f"http://{stack.engines[0][1]}/metrics") as response:
        lines = (await response.text()).splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith("vllm:num_requests_running{"))
