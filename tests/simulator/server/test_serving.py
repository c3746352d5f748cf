"""The simulated engine over HTTP, as a process."""

import asyncio
import json
import os
import signal
import time

import aiohttp
import pytest

from patience import PATIENCE_S

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "Say something about caches."}]}


async def _events(response):
    events = []
    async for line in response.content:
        if line.startswith(b"data: "):
            events.append((time.monotonic(), line[6:].strip()))
    assert events[-1][1] == b"[DONE]"
    return [(at, json.loads(text)) for at, text in events[:-1]]


async def _metric(session, url, name):
    async with session.get(url + "/metrics") as response:
        for line in (await response.text()).splitlines():
            if line.startswith(name):
                return float(line.split()[-1])
    return None


async def test_streamed_chat_is_paced_and_ends_with_usage(engine):
    one = await engine("--ttft-ms", "50", "--itl-ms", "20")
    body = {**CHAT, "stream": True, "max_tokens": 10, "stream_options": {"include_usage": True}}
    async with aiohttp.ClientSession() as session:
        began = time.monotonic()
        async with session.post(one.url + "/v1/chat/completions", json=body) as response:
            assert response.status == 200
            assert response.content_type == "text/event-stream"
            events = await _events(response)
    assert events[0][1]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert events[0][0] - began >= 0.05
    assert events[-1][0] - began >= 0.05 + 9 * 0.02
    assert events[-1][1]["choices"] == []
    assert events[-1][1]["usage"]["completion_tokens"] == 10
    assert events[-2][1]["choices"][0]["finish_reason"] == "length"
    assert all(e["object"] == "chat.completion.chunk" for _, e in events)


async def test_answers_are_deterministic_and_streaming_gives_the_same_text(engine):
    one = await engine("--ttft-ms", "0", "--itl-ms", "0")
    async with aiohttp.ClientSession() as session:

        async def whole(**extra):
            async with session.post(one.url + "/v1/chat/completions", json={**CHAT, **extra}) as response:
                return (await response.json())["choices"][0]

        first = await whole(seed=7)
        assert first == await whole(seed=7)
        assert first["message"]["content"] != (await whole(seed=8))["message"]["content"]
        assert first["finish_reason"] == "stop"
        async with session.post(one.url + "/v1/chat/completions", json={**CHAT, "seed": 7, "stream": True}) as response:
            events = await _events(response)
        streamed = "".join(e["choices"][0]["delta"].get("content", "") for _, e in events)
        assert streamed == first["message"]["content"]


async def test_stop_string_ends_the_answer_before_it(engine):
    one = await engine("--ttft-ms", "0", "--itl-ms", "0")
    async with aiohttp.ClientSession() as session:
        body = {"model": "tiny", "prompt": "hello", "max_tokens": 40, "ignore_eos": True}
        async with session.post(one.url + "/v1/completions", json=body) as response:
            text = (await response.json())["choices"][0]["text"]
        stop = " ".join(text.split()[20:22])
        for stream in (False, True):
            async with session.post(one.url + "/v1/completions", json={**body, "stop": stop, "stream": stream}) as r:
                if stream:
                    events = await _events(r)
                    got = "".join(e["choices"][0]["text"] for _, e in events)
                    choice = events[-1][1]["choices"][0]
                else:
                    choice = (await r.json())["choices"][0]
                    got = choice["text"]
            assert got == text[: text.index(stop)]
            assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", stop)


async def test_requests_beyond_the_batch_wait_and_are_counted(engine):
    one = await engine("--ttft-ms", "300", "--itl-ms", "0", "--max-num-seqs", "2")
    async with aiohttp.ClientSession() as session:

        async def ask():
            async with session.post(one.url + "/v1/chat/completions", json={**CHAT, "max_tokens": 2}) as response:
                return await response.json()

        began = time.monotonic()
        tasks = [asyncio.create_task(ask()) for _ in range(4)]
        await asyncio.sleep(0.15)
        # The first has the running iteration to itself; one more may join the next.
        assert await _metric(session, one.url, "vllm:num_requests_running{") == 1
        assert await _metric(session, one.url, "vllm:num_requests_waiting{") == 3
        assert await _metric(session, one.url, "vllm:kv_cache_usage_perc{") > 0
        await asyncio.gather(*tasks)
        assert time.monotonic() - began >= 0.6
        assert await _metric(session, one.url, "vllm:num_requests_running{") == 0
        assert await _metric(session, one.url, "vllm:kv_cache_usage_perc{") == 0
        assert await _metric(session, one.url, "vllm:generation_tokens_total{") == 8
        assert await _metric(session, one.url, "vllm:request_queue_time_seconds_count{") == 4


