"""Prefill and decode at different engines, through Envoy and the picker."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

TEXT = "The quick brown fox jumps over the lazy dog. " * 60
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": TEXT}], "max_tokens": 4}


async def _start(stack, prefill: int, decode: int, *, sidecars: bool = False) -> None:
    quick = ("--ttft-ms", "20", "--itl-ms", "1")
    for role, count in (("prefill", prefill), ("decode", decode)):
        await asyncio.gather(*(stack.add_engine("--role", role, *quick) for _ in range(count)))
    addresses = [address for _, address in stack.engines]
    endpoints = [{"address": a, "role": "prefill"} for a in addresses[:prefill]]
    endpoints += [{"address": a, "role": "decode"} for a in addresses[prefill:]]
    plugins = "plugins:\n- type: least-cost-scorer\n"
    if sidecars:
        plugins = (
            "plugins:\n- type: prefill-filter\n- type: decode-filter\n- type: queue-scorer\n"
            "- {type: prefix-based-pd-decider, parameters: {nonCachedTokens: 16}}\n"
            "- {type: disagg-profile-handler, parameters: {deciders: {prefill: prefix-based-pd-decider}}}\n"
            "schedulingProfiles:\n"
            "- {name: prefill, plugins: [{pluginRef: prefill-filter}, {pluginRef: queue-scorer}]}\n"
            "- {name: decode, plugins: [{pluginRef: decode-filter}, {pluginRef: queue-scorer}]}\n"
        )
    (stack.folder / "picker.yaml").write_text(f"apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n{plugins}")
    pool = {
        "key": "default/tiny", "models": ["tiny"], "runtime": "simulated", "endpoints": endpoints,
        "config": "picker.yaml",
    }  # fmt: skip
    (stack.folder / "endpoints.json").write_text(json.dumps({"pools": [pool]}))
    await asyncio.gather(stack.start_picker(), stack.start_envoy())
    await stack.until_ready()


async def _ask(session, stack, **extra):
    async with session.post(stack.url + "/v1/chat/completions", json={**CHAT, **extra}) as response:
        return response.status, await response.json()


async def _count(session, address, name):
    async with session.get(f"http://{address}/metrics") as response:
        lines = (await response.text()).splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


async def test_prompts_are_computed_by_prefill_engines_and_answered_by_decode_engines(stack):
    await _start(stack, 1, 2)
    async with aiohttp.ClientSession() as session:
        answers = await asyncio.gather(*(_ask(session, stack) for _ in range(8)))
        assert [status for status, _ in answers] == [200] * 8, answers
        assert all(answer["usage"]["completion_tokens"] == 4 for _, answer in answers)
        prefill, *decode = [address for _, address in stack.engines]
        assert await _count(session, prefill, "vllm:request_success_total") >= 1
        served = [await _count(session, a, "vllm:generation_tokens_total") for a in decode]
    assert sum(served) == 32


async def test_a_killed_prefill_engine_loses_no_request(stack):
    await _start(stack, 2, 1)
    async with aiohttp.ClientSession() as session:
        asked = [asyncio.create_task(_ask(session, stack)) for _ in range(10)]
        await asyncio.sleep(0.02)
        await stack.kill(stack.engines[0][0])
        await stack.kill(stack.engines[1][0])
        statuses = [status for status, _ in await asyncio.gather(*asked)]
        assert statuses.count(200) + sum(s >= 500 for s in statuses) == 10
        assert [(await _ask(session, stack))[0] for _ in range(3)] == [200] * 3


async def test_sidecars_are_told_in_a_header(stack):
    await _start(stack, 1, 1, sidecars=True)
    prefill = stack.engines[0][1]
    seen = []

    async def record(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        seen.append(head.decode().lower())
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{}")
        await writer.drain()
        writer.close()

    sidecar = await asyncio.start_server(record, "127.0.0.1", 0)
    address = f"127.0.0.1:{sidecar.sockets[0].getsockname()[1]}"
    pool = json.loads((stack.folder / "endpoints.json").read_text())
    pool["pools"][0]["endpoints"][1]["address"] = address
    fresh = stack.folder / "endpoints.new"
    fresh.write_text(json.dumps(pool))
    fresh.replace(stack.folder / "endpoints.json")
    await asyncio.sleep(0.5)
    async with aiohttp.ClientSession() as session:
        headers = {"x-prefiller-host-port": "10.9.9.9:1"}
        async with session.post(stack.url + "/v1/chat/completions", json=CHAT, headers=headers) as response:
            assert response.status == 200
    sidecar.close()
    told = [head for head in seen if head.startswith("post")]
    assert len(told) == 1
    assert f"x-prefiller-host-port: {prefill}" in told[0]
    assert "10.9.9.9" not in told[0]


@pytest.mark.parametrize("field", ["kv_transfer_params", "bootstrap_host"])
async def test_a_client_cannot_say_where_a_cache_is_fetched(stack, field):
    await _start(stack, 1, 1)
    seen = []

    async def elsewhere(reader, writer):
        seen.append(await reader.read(10))
        writer.close()

    trap = await asyncio.start_server(elsewhere, "127.0.0.1", 0)
    port = trap.sockets[0].getsockname()[1]
    place = {"do_remote_prefill": True, "remote_host": "127.0.0.1", "remote_port": port, "remote_block_ids": [1]}
    async with aiohttp.ClientSession() as session:
        status, _ = await _ask(session, stack, **{field: place if field == "kv_transfer_params" else "127.0.0.1"})
    assert status == 200
    assert seen == []
    trap.close()
