"""Engines that lie, babble, hang and die, behind the real Envoy: others serve, and every answer has an end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal

import pytest

from gateway.faults import (
    CHAT_PATH,
    ask,
    eventually,
    is_error,
    many,
    nothing_in_flight,
    pool,
    resident_mb,
    start,
    stream,
)
from gateway.hostile_engine import CHAT, PAGE, HostileEngine, plain, saying
from patience import PATIENCE_S

_LIES = {
    "nan": PAGE.replace(" 0", " NaN"),
    "negative": PAGE.replace(" 0", " -5"),
    "infinite": PAGE.replace(" 0", " +Inf"),
    "huge": PAGE.replace(" 0", " 1e308"),
    "beyond floats": PAGE.replace(" 0", " " + "9" * 400),
    "no numbers": PAGE.replace(" 0", " many"),
    "repeated": PAGE * 2000,
    "labels": 'vllm:num_requests_running{a="' + "x" * 100_000 + '"} 0\n',
    "unclosed": 'vllm:num_requests_running{a="',
    "binary": "\x00\x01\x02" * 1000,
    "queue of a thousand million": PAGE.replace("waiting 0", "waiting 1000000000"),
    "adapters": 'vllm:lora_requests_info{max_lora="99999999999999999999",running_lora_adapters="'
    + ",".join(f"a{n}" for n in range(20_000)) + '",waiting_lora_adapters=""} 1e999\n',
    "block sizes": 'vllm:cache_config_info{block_size="0",num_gpu_blocks="-3"} 1\n' + PAGE,
    "html": "<html><body>" + "<p>hello</p>" * 10_000,
    "nothing": "",
}  # fmt: skip


async def _endless(asked, writer):
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n")
    for _ in range(3000):
        writer.write(b"vllm:num_requests_running 0\n" * 1000)
        await writer.drain()


async def _drip(asked, writer):
    for byte in plain(PAGE, "text/plain"):
        writer.write(bytes((byte,)))
        await asyncio.sleep(0.1)


async def _silent(asked, writer):
    await asyncio.sleep(30)


_PAGES = {name: saying(plain(text, "text/plain")) for name, text in _LIES.items()} | {
    "html by name": saying(plain("<html>", "text/html")),
    "no content": saying(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "moved": saying(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"),
    "gzip": saying(plain(b"\x1f\x8b\x08", "text/plain", head="content-encoding: gzip\r\n")),
    "no HTTP": saying(b"SSH-2.0-OpenSSH_9\r\n\r\n", close=True),
    "length of a thousand million": saying(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n"),
    "bad chunks": saying(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nFFFFFFFFF\r\n", close=True),
    "cut": saying(plain(PAGE, "text/plain")[:-10], close=True),
    "endless": _endless,
    "drip": _drip,
    "silent": _silent,
}


async def test_whatever_stands_in_its_metrics_the_pool_serves(stack):
    async with contextlib.AsyncExitStack() as open_:
        liars = {name: await open_.enter_async_context(HostileEngine(page)) for name, page in _PAGES.items()}
        honest = await open_.enter_async_context(HostileEngine())
        await start(stack, pool(*(engine.address for engine in liars.values()), honest.address))
        before_mb = resident_mb(stack.picker)
        async with many() as session:
            # Each is asked several times; slow ones hold nobody up.
            for _ in range(6):
                answers = await asyncio.gather(*(ask(session, stack) for _ in range(2 * len(_PAGES))))
                assert {status for status, _ in answers} == {200}
                await asyncio.sleep(0.4)
        assert resident_mb(stack.picker) - before_mb < 80
        assert all(engine.asked_pages >= 2 for engine in liars.values())
        # Those that are silent may count as hung, and nonsense is no load.
        assert len([name for name, engine in liars.items() if engine.asked]) >= len(liars) - 2
    await nothing_in_flight(stack)


async def test_an_engine_that_refuses_everything_at_once_does_not_draw_all_requests(stack):
    """It looks idle: its queue is empty whatever it is sent."""
    async with HostileEngine() as liar, HostileEngine() as honest:
        refusal = {"error": {"message": "no", "type": "server_error", "code": 503}}
        liar.answer = saying(plain(json.dumps(refusal), status="503 Service Unavailable"))

        async def slowly(asked, writer):
            await asyncio.sleep(0.05)
            await saying(plain(json.dumps(CHAT)))(asked, writer)

        honest.answer = slowly
        await start(stack, pool(liar.address, honest.address))
        async with many() as session:
            codes = []
            for _ in range(15):
                codes += [status for status, _ in await asyncio.gather(*(ask(session, stack) for _ in range(4)))]
                await asyncio.sleep(0.1)
            assert codes[-12:] == [200] * 12, codes
            assert codes.count(503) <= 16
            # It is well again, and gets its share again.
            liar.answer = saying(plain(json.dumps(CHAT)))
            seen = len(liar.asked)

            async def asked_again() -> bool:
                await asyncio.gather(*(ask(session, stack) for _ in range(4)))
                return len(liar.asked) > seen

            await eventually(asked_again)
    await nothing_in_flight(stack)


async def test_errors_that_a_request_brings_about_everywhere_take_no_engine_out(stack):
    async with HostileEngine() as one, HostileEngine() as two:

        async def touchy(asked, writer):
            bad = b"crash" in asked.body
            text = plain("{}", status="500 Internal Server Error") if bad else plain(json.dumps(CHAT))
            await saying(text)(asked, writer)

        one.answer = two.answer = touchy
        await start(stack, pool(one.address, two.address))
        async with many() as session:
            for n in range(60):
                bad = n % 3 == 0 or n > 40
                status, _ = await ask(session, stack, **({"user": "crash"} if bad else {}))
                assert status == (500 if bad else 200)
            one.asked.clear(), two.asked.clear()
            await asyncio.gather(*(ask(session, stack) for _ in range(20)))
            assert one.asked and two.asked


def _chunk(text: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(text), text)


_SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_ANSWERS = {
    # name -> (bytes, close the connection after them, the status that clients may see)
    "nothing": (b"", True, {503}),
    "no HTTP": (b"hello\r\n\r\n", True, {502, 503}),
    "status of 999": (b"HTTP/1.1 999 What\r\ncontent-length: 0\r\n\r\n", False, {502, 503, 999}),
    "status of 0": (b"HTTP/1.1 000 What\r\ncontent-length: 0\r\n\r\n", False, {0, 502, 503}),
    "continue": (b"HTTP/1.1 100 Continue\r\n\r\n" + plain(json.dumps(CHAT)), False, {200}),
    "early hints": (b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + plain(json.dumps(CHAT)), False, {200, 502}),
    "switching protocols": (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", True, {101, 502, 503}),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", False, {204}),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\n\r\n", False, {304}),
    "close after head": (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n", True, {0, 200}),
    "close within body": (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{}", True, {0, 200}),
    "two lengths": (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}x", False, {502, 503}),
    "length and chunks": (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", False,
                          {200, 502, 503}),
    "negative length": (b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\n", True, {502, 503}),
    "header of 200 kB": (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000 + b"\r\ncontent-length: 0\r\n\r\n", False,
                         {502, 503}),
    "1000 headers": (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 1000 + b"content-length: 0\r\n\r\n", False, {502, 503}),
    "bad chunk": (_SSE + b"zz\r\n", True, {0, 200}),
    "garbage events": (_SSE + _chunk(b'data: {"usage": {"prompt_tokens": -1e999, "completion_tokens": []}}\n\n'
                       b"\xff\xfe") + b"0\r\n\r\n", False, {200}),
    "usage without end": (_SSE + _chunk(b'data: {"usage": ' + b"{" * 50_000) + b"0\r\n\r\n", False, {200}),
    "huge usage": (_SSE + _chunk(b'data: {"usage": {"prompt_tokens": 99999999999999999999999999, "completion_tokens": '
                                 b"1" + b"0" * 400 + b"}}\n\n") + b"0\r\n\r\n", False, {200}),
    "steering headers": (plain("{}", head="x-gateway-destination-endpoint: 127.0.0.1:1\r\nx-fairlead-pick: a\r\n"),
                         False, {200}),
}  # fmt: skip


async def test_whatever_an_engine_answers_the_next_request_is_served(stack):
    async with HostileEngine() as engine:
        await start(stack, pool(engine.address))
        for name, (text, close, expected) in _ANSWERS.items():
            for streamed in (False, True):
                engine.answer = saying(text, close=close)
                async with many() as session, asyncio.timeout(PATIENCE_S):
                    status, answer = await ask(session, stack, stream=streamed)
                assert status in expected, (name, status, answer)
                if status in (502, 503):
                    assert is_error(answer), (name, answer)
                engine.answer = saying(plain(json.dumps(CHAT)))
                async with many() as session, asyncio.timeout(PATIENCE_S):
                    status, answer = await ask(session, stack)
                assert status == 200, (name, status, answer)
    await nothing_in_flight(stack)


@pytest.mark.parametrize("size", [100, 3_000_000])
async def test_an_engine_may_answer_before_it_has_read(stack, size):
    async with HostileEngine(reads_bodies=False) as engine:
        error = plain('{"error": {"message": "too long"}}', status="400 Bad Request", head="connection: close\r\n")
        engine.answer = saying(error, close=True)
        await start(stack, pool(engine.address))
        async with many() as session:
            for _ in range(3):
                status, answer = await ask(session, stack, messages=[{"role": "user", "content": "x" * size}])
                assert status in (400, 503), (status, answer)
                assert is_error(answer)
    await nothing_in_flight(stack)


async def test_a_killed_engine_under_many_streams_ends_its_own_and_no_other(stack):
    await stack.start(3, "--ttft-ms", "20", "--itl-ms", "25")
    async with many() as session:
        asked = [asyncio.create_task(stream(session, stack, max_tokens=150, ignore_eos=True)) for _ in range(60)]

        await stack.until_in_flight(60)
        await asyncio.sleep(0.3)
        await stack.kill(stack.engines[1][0])
        late = [asyncio.create_task(stream(session, stack, max_tokens=5, ignore_eos=True)) for _ in range(20)]
        results = await asyncio.gather(*asked)
        whole = [lines for _, lines, complete in results if complete]
        cut = [lines for _, lines, complete in results if not complete]
        assert len(whole) == 40 and len(cut) == 20
        assert set(whole) == {152}
        assert all(complete for _, _, complete in await asyncio.gather(*late))
    await nothing_in_flight(stack)


@pytest.mark.parametrize("after_first_token", [False, True])
async def test_a_stopped_engine_holds_only_its_own_requests(stack, after_first_token):
    await stack.start(2, "--ttft-ms", "20" if after_first_token else "3000", "--itl-ms", "40")
    hung = stack.engines[0][0]
    async with many() as session:
        asked = [asyncio.create_task(stream(session, stack, max_tokens=90, ignore_eos=True)) for _ in range(8)]

        await stack.until_in_flight(8)
        await asyncio.sleep(0.3)
        os.kill(hung.pid, signal.SIGSTOP)
        try:

            async def others_are_done() -> bool:
                return sum(task.done() for task in asked) >= 4

            async def is_seen() -> bool:
                return await stack.metric('fairlead_gateway_endpoints{pool="default/tiny",state="unreachable"}') == 1

            await eventually(others_are_done)
            await eventually(is_seen)
            assert all(task.result()[2] for task in asked if task.done())
            assert (await ask(session, stack, max_tokens=1))[0] == 200
            held = [task for task in asked if not task.done()]
            assert len(held) == 4
        finally:
            os.kill(hung.pid, signal.SIGCONT)
        # It goes on where it was.
        assert all(complete for _, _, complete in await asyncio.gather(*held))
    await nothing_in_flight(stack)


async def test_an_engine_that_comes_back_with_garbage_ends_what_waited_for_it(stack):
    """Its process has gone while it hung: what waits for it is told so."""
    await stack.start(2, "--ttft-ms", "4000", "--itl-ms", "1")
    hung = stack.engines[0][0]
    async with many() as session:
        asked = [asyncio.create_task(ask(session, stack, max_tokens=2)) for _ in range(8)]
        await stack.until_in_flight(8)
        os.kill(hung.pid, signal.SIGSTOP)
        await asyncio.sleep(0.2)
        await stack.kill(hung)
        answers = await asyncio.gather(*asked)
    assert sorted(status for status, _ in answers) == [200] * 4 + [503] * 4
    assert all(is_error(answer) for status, answer in answers if status == 503)
    await nothing_in_flight(stack)


async def test_a_path_of_messages_gets_errors_in_anthropics_form(stack):
    async with HostileEngine() as engine:
        engine.answer = saying(b"", close=True)
        await start(stack, pool(engine.address))
        async with many() as session:
            for path, form in ((CHAT_PATH, "error"), ("/v1/messages", "type")):
                status, answer = await ask(session, stack, path, max_tokens=1)
                assert status == 503 and form in answer and answer["error"]["message"]
