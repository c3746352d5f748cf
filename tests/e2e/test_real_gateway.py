"""Two real vLLM servers, with cache events and adapters, behind Envoy and the picker (`make test-real`)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import openai
import pytest

from e2e.real_vllm import MARKS, installed
from fairlead.gateway.run import picker_admin_socket
from gateway.conftest import Stack, free_port

pytestmark = [*MARKS, pytest.mark.timeout(600), pytest.mark.xdist_group("real-gateway")]

BLOCK_TOKENS = 32
LIMIT_S = 60.0

PRECISE = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: prefix-cache-scorer
- type: queue-scorer
- type: token-producer
  parameters: {modelName: tiny, vllm: {url: "http://engine"}}
- type: precise-prefix-cache-producer
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: prefix-cache-scorer, weight: 3}
  - {pluginRef: queue-scorer}
"""


@dataclass
class Vllm:
    address: str
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Vllm]]:
    paths, logs = installed(), tmp_path_factory.mktemp("vllm")
    environment = {
        **os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_SERVER_DEV_MODE": "1",
    }  # fmt: skip
    # Each has a core: engines that wait for each other's threads take seconds for a token.
    started: list[Vllm] = []
    # Names of such sockets have at most 107 bytes.
    with tempfile.TemporaryDirectory() as sockets, contextlib.ExitStack() as files:
        try:
            for n in range(2):
                port, events = free_port(), {"enable_kv_cache_events": True, "publisher": "zmq"}
                events |= {"endpoint": f"ipc://{sockets}/e{n}", "replay_endpoint": f"ipc://{sockets}/r{n}"}
                out = files.enter_context((logs / f"{n}.log").open("wb"))
                process = subprocess.Popen(
                    [
                        paths["VLLM"], "serve", paths["MODEL"], "--host", "127.0.0.1", "--port", str(port),
                        "--served-model-name", "tiny", "--load-format", "dummy", "--dtype", "float32",
                        "--enforce-eager", "--max-model-len", "4096", "--block-size", str(BLOCK_TOKENS),
                        "--num-gpu-blocks-override", "1024", "--enable-prompt-tokens-details", "--enable-lora",
                        "--max-lora-rank", "8", "--max-loras", "2",
                        "--lora-modules", f"one={paths['LORA']}", f"two={paths['LORA']}",
                        "--kv-events-config", json.dumps(events),
                    ],
                    env={**environment, "VLLM_CPU_OMP_THREADS_BIND": str(n % (os.cpu_count() or 1))},
                    stdout=out, stderr=out, start_new_session=True,
                )  # fmt: skip
                started.append(Vllm(f"127.0.0.1:{port}", process))
            asyncio.run(_all_ready(started, logs))
            yield started
        finally:
            for one in started:
                _kill(one)


async def _all_ready(engines: list[Vllm], logs: Path) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(400):
        for n, one in enumerate(engines):
            while True:
                assert one.process.poll() is None, (logs / f"{n}.log").read_text()[-3000:]
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"http://{one.address}/health") as response:
                        if response.status == 200:
                            break
                await asyncio.sleep(0.5)


def _kill(one: Vllm) -> None:
    """The server and the engine's own process, with no time to say so."""
    if one.process.poll() is None:
        os.killpg(one.process.pid, signal.SIGKILL)
    one.process.wait(30)


class Gateway:
    """Envoy and picker before both engines."""

    def __init__(self, stack: Stack, engines: list[Vllm]) -> None:
        self.stack = stack
        self.engines = engines

    @property
    def url(self) -> str:
        return self.stack.url

    async def start(self, config: str = "") -> None:
        pool: dict[str, Any] = {
            "key": "default/tiny", "models": ["tiny"], "adapters": ["one", "two"], "runtime": "vllm",
            "endpoints": [one.address for one in self.engines],
        }  # fmt: skip
        if config:
            (self.stack.folder / "picker.yaml").write_text(config)
            pool["config"] = "picker.yaml"
        (self.stack.folder / "endpoints.json").write_text(json.dumps({"pools": [pool]}))
        await asyncio.gather(self.stack.start_picker(), self.stack.start_envoy())
        await self.stack.until_ready()

    async def page(self, target: str) -> Any:
        connector = aiohttp.UnixConnector(str(picker_admin_socket(self.stack.folder)))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"http://picker{target}") as response,
        ):
            return await response.json()

    async def decision(self, name: str) -> dict[str, Any]:
        """What was decided on the request with this id."""
        rows = await self.page("/decisions?limit=50")
        found: dict[str, Any] = next(row for row in rows if row["request_id"] == name)
        return found

    async def tokens(self) -> tuple[float, float, float]:
        """Prompt, cached and output tokens counted by the picker."""
        names = ("input", "cached", "output")
        return tuple([await self.stack.metric(f"llm_d_epp_request_{n}_tokens_sum") for n in names])  # type: ignore[return-value]

    async def idle(self) -> None:
        async with asyncio.timeout(LIMIT_S):
            while await self.stack.metric("fairlead_gateway_in_flight_requests"):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)


