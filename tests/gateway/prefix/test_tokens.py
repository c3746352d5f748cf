"""Tokens of prompts: against the simulated engine, whose tokens they must be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from aiohttp import web

from fairlead.gateway.prefix.text_tokenizer import TokenizerError
from fairlead.gateway.prefix.tokens import EngineTokens, EstimatedTokens, ExactTokens, Tokenization
from gateway.prefix.simulated import SimulatedEngine
from patience import PATIENCE_S

MODEL = Path(__file__).parents[2] / "simulator/server/data/model"


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as one:
        yield one


@pytest.fixture
async def tokenization() -> AsyncIterator[Tokenization]:
    one = Tokenization()
    yield one
    one.close()


class FixedEngine(EngineTokens):
    """Confirms whatever the tokenizer says, for tests that need no engine."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens

    async def text(self, address, model, text):
        return ExactTokens(np.array(self.tokens, np.uint32), "engine")


async def confirmed(tokenization: Tokenization) -> None:
    await tokenization.load("m", MODEL / "tokenizer.json")
    from fairlead.gateway.prefix import tokens

    ours = tokenization._tokenizers["m"].encode(tokens._PROBE).tolist()
    assert await tokenization.confirm("m", FixedEngine(ours), "a:1")


async def test_the_engine_confirms_and_the_tokens_are_those_it_computes(tmp_path, session, tokenization) -> None:
    async with SimulatedEngine(tmp_path, "--tokenizer", str(MODEL)) as engine:
        address = engine.url.removeprefix("http://")
        asks = EngineTokens(session)
        await tokenization.load("tiny", MODEL / "tokenizer.json")
        text = "It's a long story, told 1000 times. " * 100
        assert isinstance(await tokenization.text("tiny", text), EstimatedTokens)
        assert await tokenization.confirm("tiny", asks, address)
        ours, theirs = await tokenization.text("tiny", text), await asks.text(address, "tiny", text)
        assert isinstance(ours, ExactTokens) and isinstance(theirs, ExactTokens)
        assert ours.token_ids.tolist() == theirs.token_ids.tolist() and ours.source == "tokenizer"
        body = {"model": "tiny", "messages": [{"role": "user", "content": "hello there"}], "max_tokens": 1}
        found = await asks.chat(address, body, 50)
        assert isinstance(found, ExactTokens)
        async with session.post(engine.url + "/v1/chat/completions", json=body) as response:
            assert (await response.json())["usage"]["prompt_tokens"] == found.count
        assert isinstance(await asks.chat(address, {"model": "unknown", "messages": []}, 50), EstimatedTokens)
    gone = await asks.text(address, "tiny", text)
    assert isinstance(gone, EstimatedTokens) and "does not tokenise" in gone.reason and gone.count == 900


async def test_an_engine_with_other_tokens_does_not_confirm(tokenization) -> None:
    await confirmed(tokenization)
    assert tokenization.models == ["m"]
    assert not await tokenization.confirm("m", FixedEngine([1, 2, 3]), "a:1")
    assert tokenization.models == []
    assert isinstance(await tokenization.text("m", "text"), EstimatedTokens)


async def test_images_make_a_conversation_an_estimate(session) -> None:
    part = {"type": "image_url", "image_url": {"url": "http://x"}}
    for messages in ([{"role": "user", "content": [part]}], None, "text"):
        found = await EngineTokens(session).chat("127.0.0.1:1", {"messages": messages}, 40)
        assert isinstance(found, EstimatedTokens) and found.count == 10


@pytest.mark.parametrize("answer", ["", "[]", "{}", '{"tokens": "x"}', '{"tokens": [-1]}', '{"tokens": [[1]]}', None])
async def test_an_engine_that_answers_nonsense(session, answer) -> None:
    async def tokenize(_: web.Request) -> web.Response:
        return web.Response(text=answer) if answer is not None else web.Response(status=404)

    app = web.Application()
    app.router.add_post("/tokenize", tokenize)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    assert isinstance(await EngineTokens(session).text(f"127.0.0.1:{port}", "m", "text"), EstimatedTokens)
    await runner.cleanup()


async def test_an_engine_that_hangs_is_not_waited_for(session) -> None:
    server = await asyncio.start_server(lambda reader, writer: asyncio.sleep(60), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    found = await EngineTokens(session, timeout_s=0.1).text(f"127.0.0.1:{port}", "m", "text")
    assert isinstance(found, EstimatedTokens)
    server.close()


async def test_more_than_can_be_tokenised_is_estimated(tokenization) -> None:
    await confirmed(tokenization)
    tokenization._max_waiting = 2
    texts = [f"{n} " + "a long text " * 3000 for n in range(5)]
    found = await asyncio.gather(*(tokenization.text("m", text) for text in texts))
    assert [isinstance(one, ExactTokens) for one in found] == [True, True, False, False, False]
    assert isinstance(await tokenization.text("m", texts[4]), ExactTokens)


async def test_a_text_that_takes_too_long_is_estimated_and_the_loop_goes_on(tokenization) -> None:
    await confirmed(tokenization)
    tokenization._timeout_s = 0.001
    found = await tokenization.text("m", "a very long text " * 30_000)
    assert isinstance(found, EstimatedTokens) and "within" in found.reason
    async with asyncio.timeout(PATIENCE_S):
        while tokenization._waiting:  # noqa: ASYNC110 - a thread counts it down
            await asyncio.sleep(0.01)


async def test_a_text_without_tokens_and_a_missing_file(tokenization, tmp_path) -> None:
    await confirmed(tokenization)
    assert isinstance(await tokenization.text("m", "\ud800" * 500), EstimatedTokens)
    with pytest.raises(TokenizerError):
        await tokenization.load("n", tmp_path / "tokenizer.json")
    tokenization.drop("m")
    assert tokenization.models == []
