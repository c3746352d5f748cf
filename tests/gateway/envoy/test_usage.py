"""Token counts, times and ends of answers come back in Envoy's access log, from real engines' streams."""

import asyncio
import json

import aiohttp
import pytest
from aiohttp import web

from fairlead.gateway.envoy import access_log
from gateway.envoy.front import request_for, until


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"])
async def test_every_api_tells_its_tokens(front, path, stream):
    await front.start(arguments=("--ttft-ms", "40", "--itl-ms", "10"))
    options = {"include_usage": True} if path in ("/v1/chat/completions", "/v1/completions") and stream else None
    extra = {"stream": stream, "ignore_eos": True, **({"stream_options": options} if options else {})}
    async with (
        aiohttp.ClientSession() as session,
        session.post(front.url + path, json=request_for(path, **extra)) as response,
    ):
        assert response.status == 200, await response.text()
        text = (await response.read()).decode()
    (done,) = await front.turns.next_completions(1)
    assert done.output_tokens == 4
    assert done.prompt_tokens is not None
    assert f"{done.prompt_tokens}" in text
    assert (done.code, done.attempts, done.served) == (200, 1, front.turns.addresses[0])
    assert not (done.died or done.client_left or done.connect_failed)
    assert done.stream_events == (text.count("data:") if stream else None)
    assert 0.035 < done.first_byte_s <= done.last_byte_s <= done.duration_s


async def _engine(front, *parts: bytes, headers=None):
    """An engine whose answers have exactly these parts."""

    async def answer(request):
        await request.read()
        response = web.StreamResponse(headers={"content-type": "application/json", **(headers or {})})
        await response.prepare(request)
        for part in parts:
            await response.write(part)
            await asyncio.sleep(0.002)
        await response.write_eof()
        return response

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    front.turns.addresses.append(f"127.0.0.1:{runner.addresses[0][1]}")
    return runner


EVENTS = {"content-type": "text/event-stream; charset=utf-8"}


@pytest.mark.parametrize(
    ("parts", "headers", "expected"),
    [
        ([b'{"x": "', b"y" * 3_000_000, b'", "usage": {"prompt_tokens": 3}}'], {}, (3, None, None)),
        ([b'{"usage": {"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}}}'], {}, (3, None, 2)),
        ([b'{"a": "\\"usage\\": {\\"prompt_tokens\\": 9}"}'], {}, (None, None, None)),
        ([b'data: {"usage": {"prompt_tok', b'ens": 31, "completion_tokens": 1', b'7}}\n\n'], EVENTS, (31, 17, None)),
        ([b'data: {"usage": null}\n\n'] * 50 + [b"data: [DONE]\n\n"], EVENTS, (None, None, None)),
        (
            [b'event: x\ndata: {"message": {"usage": {"input_tokens": 5, "cache_read_input_tokens": 2}}}\n\n']
            + [b'data: {"delta": {"text": "hello"}}\n\n'] * 100
            + [b'data: {"usage": {"output_tokens": 8}}\n\n', b"event: message_stop\ndata: {}\n\n"],
            EVENTS,
            (7, 8, 2),
        ),
        ([b"not json at all"], {}, (None, None, None)),
        ([b'{"usage": {"prompt_tokens": 3}}'], {"content-encoding": "br"}, (None, None, None)),
    ],
)  # fmt: skip
async def test_counts_are_found_wherever_an_answer_is_cut(front, parts, headers, expected):
    runner = await _engine(front, *parts, headers=headers)
    await front.start(engines=0)
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.post(front.url + "/v1/chat/completions", json=request_for("")) as response,
    ):
        assert await response.read() == b"".join(parts)
    (done,) = await front.turns.next_completions(1)
    assert (done.prompt_tokens, done.output_tokens, done.cached_tokens) == expected
    await runner.cleanup()


async def test_the_file_log_has_the_counts_too(front):
    await front.start(arguments=("--ttft-ms", "0", "--itl-ms", "0"))
    assert (await front.ask())[0] == 200
    await until(lambda: access_log(front.folder).read_text())
    line = json.loads(access_log(front.folder).read_text().splitlines()[0])
    assert line["output_tokens"] == 4
    assert line["pick_id"] == "r-1"
    assert line["endpoint"] == front.turns.addresses[0]


async def test_a_client_that_leaves_and_an_engine_that_dies_are_told_apart(front):
    await front.start(arguments=("--ttft-ms", "10", "--itl-ms", "20"))
    body = request_for("", stream=True, max_tokens=1000, ignore_eos=True)
    async with aiohttp.ClientSession() as session:
        async with session.post(front.url + "/v1/chat/completions", json=body) as response:
            await response.content.readany()
        left = (await front.turns.next_completions(1))[0]
        assert (left.client_left, left.died, left.code) == (True, False, 200)
        async with session.post(front.url + "/v1/chat/completions", json=body) as response:
            for _ in range(20):
                await response.content.readline()
            front.processes[0].kill()
            with pytest.raises(aiohttp.ClientError):
                await response.read()
        died = (await front.turns.next_completions(2))[1]
        assert (died.client_left, died.died, died.code, died.output_tokens) == (False, True, 200, None)
        assert died.stream_events >= 1
        async with session.post(front.url + "/v1/chat/completions", json=body) as response:
            assert response.status == 503
        refused = (await front.turns.next_completions(3))[2]
        assert (refused.connect_failed, refused.served, refused.code) == (True, "", 503)


async def test_a_fallback_that_served_is_named(front):
    await front.start(arguments=("--ttft-ms", "0", "--itl-ms", "0"))
    front.turns.addresses.insert(1, "127.0.0.1:1")
    assert (await front.ask())[0] == 200
    (done,) = await front.turns.next_completions(1)
    assert (done.attempts, done.connect_failed, done.served) == (2, True, front.turns.addresses[0])


async def test_answers_of_the_gateway_itself_are_no_completions(front):
    await front.start(arguments=("--ttft-ms", "0", "--itl-ms", "0"))
    async with aiohttp.ClientSession() as session, session.get(front.url + "/v1/models") as response:
        assert response.status == 200
    assert (await front.ask())[0] == 200
    assert [done.pick_id for done in await front.turns.next_completions(1)] == ["r-1"]
