"""Precise prefixes: the engines' own cache events decide where a prompt goes, through Envoy and the picker."""

from __future__ import annotations

import asyncio
import json
import tempfile

import aiohttp
import pytest

CONFIG = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: prefix-cache-scorer
- type: token-producer
  parameters: {modelName: tiny, vllm: {url: "http://engine"}}
- type: precise-prefix-cache-producer
schedulingProfiles:
- {name: default, plugins: [{pluginRef: prefix-cache-scorer}]}
"""


@pytest.fixture
async def precise(stack):
    """Two engines that publish their cache events."""
    # Names of such sockets have at most 107 bytes.
    folder = tempfile.TemporaryDirectory()
    for n in range(2):
        events, replay = f"ipc://{folder.name}/e{n}", f"ipc://{folder.name}/r{n}"
        settings = {
            "enable_kv_cache_events": True, "publisher": "zmq", "endpoint": events, "replay_endpoint": replay,
        }  # fmt: skip
        await stack.add_engine("--ttft-ms", "5", "--itl-ms", "1", "--kv-events-config", json.dumps(settings))
    (stack.folder / "picker.yaml").write_text(CONFIG)
    pool = {
        "key": "default/tiny", "models": ["tiny"], "runtime": "simulated", "config": "picker.yaml",
        "endpoints": [address for _, address in stack.engines],
    }  # fmt: skip
    (stack.folder / "endpoints.json").write_text(json.dumps({"pools": [pool]}))
    await asyncio.gather(stack.start_picker(), stack.start_envoy())
    await stack.until_ready()
    await asyncio.sleep(0.5)
    yield stack
    folder.cleanup()


async def _post(session, url, path, body, name=""):
    async with session.post(url + path, json=body, headers={"x-request-id": name} if name else None) as response:
        assert response.status == 200, await response.text()
        return await response.json()


def _decision(rows, name):
    return next(row for row in rows if row["request_id"] == name)


async def _decisions(stack):
    from fairlead.gateway.run import picker_admin_socket

    connector = aiohttp.UnixConnector(str(picker_admin_socket(stack.folder)))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get("http://picker/decisions?limit=50") as response,
    ):
        return await response.json()


@pytest.mark.parametrize("api", ["tokens", "chat"])
async def test_what_an_engine_computed_for_others_is_known(precise, api):
    stack = precise
    if api == "tokens":
        path, body = "/v1/completions", {"prompt": list(range(100, 420)), "max_tokens": 1}
    else:
        text = "All the world's a stage, and all the men and women merely players. " * 20
        path, body = "/v1/chat/completions", {"messages": [{"role": "user", "content": text}], "max_tokens": 1}
    body["model"] = "tiny"
    async with aiohttp.ClientSession() as session:
        # Not through the gateway: only the engine's events can tell of it.
        other = stack.engines[1][1]
        await _post(session, f"http://{other}", path, body)
        await asyncio.sleep(0.5)
        for n in range(3):
            answer = await _post(session, stack.url, path, body, f"known-{n}")
            row = _decision(await _decisions(stack), f"known-{n}")
            assert row["endpoint"] == other
            assert row["prompt_tokens"] == answer["usage"]["prompt_tokens"]
            # All whole blocks of 16 tokens, but that the last token is computed anew.
            assert row["matched_tokens"] >= row["prompt_tokens"] - 17


async def test_an_engine_that_loses_its_cache_is_known_to_have_lost_it(precise):
    stack = precise
    body = {"model": "tiny", "prompt": list(range(500, 820)), "max_tokens": 1}
    async with aiohttp.ClientSession() as session:
        other = stack.engines[1][1]
        await _post(session, f"http://{other}", "/v1/completions", body)
        await asyncio.sleep(0.5)
        async with session.post(f"http://{other}/reset_prefix_cache") as response:
            assert response.status == 200
        await asyncio.sleep(0.5)
        await _post(session, stack.url, "/v1/completions", body, "after")
    assert _decision(await _decisions(stack), "after")["matched_tokens"] == 0