@pytest.fixture
async def gateway(engines: list[Vllm], tmp_path: Path) -> AsyncIterator[Gateway]:
    stack = Stack(tmp_path)
    try:
        yield Gateway(stack, engines)
    finally:
        await stack.stop()


async def test_the_official_clients_and_their_tokens_in_the_metrics(gateway: Gateway) -> None:
    await gateway.start()
    messages: Any = [{"role": "user", "content": "hello to the lazy dog"}]
    counted = []
    async with openai.AsyncOpenAI(base_url=gateway.url + "/v1", api_key="none", max_retries=0) as client:
        assert {model.id async for model in client.models.list()} >= {"tiny", "one", "two"}
        whole = await client.chat.completions.create(model="tiny", messages=messages, max_tokens=5)
        counted.append((whole.usage.prompt_tokens, whole.usage.completion_tokens))
        stream = await client.chat.completions.create(
            model="tiny", messages=messages, max_tokens=6, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        counted.append((chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens))
        done = await client.completions.create(model="one", prompt="the quick brown fox", max_tokens=7)
        assert done.model == "one"
        counted.append((done.usage.prompt_tokens, done.usage.completion_tokens))
        response = await client.responses.create(model="tiny", input="hello", max_output_tokens=8)
        counted.append((response.usage.input_tokens, response.usage.output_tokens))
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model="nobody", messages=messages)
        with pytest.raises(openai.BadRequestError):
            # The engine's own refusal.
            await client.completions.create(model="tiny", prompt="a b c " * 3000, max_tokens=1)
    async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key="none", max_retries=0) as claude:
        message = await claude.messages.create(model="tiny", messages=messages, max_tokens=9)
        counted.append((message.usage.input_tokens, message.usage.output_tokens))
        async with claude.messages.stream(model="tiny", messages=messages, max_tokens=10) as events:
            final = await events.get_final_message()
        counted.append((final.usage.input_tokens, final.usage.output_tokens))
        assert (await claude.messages.count_tokens(model="tiny", messages=messages)).input_tokens > 0
    await gateway.idle()
    prompt, _, output = await gateway.tokens()
    assert (prompt, output) == tuple(map(sum, zip(*counted, strict=True)))


async def test_a_prefix_goes_where_it_is_cached_and_the_engine_says_so(gateway: Gateway) -> None:
    await gateway.start()
    served, cached = set(), []
    async with openai.AsyncOpenAI(base_url=gateway.url + "/v1", api_key="none", max_retries=0) as client:
        for n in range(5):
            done = await client.completions.create(
                model="tiny", prompt="the lazy dog says hello to the world " * 40 + str(n), max_tokens=1,
                extra_headers={"x-request-id": f"same-{n}"},
            )  # fmt: skip
            served.add((await gateway.decision(f"same-{n}"))["endpoint"])
            details = done.usage.prompt_tokens_details
            cached.append(details.cached_tokens if details is not None else 0)
    assert len(served) == 1
    assert min(cached[1:]) >= 4 * BLOCK_TOKENS
    await gateway.idle()
    assert (await gateway.tokens())[1] == sum(cached)


@pytest.mark.parametrize("api", ["tokens", "chat"])
async def test_precise_prefixes_are_what_the_engine_has_cached(gateway: Gateway, api: str) -> None:
    await gateway.start(PRECISE)
    salt = gateway.stack.folder.name
    other = gateway.engines[1].address
    if api == "tokens":
        path, common = "/v1/completions", {"prompt": list(range(100, 400))}
    else:
        text = "how quick is the brown fox? " * 20
        path, common = "/v1/chat/completions", {"messages": [{"role": "user", "content": text}]}
    body = {"model": "tiny", "max_tokens": 1, "cache_salt": salt, **common}
    async with aiohttp.ClientSession() as session:

        async def ask(base: str, name: str, **more: str) -> dict[str, Any] | None:
            """The usage; None where it is cached nowhere."""
            async with session.post(base + path, json=body, headers={"x-request-id": name, **more}) as response:
                if response.status == 412:
                    return None
                assert response.status == 200, await response.text()
                usage: dict[str, Any] = (await response.json())["usage"]
                return usage

        assert await ask(gateway.url, "nowhere", prefer="if-available") is None
        # Not through the gateway: only the engine's events tell of it.
        await ask(f"http://{other}", "direct")
        async with asyncio.timeout(LIMIT_S):
            while await ask(gateway.url, "probe", prefer="if-available") is None:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        for n in range(3):
            usage = await ask(gateway.url, f"known-{n}")
            row = await gateway.decision(f"known-{n}")
            assert usage is not None
            assert row["endpoint"] == other
            assert row["prompt_tokens"] == usage["prompt_tokens"]
            # The engine computes the last token anew, if it were the last of a block the whole block.
            assert usage["prompt_tokens"] % BLOCK_TOKENS
            assert row["matched_tokens"] == usage["prompt_tokens_details"]["cached_tokens"]


