"""The real vLLM's cache events, tokens and word of where it publishes (`make test-real`)."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from fairlead.gateway.prefix.event_sources import ask_source
from fairlead.gateway.prefix.events import KvEventSubscriber
from fairlead.gateway.prefix.precise import PreciseIndex
from fairlead.gateway.prefix.tokens import EngineTokens, ExactTokens, Tokenization
from gateway.conftest import free_port
from gateway.prefix.test_precise import tokenized

INSTALLER = Path(
    os.environ.get("FAIRLEAD_REAL_VLLM") or Path(__file__).parents[3].parent / "shared" / "tools" / "real-vllm"
)
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not INSTALLER.exists(), reason=f"no installer of vLLM at {INSTALLER}"),
    pytest.mark.timeout(900),
]
BLOCK_TOKENS = 32


@dataclass
class Vllm:
    address: str
    model: Path
    process: asyncio.subprocess.Process
    events: tuple[str, str]


@pytest.fixture
async def vllm(tmp_path) -> AsyncIterator[Vllm]:
    done = await asyncio.to_thread(
        subprocess.run, [str(INSTALLER)], capture_output=True, text=True, timeout=1500, check=True
    )
    paths = dict(line.split("=", 1) for line in done.stdout.split() if "=" in line)
    port, events = free_port(), (f"ipc://{tmp_path}/e", f"ipc://{tmp_path}/r")
    environment = {
        **os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_SERVER_DEV_MODE": "1",
    }  # fmt: skip
    config = f'{{"enable_kv_cache_events": true, "endpoint": "{events[0]}", "replay_endpoint": "{events[1]}"}}'
    with (tmp_path / "log").open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            paths["VLLM"], "serve", paths["MODEL"], "--host", "127.0.0.1", "--port", str(port),
            "--served-model-name", "tiny", "--load-format", "dummy", "--dtype", "float32", "--enforce-eager",
            "--max-model-len", "2048", "--enable-lora", "--lora-modules", f"one={paths['LORA']}",
            "--num-gpu-blocks-override", "256", "--block-size", str(BLOCK_TOKENS), "--kv-events-config", config,
            env=environment, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    try:
        async with aiohttp.ClientSession() as session, asyncio.timeout(400):
            while True:
                assert process.returncode is None, (tmp_path / "log").read_text()[-3000:]
                try:
                    async with session.get(f"http://127.0.0.1:{port}/health") as response:
                        if response.status == 200:
                            break
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.5)
        yield Vllm(f"127.0.0.1:{port}", Path(paths["MODEL"]), process, events)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, 9)
        await process.wait()


async def test_the_index_knows_the_cache_of_the_real_engine(vllm) -> None:
    index, address = PreciseIndex(), vllm.address
    subscriber = KvEventSubscriber(index)
    tokens = list(range(100, 300))

    async def held(prompt, expected: int, **space: str) -> None:
        async with asyncio.timeout(60):
            while index.match(tokenized(*prompt, **space)).get(address, 0) != expected:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def complete(session, **body: object) -> dict:
        body = {"model": "tiny", "prompt": tokens, "max_tokens": 4} | body
        async with session.post(f"http://{address}/v1/completions", json=body) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async with aiohttp.ClientSession() as session:
        source = await ask_source(session, address)
        assert source is not None and (source.endpoint, source.replay_endpoint) == vllm.events
        await complete(session)
        # What was published before is replayed.
        subscriber.follow(address, *source)
        await held(tokens, 192)
        assert index.is_complete(address)
        await held(tokens, 0, adapter="one")
        await complete(session, model="one")
        await held(tokens, 192, adapter="one")
        await complete(session, cache_salt="pepper")
        await held(tokens, 192, salt="pepper")
        await held(tokens, 0, salt="other")
        # Text whose tokens are known exactly.
        tokenization, asks = Tokenization(), EngineTokens(session)
        await tokenization.load("tiny", vllm.model / "tokenizer.json")
        assert await tokenization.confirm("tiny", asks, address)
        text = "It's a story told 1000 times. " * 10
        found = await tokenization.text("tiny", text)
        assert isinstance(found, ExactTokens)
        answer = await complete(session, prompt=text)
        assert answer["usage"]["prompt_tokens"] == found.count
        await held(found.token_ids.tolist(), found.count // BLOCK_TOKENS * BLOCK_TOKENS)
        messages = [{"role": "user", "content": "how are you " * 20}]
        chat = await asks.chat(address, {"model": "tiny", "messages": messages}, 100)
        assert isinstance(chat, ExactTokens)
        async with session.post(
            f"http://{address}/v1/chat/completions", json={"model": "tiny", "messages": messages, "max_tokens": 1}
        ) as response:
            assert (await response.json())["usage"]["prompt_tokens"] == chat.count
        await held(chat.token_ids.tolist(), chat.count // BLOCK_TOKENS * BLOCK_TOKENS)
        # More than the cache holds: what is evicted is forgotten.
        for number in range(10):
            await complete(session, prompt=[20 + number] * 1000)
        await held(tokens, 0)
        assert index.held_blocks(address) <= 256
        async with session.post(f"http://{address}/reset_prefix_cache") as response:
            assert response.status == 200
        # An idle vLLM says that it is empty when the next request comes.
        await complete(session)
        await held(tokens, 192)
        assert index.held_blocks(address) == 192 // BLOCK_TOKENS
    os.killpg(vllm.process.pid, 9)
    async with asyncio.timeout(30):
        while index.held_blocks(address):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert subscriber.counts.malformed == subscriber.counts.lost == 0
    tokenization.close()
    subscriber.close()
