"""The engine behind the server: caches by hand, nothing lost under random loads, and the same as in virtual time."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re

import aiohttp
import pytest

from fairlead.simulator.engine import Engine, EngineSettings
from fairlead.simulator.server.journal import read_journal, replay
from fairlead.simulator.server.pace import PacedCost


async def metrics(session, url):
    """name of a series without labels -> sum of its samples."""
    async with session.get(url + "/metrics") as response:
        text = await response.text()
    totals: dict[str, float] = {}
    for name, value in re.findall(r"^([a-z0-9_:]+)(?:\{.*\})? (\S+)$", text, re.M):
        totals[name] = totals.get(name, 0.0) + float(value)
    return totals


async def complete(session, url, prompt, **fields):
    body = {"model": "tiny", "prompt": prompt, "max_tokens": 1, "ignore_eos": True, **fields}
    async with session.post(url + "/v1/completions", json=body) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def test_prefix_hits_of_a_trace_by_hand(engine):
    one = await engine("--ttft-ms", "0", "--itl-ms", "0", "--block-size", "16", "--num-gpu-blocks", "12")
    trace = [
        # (prompt, salt, tokens found): blocks of 16 tokens; the last token of a prompt is always computed.
        (list(range(48)), None, 0),
        (list(range(48)), None, 32),
        (list(range(49)), None, 48),
        (list(range(40)), None, 32),
        ([99, *range(1, 48)], None, 0),
        ([*range(32), 7, 7, 7], None, 32),
        (list(range(48)), "salt", 0),
        (list(range(48)), "salt", 32),
        # Ten blocks of new content need room: the least recently used go.
        (list(range(1000, 1160)), None, 0),
        (list(range(48)), None, 0),
    ]
    async with aiohttp.ClientSession() as session:
        hits = queries = 0
        for prompt, salt, found in trace:
            await complete(session, one.url, prompt, **({"cache_salt": salt} if salt else {}))
            hits += found
            queries += len(prompt)
            page = await metrics(session, one.url)
            assert page["vllm:prefix_cache_hits_total"] == hits, prompt
            assert page["vllm:prefix_cache_queries_total"] == queries
        async with session.post(one.url + "/reset_prefix_cache") as response:
            assert await response.json() == {"success": True}
        await complete(session, one.url, list(range(48)))
        assert (await metrics(session, one.url))["vllm:prefix_cache_hits_total"] == hits


@pytest.mark.parametrize("seed", [1, 2])
async def test_random_loads_lose_nothing_and_leak_nothing(engine, seed):
    one = await engine(
        "--ttft-ms", "3", "--itl-ms", "2", "--max-num-seqs", "6", "--num-gpu-blocks", "24", "--max-model-len", "300",
        "--jitter", "0.3", "--seed", str(seed),
    )  # fmt: skip
    generator = random.Random(seed)
    answered = 0

    async def ask(session, index):
        nonlocal answered
        await asyncio.sleep(generator.random() * 0.4)
        tokens, leaves = generator.randint(1, 60), generator.random() < 0.3
        body = {
            "model": "tiny", "prompt": f"{index % 5} " * generator.randint(1, 150), "max_tokens": tokens,
            "ignore_eos": True, "stream": True, "stream_options": {"include_usage": True},
        }  # fmt: skip
        async with session.post(one.url + "/v1/completions", json=body) as response:
            assert response.status == 200
            if leaves:
                await asyncio.sleep(generator.random() * 0.1)
                return
            lines = [line[6:].strip() async for line in response.content if line.startswith(b"data: ")]
        assert lines[-1] == b"[DONE]"
        events = [json.loads(line) for line in lines[:-1]]
        assert events[-1]["usage"]["completion_tokens"] == tokens
        assert len([event for event in events if event["choices"]]) <= tokens
        answered += 1

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(ask(session, index) for index in range(60)))
        for _ in range(500):
            page = await metrics(session, one.url)
            if not page["vllm:num_requests_running"] and not page["vllm:num_requests_waiting"]:
                break
            await asyncio.sleep(0.02)
        # Whatever anybody left behind, the whole cache can be had again.
        assert page["vllm:kv_cache_usage_perc"] == 0
        assert page["vllm:num_requests_running"] == page["vllm:num_requests_waiting"] == 0
        # Every request has ended once, by itself or because its client left.
        assert page["vllm:request_success_total"] == 60
        assert answered <= page["vllm:request_generation_tokens_count"] <= 60
        await complete(session, one.url, list(range(5000, 5280)), max_tokens=10)


async def test_wall_clock_and_virtual_clock_agree(engine, tmp_path):
    log = tmp_path / "journal"
    flags = (
        "--ttft-ms",
        "7",
        "--itl-ms",
        "4",
        "--max-num-seqs",
        "5",
        "--num-gpu-blocks",
        "30",
        "--max-model-len",
        "400",
    )
    one = await engine(*flags, "--jitter", "0.2", "--seed", "5", "--submit-log", str(log), "--data-parallel-size", "2")
    generator = random.Random(3)
    waits: dict[str, list[float]] = {}

    async def ask(session, index):
        await asyncio.sleep(index * 0.01)
        body = {
            "model": "tiny", "prompt": "word " * generator.randint(1, 60), "max_tokens": generator.randint(1, 40),
            "ignore_eos": True, "stream": True,
        }  # fmt: skip
        headers = {"X-Request-Id": str(index)}
        async with session.post(one.url + "/v1/completions", json=body, headers=headers) as response:
            if index % 7 == 3:
                await asyncio.sleep(0.03)
                return
            loop, times = asyncio.get_running_loop(), []
            async for line in response.content:
                if line.startswith(b"data: {"):
                    times.append(loop.time())
            waits[f"cmpl-{index}"] = times

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(ask(session, index) for index in range(40)))
        live = await metrics(session, one.url)
    assert await one.stop() == 0
    settings = EngineSettings(num_blocks=30, max_num_seqs=5, max_model_len=400, jitter=0.2, async_scheduling=False)
    engines = [Engine(settings, PacedCost(0.007, 0.004), seed=5 + rank) for rank in range(2)]
    entries = read_journal(log)
    times = replay(entries, engines)
    assert len({entry.rank for entry in entries}) == 2
    assert sum(entry.abort for entry in entries) > 0
    for name, seen in waits.items():
        assert len(times[name]) == len(seen)
        # A byte cannot be read before its token exists; the client's clock has milliseconds.
        assert all(at >= due - 0.002 for at, due in zip(seen, times[name], strict=True))
    assert sum(engine.counters.generation_tokens for engine in engines) == live["vllm:generation_tokens_total"]
    assert sum(engine.scheduler.preemptions for engine in engines) == live["vllm:num_preemptions_total"]
    assert sum(engine.scheduler.prefix_hit_tokens for engine in engines) == live["vllm:prefix_cache_hits_total"]
    assert sum(engine.counters.prompt_tokens for engine in engines) == live["vllm:prompt_tokens_total"]


async def test_latencies_on_the_page_are_those_of_the_engine(engine, tmp_path):
    log = tmp_path / "journal"
    one = await engine("--ttft-ms", "20", "--itl-ms", "10", "--submit-log", str(log))
    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(complete(session, one.url, f"p{i}", max_tokens=20) for i in range(5)))
        page = await metrics(session, one.url)
    assert await one.stop() == 0
    engine_again = Engine(EngineSettings(async_scheduling=False), PacedCost(0.02, 0.01))
    entries = read_journal(log)
    times = replay(entries, [engine_again])
    arrived = {entry.id: entry.at_s for entry in entries}
    itls = [after - before for each in times.values() for before, after in itertools.pairwise(each)]
    assert page["vllm:time_to_first_token_seconds_count"] == 5
    assert page["vllm:time_to_first_token_seconds_sum"] == pytest.approx(
        sum(each[0] - arrived[name] for name, each in times.items())
    )
    assert page["vllm:inter_token_latency_seconds_count"] == len(itls) == 5 * 19
    assert page["vllm:inter_token_latency_seconds_sum"] == pytest.approx(sum(itls))
    assert page["vllm:e2e_request_latency_seconds_sum"] == pytest.approx(
        sum(each[-1] - arrived[name] for name, each in times.items())
    )


async def test_a_client_that_does_not_read_holds_nobody_up(engine):
    one = await engine("--ttft-ms", "1", "--itl-ms", "1")
    body = json.dumps(
        {"model": "tiny", "prompt": "x", "max_tokens": 30_000, "ignore_eos": True, "stream": True, "logprobs": 5}
    ).encode()
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", one.port, limit=1024)
    writer.write(head % len(body) + body)
    await writer.drain()
    async with aiohttp.ClientSession() as session:
        await complete(session, one.url, "y", max_tokens=300)
        before = (await metrics(session, one.url))["process_resident_memory_bytes"]
        await complete(session, one.url, "z", max_tokens=2000)
        page = await metrics(session, one.url)
        assert page["process_resident_memory_bytes"] - before < 16 * 2**20
        assert page["vllm:num_requests_running"] == 1
    writer.close()
    del reader