async def test_an_adapter_is_asked_for_where_it_is_loaded(gateway: Gateway) -> None:
    await gateway.start()
    other = gateway.engines[1].address
    async with (
        aiohttp.ClientSession() as session,
        openai.AsyncOpenAI(base_url=gateway.url + "/v1", api_key="none", max_retries=0) as client,
    ):
        elsewhere = asyncio.create_task(_keep_running(session, other, "two"))
        async with asyncio.timeout(2 * LIMIT_S):
            while "two" not in await _adapters(gateway, other):
                # The engines are asked oftener when there is something to do.
                await client.completions.create(model="tiny", prompt="hello", max_tokens=1)
                await asyncio.sleep(0.2)
        for n in range(4):
            await client.completions.create(
                model="two", prompt=f"{n} is the number", max_tokens=2, extra_headers={"x-request-id": f"two-{n}"}
            )
            assert (await gateway.decision(f"two-{n}"))["endpoint"] == other
        elsewhere.cancel()
        # Nobody runs it now; it stays where it was.
        served = set()
        for n in range(6):
            await client.completions.create(
                model="one", prompt=f"{n} and {n}", max_tokens=2, extra_headers={"x-request-id": f"one-{n}"}
            )
            served.add((await gateway.decision(f"one-{n}"))["endpoint"])
        assert len(served) == 1


async def _keep_running(session: aiohttp.ClientSession, address: str, model: str) -> None:
    """Requests for a model at an engine, past the gateway, one after the other."""
    body = {"model": model, "prompt": "a", "max_tokens": 500, "ignore_eos": True}
    while True:
        async with session.post(f"http://{address}/v1/completions", json=body) as running:
            await running.read()


async def _adapters(gateway: Gateway, address: str) -> list[str]:
    (pool,) = (await gateway.page("/state"))["pools"]
    found = next(one for one in pool["endpoints"] if one["address"] == address)
    return found["adapters"] or []


async def test_an_engine_that_is_killed_harms_only_its_own_streams(gateway: Gateway) -> None:
    """The last: it leaves one engine less. Answers are long enough to be under way when it is killed."""
    await gateway.start()
    victim = gateway.engines[0]
    first = asyncio.Event()

    async def stream(client: openai.AsyncOpenAI, n: int) -> bool:
        """Whether it came to its end."""
        reason = None
        try:
            chunks = await client.completions.create(
                model="tiny", prompt=f"{n} times", max_tokens=3000, stream=True, extra_body={"ignore_eos": True},
                extra_headers={"x-request-id": f"stream-{n}"},
            )  # fmt: skip
            async for chunk in chunks:
                first.set()
                reason = chunk.choices[0].finish_reason if chunk.choices else reason
        except openai.APIError:
            return False
        except Exception as error:
            # httpx's own, which the client lets through from a broken stream.
            assert type(error).__module__.startswith("httpx"), error
            return False
        return reason == "length"

    async with (
        openai.AsyncOpenAI(base_url=gateway.url + "/v1", api_key="none", max_retries=0) as client,
        asyncio.timeout(2 * LIMIT_S),
    ):
        streams = [asyncio.create_task(stream(client, n)) for n in range(8)]
        await first.wait()
        owners = [(await gateway.decision(f"stream-{n}"))["endpoint"] for n in range(8)]
        assert set(owners) == {one.address for one in gateway.engines}
        await asyncio.to_thread(_kill, victim)
        asked = [client.completions.create(model="tiny", prompt=f"after {n}", max_tokens=2) for n in range(10)]
        for done in await asyncio.gather(*asked):
            assert done.usage.completion_tokens == 2
        assert await asyncio.gather(*streams) == [owner != victim.address for owner in owners]
    await gateway.idle()