async def test_a_disconnected_client_frees_its_place_and_its_place_in_the_queue(engine):
    one = await engine("--ttft-ms", "20", "--itl-ms", "20", "--max-num-seqs", "1")
    body = {**CHAT, "stream": True, "max_tokens": 5000, "ignore_eos": True}
    async with aiohttp.ClientSession() as session:
        running = await session.post(one.url + "/v1/chat/completions", json=body)
        waiting = await session.post(one.url + "/v1/chat/completions", json=body)
        await asyncio.sleep(0.15)
        assert await _metric(session, one.url, "vllm:num_requests_waiting{") == 1
        waiting.close()
        await asyncio.sleep(0.15)
        assert await _metric(session, one.url, "vllm:num_requests_waiting{") == 0
        running.close()
        await asyncio.sleep(0.15)
        assert await _metric(session, one.url, "vllm:num_requests_running{") == 0
        assert await _metric(session, one.url, 'vllm:request_success_total{engine="0",finished_reason="abort"') == 2


async def test_sigterm_lets_streams_finish_and_refuses_new_requests(engine):
    one = await engine("--ttft-ms", "20", "--itl-ms", "20")
    async with aiohttp.ClientSession() as session:
        body = {**CHAT, "stream": True, "max_tokens": 80, "ignore_eos": True}
        async with session.post(one.url + "/v1/chat/completions", json=body) as response:
            os.kill(one.process.pid, signal.SIGTERM)
            await asyncio.sleep(0.1)
            async with session.get(one.url + "/health") as health:
                assert health.status == 503
            await asyncio.sleep(0.7)
            async with session.post(one.url + "/v1/chat/completions", json=CHAT) as refused:
                assert refused.status == 503
            assert len(await _events(response)) == 81
    assert await asyncio.wait_for(one.process.wait(), PATIENCE_S) == 0


async def test_models_version_and_metric_names(engine):
    one = await engine("--served-model-name", "alias")
    async with aiohttp.ClientSession() as session:
        async with session.get(one.url + "/v1/models") as response:
            assert [m["id"] for m in (await response.json())["data"]] == ["tiny", "alias"]
        async with session.get(one.url + "/version") as response:
            assert "version" in await response.json()
        async with session.get(one.url + "/metrics") as response:
            page = await response.text()
    for name, kind in {
        "vllm:num_requests_running": "gauge",
        "vllm:num_requests_waiting": "gauge",
        "vllm:kv_cache_usage_perc": "gauge",
        "vllm:cache_config_info": "gauge",
        "vllm:prompt_tokens_total": "counter",
        "vllm:generation_tokens_total": "counter",
        "vllm:request_success_total": "counter",
        "vllm:num_preemptions_total": "counter",
        "vllm:prefix_cache_queries_total": "counter",
        "vllm:time_to_first_token_seconds": "histogram",
        "vllm:inter_token_latency_seconds": "histogram",
        "vllm:e2e_request_latency_seconds": "histogram",
    }.items():
        assert f"# TYPE {name} {kind}" in page


async def test_a_taken_port_is_said_in_one_sentence(engine):
    import sys

    one = await engine()
    second = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairlead.simulator.server", "--port", str(one.port), "--model", "x",
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, error = await asyncio.wait_for(second.communicate(), PATIENCE_S)
    assert second.returncode == 1
    assert error.decode().startswith(f"cannot listen on 127.0.0.1:{one.port}: ")


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/completions", {"model": "\ud800"}),
        ("/v1/completions", {"cache_salt": "\ud800"}),
        ("/v1/completions", {"request_id": "\ud800", "stream": True}),
        ("/v1/completions", {"logit_bias": {"\u00b2": 1}}),
        ("/v1/completions", {"logit_bias": {"--1": 1}}),
        ("/v1/completions", {"logit_bias": {"1" * 5000: 1}}),
        ("/v1/completions", {"structured_outputs": {"json": {"type": "number", "multipleOf": 0}}}),
        ("/v1/completions", {"structured_outputs": {"json": {"type": "array", "minItems": 10**9}}}),
        ("/v1/completions", {"structured_outputs": {"regex": "((a{1000}){1000}){1000}"}}),
        ("/abort_requests", {"request_ids": 5}),
        ("/abort_requests", {"request_ids": [["a"]]}),
    ],
)
async def test_odd_bodies_are_the_clients_errors(engine, path, fields):
    one = await engine()
    body = {"model": "tiny", "prompt": "x", "max_tokens": 4, **fields}
    async with aiohttp.ClientSession() as session, session.post(one.url + path, json=body) as response:
        assert response.status in (400, 404)
        assert (await response.json())["error"]["message"]


@pytest.mark.parametrize("failure", ["crash=inf", "truncate=nan", "latency=nan", "corrupt=1e400"])
async def test_a_failure_without_a_number_is_refused(engine, failure):
    one = await engine()
    body = {"model": "tiny", "prompt": "x", "max_tokens": 4}
    headers = {"X-Fairlead-Failure": failure}
    request = aiohttp.request("POST", one.url + "/v1/completions", json=body, headers=headers)
    async with request as response:
        assert response.status == 400
