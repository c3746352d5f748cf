"""Clients that come back with the token of an answer come to the endpoint that gave it."""

from __future__ import annotations

import asyncio
import base64
import json

import aiohttp

CONFIG = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: queue-scorer
- type: session-affinity-filter
"""
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 1}


async def _start(stack, config: str) -> None:
    await asyncio.gather(*(stack.add_engine("--ttft-ms", "0", "--itl-ms", "0") for _ in range(3)))
    (stack.folder / "picker.yaml").write_text(config)
    endpoints = [{"address": address, "pod": f"ns/pod-{n}"} for n, (_, address) in enumerate(stack.engines)]
    pool = {"key": "default/tiny", "models": ["tiny"], "runtime": "simulated", "config": "picker.yaml"}
    (stack.folder / "endpoints.json").write_text(json.dumps({"pools": [{**pool, "endpoints": endpoints}]}))
    await asyncio.gather(stack.start_picker(), stack.start_envoy())
    await stack.until_ready()


async def _ask(session, stack, **headers: str) -> str | None:
    async with session.post(stack.url + "/v1/chat/completions", json=CHAT, headers=headers) as response:
        assert response.status == 200
        return response.headers.get("x-session-token")


async def test_a_token_leads_back(stack):
    await _start(stack, CONFIG)
    async with aiohttp.ClientSession() as session:
        tokens = {await _ask(session, stack) for _ in range(12)}
        assert {base64.b64decode(token).decode() for token in tokens} == {f"ns/pod-{n}" for n in range(3)}
        for token in tokens:
            assert {await _ask(session, stack, **{"x-session-token": token}) for _ in range(4)} == {token}


async def test_there_is_none_where_nobody_asked_for_it(stack):
    await _start(stack, CONFIG.replace("- type: session-affinity-filter\n", ""))
    async with aiohttp.ClientSession() as session:
        assert await _ask(session, stack, **{"x-session-token": "mine"}) is None
